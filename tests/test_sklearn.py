"""`LikelihoodGAN` is a scikit-learn estimator: conventions, model selection, reproducibility.

What the model learns is tested elsewhere; here everything is as small as it can be.
"""

import inspect

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from sklearn.utils.validation import validate_data

from likelihood_gan import CharLSTM, LikelihoodGAN
from likelihood_gan.callbacks import PrintSamples
from likelihood_gan.objectives import MLE, ImportanceSampled

NAMES = ["ann", "anna", "hanna", "nan", "hann", "nanna", "ana", "han", "naan", "haha", "an", "ha"]
OTHERS = ["", "n", "anan", "hahaha"]
TINY = {
    "generator_params": {"hidden_size": 4},
    "discriminator_params": {"hidden_size": 4},
    "pretrain_epochs": 1,
    "discriminator_pretrain_epochs": 1,
    "adversarial_epochs": 1,
    "pretrain_learning_rate": 0.02,
    "random_state": 0,
}


def tiny(**params):
    return LikelihoodGAN(**(TINY | params))


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.fixture(scope="module")
def fitted():
    return tiny().fit(NAMES)


# Parameters

ALL_PARAMETERS = {
    "generator": CharLSTM,
    "generator_params": {"hidden_size": 4},
    "discriminator": torch.nn.Bilinear,
    "discriminator_params": {"hidden_size": 4},
    "objective": ImportanceSampled(),
    "pretrain_epochs": np.int64(1),
    "discriminator_pretrain_epochs": 0,
    "adversarial_epochs": "not checked here",
    "batch_size": -1,
    "pretrain_learning_rate": {1: 0.02, 6: 0.002},
    "adversarial_learning_rate": float,
    "discriminator_learning_rate": 1,
    "precision": "half",
    "max_len": 9,
    "vocabulary": iter("abc"),
    "token_pattern": "Cl|.",
    "handle_unknown": "neg_inf",
    "early_stopping": False,
    "validation_fraction": 0.2,
    "n_iter_no_change": 3,
    "warm_start": True,
    "callbacks": [PrintSamples()],
    "check_plugins": "not checked here",
    "device": torch.device("cpu"),
    "verbose": True,
    "random_state": np.random.RandomState(0),
}


def test_init_stores_its_arguments_untouched():
    assert ALL_PARAMETERS.keys() == inspect.signature(LikelihoodGAN).parameters.keys()
    gan = LikelihoodGAN(**ALL_PARAMETERS)
    assert vars(gan).keys() == ALL_PARAMETERS.keys()
    assert all(getattr(gan, name) is value for name, value in ALL_PARAMETERS.items())


def test_only_the_generator_is_a_positional_parameter():
    kinds = {p.name: p.kind for p in inspect.signature(LikelihoodGAN).parameters.values()}
    assert kinds.pop("generator") == inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds.values()) == {inspect.Parameter.KEYWORD_ONLY}


def test_get_params_and_set_params_are_inverse():
    params = LikelihoodGAN(**ALL_PARAMETERS).get_params()
    gan = LikelihoodGAN().set_params(**params)
    assert all(gan.get_params()[name] is value for name, value in ALL_PARAMETERS.items())
    assert gan.get_params() == params
    with pytest.raises(ValueError, match="Invalid parameter 'hidden_size'"):
        gan.set_params(hidden_size=4)


@pytest.mark.parametrize("module", ["generator", "discriminator"])
def test_arguments_of_a_module_are_parameters_of_their_own(module):
    passed = {"hidden_size": 4, "dropout": 0.5}
    gan = LikelihoodGAN(**{f"{module}_params": passed})
    assert gan.get_params()[f"{module}__hidden_size"] == 4
    assert f"{module}__hidden_size" not in gan.get_params(deep=False)
    gan.set_params(**{f"{module}__hidden_size": 9, f"{module}__n_layers": 2})
    expected = {"hidden_size": 9, "dropout": 0.5, "n_layers": 2}
    assert getattr(gan, f"{module}_params") == expected
    assert passed == {"hidden_size": 4, "dropout": 0.5}  # the caller's dict stays as it is
    copied = clone(gan)
    assert getattr(copied, f"{module}_params") == expected
    copied.set_params(**{f"{module}__hidden_size": 5})
    assert getattr(gan, f"{module}_params") == expected
    fitted = tiny(**{f"{module}_params": getattr(copied, f"{module}_params")}).fit(NAMES)
    assert getattr(fitted, f"{module}_").arguments["hidden_size"] == 5


