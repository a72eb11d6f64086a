"""`Refined` as a meta-estimator: what it takes, what it learns, how it works in scikit-learn.

The refined distribution itself is compared with the truth in `test_refined_truth`; what is refused
is in `test_refined_refusals`, what all estimators have in common in `test_estimators`.
"""

import copy
import warnings

import joblib
import numpy as np
import pytest
from conftest import NAMES, tiny
from enumeration import NoStep
from refining import (
    WIDTH,
    WORDS,
    WRONG,
    Known,
    Listed,
    Recorder,
    Uniform,
    distribution,
    features,
    held,
    known,
    linear,
    refine,
    small,
    table,
    words,
)
from sklearn.base import clone
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

import likelihood_gan
from likelihood_gan import Refined
from likelihood_gan.models import Mixture
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.vocabulary import Vocabulary

X = words(500)


@pytest.fixture(scope="module")
def refined():
    """A table that is not the language, refined by words of it."""
    model = small(distribution(WRONG)).fit(X)
    assert model.beta_ > 0
    return model


# The score, and the sample


def test_the_refined_score_is_the_plain_one_plus_the_log_weight_minus_log_z(refined):
    scores = refined.score_samples(WORDS[:99])
    plain = refined.estimator_.score_samples(WORDS[:99])
    expected = plain + refined.log_weight(WORDS[:99]) - refined.log_partition_.value
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    weights = np.arange(1, 100)
    mean = np.average(scores, weights=weights)
    assert refined.score(WORDS[:99], sample_weight=weights) == pytest.approx(mean)


def test_a_score_does_not_depend_on_the_other_sequences(refined):
    together = refined.score_samples(WORDS[:40])
    alone = [refined.score_samples([word])[0] for word in WORDS[:40]]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    weights = refined.log_weight(WORDS[:40])
    np.testing.assert_allclose(weights, [refined.log_weight([w])[0] for w in WORDS[:40]])
    assert refined.log_weight([]).shape == (0,)


def test_without_a_gain_refined_is_plain_to_the_last_bit(refined):
    plain = small(distribution(WRONG), Known(len), Cs=None).fit(X)
    plain.beta_ = 0.0
    plain.log_partition_ = likelihood_gan.calibration.LogPartition(0.0, 0.0, 0.0)
    estimator = distribution(WRONG)
    np.testing.assert_array_equal(plain.score_samples(WORDS), estimator.score_samples(WORDS))
    assert plain.sample(30, random_state=3) == estimator.sample(30, random_state=3)
    assert refined.sample(30, random_state=3) != estimator.sample(30, random_state=3)


def test_blocks_make_up_the_sample(refined, monkeypatch):
    monkeypatch.setattr(likelihood_gan.refined, "SYMBOLS_PER_BLOCK", 300)  # of a few samples
    sample = refined.sample(20, random_state=0)
    assert len(sample) == 20
    assert sample == refined.sample(20, random_state=0)


def test_constraints_hold_for_refined_samples(refined):
    assert all(s.startswith("ca") for s in refined.sample(20, prefix="ca", random_state=0))
    assert {len(s) for s in refined.sample(20, 3, min_len=3, random_state=0)} == {3}
    assert max(map(len, refined.sample(200, 9, min_len=8, random_state=0))) == 9
    cold = refined.sample(400, temperature=0.1, random_state=0)
    assert len(set(cold)) < len(set(refined.sample(400, random_state=0))) / 2
    with pytest.raises(TypeError, match="no constraint"):
        refined.sample(5, suffix="ca")


def test_constraints_are_weighed_like_other_samples(refined):
    # of words with this prefix those are drawn that p* prefers
    def mean_weight(samples):
        return refined.log_weight(samples).mean()

    arguments = dict(prefix="ca", random_state=0)
    plain = mean_weight(refined.estimator_.sample(2000, **arguments))
    assert mean_weight(refined.sample(2000, **arguments)) > plain + 0.1


def test_distinct_samples_differ(refined):
    sample = refined.sample(30, max_len=3, distinct=True, random_state=0)
    assert len(sample) == len(set(sample)) == 30
    with pytest.raises(ValueError, match=r"found 4 different .* not n_samples=5: .* ask for fewer"):
        refined.sample(5, max_len=1, distinct=True, random_state=0)


