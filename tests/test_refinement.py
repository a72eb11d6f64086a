"""The refined distribution: every law is compared with the enumerated truth of a tiny language.

Words of at most six letters over a, b and c: `LANGUAGE` writes them, `WRONG` and other generators
model them.
"""

import copy
import functools
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from enumeration import Bigram, NoStep, all_rows
from scipy.special import logsumexp
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from likelihood_gan import LikelihoodGAN, Refiner, refinement
from likelihood_gan.calibration import LogPartition, effective_sample_size, log_partition
from likelihood_gan.models import Mixture
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.vocabulary import Vocabulary

N_TOKENS, WIDTH = 4, 6
ABC = Vocabulary("abc")
ROWS = all_rows(N_TOKENS, WIDTH)
WORDS = ABC.decode(ROWS)
INDEX = {word: i for i, word in enumerate(WORDS)}


def table(seed):
    """Build a generator of words of some letters."""
    model = Bigram(N_TOKENS, seed=seed)
    model.logits.data *= 0.6
    model.logits.data[:, 0] -= 1
    return model


LANGUAGE, WRONG = table(0), table(7)


def log_law(generator):
    """Log-probability of every word; the long ones are cut."""
    with torch.no_grad():
        return generator.log_prob(ROWS).double().numpy()


def refined_law(gan):
    """Enumerated p* of every word."""
    log_p = log_law(gan.generator_)
    log_p = log_p + gan.refiner_.log_weight(WORDS, lambda words: log_p)
    return np.exp(log_p - logsumexp(log_p))


def log_weight(gan, sequences):
    """Nats that refinement adds to the plain score, before they are normalised."""
    added = gan.score_samples(sequences, refined=True) - gan.score_samples(sequences)
    return added + gan.refiner_.log_partition_.value


def words(n, seed=0, generator=LANGUAGE):
    with torch.no_grad():
        rng = torch.Generator().manual_seed(seed)
        return ABC.decode(generator.sample(n, WIDTH, rng=rng))


def divergence(p, q):
    """KL(p, q) in nats."""
    return float(np.sum(p * (np.log(p) - np.log(q))))


def frequencies(sample, n=None):
    counts = np.bincount([INDEX[word] for word in sample], minlength=n or len(WORDS))
    return counts / len(sample)


def worst_error(sample, p):
    """Largest deviation of a frequency from p, in standard errors."""
    frequency = frequencies(sample, len(p))
    seen_at_all = p * len(sample) > 5
    error = np.abs(frequency - p) / np.sqrt(p * (1 - p) / len(sample))
    return float(error[seen_at_all].max())


def features(n_range=(1, 2)):
    return NGramHasher(n_range, n_features=256)


def small(classifier=None, **params):
    """Build a refiner that is fitted in a fraction of a second."""
    if classifier is None:
        classifier = make_pipeline(features(), LogisticRegression(max_iter=1000))
    return Refiner(classifier, **({"Cs": (0.3,), "n_samples": 500} | params))


def held(generator, X=None, refiner=None, **settings):
    """Build an estimator around a generator, train nothing, and refine."""
    known = dict(vocabulary="abc", max_len=WIDTH, random_state=0, objective="mle")
    known["validation_fraction"] = 0.3
    nothing = dict(pretrain_epochs=0, max_epochs=0)
    gan = LikelihoodGAN(generator, **(known | nothing | settings), refiner=refiner)
    return gan.fit(words(600) if X is None else X)


class Known(ClassifierMixin, BaseEstimator):
    """Learns nothing: its logit is a known function of each word."""

    def __init__(self, function):
        self.function = function

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return np.array([self.function(word) for word in X], dtype=float)


def true_logit(word):
    return 0.8 * word.count("a") - 0.6 * word.count("b")


def steep_logit(word):
    return 3 * true_logit(word) + 7


def wrong_logit(word):
    return -true_logit(word)


SHORT = WORDS[: 1 + 3 + 9 + 27]  # no more than three letters
P = np.exp(log_law(WRONG))[: len(SHORT)]
P /= P.sum()
P_STAR = P * np.exp([true_logit(word) for word in SHORT])
P_STAR /= P_STAR.sum()


def known_refiner(seed=0, function=true_logit, **params):
    """Refine P, whose data are exactly P_STAR, with a classifier that knows their ratio."""
    rng = np.random.RandomState(seed)
    every = dict(Cs=None, n_errors=0, min_effective_sample_size=0)
    refiner = Refiner(Known(function), **(every | {"n_samples": 500} | params))
    held_out = np.arange(len(SHORT) + 1) < len(SHORT)
    data, weights = [*SHORT, "aaaa"], np.append(P_STAR, 1e-9)  # a last one to learn from
    return refiner.fit(data, weights, held_out, proposals(rng), log_prob, rng)


def proposals(rng):
    cumulative = P.cumsum() / P.sum()
    return lambda n: [SHORT[i] for i in np.searchsorted(cumulative, rng.uniform(size=n))]


def on_a_list(function, **params):
    """Refine P by a list that holds every word once."""
    rng = np.random.RandomState(0)
    every = dict(Cs=None, n_errors=0, min_effective_sample_size=0)
    params = every | {"use_log_prob": True} | params
    refiner = Refiner(Known(function), **params)
    held_out = np.arange(len(SHORT) + 1) < len(SHORT)
    return refiner.fit(
        [*SHORT, "aaaa"], np.ones(len(SHORT) + 1), held_out, proposals(rng), log_prob, rng
    )


def scores_of(gan):
    """Log-probabilities by `gan` of words that are not cut."""
    return lambda words: gan.score_samples(words)


def log_prob(sequences):
    return np.log([P[INDEX[word]] / P.sum() for word in sequences])