def test_arguments_of_a_module_and_other_parameters_are_set_at_once():
    gan = LikelihoodGAN().set_params(generator__hidden_size=4, max_len=9)
    assert (gan.generator_params, gan.discriminator_params, gan.max_len) == (
        {"hidden_size": 4},
        None,
        9,
    )
    gan.set_params(generator_params={"n_layers": 2}, generator__hidden_size=7)
    assert gan.generator_params == {"n_layers": 2, "hidden_size": 7}


@pytest.mark.parametrize("objective", [ImportanceSampled(), MLE(), "mle"])
def test_a_clone_has_equal_parameters_and_is_not_fitted(objective):
    gan = tiny(objective=objective, callbacks=[PrintSamples(every=9)])
    for source in (gan, clone(gan).fit(NAMES)):
        copied = clone(source)
        assert copied.get_params() == gan.get_params()
        assert repr(copied) == repr(gan)
        with pytest.raises(NotFittedError):
            copied.score(NAMES)


def test_a_clone_of_an_estimator_with_a_module_keeps_its_weights_and_its_fit():
    module = CharLSTM(4, hidden_size=4)
    gan = tiny(generator=module, generator_params=None)
    copied = clone(gan)
    assert isinstance(copied.generator, CharLSTM)
    assert copied.generator is not module
    assert same_weights(copied.generator, module)

    scores = gan.fit(NAMES).score_samples(NAMES)
    np.testing.assert_array_equal(copied.fit(NAMES).score_samples(NAMES), scores)
    np.testing.assert_array_equal(clone(gan).fit(NAMES).score_samples(NAMES), scores)


def test_everything_learned_is_named_with_an_underscore(fitted):
    learned = vars(fitted).keys() - fitted.get_params().keys()
    assert all(name.endswith("_") and not name.startswith("_") for name in learned)
    assert {"distribution_", "discriminator_", "history_", "n_iter_", "held_out_"} <= learned


def test_tags_say_strings_and_no_tables():
    tags = get_tags(LikelihoodGAN())
    assert tags.estimator_type == "density_estimator"
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.input_tags.two_d_array
    assert not tags.target_tags.required


# scikit-learn's own checks


class TableGAN(LikelihoodGAN):
    """Learns tables of numbers: each row is a tuple of bins, one symbol a column.

    scikit-learn's checks pass numeric tables, which `LikelihoodGAN` does not claim to read. This
    adds what is needed for a table and leaves the rest to the class under test.
    """

    def fit(self, X, y=None, sample_weight=None):
        # some checks pass targets of a regression, which are refused: they may be weights
        return super().fit(self._bins(X, reset=True), sample_weight=sample_weight)

    def score_samples(self, X):
        return super().score_samples(self._bins(X))

    def discriminate(self, X):
        return super().discriminate(self._bins(X))

    def _bins(self, X, reset=False):
        if not reset and not hasattr(self, "distribution_"):
            raise NotFittedError
        table = validate_data(self, X, reset=reset, dtype=np.float64)
        return [tuple(row) for row in ((4 * table).round() % 7).astype(int).tolist()]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


# Not run: they skip themselves where pandas is missing, which nothing here needs, or where the
# environment variable SCIPY_ARRAY_API is not set, which has to happen before SciPy is imported.
NOT_RUN = {"check_sample_weights_pandas_series", "check_array_api_input"}


def name_of(check):
    return getattr(check, "func", check).__name__


TABLE_GAN = TableGAN(**TINY, vocabulary=range(7))
CHECKS = [
    check
    for _, check in estimator_checks_generator(TABLE_GAN)  # no expected failures
    if name_of(check) not in NOT_RUN
]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_scikit_learn_check(check):
    check(clone(TABLE_GAN))