def test_few_heavy_proposals_are_warned_of(refined):
    doubtful = copy.copy(refined)
    doubtful.relative_effective_sample_size_ = 0.05
    with pytest.warns(UserWarning, match="is 0.050 of .* proposals.*lower betas") as seen:
        doubtful.sample(3)
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refined.sample(3)
        doubtful.score_samples(WORDS[:3])


def test_unknown_symbols_are_handled_as_by_the_estimator():
    gan = held(WRONG, X, handle_unknown="neg_inf")
    refined = small(gan).fit(X)
    scores = refined.score_samples(["abc", "xyz", "ax"])
    assert np.isfinite(scores).tolist() == [True, False, False]
    strict = small(held(WRONG, X)).fit(X)
    assert strict.score_samples(["abc"])[0] == scores[0]
    with pytest.raises(ValueError, match=r"not in the vocabulary: \['x'\]"):
        strict.score_samples(["ax"])


@pytest.mark.parametrize(
    "make",
    [lambda: distribution(WRONG), lambda: held(WRONG, X, max_len=None)],
    ids=["given", "found"],
)
def test_what_lies_behind_max_len_does_not_count(make):
    refined = refine(make(), [*X, "abcabcabc"])
    assert refined.max_len_ == WIDTH
    full, longer, longest, other = refined.log_weight(["abcabc", "abcabca", "abcabcc", "abcabb"])
    assert full == longer == longest != other


# What is refined


def custom_frozen():
    return FrozenEstimator(Uniform().fit(X))


TAKEN_AS_THEY_ARE = {
    "frozen gan": lambda: held(WRONG, X),
    "distribution": lambda: distribution(WRONG),
    "mixture": lambda: distribution(Mixture([WRONG, table(2)], [0.7, 0.3])),
    "no step": lambda: distribution(NoStep(4)),
    "frozen custom": custom_frozen,
    "refined": lambda: FrozenEstimator(small(distribution(WRONG), Known(len), Cs=None).fit(X)),
}


@pytest.mark.parametrize("name", TAKEN_AS_THEY_ARE)
def test_what_is_frozen_or_has_no_fit_is_taken_as_it_is(name):
    given = TAKEN_AS_THEY_ARE[name]()
    inner = given.estimator if isinstance(given, FrozenEstimator) else given
    before = inner.score_samples(WORDS[:40])
    refined = refine(given, X)
    assert refined.estimator_ is inner
    np.testing.assert_array_equal(inner.score_samples(WORDS[:40]), before)
    fresh = words(2000, seed=9)
    assert refined.score(fresh) > inner.score_samples(fresh).mean()
    assert set("".join(refined.sample(50, random_state=0))) <= set("abc")


def test_a_users_class_with_sample_and_score_samples_is_enough():
    refined = known()
    assert isinstance(refined.estimator_, Listed)
    assert refined.beta_ == 1
    again = copy.deepcopy(refined)
    assert again.sample(50, random_state=0) == refined.sample(50, random_state=0)
    np.testing.assert_array_equal(again.score_samples(WORDS[:9]), refined.score_samples(WORDS[:9]))


def test_a_clone_of_the_estimator_is_fitted_as_it_would_be_alone():
    for estimator in (tiny(objective="mle"), Uniform()):
        refined = small(estimator, n_samples=50).fit(X)
        assert refined.estimator_ is not estimator
        alone = clone(estimator).fit(X)
        np.testing.assert_array_equal(refined.estimator_.score_samples(X), alone.score_samples(X))
        with pytest.raises((NotFittedError, AttributeError)):
            estimator.score_samples(X)


def test_weights_are_given_to_the_estimator_if_there_are_any():
    weights = np.arange(len(X)) % 3
    refined = small(tiny(objective="mle"), n_samples=50).fit(X, sample_weight=weights)
    alone = tiny(objective="mle").fit(X, sample_weight=weights)
    np.testing.assert_array_equal(refined.estimator_.score_samples(X), alone.score_samples(X))
    with pytest.raises(TypeError, match="sample_weight"):
        small(Uniform(), n_samples=50).fit(X, sample_weight=weights)


