"""The refined distribution against the enumerated truth of a tiny language (see `refining`)."""

import math

import numpy as np
import pytest
import torch
from conftest import tiny
from enumeration import Bigram, NoStep, all_rows
from refining import (
    ABC,
    INDEX,
    LANGUAGE,
    N_TOKENS,
    P_STAR,
    SHORT,
    WIDTH,
    WORDS,
    WRONG,
    ByHeart,
    Known,
    Listed,
    P,
    distribution,
    divergence,
    features,
    frequencies,
    held,
    known,
    law,
    refine,
    refined_law,
    small,
    table,
    true_logit,
    words,
    worst_error,
)
from scipy.special import logsumexp
from scipy.stats import binom
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer

from likelihood_gan import SequenceDistribution
from likelihood_gan.calibration import LogPartition
from likelihood_gan.models import Mixture
from likelihood_gan.vocabulary import Vocabulary

TRUTH = law(LANGUAGE)


def exact_log_partition(refined, sequences, p):
    return logsumexp(np.log(p) + refined.log_weight(sequences))


# A logit that is known


def test_log_partition_lies_in_its_interval_as_often_as_promised():
    n, inside, above = 200, 0, 0
    for seed in range(n):
        refined = known(random_state=seed)
        truth = exact_log_partition(refined, SHORT, P)
        value, lower, upper = refined.log_partition_
        inside += lower < truth < upper
        above += truth > value
    assert binom.cdf(inside, n, 0.95) > 1e-3, inside
    assert binom.sf(inside - 1, n, 0.95) > 1e-3, inside
    assert 0.35 < above / n < 0.65


def steep_logit(word):
    return 3 * true_logit(word) + 7


@pytest.mark.parametrize("function, slope", [(true_logit, 1.0), (steep_logit, 1 / 3)])
def test_calibration_undoes_a_wrong_slope_and_intercept(function, slope):
    refined = known(function, n_samples=20_000)
    assert refined.beta_ == 1
    assert refined.coef_ == pytest.approx(slope, rel=0.05)
    np.testing.assert_allclose(refined.log_weight(SHORT), np.log(P_STAR / P), atol=0.2)


def test_the_gain_and_the_effective_sample_size_are_the_enumerated_ones():
    refined = known(n_samples=20_000)
    assert refined.gain_ == pytest.approx(divergence(P_STAR, P), abs=0.02)
    weights = P_STAR / P
    size = 1 / (P @ weights**2)
    assert refined.relative_effective_sample_size_ == pytest.approx(size, rel=0.1)


def test_samples_follow_the_scores_and_plain_ones_do_not():
    refined = known(n_samples=5000)
    p_star = np.exp(refined.score_samples(SHORT))
    p_star /= p_star.sum()
    sample = refined.sample(3000, random_state=1)
    assert worst_error(sample, p_star) < 5
    assert worst_error(sample[:1500], p_star) < 5  # their order says nothing
    plain = refined.estimator_.sample(3000, random_state=np.random.RandomState(1))
    assert worst_error(plain, p_star) > 10


def test_one_refined_sample_at_a_time_follows_the_distribution_too():
    refined = known(n_samples=5000)
    drawn = [refined.sample(random_state=seed)[0].count("a") for seed in range(300)]
    count = np.array([word.count("a") for word in SHORT])
    mean = P_STAR @ count
    error = math.sqrt(P_STAR @ (count - mean) ** 2 / 300)
    assert abs(np.mean(drawn) - mean) < 4 * error < abs(P @ count - mean)


def test_counts_are_those_of_samples():
    refined = known(n_samples=5000)
    sequences, counts = refined.sample_counts(5000, random_state=0)
    assert len(set(sequences)) == len(sequences)
    assert counts.sum() == 5000
    assert worst_error(np.repeat(sequences, counts).tolist(), P_STAR) < 5


