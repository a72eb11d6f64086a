"""Metrics agree with closed forms, hand counts and exact bounds."""

import functools
import json
import math
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from likelihood_gan import metrics, ngrams
from likelihood_gan.metrics import (
    coverage,
    hashed_frechet_distance,
    length_divergence,
    n_gram_divergence,
    nll,
    novelty,
    real_against_real,
    two_sample_auc,
    uniqueness,
)

LOG2 = math.log(2)
auc = functools.partial(two_sample_auc, cv=2, random_state=0)
# name: the metric of two lists, its largest value, what two equal lists give
COMPARISONS = {
    "novelty": (novelty, 1, 0),
    "coverage": (coverage, 1, 1),
    "length": (length_divergence, 1, 0),
    "unigrams": (functools.partial(n_gram_divergence, n=1), LOG2, 0),
    "trigrams": (n_gram_divergence, LOG2, 0),
    "frechet": (hashed_frechet_distance, np.inf, 0),
    "auc": (auc, 1, 0.5),
}
SYMMETRIC = ["length", "unigrams", "trigrams", "frechet"]
# at least two distinct sequences, which two folds need
texts = st.lists(st.text("abé", max_size=5), min_size=1, max_size=8).map(lambda x: ["", "ab", *x])


class Uniform:
    """All of k symbols and END equally likely at every place."""

    def __init__(self, k):
        self.k = k

    def score_samples(self, sequences):
        return np.array([-(len(s) + 1) * math.log(self.k + 1) for s in sequences])


class Impossible(Uniform):
    def score_samples(self, sequences):
        return np.where([s == "no" for s in sequences], -np.inf, super().score_samples(sequences))


def words(n, symbols, seed=0, longest=8):
    rng = random.Random(seed)
    return ["".join(rng.choices(symbols, k=rng.randint(1, longest))) for _ in range(n)]


# --- likelihood


def test_uniform_symbols_cost_the_logarithm_of_their_number_with_end():
    assert nll(Uniform(9), ["", "abc", "de"]) == pytest.approx(math.log(10) * (1 + 4 + 3) / 3)


def test_one_impossible_sequence_makes_it_infinite():
    assert nll(Impossible(2), ["a", "no"]) == math.inf


def test_nll_is_minus_the_score_of_the_estimator(fitted, names):
    assert nll(fitted, names) == pytest.approx(-fitted.score(names))


# --- shares


def test_shares_count_as_documented():
    generated = ["a", "a", "a", "b", "c"]
    assert uniqueness(generated) == 3 / 5
    assert novelty(generated, ["a", "z"]) == 2 / 5  # of samples, not of distinct ones
    assert coverage(generated, ["a", "z", "z", "c"]) == 2 / 3  # of distinct held-out ones


def test_length_divergence_is_half_the_sum_of_the_differences():
    # shares of the lengths 0, 1, 2: (1/2, 1/2, 0) against (0, 1/3, 2/3)
    assert length_divergence(["", "a"], ["a", "bb", "cc"]) == pytest.approx(
        (1 / 2 + 1 / 6 + 2 / 3) / 2
    )


# --- n-grams


def test_n_grams_are_those_counted_by_hand():
    start, end = ngrams._Mark
    assert list(ngrams.n_grams("ab", 2, 3)) == [
        (start, "a"),
        ("a", "b"),
        ("b", end),
        (start, "a", "b"),
        ("a", "b", end),
    ]
    assert list(ngrams.n_grams("", 1, 3)) == [(start,), (end,), (start, end)]
    assert list(ngrams.n_grams("", 3, 4)) == [(start, end)]  # too short: the whole of it


def test_n_gram_divergence_is_that_of_the_hand_counts():
    # bigrams of "ab": ^a ab b$; of "b": ^b b$
    p, q = np.array([1, 1, 1, 0]) / 3, np.array([0, 0, 1, 1]) / 2
    m = (p + q) / 2
    expected = sum(x * math.log(x / y) / 2 for s in (p, q) for x, y in zip(s, m, strict=True) if x)
    assert n_gram_divergence(["ab"], ["b"], n=2) == pytest.approx(expected)


def test_beginnings_and_ends_count():
    # the same inner bigrams ab, ba, but other first and last letters
    assert n_gram_divergence(["aba"], ["bab"], n=2) > 0.2


def test_symbols_that_look_like_marks_are_not_marks():
    marks = [("START", "a", "END"), ("^", "a", "$"), (1, "a", 2)]
    for sequence in marks:
        assert n_gram_divergence([sequence], [("a",)], n=3) == pytest.approx(LOG2)


def test_symbols_of_tuples_are_not_split():
    assert n_gram_divergence([("ab", "c")], [("a", "bc")], n=2) == pytest.approx(LOG2)
    assert hashed_frechet_distance([("ab", "c")], [("a", "bc")]) > 1