def test_by_default_a_gan_is_fitted_whose_seed_is_that_of_the_refinement(monkeypatch):
    monkeypatch.setattr(
        likelihood_gan.refined,
        "LikelihoodGAN",
        lambda random_state, verbose: tiny(random_state=random_state, verbose=verbose),
    )
    first, again, other = (
        small(None, n_samples=50, random_state=seed).fit(NAMES).estimator_.score_samples(NAMES)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert Refined().estimator is None


# Who learns from what


@pytest.fixture
def seen():
    Recorder.seen = {}
    return Recorder.seen


def test_no_classifier_learns_what_was_held_out_and_all_learn_the_rest(seen):
    trained = []

    class Watched(NoStep):
        def log_prob(self, tokens):
            if self.training:
                trained.extend(vocabulary.decode(tokens))
            return super().log_prob(tokens)

    vocabulary = Vocabulary(sorted(set("".join(NAMES))))
    gan = tiny(generator=Watched, generator_params=None, objective="mle")
    refined = small(gan, Recorder(len), n_samples=50).fit(NAMES)
    held_out = set(refined.estimator_.held_out_)
    assert held_out
    assert held_out.isdisjoint(trained)
    taught = [{x for x, real in zip(X, y, strict=True) if real} for X, y, _ in seen["learned"]]
    assert all(held_out.isdisjoint(names) for names in taught)
    assert set().union(*taught) == set(NAMES) - held_out
    assert held_out <= set().union(*(judged for _, judged in seen["judged"]))


def test_without_held_out_data_the_classifiers_are_calibrated_on_all_data(seen):
    refined = small(tiny(objective="mle", early_stopping=False), Recorder(len), n_samples=50)
    refined.fit(NAMES)
    assert refined.estimator_.held_out_ == []
    taught = [names for names, _ in seen["judged"]]
    assert set().union(*taught) == set(NAMES)
    assert set(NAMES) <= set().union(*(judged for _, judged in seen["judged"]))
    # each name by strangers
    assert all(names.isdisjoint(judged) for names, judged in seen["judged"])


def test_three_draws_of_n_samples_are_made():
    class Counted(Listed):
        asked = []

        def sample(self, n, *, random_state=None):
            self.asked.append(n)
            return super().sample(n, random_state=random_state)

    small(Counted(), n_samples=123).fit(words(100))
    assert Counted.asked == [123] * 3


def test_weights_reach_the_classifier(seen):
    refined = small(tiny(objective="mle"), Recorder(len), n_samples=50)
    refined.fit(NAMES, sample_weight=[2.0 if "a" in name else 1.0 for name in NAMES])
    for X, y, weights in seen["learned"]:
        assert set(weights[y == 0]) == {1.0}
        assert weights[y == 1].mean() == pytest.approx(1, abs=0.1)
        heavy = np.array(["a" in x for x in X])
        np.testing.assert_allclose(weights[(y == 1) & heavy], 2 * weights[(y == 1) & ~heavy][0])


# The choice


def test_the_default_is_regularised_logistic_regression_on_n_grams():
    refined = Refined(distribution(WRONG), Cs=(0.1,), n_samples=500, random_state=0).fit(X)
    for classifier in refined.classifiers_:
        assert [type(step) for _, step in classifier.steps] == [NGramHasher, LogisticRegression]
        assert refined.C_ == classifier[-1].C == 0.1
    assert refined.beta_ > 0


def test_the_strength_of_the_higher_gain_is_chosen():
    gains = {C: small(distribution(WRONG), Cs=(C,)).fit(X).gain_ for C in (1e-9, 1e-4, 0.3)}
    refined = small(distribution(WRONG), Cs=tuple(gains)).fit(X)
    assert refined.C_ == max(gains, key=gains.get) == 0.3
    assert refined.gain_ == pytest.approx(gains[0.3])


def test_strengths_are_left_alone_where_there_are_none_to_choose():
    refined = small(distribution(WRONG), linear(C=0.7), Cs=None).fit(X)
    assert refined.C_ is None
    assert {classifier[-1].C for classifier in refined.classifiers_} == {0.7}
    tree = make_pipeline(features(), DecisionTreeClassifier(max_leaf_nodes=9))
    assert small(distribution(WRONG), tree, Cs=(1.0, 2.0)).fit(X).C_ is None


@pytest.mark.parametrize(
    "classifier",
    [
        None,
        make_pipeline(features(), DecisionTreeClassifier(max_depth=4, max_features=9)),
        StackingClassifier([("tree", make_pipeline(features(), DecisionTreeClassifier()))], cv=2),
    ],
    ids=["linear", "tree", "stack"],
)
def test_same_seed_same_refinement_whatever_is_random_in_the_classifier(classifier):
    distinct = sorted(set(X))  # a stack takes no weights
    given = linear() if classifier is None else classifier
    models = [
        small(distribution(WRONG), given, n_samples=300, Cs=None, random_state=seed).fit(distinct)
        for seed in (0, 0, 1)
    ]
    judged = [
        np.array([classifier.predict_proba(WORDS) for classifier in model.classifiers_])
        for model in models
    ]
    np.testing.assert_array_equal(judged[0], judged[1])
    assert not np.array_equal(judged[0], judged[2])
    scores = [model.score_samples(WORDS) for model in models]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not [v for k, v in given.get_params().items() if k.endswith("random_state") and v]


def test_jobs_make_no_difference(refined):
    with joblib.parallel_config("threading"):
        again = small(distribution(WRONG), n_jobs=2).fit(X)
    np.testing.assert_array_equal(again.score_samples(WORDS), refined.score_samples(WORDS))


# In scikit-learn


def test_parameters_are_nested_and_clones_are_not_fitted(refined):
    outer = small(tiny())
    params = outer.get_params()
    assert params["estimator__adversarial_epochs"] == 2
    assert params["estimator__generator__hidden_size"] == 8
    assert params["classifier__logisticregression__max_iter"] == 1000
    copied = clone(outer).set_params(
        estimator__adversarial_epochs=7,
        estimator__generator__hidden_size=5,
        classifier__ngramhasher__n_features=64,
        betas=(0.1,),
    )
    assert copied.estimator.adversarial_epochs == 7
    assert copied.estimator.generator_params == {"hidden_size": 5}
    assert copied.classifier[0].n_features == 64
    assert (outer.estimator.adversarial_epochs, outer.classifier[0].n_features) == (2, 256)
    assert outer.estimator.generator_params == {"hidden_size": 8}
    assert not hasattr(clone(refined), "beta_")
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        outer.set_params(estimator__depth=3)


def test_grid_search_over_the_refinement_needs_no_scoring():
    grid = {"betas": [(1e-6,), (1.0,)]}
    search = GridSearchCV(small(distribution(WRONG)), grid, cv=2, error_score="raise").fit(X)
    assert search.best_params_ == {"betas": (1.0,)}
    assert search.best_estimator_.beta_ == 1
    assert search.score(X) == pytest.approx(search.best_estimator_.score(X))


def test_grid_search_reaches_the_estimator_and_its_modules():
    grid = {
        "estimator__generator__hidden_size": [4, 6],
        "estimator__adversarial_epochs": [0, 1],
    }
    gan = tiny(vocabulary=sorted(set("".join(NAMES))), max_len=4)
    search = GridSearchCV(small(gan, n_samples=50), grid, cv=2, error_score="raise").fit(NAMES)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == 4
    best = search.best_estimator_.estimator_
    assert (
        best.generator_.lstm.layers[0].hidden_size
        == search.best_params_["estimator__generator__hidden_size"]
    )
    assert search.best_score_ == max(scores)


def test_cross_validated_scores_are_those_of_fresh_fits():
    model = small(Uniform())
    scores = cross_val_score(model, X, cv=[(np.arange(300), np.arange(300, 500))])
    assert scores == [clone(model).fit(X[:300]).score(X[300:])]


def test_the_last_step_of_a_pipeline(refined):
    def lower(sequences):
        return [sequence.lower() for sequence in sequences]

    shouted = [word.upper() for word in X]
    pipeline = make_pipeline(FunctionTransformer(lower), small(distribution(WRONG))).fit(shouted)
    expected = refined.score_samples(X)
    np.testing.assert_array_equal(pipeline.score_samples(shouted), expected)
    assert pipeline.score(shouted) == pytest.approx(expected.mean())
    assert pipeline[-1].sample(5, random_state=0) == refined.sample(5, random_state=0)