def test_a_beta_below_one_is_an_exponent():
    whole, half = known(betas=(1.0,)), known(betas=(0.5,))
    np.testing.assert_allclose(half.log_weight(SHORT), whole.log_weight(SHORT) / 2, rtol=1e-12)
    assert half.relative_effective_sample_size_ > whole.relative_effective_sample_size_


def test_a_logit_that_points_the_wrong_way_refines_nothing():
    refined = known(lambda word: -true_logit(word))
    assert (refined.beta_, refined.coef_, refined.gain_, refined.gain_error_) == (0, 0, 0, 0)
    assert refined.log_partition_ == LogPartition(0, 0, 0)
    assert refined.relative_effective_sample_size_ == 1


def test_huge_logits_do_no_harm():
    refined = known(lambda word: 1e5 * true_logit(word))
    assert np.isfinite([*refined.log_partition_, refined.gain_]).all()
    assert refined.coef_ == pytest.approx(1e-5, rel=0.2)


def test_no_logit_counts_more_than_those_that_the_calibration_met():
    refined = known(lambda word: {"aaa": 1e4}.get(word, true_logit(word)))
    low, high = refined.logit_range_
    assert (low, high) == (true_logit("bbb"), 1e4)
    for beyond, limit in ((1e9, high), (-1e9, low)):
        refined.classifiers_ = [Known(lambda word, logit=beyond: logit)] * len(refined.classifiers_)
        far = refined.log_weight(["b"])
        refined.classifiers_ = [Known(lambda word, logit=limit: logit)] * len(refined.classifiers_)
        assert far == refined.log_weight(["b"])


def test_a_single_held_out_sequence_proves_nothing():
    def beta(held_out):
        judge = Known(lambda word: -math.log(P[INDEX[word]]))  # all words once: the ratio is 1/P
        return small(Listed(held_out=held_out), judge, Cs=None).fit(SHORT).beta_

    assert beta(["aaa"]) == 0
    assert beta(SHORT[::2]) == 1


# A classifier that learns


@pytest.mark.parametrize("repeating", [False, True])
def test_log_partition_holds_when_the_classifier_has_learned_its_samples_by_heart(repeating):
    # words of up to eight letters: most samples of another draw are new to it
    width, n, inside = 8, 30, 0
    language, wrong = (SequenceDistribution(g, ABC, width) for g in (LANGUAGE, WRONG))
    rows = all_rows(N_TOKENS, width)
    everything = ABC.decode(rows)
    with torch.no_grad():
        log_p, log_q = (d.generator.log_prob(rows).double().numpy() for d in (wrong, language))
    log_u = dict(zip(everything, log_q - log_p, strict=True))
    for seed in range(n):
        X = language.sample(300, random_state=seed)
        X = [*X, *X[1:]] if repeating else sorted(set(X))
        refined = small(wrong, ByHeart(log_u.get), Cs=None, n_samples=300, random_state=seed).fit(X)
        assert refined.beta_ > 0
        _, lower, upper = refined.log_partition_
        inside += lower < logsumexp(log_p + refined.log_weight(everything)) < upper
    assert binom.cdf(inside, n, 0.95) > 1e-3, inside


def test_refinement_recovers_most_of_what_a_wrong_generator_misses():
    refined = small(distribution(WRONG)).fit(words(600))
    before, after = divergence(TRUTH, law(WRONG)), divergence(TRUTH, refined_law(refined))
    assert refined.beta_ > 0
    assert after < before / 3, (before, after)
    fresh = words(2000, seed=9)
    gain = refined.score(fresh) - refined.estimator_.score(fresh)
    assert gain == pytest.approx(before - after, abs=0.15)
    assert refined.gain_ == pytest.approx(gain, abs=5 * refined.gain_error_)


@pytest.mark.parametrize("seed", [0, 5])
def test_data_that_repeat_themselves_are_refined_too(seed):
    # nearly every word of a sample has been seen as real
    X = words(3000, seed)
    before = divergence(TRUTH, law(WRONG))
    for estimator in (held(WRONG, X), distribution(WRONG)):
        refined = small(estimator, n_samples=2000).fit(X)
        assert refined.repeating_
        assert divergence(TRUTH, refined_law(refined)) < before / 3