@pytest.fixture(scope="module")
def refined():
    """A table that is not `LANGUAGE`, refined by words of it."""
    return held(WRONG, refiner=small())


# The distribution, with a logit that is known


def test_log_partition_lies_in_its_interval_as_often_as_promised():
    n, inside, above = 250, 0, 0
    for seed in range(n):
        refiner = known_refiner(seed, betas=(1.0,), confidence=0.9)
        truth = logsumexp(np.log(P) + refiner.log_weight(SHORT, log_prob))
        value, lower, upper = refiner.log_partition_
        inside += lower < truth < upper
        above += truth > value
    assert binom.cdf(inside, n, 0.9) > 1e-3, inside
    assert binom.sf(inside - 1, n, 0.9) > 1e-3, inside
    assert 0.35 < above / n < 0.65


@pytest.mark.parametrize("function", [true_logit, steep_logit])
def test_calibration_undoes_a_wrong_slope_and_intercept(function):
    refiner = known_refiner(function=function, n_samples=20_000)
    assert refiner.beta_ == 1
    calibrated = refiner.log_weight(SHORT, log_prob)
    exact = np.log(P_STAR / P)
    np.testing.assert_allclose(calibrated, exact, atol=0.2)
    assert refiner.coef_[0] == pytest.approx(1.0 if function is true_logit else 1 / 3, rel=0.05)


@pytest.mark.parametrize("n_samples", [500, 20_000])
def test_the_log_probability_alone_makes_a_list_even(n_samples):
    # every word once, and a classifier that sees nothing: u(x) = 1 / (40 p(x))
    refiner = on_a_list(lambda word: 0.0, n_samples=n_samples)
    assert (refiner.beta_, refiner.coef_[0]) == (1, 0)
    assert refiner.coef_[1] == pytest.approx(-1, abs=2 / math.sqrt(n_samples))
    uniform = np.full(len(SHORT), 1 / len(SHORT))
    p_star = P * np.exp(refiner.log_weight(SHORT, log_prob))
    np.testing.assert_allclose(p_star, uniform, atol=0.2 * uniform[0])
    gain = divergence(uniform, P / P.sum())
    assert refiner.gain_ == pytest.approx(gain, abs=5 / math.sqrt(n_samples))


def test_the_log_probability_is_left_out_where_it_misleads():
    assert on_a_list(true_logit).coef_[1] != 0
    assert on_a_list(true_logit, use_log_prob=False).coef_[1] == 0
    assert on_a_list(true_logit, cv=3).coef_[1] == 0
    assert known_refiner(use_log_prob=True).coef_[1] == 0  # frequencies


def test_sequences_without_probability_weigh_no_more_than_the_rarest_sample():
    refiner = on_a_list(lambda word: 0.0)
    impossible = refiner.log_weight(["a"], lambda words: np.array([-np.inf]))
    assert impossible == refiner.log_weight(
        ["a"], lambda words: np.array([refiner.log_prob_floor_])
    )
    assert np.isfinite(impossible).all()


@pytest.mark.parametrize("seed", [0, 5])
def test_data_that_repeat_themselves_are_refined_too(seed):
    # nearly every word of a sample has been seen as real, and hardly any that is held out
    gan = held(WRONG, words(3000, seed), small())
    truth = np.exp(log_law(LANGUAGE))
    before = divergence(truth, np.exp(log_law(WRONG)))
    assert divergence(truth, refined_law(gan)) < before / 3


def test_the_gain_and_the_effective_sample_size_are_the_enumerated_ones():
    refiner = known_refiner(n_samples=20_000)
    gain = P_STAR @ np.log(P_STAR / P)
    assert refiner.gain_ == pytest.approx(gain, abs=0.02)
    weights = P_STAR / P
    assert refiner.effective_sample_size_ == pytest.approx(1 / (P @ weights**2), rel=0.1)


@pytest.mark.parametrize("sampler", ["sir", "mh"])
def test_samples_follow_the_enumerated_distribution_and_plain_ones_do_not(sampler):
    rng = np.random.RandomState(1)
    refiner = known_refiner(n_samples=5000).set_params(sampler=sampler, n_proposals=32)
    p_star = P * np.exp(refiner.log_weight(SHORT, log_prob))
    p_star /= p_star.sum()
    sample = [
        word for block in refiner.sample(2000, proposals(rng), log_prob, rng) for word in block
    ]
    assert worst_error(sample, p_star) < 5
    assert worst_error(proposals(rng)(2000), p_star) > 10


def test_more_proposals_bring_the_chains_nearer():
    rng = np.random.RandomState(0)
    distances = []
    for k in (1, 3, 30):
        refiner = known_refiner().set_params(sampler="mh", n_proposals=k)
        sample = next(refiner.sample(2000, proposals(rng), log_prob, rng))
        distances.append(np.abs(frequencies(sample, len(P)) - P_STAR).sum())
    assert sorted(distances, reverse=True) == distances


def test_one_refined_sample_at_a_time_follows_the_distribution_too():
    rng = np.random.RandomState(2)
    refiner = known_refiner(n_samples=5000)
    drawn = [
        next(refiner.sample(1, proposals(rng), log_prob, rng))[0].count("a") for _ in range(300)
    ]
    count = np.array([word.count("a") for word in SHORT])
    mean = P_STAR @ count
    error = math.sqrt(P_STAR @ (count - mean) ** 2 / 300)
    assert abs(np.mean(drawn) - mean) < 4 * error < abs(P @ count - mean)


def test_a_beta_below_one_is_an_exponent():
    whole, half = known_refiner(betas=(1.0,)), known_refiner(betas=(0.5,))
    np.testing.assert_allclose(
        half.log_weight(SHORT, log_prob), whole.log_weight(SHORT, log_prob) / 2, rtol=1e-12
    )
    assert half.effective_sample_size_ > whole.effective_sample_size_