# --- laws of all comparisons


@pytest.mark.parametrize(("metric", "high", "equal"), COMPARISONS.values(), ids=COMPARISONS)
def test_equal_lists_in_any_order_have_the_best_value(metric, high, equal):
    real = words(60, "abc", longest=3)
    assert metric(real, real[::-1]) == pytest.approx(equal, abs=1e-9)
    assert metric(real, real * 2) == pytest.approx(equal, abs=1e-9)  # of other sizes too


@settings(max_examples=15, deadline=None)
@given(first=texts, second=texts, rng=st.randoms())
@pytest.mark.parametrize("name", COMPARISONS)
def test_values_are_bounded_and_the_same_for_tuples_and_in_any_order(name, first, second, rng):
    metric, high, _ = COMPARISONS[name]
    value = metric(first, second)
    assert 0 <= value <= high
    assert metric([tuple(s) for s in first], [list(s) for s in second]) == value
    if name in SYMMETRIC:
        assert metric(second, first) == pytest.approx(value, abs=1e-9)
    if name != "auc":  # whose folds are drawn
        shuffled = rng.sample(first, len(first))
        assert metric(iter(shuffled), second) == value


@pytest.mark.parametrize(
    ("name", "worst"),
    [("novelty", 1), ("coverage", 0), ("trigrams", LOG2), ("auc", 1)],
)
def test_disjoint_alphabets_have_the_worst_value(name, worst):
    metric = COMPARISONS[name][0]
    assert metric(words(100, "abc"), words(80, "xyz")) == pytest.approx(worst, abs=1e-3)


def test_disjoint_lengths_have_divergence_1():
    assert length_divergence(["a", "b"] * 3, ["", "abc", "ab"]) == pytest.approx(1)


def test_equal_symbols_of_other_types_are_one_symbol():
    ints = [(1, 2, 3), (2, 2), (3,)]
    others = [tuple(map(kind, s)) for kind, s in zip([float, np.int64, float], ints, strict=True)]
    for name, (metric, _, best) in COMPARISONS.items():
        assert metric(ints, others) == pytest.approx(best, abs=1e-9), name
    # whichever type comes first
    features = [ngrams.NGramHasher((1, 3), 64).transform(x) for x in (ints, others)]
    assert (features[0] != features[1]).nnz == 0


def all_numbers():
    lists = [[(*s, None, 1.5) for s in words(60, "abcdé", seed)] for seed in (0, 1)]
    return [float(metric(*lists)) for metric, _, _ in COMPARISONS.values()]


def test_other_processes_have_the_same_numbers():
    code = "import json, test_metrics; print(json.dumps(test_metrics.all_numbers()))"
    environment = os.environ | {
        "PYTHONHASHSEED": "4321",
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)]),
    }
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    assert json.loads(result.stdout) == pytest.approx(all_numbers(), rel=1e-9)


# --- Fréchet distance


def test_frechet_distance_of_gaussians_on_axes_is_the_closed_form():
    # commuting covariances: |m1 - m2|^2 + sum (s1 - s2)^2
    m1, s1, m2, s2 = np.array([[1.0, 2, 0], [1, 2, 0], [0, 0, 3], [4, 0, 1]])
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = [rotation @ np.diag(s**2) @ rotation.T for s in (s1, s2)]  # both singular
    value = metrics._gaussian_frechet(rotation @ m1, turned[0], rotation @ m2, turned[1])
    assert value == pytest.approx(expected)


def test_frechet_distance_of_any_covariances_is_the_formula():
    rng = np.random.default_rng(0)
    first, second = (np.cov(rng.normal(size=(4, 20))) for _ in range(2))
    # the eigenvalues of a product of positive matrices are positive
    root = np.sqrt(np.linalg.eigvals(first @ second)).sum()
    expected = np.trace(first + second) - 2 * root
    mean = np.zeros(4)
    assert metrics._gaussian_frechet(mean, first, mean, second) == pytest.approx(expected)
    assert metrics._gaussian_frechet(mean, first, mean, first) == pytest.approx(0, abs=1e-12)


def test_moments_are_those_of_numpy():
    counts = ngrams.NGramHasher((1, 2), 8).transform(words(50, "abc"))
    mean, covariance = metrics._moments(counts)
    np.testing.assert_allclose(mean, counts.toarray().mean(0), atol=1e-12)
    expected = np.cov(counts.toarray(), rowvar=False, bias=True)
    np.testing.assert_allclose(covariance, expected, atol=1e-12)


def test_hashing_keeps_the_counts_of_n_grams():
    # in so many features nothing collides: unsigned sums are the number of each n-gram
    counts = ngrams.NGramHasher((1, 2), 2**20).transform(["aab", ""])
    assert sorted(abs(counts[0].toarray()).ravel())[-9:] == [0, 1, 1, 1, 1, 1, 1, 1, 2]
    assert abs(counts[1]).sum() == 3


