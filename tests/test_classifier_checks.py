"""`GenerativeClassifier` passes scikit-learn's checks of classifiers, as far as text allows."""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from sklearn.utils.validation import validate_data

from likelihood_gan import GenerativeClassifier, LikelihoodGAN
from likelihood_gan.models import NGram


class TableClassifier(GenerativeClassifier):
    """Classifies tables of numbers: each row is a tuple of bins, one symbol a column.

    scikit-learn's checks pass numeric tables, which `GenerativeClassifier` does not claim to read.
    This adds what is needed for a table and leaves the rest to the class under test.
    """

    def fit(self, X, y=None, sample_weight=None):
        return super().fit(self._bins(X, reset=True), y, sample_weight)

    def predict_joint_log_proba(self, X):
        return super().predict_joint_log_proba(self._bins(X))

    def _bins(self, X, reset=False):
        if not reset and not hasattr(self, "estimator_"):
            raise NotFittedError
        table = validate_data(self, X, reset=reset, dtype=np.float64)
        return [tuple(row) for row in (2 * table).round().clip(-9, 9).astype(int).tolist()]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


# Not run: they skip themselves where pandas is missing, which nothing here needs, or where the
# environment variable SCIPY_ARRAY_API is not set, which has to happen before SciPy is imported.
NOT_RUN = {
    "check_sample_weights_pandas_series",
    "check_classifier_data_not_an_array",
    "check_array_api_input",
}


def name_of(check):
    return getattr(check, "func", check).__name__


COUNTING = LikelihoodGAN(NGram, vocabulary=range(-9, 10), early_stopping=False, random_state=0)
TABLE = TableClassifier(COUNTING)
CHECKS = [
    check
    for _, check in estimator_checks_generator(TABLE)  # no expected failures
    if name_of(check) not in NOT_RUN
]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_scikit_learn_check(check):
    check(clone(TABLE))


def test_all_of_scikit_learns_checks_are_run():
    assert len(CHECKS) >= 58, len(CHECKS)
    assert {"check_classifiers_train", "check_classifiers_classes"} <= set(map(name_of, CHECKS))


def test_tags_say_a_classifier_of_strings_and_no_tables():
    tags = get_tags(GenerativeClassifier())
    assert is_classifier(GenerativeClassifier())
    assert tags.classifier_tags.multi_class and tags.target_tags.required
    assert tags.input_tags.string and tags.input_tags.one_d_array
    assert not tags.input_tags.two_d_array


def test_check_estimator_accepts_the_classifier_itself():
    # of an estimator that takes no tables it checks little, and says so
    with pytest.warns(SkipTestWarning, match="Can't test estimator GenerativeClassifier"):
        results = check_estimator(GenerativeClassifier(COUNTING))
    assert {result["status"] for result in results} == {"passed"}