def test_a_logit_that_points_the_wrong_way_refines_nothing():
    refiner = known_refiner(function=wrong_logit)
    assert (refiner.beta_, refiner.coef_, refiner.gain_) == (0, (0, 0), 0)
    assert refiner.log_partition_ == LogPartition(0, 0, 0)
    assert refiner.effective_sample_size_ == 1


def test_huge_logits_do_no_harm():
    refiner = known_refiner(function=lambda word: 1e5 * true_logit(word))
    assert np.isfinite([*refiner.log_partition_, refiner.gain_]).all()
    assert refiner.coef_[0] == pytest.approx(1e-5, rel=0.2)
    values = log_partition(np.array([1e5, 1e5 - 1.0, -1e5]), 0.95)
    assert np.isfinite(values).all()
    assert 0 < effective_sample_size(np.array([1e5, 1e5 - 1.0, -1e5])) < 1


def test_equal_weights_have_an_exact_partition():
    value, lower, upper = log_partition(np.full(7, -2.5), 0.95)
    assert value == lower == upper == -2.5
    assert effective_sample_size(np.full(7, -2.5)) == pytest.approx(1)
    assert log_partition(np.zeros(1), 0.95) == (0, -math.inf, math.inf)


def test_a_single_held_out_sequence_proves_nothing():
    rng = np.random.RandomState(0)
    held_out = np.array([word == "aaa" for word in SHORT])
    refiner = Refiner(Known(true_logit), Cs=None)
    refiner.fit(SHORT, P_STAR, held_out, proposals(rng), log_prob, rng)
    assert refiner.beta_ == 0


@pytest.mark.parametrize("strategy", ["prior", "stratified"])
def test_a_classifier_that_knows_nothing_refines_nothing(strategy):
    gan = held(WRONG, refiner=small(DummyClassifier(strategy=strategy)))
    assert gan.refiner_.beta_ == 0


# The same through the estimator


def test_refinement_recovers_most_of_what_a_wrong_generator_misses(refined):
    truth = np.exp(log_law(LANGUAGE))
    before = divergence(truth, np.exp(log_law(refined.generator_)))
    after = divergence(truth, refined_law(refined))
    assert refined.refiner_.beta_ > 0
    assert after < before / 3, (before, after)
    fresh = words(2000, seed=9)
    gain = refined.score(fresh, refined=True) - refined.score(fresh)
    assert gain == pytest.approx(before - after, abs=0.1)
    assert refined.refiner_.gain_ == pytest.approx(gain, abs=5 * refined.refiner_.gain_error_)


def test_a_fitted_generator_without_step_is_refined():
    X = words(600)
    gan = tiny(generator=NoStep, generator_params=None, objective="mle", max_len=WIDTH)
    gan.set_params(pretrain_epochs=20, pretrain_learning_rate=0.1, refiner=small()).fit(X)
    truth = np.exp(log_law(LANGUAGE))
    unigram = divergence(truth, np.exp(log_law(gan.generator_)))
    assert divergence(truth, refined_law(gan)) < unigram / 2
    assert frequencies(gan.sample(2000, refined=True, random_state=0)) @ np.array(
        [word.count("ab") for word in WORDS]
    ) == pytest.approx(truth @ np.array([word.count("ab") for word in WORDS]), abs=0.15)


@pytest.mark.parametrize("sampler", ["sir", "mh"])
def test_the_estimators_refined_samples_follow_the_enumerated_distribution(refined, sampler):
    gan = copy.deepcopy(refined)
    gan.refiner_.set_params(sampler=sampler, n_proposals=32)
    p_star = refined_law(gan)
    assert worst_error(gan.sample(3000, refined=True, random_state=0), p_star) < 6
    assert worst_error(gan.sample(3000, random_state=0), p_star) > 7


def test_refined_probabilities_of_all_sequences_sum_to_one():
    # to a Z that is within its interval, although the generator writes longer words than the data
    generator = table(7)
    generator.logits.data[:, 0] += 3
    X = sorted({w for w in words(900) if len(w) <= 3})
    gan = held(generator, X, small(n_errors=0, use_log_prob=True), max_len=3)
    everything = ABC.decode(all_rows(N_TOKENS, 9))
    refined = logsumexp(gan.score_samples(everything, refined=True))
    assert np.exp(logsumexp(gan.score_samples(everything))) == pytest.approx(1, abs=1e-3)
    assert gan.refiner_.beta_ > 0
    value, lower, upper = gan.refiner_.log_partition_
    assert lower < refined + value < upper
    assert gan.refiner_.coef_[1] != 0
    short = all_rows(N_TOKENS, 3)
    with torch.no_grad():
        log_p = gan.generator_.log_prob(short).double().numpy()
    exact = logsumexp(log_p + gan.refiner_.log_weight(ABC.decode(short), lambda words: log_p))
    assert refined + value == pytest.approx(exact, abs=1e-3)