def test_all_of_scikit_learns_checks_are_run():
    assert len(CHECKS) >= 45, len(CHECKS)


def test_check_estimator_accepts_the_estimator_itself():
    # of an estimator that takes no tables it checks little, and says so
    with pytest.warns(SkipTestWarning, match="Can't test estimator LikelihoodGAN"):
        results = check_estimator(tiny())
    assert {result["status"] for result in results} == {"passed"}


def fitted_scores(X, **fit_params):
    return tiny(vocabulary="ahn").fit(X, **fit_params).score_samples(NAMES + OTHERS)


# Model selection, pipelines, parallel backends


def test_grid_search_over_generator_params():
    weights = np.arange(1, len(NAMES) + 1)
    sizes = [{"hidden_size": 4}, {"hidden_size": 8}]
    search = GridSearchCV(
        tiny(vocabulary="ahn"), {"generator_params": sizes}, cv=2, error_score="raise"
    ).fit(NAMES, sample_weight=weights)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["generator_params"] in sizes

    alone = tiny(vocabulary="ahn", **search.best_params_).fit(NAMES, sample_weight=weights)
    np.testing.assert_array_equal(search.score(OTHERS), alone.score(OTHERS))


def test_grid_search_over_arguments_of_modules():
    params = {"hidden_size": 4, "dropout": 0.1}
    grid = {"generator__hidden_size": [3, 5], "discriminator__hidden_size": [3, 6]}
    gan = tiny(vocabulary="ahn", generator_params=params, discriminator_params=None)
    search = GridSearchCV(gan, grid, cv=2, error_score="raise").fit(NAMES)
    assert len(search.cv_results_["params"]) == 4
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0
    best = search.best_estimator_
    assert best.generator_.arguments["hidden_size"] == search.best_params_["generator__hidden_size"]
    assert best.generator_.arguments["dropout"] == 0.1
    assert best.discriminator_params == {
        "hidden_size": search.best_params_["discriminator__hidden_size"]
    }
    assert params == {"hidden_size": 4, "dropout": 0.1}
    assert gan.discriminator_params is None


def test_cross_validation_scores_are_held_out_nats():
    gan = tiny(vocabulary="ahn")
    scores = cross_val_score(gan, NAMES, cv=3, error_score="raise")
    expected = [
        clone(gan).fit(NAMES[:start] + NAMES[start + 4 :]).score(NAMES[start : start + 4])
        for start in (0, 4, 8)
    ]
    np.testing.assert_array_equal(scores, expected)


def test_cross_validation_without_a_vocabulary_says_what_to_pass():
    with pytest.raises(ValueError, match=r"\['z'\]; pass vocabulary="):
        cross_val_score(tiny(), ["z", *NAMES], cv=3, error_score="raise")


def lower_case(X):
    return [sequence.lower() for sequence in X]


def test_the_last_step_of_a_pipeline():
    pipeline = make_pipeline(FunctionTransformer(lower_case), tiny())
    pipeline.set_params(likelihoodgan__vocabulary="ahn")
    pipeline.fit([name.title() for name in NAMES])
    shouted = [name.upper() for name in NAMES + OTHERS]
    np.testing.assert_array_equal(pipeline.score_samples(shouted), fitted_scores(NAMES))
    assert pipeline.score(shouted) == pytest.approx(fitted_scores(NAMES).mean())
    assert set("".join(pipeline[-1].sample(9, random_state=0))) <= set("ahn")


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("real_epochs")  # as in the other process
def test_the_parallel_backend_makes_no_difference(backend):
    # with dropout: it, too, must not draw from a source that threads share
    gan = tiny(vocabulary="ahn", generator_params={"hidden_size": 4, "dropout": 0.5})
    alone = cross_val_score(gan, NAMES, cv=4, error_score="raise")
    with joblib.parallel_config(backend, n_jobs=2):
        parallel = cross_val_score(gan, NAMES, cv=4, error_score="raise")
    np.testing.assert_array_equal(parallel, alone)