def test_of_data_that_repeat_themselves_it_does_not_matter_what_was_held_out():
    for weights in (P_STAR, np.ceil(100 * P_STAR)):
        one, other = (
            small(Listed(held_out=held_out)).fit(SHORT, sample_weight=weights)
            for held_out in ([], SHORT[::3])
        )
        np.testing.assert_array_equal(one.log_weight(WORDS), other.log_weight(WORDS))
    one, other = (small(Listed(held_out=held_out)).fit(SHORT) for held_out in ([], SHORT[::3]))
    assert (one.log_weight(WORDS) != other.log_weight(WORDS)).any()


def test_frequencies_given_as_weights_are_refined():
    # all words once, weighed by their exact probabilities
    refined = refine(held(WRONG, WORDS), WORDS, sample_weight=TRUTH, n_samples=2000)
    assert divergence(TRUTH, refined_law(refined)) < divergence(TRUTH, law(WRONG)) / 3


def test_what_was_held_out_refines_as_well_as_data_that_no_one_trained_on():
    X = sorted(set(words(2000)))  # of data that repeat themselves nothing would be held out
    p_stars = [
        refined_law(refine(estimator, X, n_samples=2000))
        for estimator in (held(WRONG, X), distribution(WRONG))
    ]
    assert divergence(*p_stars) < divergence(p_stars[0], law(WRONG)) / 10


def test_refined_probabilities_of_all_sequences_sum_to_one():
    # to a Z that is within its interval, although the generator writes longer words than the data
    generator = table(7)
    generator.logits.data[:, 0] += 3
    X = sorted({w for w in words(900) if len(w) <= 3})
    refined = refine(held(generator, X, max_len=3), X)
    everything = ABC.decode(all_rows(N_TOKENS, 9))
    assert np.exp(refined.estimator_.score_samples(everything)).sum() == pytest.approx(1, abs=1e-3)
    assert refined.beta_ > 0
    mass = logsumexp(refined.score_samples(everything))
    value, lower, upper = refined.log_partition_
    assert lower < mass + value < upper
    # which is that of the samples, which are cut
    short = all_rows(N_TOKENS, 3)
    with torch.no_grad():
        log_p = generator.log_prob(short).double().numpy()
    exact = logsumexp(log_p + refined.log_weight(ABC.decode(short)))
    assert mass + value == pytest.approx(exact, abs=1e-3)


def test_samples_follow_the_enumerated_distribution():
    refined = small(distribution(WRONG)).fit(words(600))
    p_star = refined_law(refined)
    assert worst_error(refined.sample(3000, random_state=0), p_star) < 6
    assert worst_error(refined.estimator_.sample(3000, random_state=0), p_star) > 7


# Nothing to gain


def longer(generator):
    """Let END be rarer, so that hardly any word comes twice."""
    model = Bigram(N_TOKENS)
    model.logits.data = generator.logits.data - 2 * torch.eye(N_TOKENS)[0]
    return model


def flips_a_coin(estimator, random_state):
    return small(estimator, DummyClassifier(strategy="stratified"), random_state=random_state)


def knows_the_language(estimator, random_state):
    return small(estimator, Cs=(0.03, 0.3), random_state=random_state)


@pytest.mark.parametrize(
    "generator, build", [(LANGUAGE, knows_the_language), (WRONG, flips_a_coin)]
)
@pytest.mark.parametrize("data", ["repeating", "new", "held out"])
def test_nothing_is_refined_without_a_gain(generator, build, data):
    # a right generator, or a classifier that knows nothing
    n, refined_ones = 16, 0
    language, given = distribution(LANGUAGE), distribution(generator)
    if data != "repeating":
        language, given = (
            SequenceDistribution(longer(d.generator), ABC, 20) for d in (language, given)
        )
    for seed in range(n):
        X = language.sample(300, random_state=seed)
        estimator = given
        if data == "held out":
            estimator = held(given.generator, X, max_len=20, random_state=seed)
        refined = build(estimator, seed).fit(X)
        assert refined.repeating_ == (data == "repeating")
        refined_ones += refined.beta_ > 0
    # two standard errors are exceeded by chance in 2.3 % of all cases, of several choices more often
    assert binom.sf(refined_ones - 1, n, 0.05) > 1e-3, refined_ones