def test_the_refined_score_is_the_plain_one_plus_the_logit_minus_log_z(refined):
    scores = refined.score_samples(WORDS[:99], refined=True)
    expected = (
        refined.score_samples(WORDS[:99])
        + refined.refiner_.log_weight(WORDS[:99], scores_of(refined))
        - refined.refiner_.log_partition_.value
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    weights = np.arange(1, 100)
    assert refined.score(WORDS[:99], sample_weight=weights, refined=True) == pytest.approx(
        np.average(scores, weights=weights)
    )


def test_nothing_is_refined_when_the_generator_is_right():
    betas = []
    for seed in range(12):
        gan = held(LANGUAGE, words(300, seed), small(Cs=(0.03, 0.3)), random_state=seed)
        betas.append(gan.refiner_.beta_)
    assert betas.count(0) >= 11, betas
    assert gan.score_samples(WORDS, refined=True).tolist() == gan.score_samples(WORDS).tolist()


def test_nothing_is_refined_when_the_generator_is_right_cross_fitted():
    gan = held(LANGUAGE, words(500))
    betas = []
    for seed in range(6):
        gan.set_params(random_state=seed, refiner=small(cv=3)).refine(words(300, 50 + seed))
        betas.append(gan.refiner_.beta_)
    assert betas.count(0) >= 5, betas


def test_without_a_gain_refined_is_plain_to_the_last_bit(refined, monkeypatch):
    gan = copy.deepcopy(refined)
    gan.refiner_.beta_ = 0.0
    monkeypatch.setattr(refinement, "BLOCK", 7)
    plain, same = (gan.sample(30, refined=r, random_state=3) for r in (False, True))
    assert same == plain
    assert refined.sample(30, refined=True, random_state=3) != plain


def test_with_one_proposal_a_chain_is_the_plain_generator(refined):
    gan = copy.deepcopy(refined)
    gan.refiner_.set_params(sampler="mh", n_proposals=1)
    assert gan.sample(50, refined=True, random_state=4) == gan.sample(50, random_state=4)


def test_a_score_does_not_depend_on_the_other_sequences(refined):
    together = refined.score_samples(WORDS[:40], refined=True)
    alone = [refined.score_samples([word], refined=True)[0] for word in WORDS[:40]]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    log_p = scores_of(refined)
    weight = functools.partial(refined.refiner_.log_weight, log_prob=log_p)
    assert weight(WORDS[:40]).tolist() == [weight([word])[0] for word in WORDS[:40]]


@pytest.mark.parametrize(
    "classifier",
    [
        None,
        make_pipeline(features(), DecisionTreeClassifier(max_depth=4, max_features=9)),
        StackingClassifier([("tree", make_pipeline(features(), DecisionTreeClassifier()))], cv=2),
    ],
)
def test_same_seed_same_refinement(classifier):
    # with classifiers that have a seed of their own and were given none
    refiner = small(classifier, n_samples=300, Cs=None)
    X = sorted(set(words(400)))  # a stack takes no weights
    first, second = (held(WRONG, X, refiner) for _ in range(2))
    np.testing.assert_array_equal(
        first.score_samples(WORDS, refined=True), second.score_samples(WORDS, refined=True)
    )
    opinions = [gan.refiner_.classifiers_[0].predict_proba(WORDS) for gan in (first, second)]
    np.testing.assert_array_equal(*opinions)
    draws = [gan.sample(30, refined=True, random_state=0) for gan in (first, second)]
    assert draws[0] == draws[1]
    assert first.sample(30, refined=True) != first.sample(30, refined=True)
    assert not [v for k, v in refiner.get_params().items() if k.endswith("random_state") and v]


def test_blocks_make_up_the_sample_and_verbose_counts_them(refined, monkeypatch, capsys):
    gan = copy.deepcopy(refined).set_params(verbose=1)
    monkeypatch.setattr(refinement, "BLOCK", 8)
    assert len(gan.sample(20, refined=True, random_state=0)) == 20
    assert capsys.readouterr().out.splitlines() == [
        "8 of 20 refined samples",
        "16 of 20 refined samples",
    ]


def test_constraints_hold_for_refined_samples(refined):
    arguments = dict(refined=True, random_state=0)
    assert all(s.startswith("ca") for s in refined.sample(20, prefix="ca", **arguments))
    assert {len(s) for s in refined.sample(20, 3, min_len=3, **arguments)} == {3}
    assert max(map(len, refined.sample(200, 9, min_len=8, **arguments))) == 9


def test_distinct_samples_differ_refined_or_not(refined):
    for arguments in ({}, {"refined": True}, {"refined": True, "max_len": 3}):
        sample = refined.sample(30, distinct=True, random_state=0, **arguments)
        assert len(sample) == len(set(sample)) == 30
    with pytest.raises(ValueError, match=r"found 4 different .* not n_samples=5; ask for fewer"):
        refined.sample(5, max_len=1, distinct=True, random_state=0)


def test_unknown_symbols_stay_impossible(refined):
    gan = copy.deepcopy(refined).set_params(handle_unknown="neg_inf")
    scores = gan.score_samples(["abc", "xyz", "ax"], refined=True)
    assert np.isfinite(scores).tolist() == [True, False, False]
    assert scores[0] == refined.score_samples(["abc"], refined=True)[0]
    assert gan.score_samples(["x"], refined=True).tolist() == [-math.inf]


def test_few_heavy_proposals_are_warned_of(refined):
    gan = copy.deepcopy(refined)
    gan.refiner_.effective_sample_size_ = 0.05
    with pytest.warns(
        UserWarning, match="is 0.050 of the number of proposals.*lower betas"
    ) as seen:
        gan.sample(3, refined=True)
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gan.sample(3)


# The data


def test_a_weight_of_two_is_a_sequence_given_twice():
    X = sorted(set(words(400)))
    twice, weights = X[::3], np.where(np.arange(len(X)) % 3 == 0, 2.0, 1.0)
    gan = held(WRONG, X)
    gan.set_params(refiner=small())
    repeated = gan.refine(X + twice).score_samples(WORDS, refined=True)
    assert gan.refiner_.beta_ > 0
    weighed = gan.refine(X, sample_weight=7 * weights).score_samples(WORDS, refined=True)
    np.testing.assert_allclose(weighed, repeated, rtol=1e-9)
    absent = gan.refine([*X, "xx"], sample_weight=[*weights, 0]).score_samples(WORDS, refined=True)
    np.testing.assert_allclose(absent, repeated, rtol=1e-9)
    once = gan.refine(X).score_samples(WORDS, refined=True)
    assert not np.allclose(once, repeated, rtol=1e-3)


def test_the_order_of_the_data_makes_no_difference():
    X = words(400)
    gan = held(WRONG, X, small())
    again = held(WRONG, X[::-1], small())
    np.testing.assert_array_equal(
        gan.score_samples(WORDS, refined=True), again.score_samples(WORDS, refined=True)
    )


def test_tuples_of_symbols_are_refined_like_strings():
    X = words(900)
    as_tuples = [tuple("abc".index(c) for c in word) for word in X]
    strings = held(WRONG, X, small())
    tuples = held(WRONG, as_tuples, small(), vocabulary=[0, 1, 2])
    assert tuples.refiner_.beta_ > 0
    assert {type(sample) for sample in tuples.sample(9, refined=True)} == {tuple}
    assert len(tuples.sample(9, refined=True, distinct=True)) == 9
    assert tuples.refiner_.gain_ == pytest.approx(strings.refiner_.gain_, abs=0.2)


def test_what_lies_behind_max_len_does_not_count(refined):
    gan = copy.deepcopy(refined).set_params(refiner=small(use_log_prob=True))
    gan.refine([*sorted(set(words(400))), "abcabcabc"])
    assert gan.refiner_.max_len_ == WIDTH
    assert gan.refiner_.coef_[1] != 0
    full, longer, longest, other = log_weight(gan, ["abcabc", "abcabca", "abcabccccc", "abcabb"])
    assert full == pytest.approx(longer) == pytest.approx(longest)
    assert full != pytest.approx(other)


# Other classifiers


def ends_meet(sequences):
    return np.array([[float(s[:1] == s[-1:])] for s in sequences])


@pytest.mark.parametrize("domain", [False, True])
def test_a_domain_feature_sees_what_n_grams_cannot(domain):
    X = [w for w in words(3000, generator=_flat()) if len(w) == 6 and w[0] == w[-1]]
    parts = [features((1, 3)), *([FunctionTransformer(ends_meet)] if domain else [])]
    classifier = make_pipeline(make_union(*parts), LogisticRegression(max_iter=1000))
    gan = held(_flat(), X, small(classifier))
    sample = [s for s in gan.sample(1000, refined=True, random_state=0) if len(s) == 6]
    share = ends_meet(sample).mean()
    assert share > 0.8 if domain else share < 0.5


def _flat():
    model = Bigram(N_TOKENS)
    model.logits.data = torch.tensor([-1.0, 0, 0, 0]).repeat(N_TOKENS, 1)
    return model


@pytest.mark.parametrize(
    "last", [DecisionTreeClassifier(max_leaf_nodes=10, random_state=0), BernoulliNB()]
)
def test_a_classifier_with_probabilities_only_refines(last):
    assert not hasattr(last, "decision_function")
    gan = held(
        WRONG, words(1500), small(make_pipeline(features(), last), n_samples=1500, n_errors=0)
    )
    assert gan.refiner_.beta_ > 0
    assert gan.refiner_.C_ is None
    truth = np.exp(log_law(LANGUAGE))
    plain = np.exp(log_law(gan.generator_))
    assert divergence(truth, refined_law(gan)) < divergence(truth, plain) - 0.1


def test_the_default_is_regularised_logistic_regression_on_n_grams():
    gan = held(WRONG, refiner=Refiner(n_samples=500, Cs=(0.1,)))
    (classifier,) = gan.refiner_.classifiers_
    assert [type(step) for _, step in classifier.steps] == [NGramHasher, LogisticRegression]
    assert gan.refiner_.C_ == classifier[-1].C
    assert gan.refiner_.beta_ > 0


def test_cs_are_the_strengths_of_the_last_step():
    gan = held(WRONG, refiner=small(Cs=(1e-9, 0.3)))
    assert gan.refiner_.C_ == 0.3
    gan = held(WRONG, refiner=small(Cs=None))
    assert (gan.refiner_.C_, gan.refiner_.classifiers_[0][-1].C) == (None, 1)


# Parameters


def test_parameters_are_nested_and_clones_are_not_fitted(refined):
    params = refined.get_params()
    assert params["refiner__Cs"] == (0.3,)
    assert params["refiner__classifier__logisticregression__max_iter"] == 1000
    copied = clone(refined).set_params(
        refiner__betas=(0.1,), refiner__classifier__ngramhasher__n_features=64
    )
    assert copied.refiner.betas == (0.1,)
    assert copied.refiner.classifier[0].n_features == 64
    assert refined.refiner.classifier[0].n_features == 256
    assert not hasattr(copied, "refiner_")
    assert not hasattr(refined.refiner, "beta_")  # a clone of it is fitted


def refined_score(estimator, X, y=None):
    return estimator.score(X, refined=True)


def test_grid_search_over_the_refiner():
    X = words(500)
    gan = held(WRONG, X, small())
    search = GridSearchCV(
        gan, {"refiner__betas": [(1e-6,), (1.0,)]}, scoring=refined_score, cv=2, error_score="raise"
    ).fit(X)
    assert search.best_params_ == {"refiner__betas": (1.0,)}
    assert search.best_estimator_.refiner_.beta_ == 1


class Recorder(Known):
    """Remembers what it has learned from and what it has judged."""

    seen: dict = {}

    def fit(self, X, y, sample_weight=None):
        real = [x for x, label in zip(X, y, strict=True) if label == 1]
        self.seen.setdefault("learned", []).append((real, sample_weight))
        return super().fit(X, y)

    def decision_function(self, X):
        self.seen.setdefault("judged", []).append(list(X))
        return super().decision_function(X)


def test_fit_calibrates_on_what_the_generator_was_not_trained_on():
    trained = []

    class Watched(NoStep):
        def log_prob(self, tokens):
            if self.training:
                trained.extend(gan_vocabulary.decode(tokens))
            return super().log_prob(tokens)

    gan_vocabulary = Vocabulary(sorted(set("".join(NAMES))))
    settings = dict(generator=Watched, generator_params=None, objective="mle")
    Recorder.seen = {}
    gan = tiny(**settings, refiner=small(Recorder(len), n_samples=50)).fit(NAMES)
    ((learned, _),) = Recorder.seen["learned"]
    judged = Recorder.seen["judged"][0]
    assert sorted(learned + judged) == sorted(NAMES)
    assert set(learned) >= set(NAMES) & set(trained)
    assert len(judged) == round(0.1 * len(NAMES))
    plain = tiny(**settings).fit(NAMES)
    assert plain.refiner_ is None
    np.testing.assert_array_equal(plain.score_samples(NAMES), gan.score_samples(NAMES))


@pytest.mark.parametrize("settings", [{"early_stopping": False}, {"refiner__cv": 5}])
def test_without_held_out_data_every_sequence_is_judged_by_a_stranger(settings):
    Recorder.seen = {}
    gan = tiny(objective="mle", refiner=small(Recorder(len), n_samples=50))
    gan.set_params(**settings).fit(NAMES)
    learned = [set(real) for real, _ in Recorder.seen["learned"]]
    judged = Recorder.seen["judged"][: 2 * 5 : 2]
    assert len(learned) == len(judged) == len(gan.refiner_.classifiers_) == 5
    assert sorted(word for part in judged for word in part) == sorted(NAMES)
    assert all(not real & set(others) for real, others in zip(learned, judged, strict=True))


def test_weights_reach_the_classifier():
    Recorder.seen = {}
    gan = tiny(objective="mle", refiner=small(Recorder(len), n_samples=50, cv=2))
    gan.fit(NAMES, sample_weight=[2.0 if "a" in name else 1.0 for name in NAMES])
    for real, weights in Recorder.seen["learned"]:
        assert set(weights[len(real) :]) == {1.0}
        assert weights[: len(real)].mean() == pytest.approx(1)
        heavy = np.array(["a" in name for name in real])
        ratio = weights[: len(real)][heavy] / weights[: len(real)][~heavy][0]
        np.testing.assert_allclose(ratio, 2)


def test_refine_changes_nothing_but_the_refiner(refined):
    gan = copy.deepcopy(refined)
    before = gan.score_samples(WORDS)
    old = gan.refiner_
    assert gan.set_params(refiner=small()).refine(words(400)) is gan
    assert gan.refiner_ is not old
    np.testing.assert_array_equal(gan.score_samples(WORDS), before)


def test_refine_calibrates_on_what_the_fit_held_out_and_cross_fits_without_it(refined):
    gan = copy.deepcopy(refined).set_params(refiner=small())
    data = words(400)
    assert set(gan.held_out_) & set(data)
    assert len(gan.refine(data).refiner_.classifiers_) == 1
    strangers = [word for word in data if word not in gan.held_out_]
    assert len(gan.refine(strangers).refiner_.classifiers_) == 5


def test_refine_without_a_refiner_fits_the_default_one(refined, monkeypatch):
    monkeypatch.setattr(Refiner, "fit", lambda self, *arguments: self)
    gan = copy.deepcopy(refined).set_params(refiner=None).refine(words(50))
    assert repr(gan.refiner_) == "Refiner()"
    assert gan.refiner is None


# Generators that are held, distilled, or trained on


def test_a_mixture_is_held_without_training_and_refined():
    parts = [WRONG, table(2)]
    mixture = Mixture(parts, [0.7, 0.3])
    gan = held(mixture, refiner=small())
    np.testing.assert_allclose(
        np.exp(log_law(gan.generator_)),
        0.7 * np.exp(log_law(parts[0])) + 0.3 * np.exp(log_law(parts[1])),
        rtol=1e-4,
    )
    assert (gan.n_iter_, gan.history_) == (0, [])
    truth = np.exp(log_law(LANGUAGE))
    plain = divergence(truth, np.exp(log_law(gan.generator_)))
    assert divergence(truth, refined_law(gan)) < plain / 2


def test_distill_returns_a_plain_estimator_with_the_same_parameters():
    X = words(400)
    gan = tiny(vocabulary="cba", refiner=small(), objective="likelihood").fit(X)
    before = gan.get_params()
    student = gan.distill(X, n_samples=100)
    assert gan.get_params() == before
    assert student.refiner_ is None
    changed = dict(objective="mle", refiner=None, vocabulary=("a", "b", "c"))
    assert student.get_params() == clone(gan).set_params(**changed).get_params()
    assert student.generator_.lstm.layers[0].hidden_size == 8
    again = gan.distill(X, n_samples=100)
    np.testing.assert_array_equal(again.score_samples(WORDS), student.score_samples(WORDS))


def test_distilling_brings_the_refined_distribution_into_the_generator(refined):
    # half of what the student reads is the data, none of it here
    gan = copy.deepcopy(refined).set_params(pretrain_epochs=15, pretrain_learning_rate=0.1)
    student = gan.distill(words(50), n_samples=2000, share=1.0)
    p_star = refined_law(gan)
    before = divergence(p_star, np.exp(log_law(gan.generator_)))
    assert divergence(p_star, np.exp(log_law(student.generator_))) < before / 2


def test_a_generator_that_is_only_held_cannot_be_distilled(refined):
    with pytest.raises(ValueError, match="are both 0: nothing would be distilled; set pretrain_ep"):
        refined.distill(words(50))


def test_a_warm_start_does_not_keep_an_outdated_refiner(names):
    gan = tiny(refiner=small(n_samples=50), warm_start=True).fit(names)
    first = gan.refiner_
    assert gan.fit(names).refiner_ is not first
    assert gan.set_params(refiner=None).fit(names).refiner_ is None


# When something goes wrong


def stop_at(epoch, error):
    def callback(estimator, record):
        assert estimator.refiner_ is None
        if record["epoch"] == epoch:
            raise error

    return callback


class Failing(Known):
    """Fails while it is fitted."""

    def fit(self, X, y, sample_weight=None):
        raise self.function


def test_ctrl_c_in_training_leaves_no_refiner(names):
    gan = tiny(refiner=small(Failing(ValueError())), callbacks=[stop_at(2, KeyboardInterrupt())])
    with pytest.warns(UserWarning, match="interrupted after 2 epochs"):
        gan.fit(names)
    assert gan.refiner_ is None


def test_ctrl_c_in_refinement_keeps_the_finished_generator(names):
    gan = tiny(refiner=small(Failing(KeyboardInterrupt()), n_samples=50))
    with pytest.warns(UserWarning, match="interrupted after 5 epochs"):
        gan.fit(names)
    assert gan.refiner_ is None
    np.testing.assert_array_equal(gan.score_samples(names), tiny().fit(names).score_samples(names))


def test_divergence_leaves_no_refiner(names):
    gan = tiny(refiner=small(), callbacks=[stop_at(2, FloatingPointError("nan"))])
    with pytest.raises(FloatingPointError, match="diverged"):
        gan.fit(names)
    assert gan.refiner_ is None


def test_a_callback_that_stops_the_training_does_not_stop_the_refinement(names):
    refiner = small(n_samples=50)
    gan = tiny(refiner=refiner, callbacks=[lambda estimator, record: True]).fit(names)
    assert gan.n_iter_ == 1
    assert gan.refiner_.beta_ >= 0


def test_a_failed_refinement_leaves_the_estimator_as_it_was(refined):
    gan = copy.deepcopy(refined)
    state = dict(vars(gan))
    gan.set_params(refiner=small(Failing(ValueError("broken"))))
    with pytest.raises(ValueError, match="broken"):
        gan.refine(words(50))
    assert {k: v for k, v in vars(gan).items() if k != "refiner"} == {
        k: v for k, v in state.items() if k != "refiner"
    }


def test_a_trained_generator_survives_a_failed_refinement():
    gan = tiny(refiner=small(Failing(ValueError("broken")), n_samples=50))
    with pytest.raises(ValueError, match="broken") as caught:
        gan.fit(NAMES)
    assert "correct `refiner` and call refine(X)" in caught.value.__notes__[0]
    assert gan.refiner_ is None
    np.testing.assert_array_equal(gan.score_samples(NAMES), tiny().fit(NAMES).score_samples(NAMES))
    with pytest.raises(ValueError, match="refined=True needs a refined distribution"):
        gan.sample(refined=True)
    assert gan.set_params(refiner=small(n_samples=50)).refine(NAMES).refiner_ is not None


def test_verbose_says_what_came_of_the_refinement(capsys):
    held(WRONG, refiner=small(n_samples=50), verbose=1)
    assert "refined: beta " in capsys.readouterr().out


class Silent(ClassifierMixin, BaseEstimator):
    """Has no opinion."""

    def fit(self, X, y):
        return self


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"sampler": "gibbs"}, ValueError, r"sampler must be one of \['mh', 'sir'\], got 'gibbs'"),
        ({"n_proposals": 0}, ValueError, "n_proposals == 0, must be >= 1"),
        ({"n_proposals": 2.0}, TypeError, "n_proposals must be an instance of int"),
        ({"n_samples": 1}, ValueError, "n_samples == 1, must be >= 2"),
        ({"cv": 1}, ValueError, "cv == 1, must be >= 2"),
        ({"cv": 51}, ValueError, "cv=51 folds, but there are only 4 distinct sequences; pass more"),
        ({"confidence": 1}, ValueError, "confidence == 1, must be < 1"),
        ({"min_effective_sample_size": 2}, ValueError, "min_effective_sample_size == 2, must be <= 1"),
        ({"n_errors": "two"}, TypeError, "n_errors must be an instance of"),
        ({"betas": ()}, ValueError, r"betas must be a sequence of positive numbers, got \(\)"),
        ({"betas": (0.5, 0)}, ValueError, r"betas must be a sequence of positive .* \(0.5, 0\)"),
        ({"betas": 0.5}, ValueError, "betas must be a sequence of positive numbers, got 0.5"),
        ({"betas": None}, ValueError, "betas must be a sequence of positive numbers, got None"),
        ({"Cs": ()}, ValueError, r"Cs must be a sequence of positive numbers, got \(\)"),
        ({"Cs": ("a",)}, ValueError, r"Cs must be a sequence of positive numbers, got \('a',\)"),
        ({"Cs": (math.nan,)}, ValueError, "Cs must be a sequence of positive numbers"),
        ({"classifier": 3}, TypeError, "classifier must be a scikit-learn classifier .* got 3"),
        ({"classifier": NGramHasher()}, TypeError, "predict_proba, such as .*got NGramHasher"),
        ({"classifier": LogisticRegression}, TypeError, r"such as LogisticRegression\(\), got <class"),
        ({"classifier": Silent()}, TypeError,
         "classifier Silent has neither decision_function nor predict_proba; choose one"),
        ({"classifier": Known(lambda w: math.nan)}, ValueError,
         "classifier Known must give one finite number .* got NaN or infinity; check its features"),
        ({"classifier": Known(lambda w: [1, 2])}, ValueError, r"each of 1 sequences, got shape \("),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(params, error, message):
    with pytest.raises(error, match=message):
        held(WRONG, ["a", "b", "abc", "cc"], small(n_samples=50).set_params(**params))


