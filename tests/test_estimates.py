"""Estimates by draws hold the truth as often as they say; the truth is a closed form."""

import math

import numpy as np
import pytest
import torch
from enumeration import Bigram, NoStep, seeded
from refining import LANGUAGE, WRONG, Uniform, distribution, small, words
from scipy.stats import binom

from likelihood_gan import CharLSTM, SequenceDistribution
from likelihood_gan.estimates import divergence, probability

N_SEEDS = 400


def table(seed):
    """Make a generator over two letters that is not far from even."""
    generator = Bigram(3, seed=seed)
    with torch.no_grad():
        generator.logits *= 0.5
    return SequenceDistribution(generator, "ab", 4)


P, Q = table(0), table(3)


def exact_probability(ends_with):
    """Solve for how often each symbol is read, whatever the length of the sequence."""
    p = P.generator.logits.detach().double().softmax(-1).numpy()
    reads = np.linalg.solve(np.eye(2) - p[1:, 1:].T, p[0, 1:])
    return float(reads["ab".index(ends_with)] * p[1 + "ab".index(ends_with), 0])


def exact_kl(p, q):
    """Use the chain rule: KL of each row of the table, by how often it is read."""
    p, q = (d.generator.logits.detach().double().softmax(-1).numpy() for d in (p, q))
    reads = np.linalg.solve(np.eye(2) - p[1:, 1:].T, p[0, 1:])
    rows = (p * np.log(p / q)).sum(1)
    return float(rows[0] + reads @ rows[1:])


def enumerated_js():
    """Sum over all sequences of up to 14 letters, and bound what is left."""
    short = SequenceDistribution(P.generator, "ab", 14).most_probable(10**6)[0]
    p, q = (np.exp(d.score_samples(short)) for d in (P, Q))
    assert min(p.sum(), q.sum()) > 1 - 2e-3
    m = (p + q) / 2
    return float((p * np.log(p / m) + q * np.log(q / m)).sum() / 2)


def assert_covers(held, level=0.95):
    """Reject at 0.1 % that intervals hold the truth with this probability, or more rarely."""
    assert held.sum() >= binom.ppf(1e-3, len(held), level)


def ends_with_a(word):
    return word.endswith("a")


# Probabilities of events


def test_the_interval_of_a_probability_holds_the_truth_as_often_as_it_says():
    truth = exact_probability("a")
    found = [P.probability(ends_with_a, 300, random_state=seed) for seed in range(N_SEEDS)]
    assert_covers(np.array([p.lower <= truth <= p.upper for p in found]))
    values = np.array([p.value for p in found])
    error = math.sqrt(truth * (1 - truth) / 300)
    assert values.mean() == pytest.approx(truth, abs=4 * error / math.sqrt(N_SEEDS))
    width = np.mean([p.upper - p.lower for p in found])
    assert width == pytest.approx(2 * 1.96 * error, rel=0.1)  # no wider than need be


def test_the_interval_of_a_rare_event_holds_the_truth_as_often_as_it_says():
    truth = math.exp(P.score_samples(["abba"])[0])
    assert 300 * truth < 5
    found = [P.probability("abba".__eq__, 300, random_state=seed) for seed in range(N_SEEDS)]
    assert_covers(np.array([p.lower <= truth <= p.upper for p in found]))


def test_what_never_or_always_happens_has_one_sided_intervals():
    never = P.probability(lambda word: False, 1000, random_state=0)
    always = P.probability(lambda word: True, 1000, random_state=0)
    assert never == (0, 0, pytest.approx(1 - 0.025 ** (1 / 1000)))
    assert always == (1, pytest.approx(0.025 ** (1 / 1000)), 1)


def test_events_are_those_of_whole_sequences_and_not_of_cut_ones():
    short = SequenceDistribution(P.generator, "ab", 1)

    def long(word):
        return len(word) > 1

    assert short.probability(long, 5000, random_state=0).lower > 0.1
    with pytest.raises(ValueError, match="longer than max_len=1; raise max_len"):
        short.probability(long, max_len=1, random_state=0)
    assert short.probability(long, max_len=1, cut="keep", random_state=0).value == 0


def test_conditions_of_sample_are_conditions_of_the_probability():
    found = P.probability(ends_with_a, prefix="ba", exclude=["ba"], max_len=4, cut="redraw")
    some = P.most_probable(10**6)[0]
    p = np.exp(P.score_samples(some))
    given = np.array([word.startswith("ba") and word != "ba" for word in some])
    hits = np.array([word.endswith("a") for word in some])
    assert found.value == pytest.approx(p[given & hits].sum() / p[given].sum(), abs=0.01)


# Divergences