def test_a_constant_logit_refines_nothing():
    prior = DummyClassifier(strategy="prior")
    assert small(distribution(WRONG), prior).fit(words(300)).beta_ == 0


# What is refined


def test_a_fitted_generator_without_step_is_refined():
    X = words(600)
    gan = tiny(generator=NoStep, generator_params=None, objective="mle", max_len=WIDTH)
    gan.set_params(pretrain_epochs=20, pretrain_learning_rate=0.1, validation_fraction=0.3)
    refined = refine(gan, X, n_samples=2000)
    unigram = divergence(TRUTH, law(refined.estimator_.generator_))
    assert divergence(TRUTH, refined_law(refined)) < unigram / 2
    count = np.array([word.count("ab") for word in WORDS])
    share = frequencies(refined.sample(2000, random_state=0), len(WORDS)) @ count
    assert share == pytest.approx(TRUTH @ count, abs=0.15)


def test_a_mixture_is_refined():
    parts = [WRONG, table(2)]
    refined = refine(distribution(Mixture(parts, [0.7, 0.3])), words(600))
    plain = 0.7 * law(parts[0]) + 0.3 * law(parts[1])
    exact = plain * np.exp(refined.log_weight(WORDS))
    np.testing.assert_allclose(refined_law(refined), exact / exact.sum(), rtol=1e-4)
    assert divergence(TRUTH, refined_law(refined)) < divergence(TRUTH, plain) / 2


def test_tuples_of_symbols_are_refined_like_strings():
    X = words(900)
    as_tuples = [tuple("abc".index(c) for c in word) for word in X]
    strings = small(distribution(WRONG)).fit(X)
    numbers = SequenceDistribution(WRONG, Vocabulary([0, 1, 2], text=False), WIDTH)
    tuples = small(numbers).fit(as_tuples)
    assert {type(sample) for sample in tuples.sample(9)} == {tuple}
    assert len(set(tuples.sample(9, distinct=True))) == 9
    assert tuples.gain_ == pytest.approx(strings.gain_, abs=0.2)
    assert tuples.beta_ > 0


# Other classifiers


def ends_meet(sequences):
    return np.array([[float(s[:1] == s[-1:])] for s in sequences])


def flat():
    model = Bigram(N_TOKENS)
    model.logits.data = torch.tensor([-1.0, 0, 0, 0]).repeat(N_TOKENS, 1)
    return model


@pytest.mark.parametrize("domain", [False, True])
def test_a_domain_feature_sees_what_n_grams_cannot(domain):
    X = [w for w in words(3000, generator=flat()) if len(w) == 6 and w[0] == w[-1]]
    parts = [features((1, 3)), *([FunctionTransformer(ends_meet)] if domain else [])]
    classifier = make_pipeline(make_union(*parts), LogisticRegression(max_iter=1000))
    refined = refine(distribution(flat()), X, classifier, betas=(0.75,))
    sample = [s for s in refined.sample(1000, random_state=0) if len(s) == 6]
    share = ends_meet(sample).mean()
    assert share > 0.8 if domain else share < 0.5


@pytest.mark.parametrize(
    "last", [RandomForestClassifier(10, max_depth=4, random_state=0), BernoulliNB()]
)
def test_a_classifier_with_probabilities_only_refines(last):
    assert not hasattr(last, "decision_function")
    classifier = make_pipeline(features(), last)
    refined = refine(distribution(WRONG), words(1500), classifier, n_samples=1500)
    assert refined.beta_ > 0
    assert refined.C_ is None
    assert divergence(TRUTH, refined_law(refined)) < 0.7 * divergence(TRUTH, law(WRONG))