def test_a_refiner_is_checked_before_the_training(names):
    gan = tiny(refiner=Refiner(sampler="gibbs"), callbacks=[stop_at(1, AssertionError())])
    with pytest.raises(ValueError, match="sampler must be one of"):
        gan.fit(names)
    for wrong in (Refiner, True, LogisticRegression()):
        with pytest.raises(TypeError, match=r"refiner must be a Refiner\(\) or None, got"):
            gan.set_params(refiner=wrong).fit(names)
        fitted = held(WRONG).set_params(refiner=wrong)
        with pytest.raises(TypeError, match=r"refiner must be a Refiner\(\) or None, got"):
            fitted.refine(words(50))


def test_a_classifier_that_cannot_weigh_is_named():
    class NoWeights(Known):
        def fit(self, X, y):
            return self

    X = words(50)
    gan = held(WRONG, X).set_params(refiner=small(NoWeights(len), n_samples=50))
    with pytest.raises(
        ValueError, match="NoWeights.fit takes no sample_weight; choose another .* once"
    ):
        gan.refine(X, sample_weight=np.arange(1, 51))


@pytest.mark.parametrize(
    "X, weights, error, message",
    [
        ([], None, ValueError, "X is empty"),
        ("abc", None, TypeError, "bare string 'abc'"),
        ([("a",)], None, TypeError, "X must hold strings, like the data of fit"),
        (["abx"], None, ValueError, r"not in the vocabulary: \['x'\]"),
        (["ab", "ba"], None, ValueError, "cv=5 folds, but there are only 2 distinct sequences"),
        (["ab", "ba"], [1, -1], ValueError, "sample_weight must be finite, not negative"),
    ],
)
def test_refine_refuses_bad_data(refined, X, weights, error, message):
    with pytest.raises(error, match=message):
        copy.deepcopy(refined).refine(X, sample_weight=weights)