@pytest.fixture(scope="module")
def found():
    return [P.divergence(Q, 1000, random_state=seed) for seed in range(N_SEEDS)]


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "js"])
def test_the_interval_of_a_divergence_holds_the_truth_as_often_as_it_says(found, name):
    truth = {"kl": exact_kl(P, Q), "reverse_kl": exact_kl(Q, P), "js": enumerated_js()}[name]
    values = np.array([getattr(d, name) for d in found])
    errors = np.array([getattr(d, f"{name}_error") for d in found])
    slack = 1e-3 if name == "js" else 0  # what the enumeration leaves out
    # of 1.96 standard errors, which are estimates, too: 94 % with 1,000 samples of a skewed mean
    assert_covers(np.abs(values - truth) < 1.96 * errors + slack, 0.94)
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / 20 + slack)
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


def test_a_distribution_does_not_diverge_from_itself():
    assert P.divergence(P, 50) == (0, 0, 0, 0, 0, 0)


def test_js_is_symmetric_and_bounded_and_kl_changes_sides():
    one, other = P.divergence(Q, 20_000, random_state=0), Q.divergence(P, 20_000, random_state=1)
    for a, b, error in [
        (one.kl, other.reverse_kl, one.kl_error),
        (one.reverse_kl, other.kl, one.reverse_kl_error),
        (one.js, other.js, one.js_error),
    ]:
        assert a == pytest.approx(b, abs=6 * error)
    assert 0 < one.js < math.log(2)


def test_divergence_is_infinite_where_the_other_cannot_follow():
    generator = Bigram(3, seed=3)
    with torch.no_grad():
        generator.logits[:, 1] = -torch.inf
    only_b = SequenceDistribution(generator, "ab", 4)
    found = P.divergence(only_b, 1000, random_state=0)
    assert (found.kl, found.kl_error) == (math.inf, 0)
    assert math.isfinite(found.reverse_kl) and found.reverse_kl_error > 0
    assert 0 < found.js < math.log(2)
    # so it is if only the symbol is unknown
    smaller = SequenceDistribution(Bigram(2), "b", 4)
    assert P.divergence(smaller, 1000, random_state=0).kl == math.inf
    assert smaller.divergence(P, 1000, random_state=0).reverse_kl == math.inf


def test_distributions_without_a_letter_in_common_are_log_2_apart():
    a, b = (SequenceDistribution(Bigram(2), symbols, 4) for symbols in "ab")
    for d in (a, b):
        with torch.no_grad():
            d.generator.logits[0, 0] = -torch.inf
    found = a.divergence(b, 100, random_state=0)
    assert found == (math.inf, 0, math.inf, 0, pytest.approx(math.log(2)), pytest.approx(0))


def test_sequences_that_do_not_end_are_no_sample_of_a_divergence():
    endless = Bigram(3)
    with torch.no_grad():
        endless.logits[:, 0] = -30
    with pytest.raises(ValueError, match="longer than max_len=1000; raise max_len"):
        P.divergence(SequenceDistribution(endless, "ab", 4), 10)


# Of what


def test_any_two_things_that_sample_and_score_can_be_compared():
    refined = small(distribution(WRONG)).fit(words(900))
    stepless = SequenceDistribution(NoStep(4), "abc", 6)
    lstm = SequenceDistribution(CharLSTM(4, 4, rng=seeded()), "abc", 6)
    for other in (refined, stepless, lstm):
        found = divergence(distribution(LANGUAGE), other, 500, random_state=0)
        assert all(map(math.isfinite, found)) and found.js > -2 * found.js_error
    uniform = Uniform().fit(words(900))  # knows nothing of counts, max_len and constraints
    assert math.isfinite(divergence(uniform, refined, 500, random_state=0).js)
    assert probability(uniform, ends_with_a, 500, random_state=0).lower > 0.1


def test_refinement_comes_closer_to_the_language():
    refined = small(distribution(WRONG), n_samples=4000).fit(words(4000))
    language = distribution(LANGUAGE)
    before = language.divergence(distribution(WRONG), 5000, random_state=0)
    after = language.divergence(refined, 5000, random_state=0)
    assert after.js + 3 * after.js_error < before.js - 3 * before.js_error
    assert after.kl + 3 * after.kl_error < before.kl - 3 * before.kl_error


def test_the_same_seed_gives_the_same_estimates(fitted):
    other = fitted.distribution_
    assert fitted.divergence(other, 200, random_state=0) == (0, 0, 0, 0, 0, 0)
    for estimate in (
        lambda seed: P.divergence(Q, 200, random_state=seed),
        lambda seed: P.probability(ends_with_a, 200, random_state=seed),
    ):
        assert estimate(7) == estimate(7) != estimate(8)


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="where must be a function of a sequence, got 'a'"):
        P.probability("a")
    with pytest.raises(ValueError, match="n_samples must be an integer >= 1"):
        P.probability(ends_with_a, 0)
    with pytest.raises(ValueError, match="n_samples must be an integer >= 2"):
        P.divergence(Q, 1)
