"""What `Refined` refuses, and what is left when a fit fails."""

import math

import joblib
import numpy as np
import pytest
from conftest import NAMES, tiny
from refining import (
    WORDS,
    WRONG,
    Failing,
    Known,
    Listed,
    Uniform,
    distribution,
    known,
    small,
    true_logit,
    words,
)
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from likelihood_gan import LikelihoodGAN, Refined
from likelihood_gan.ngrams import NGramHasher

X = sorted(set(words(200)))


class Silent(ClassifierMixin, BaseEstimator):
    """Has no opinion."""

    def fit(self, X, y):
        return self


class OnlySamples:
    """Cannot say how probable a sequence is."""

    def sample(self, n, random_state=None):
        return ["a"] * n


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"n_samples": 1}, ValueError, "n_samples must be None or an integer >= 2, got 1"),
        ({"n_samples": 2.0}, TypeError, "n_samples must be None or an integer >= 2, got 2.0"),
        ({"n_samples": True}, TypeError, "n_samples must be None or an integer >= 2, got True"),
        ({"n_jobs": 1.5}, TypeError, "n_jobs must be None or an integer other than 0, got 1.5"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be None or an integer other than 0, got 0"),
        ({"random_state": "x"}, ValueError, "random_state must be None, an integer .* got 'x'"),
        ({"betas": (True,)}, ValueError, r"betas must be a sequence of positive .* \(True,\)"),
        ({"betas": ()}, ValueError, r"betas must be a sequence of positive numbers, got \(\)"),
        ({"betas": (0.5, 0)}, ValueError, r"betas must be a sequence of positive .* \(0.5, 0\)"),
        ({"betas": (math.inf,)}, ValueError, "betas must be a sequence of positive numbers"),
        ({"betas": 0.5}, TypeError, "betas must be a sequence of positive numbers, got 0.5"),
        ({"betas": None}, TypeError, "betas must be a sequence of positive numbers, got None"),
        ({"Cs": ()}, ValueError, r"Cs must be None or a sequence of positive numbers, got \(\)"),
        ({"Cs": ("a",)}, ValueError, r"Cs must be None or a sequence of positive numbers, got \('a',\)"),
        ({"Cs": (math.nan,)}, ValueError, "Cs must be None or a sequence of positive numbers"),
        ({"classifier": 3}, TypeError, "classifier must be a scikit-learn classifier .* got 3"),
        ({"classifier": NGramHasher()}, TypeError, "predict_proba, such as .*got NGramHasher"),
        ({"classifier": LogisticRegression}, TypeError, r"as LogisticRegression\(\), got <class"),
        ({"classifier": Silent()}, TypeError,
         "classifier Silent has neither decision_function nor predict_proba; choose one"),
        ({"classifier": Known(lambda w: math.nan)}, ValueError,
         "classifier Known must give one finite number .* got NaN or infinity; check its features"),
        ({"classifier": Known(lambda w: [1, 2])}, ValueError, r"sequences, got shape \("),
        ({"estimator": 3}, TypeError, r"estimator must have sample and score_samples, .* got 3"),
        ({"estimator": OnlySamples()}, TypeError, "such as LikelihoodGAN.* got <.*OnlySamples"),
        ({"estimator": LikelihoodGAN}, TypeError, "estimator must have .* got <class"),
        ({"estimator": FrozenEstimator(Silent())}, TypeError, "estimator must have sample"),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(params, error, message):
    with pytest.raises(error, match=message):
        small(distribution(WRONG), n_samples=50).set_params(**params).fit(X)


def test_parameters_are_checked_before_the_estimator_is_fitted():
    class Forbidden(LikelihoodGAN):
        def fit(self, X, y=None, sample_weight=None):
            raise AssertionError("fitted")

    for wrong in ({"betas": ()}, {"classifier": 3}, {"n_samples": 0}):
        with pytest.raises((TypeError, ValueError)):
            small(Forbidden()).set_params(**wrong).fit(NAMES)
    for bad in ([], "abc", ["a", 3], ["a"], ["a"] * 9):
        with pytest.raises((TypeError, ValueError)):
            small(Forbidden()).fit(bad)


@pytest.mark.parametrize(
    "X, weights, error, message",
    [
        ([], None, ValueError, "X is empty"),
        ("abc", None, TypeError, "bare string 'abc'"),
        (["ab", ("a",)], None, TypeError, "X must hold strings"),
        (["ab", "ab"], None, ValueError, "too few distinct sequences .* got 1 to .* at least ten"),
        (["ab", "ba"], [1, -1], ValueError, "sample_weight must be finite, not negative"),
        (["ab", "ba"], [1], ValueError, "sample_weight must have one number for each of the 2"),
    ],
)
def test_bad_data_are_refused(X, weights, error, message):
    with pytest.raises(error, match=message):
        small(distribution(WRONG)).fit(X, sample_weight=weights)


@pytest.mark.parametrize("bad, error", [([], ValueError), ("ab", TypeError), (3, TypeError)])
def test_only_sequences_are_scored(bad, error):
    with pytest.raises(error, match="X "):
        known().score_samples(bad)


@pytest.mark.parametrize("estimator", [tiny(), Uniform()])
def test_what_is_frozen_must_be_fitted(estimator):
    with pytest.raises(NotFittedError, match=f"This {type(estimator).__name__} .* not fitted yet"):
        small(FrozenEstimator(estimator)).fit(NAMES)


def test_repetitions_are_weights_and_need_a_classifier_that_takes_them():
    class NoWeights(Known):
        def fit(self, X, y):
            return self

    refined = small(distribution(WRONG), NoWeights(true_logit), n_samples=50)
    assert refined.fit(X).beta_ >= 0
    with pytest.raises(ValueError, match="NoWeights.fit takes no sample_weight; choose another"):
        refined.fit([*X, *X[:50]])


def test_what_cannot_be_written_is_named(tmp_path):
    refined = small(Uniform(), n_samples=50).fit(X)
    with pytest.raises(ValueError, match="Uniform.* cannot be written to a safe file; use pickle"):
        refined.save(tmp_path / "refined")
    assert not list(tmp_path.iterdir())
    joblib.dump(refined, tmp_path / "refined")
    again = joblib.load(tmp_path / "refined")
    np.testing.assert_array_equal(again.score_samples(X), refined.score_samples(X))


def test_nothing_works_before_fit():
    for call in (
        lambda model: model.sample(),
        lambda model: model.score_samples(WORDS),
        lambda model: model.log_weight(WORDS),
    ):
        with pytest.raises(NotFittedError, match="Refined instance is not fitted yet"):
            call(Refined(distribution(WRONG)))


# A fit that fails


def test_a_failed_fit_leaves_what_was_fitted_before():
    for estimator in (distribution(WRONG), tiny(objective="mle")):
        refined = small(estimator).fit(X)
        state = {k: v for k, v in vars(refined).items() if k.endswith("_")}
        expected = refined.score_samples(WORDS)
        refined.set_params(classifier=Failing(ValueError("broken")))
        with pytest.raises(ValueError, match="broken"):
            refined.fit(words(50))
        assert {k: v for k, v in vars(refined).items() if k.endswith("_")} == state
        np.testing.assert_array_equal(refined.score_samples(WORDS), expected)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_estimator_is_not_lost_if_its_first_refinement_fails(error):
    refined = small(tiny(objective="mle"), Failing(error("broken")), n_samples=50)
    with pytest.raises(error, match="broken") as caught:
        refined.fit(X)
    assert "refine it alone with FrozenEstimator(estimator_)" in caught.value.__notes__[0]
    alone = tiny(objective="mle").fit(X)
    np.testing.assert_array_equal(refined.estimator_.score_samples(X), alone.score_samples(X))
    with pytest.raises(NotFittedError):
        refined.sample()
    again = small(FrozenEstimator(refined.estimator_), n_samples=50).fit(X)
    assert again.estimator_ is refined.estimator_


def test_a_first_refinement_of_what_was_given_leaves_nothing_if_it_fails():
    for given in (distribution(WRONG), FrozenEstimator(tiny(objective="mle").fit(X))):
        refined = small(given, Failing(ValueError("broken")), n_samples=50)
        with pytest.raises(ValueError, match="broken") as caught:
            refined.fit(X)
        assert not hasattr(caught.value, "__notes__")
        assert not hasattr(refined, "estimator_")


def test_an_estimator_that_fails_says_so_itself():
    class Broken(Listed):
        def fit(self, X):
            raise ArithmeticError("estimator broken")

        def get_params(self, deep=True):
            return {}

    refined = small(Broken())
    with pytest.raises(ArithmeticError, match="estimator broken") as caught:
        refined.fit(X)
    assert not hasattr(caught.value, "__notes__")
    assert not hasattr(refined, "estimator_")