def test_what_needs_a_refiner_says_how_to_get_one(fitted, names):
    remedy = r"call refine\(X\) with the data, or fit with refiner=Refiner\(\)"
    for call in (
        lambda: fitted.sample(refined=True),
        lambda: fitted.score_samples(names, refined=True),
        lambda: fitted.score(names, refined=True),
        lambda: fitted.distill(names),
    ):
        with pytest.raises(ValueError, match=remedy):
            call()


def test_nothing_works_before_fit():
    gan = LikelihoodGAN(refiner=Refiner())
    for call in (
        lambda: gan.refine(NAMES),
        lambda: gan.distill(NAMES),
        lambda: gan.sample(refined=True),
        lambda: gan.score_samples(NAMES, refined=True),
    ):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(NotFittedError):
        Refiner().log_weight(NAMES, log_prob)


@pytest.mark.parametrize("share", [-0.1, 1.1, "half"])
def test_distill_refuses_a_bad_share(refined, share):
    with pytest.raises((ValueError, TypeError), match="share"):
        refined.distill(words(50), share=share)


# Copies


def test_a_refined_estimator_survives_pickle_and_deepcopy(refined):
    for again in (pickle.loads(pickle.dumps(refined)), copy.deepcopy(refined)):
        np.testing.assert_array_equal(
            again.score_samples(WORDS, refined=True), refined.score_samples(WORDS, refined=True)
        )
        assert again.sample(20, refined=True, random_state=0) == refined.sample(
            20, refined=True, random_state=0
        )
        assert again.refiner_.log_partition_ == refined.refiner_.log_partition_