def test_frechet_distance_of_two_single_sequences_is_that_of_their_counts():
    # bigrams ^a a$ against ^b b$, each a signed one: 4 differences of 1
    value = hashed_frechet_distance(["a"], ["b"], n_features=2**10, ngram_range=(2, 2))
    assert value == pytest.approx(4)


def test_frechet_distance_grows_with_the_share_of_noise():
    real, noise = words(300, "ab"), words(300, "abcd", seed=1)
    values = [hashed_frechet_distance(noise[:k] + real[k:], real) for k in (0, 100, 200, 300)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0, abs=1e-9)


# --- two samples


def test_halves_of_one_list_cannot_be_told_apart():
    values = real_against_real(two_sample_auc, words(400, "abcd"), cv=2, random_state=0)
    # 200 a side: a standard error of 0.029 each
    assert abs(values.mean() - 0.5) < 0.05
    assert values.std() > 0


def test_copies_in_both_lists_say_nothing():
    # a classifier that recalls the copies scores 0 on equal lists and 1 on repeated ones
    recall = make_pipeline(CountVectorizer(analyzer="char"), KNeighborsClassifier(1))
    sequences = words(200, "abcdefgh")
    assert two_sample_auc(sequences, sequences, classifier=recall, random_state=0) == 0.5
    first, second = sequences[:100] * 5, sequences[100:] * 5
    assert two_sample_auc(first, second, classifier=recall, random_state=0) < 0.65


def test_folds_keep_the_copies_of_a_sequence_together():
    sides = []

    class Spy(LogisticRegression):
        def fit(self, X, y):
            sides.append([set(X)])
            return super().fit(np.array([[len(s)] for s in X]), y)

        def decision_function(self, X):
            sides[-1].append(set(X))
            return super().decision_function(np.array([[len(s)] for s in X]))

    two_sample_auc(words(60, "ab") * 2, words(90, "ab", seed=1), classifier=Spy(), cv=3)
    assert len(sides) == 3
    assert not any(train & test for train, test in sides)


@settings(deadline=None)
@given(texts, texts, st.integers(2, 4))
def test_every_fold_holds_both_lists_and_all_copies(first, second, cv):
    X = [*first, *second]
    y = np.repeat([0, 1], [len(first), len(second)])
    fold = metrics._folds(X, y, cv, np.random.RandomState(0))
    assert len({*zip(X, fold, strict=True)}) == len(set(X))
    for label, sequences in enumerate((first, second)):
        assert len(set(fold[y == label])) == min(cv, len(set(sequences)))


def test_folds_of_distinct_sequences_are_of_equal_size():
    X = [(i,) for i in range(100)]
    y = np.repeat([0, 1], [40, 60])
    fold = metrics._folds(X, y, 5, np.random.RandomState(0))
    assert np.bincount(fold[y == 0]).tolist() == [8] * 5
    assert np.bincount(fold[y == 1]).tolist() == [12] * 5


@pytest.mark.parametrize("n", [100, 300])
def test_any_classifier_of_sequences_is_cloned_and_told_of_both_lists(n):
    classifier = make_pipeline(CountVectorizer(analyzer=list), KNeighborsClassifier(5))
    generated = [tuple(s) for s in words(100, "ab")]
    real = [tuple(s) for s in words(n, "bc")]
    assert two_sample_auc(generated, real, classifier=classifier) > 0.8
    assert not hasattr(classifier[0], "vocabulary_")


def test_folds_are_repeated_by_an_int():
    first, second = words(80, "abc"), words(80, "abcd")
    values = [two_sample_auc(first, second, random_state=seed) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


# --- floor


def test_halves_are_disjoint_and_equal_in_size():
    real = [str(i) for i in range(9)]
    seen = []

    def metric(generated, real, scale):
        seen.append((generated, real))
        return scale

    values = real_against_real(metric, real, n_repeats=3, random_state=0, scale=2.5)
    assert values.tolist() == [2.5] * 3
    for first, second in seen:
        assert len(first) == len(second) == 4
        assert len({*first, *second}) == 8
    assert seen[0] != seen[1]


def test_the_floor_is_repeated_by_an_int_even_with_a_random_metric():
    real = words(60, "abc")
    for metric in (n_gram_divergence, two_sample_auc):
        first, again, other = (
            real_against_real(metric, real, n_repeats=2, random_state=s) for s in (0, 0, 1)
        )
        assert first.tolist() == again.tolist() != other.tolist()


def test_the_floor_of_a_biased_metric_falls_with_the_size_of_the_data():
    real = words(800, "abcd")
    for metric in (n_gram_divergence, hashed_frechet_distance):
        few, many = (real_against_real(metric, real[:n], random_state=0).mean() for n in (80, 800))
        assert few > 2 * many > 0