def test_a_pickle_from_before_there_were_refiners_has_none(fitted, names):
    class Old(LikelihoodGAN):
        def __getstate__(self):
            state = super().__getstate__()
            new = ("refiner", "refiner_", "held_out_")
            return {k: v for k, v in state.items() if k not in new}

    old = copy.copy(fitted)
    old.__class__ = Old
    again = copy.deepcopy(old)
    assert again.refiner is again.refiner_ is None and again.held_out_ == []
    with pytest.raises(ValueError, match="needs a refined distribution"):
        again.sample(refined=True)
    assert again.get_params()["refiner"] is None
    again.set_params(refiner=small(n_samples=50)).refine(names).sample(refined=True)
    unfitted = Old()
    assert not hasattr(copy.deepcopy(unfitted), "refiner_")


def test_no_logit_counts_more_than_those_that_the_calibration_met():
    refiner = known_refiner(function=lambda word: {"aaa": 1e4}.get(word, true_logit(word)))
    _, high = refiner.logit_range_
    assert high == 1e4
    refiner.classifiers_ = [Known(lambda word: 1e9)]
    huge = refiner.log_weight(["b"], log_prob)
    refiner.classifiers_ = [Known(lambda word: 1e4)]
    assert huge == refiner.log_weight(["b"], log_prob)


def test_an_exponent_that_leaves_few_proposals_comes_last():
    def chosen(least):
        return known_refiner(betas=(0.25, 1.0), min_effective_sample_size=least)

    sizes = {b: known_refiner(betas=(b,)).effective_sample_size_ for b in (0.25, 1.0)}
    assert sizes[1.0] < sizes[0.25]
    assert chosen(0.0).beta_ == 1.0
    assert chosen((sizes[1.0] + sizes[0.25]) / 2).beta_ == 0.25
    assert chosen(1.0).beta_ == 1.0  # none has as much: the gain decides
