"""A model is held against as many data as it is given samples, beside what real data reach."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from conftest import NAMES, assert_refused, tiny
from sklearn.frozen import FrozenEstimator

from likelihood_gan import LikelihoodGAN, Refined, metrics
from likelihood_gan.comparison import DATA, MODEL, NGRAMS, compare, control_of
from likelihood_gan.models import NGram


class Uniform:
    """Every sequence of a list is equally probable."""

    def __init__(self, sequences, max_len=7):
        self.sequences, self.max_len = sequences, max_len
        self.asked = []

    def sample(self, n, max_len, *, random_state):
        self.asked.append((n, max_len))
        return random.Random(random_state).choices(self.sequences, k=n)

    def score_samples(self, X):
        return np.full(len(X), -math.log(len(self.sequences)))

    def perplexity(self, X):
        return math.exp(len(X) * math.log(len(self.sequences)) / sum(len(x) + 1 for x in X))


def values(rows, figure):
    return next(row.values for row in rows if row.figure == figure)


@pytest.fixture
def compared(monkeypatch):
    """Remember the lists that are held against each other."""
    pairs = []
    auc = metrics.two_sample_auc

    def remember(generated, real, **settings):
        pairs.append((list(generated), list(real)))
        return auc(generated, real, **settings)

    monkeypatch.setattr(metrics, "two_sample_auc", remember)
    return pairs


@pytest.mark.parametrize(("n_samples", "n"), [(10_000, 28), (20, 20)])
def test_all_columns_are_held_against_one_half_at_equal_sizes(n_samples, n, compared):
    model, control = Uniform(NAMES), Uniform(NAMES[:9], max_len=99)
    rows = compare(model, NAMES, control=control, n_samples=n_samples, random_state=0)
    assert [len(side) for pair in compared for side in pair] == [n] * 6
    assert len({tuple(real) for _, real in compared}) == 1
    other, real = compared[-1]  # that of the data
    together = Counter(other + real)
    assert together <= Counter(NAMES) and together.total() == 2 * n
    assert model.asked == control.asked == [(n, 7)]
    for (samples, real), name in zip(compared, (MODEL, NGRAMS, DATA), strict=True):
        assert values(rows, "unique")[name] == metrics.uniqueness(samples)
        assert values(rows, "coverage")[name] == metrics.coverage(samples, real)
        expected = metrics.n_gram_divergence(samples, real, 3)
        assert values(rows, "3-gram divergence")[name] == expected


def test_likelihoods_are_of_all_that_is_held_out():
    rows = compare(Uniform(NAMES), NAMES[:11], random_state=0)
    assert values(rows, "nats per sequence")[MODEL] == pytest.approx(math.log(len(NAMES)))
    expected = Uniform(NAMES).perplexity(NAMES[:11])
    assert values(rows, "perplexity per symbol")[MODEL] == expected
    assert math.isnan(values(rows, "nats per sequence")[DATA])
    assert NGRAMS not in values(rows, "unique")


def test_what_cannot_be_told_is_missing():
    few = ["yes", "no"] * 20
    rows = compare(Uniform(few), few, random_state=0)
    assert all(map(math.isnan, values(rows, "AUC of a classifier").values()))  # five folds of two
    assert all(map(math.isnan, values(rows, "novel").values()))
    assert values(compare(Uniform(few), few, training=["yes"], random_state=0), "novel")[DATA] < 1
    assert_refused(lambda: compare(Uniform(few), ["yes"]), ValueError, ["at least 2", "1"])


def test_a_comparison_can_be_repeated(fitted):
    one, other = (compare(fitted, NAMES, control=fitted, random_state=7) for _ in range(2))
    np.testing.assert_equal([row.values for row in one], [row.values for row in other])


# The n-gram model that stands beside it


@pytest.mark.parametrize("unknown", ["error", "token"])
def test_the_control_counts_the_training_data_with_the_symbols_of_the_model(unknown):
    model = tiny(vocabulary="abcdefghijklmnopqrstuvwxyzé", handle_unknown=unknown).fit(NAMES)
    weights = np.arange(1.0, len(NAMES) + 1)
    expected = LikelihoodGAN(
        NGram, vocabulary=model.vocabulary, handle_unknown=unknown, early_stopping=False
    )
    for weight in (None, weights):
        expected.fit(NAMES, sample_weight=weight)
        control = control_of(model, NAMES, weight)
        np.testing.assert_array_equal(
            control.score_samples(["é", *NAMES]), expected.score_samples(["é", *NAMES])
        )
        assert control.vocabulary.n_tokens == model.vocabulary_.n_tokens


def test_without_training_data_the_control_is_the_n_gram_model_inside(fitted):
    default = LikelihoodGAN(
        generator_params={"hidden_size": 8}, pretrain_epochs=1, adversarial_epochs=0, random_state=0
    ).fit(NAMES)
    inside = control_of(default)
    assert inside.generator is default.generator_.ngram
    np.testing.assert_allclose(
        inside.score_samples(NAMES), control_of(default, NAMES).score_samples(NAMES)
    )
    refined = Refined(FrozenEstimator(default), n_samples=300, random_state=0).fit(NAMES)
    assert control_of(refined).generator is default.generator_.ngram
    assert control_of(default.distribution_).generator is default.generator_.ngram
    assert control_of(fitted) is None


def test_an_n_gram_model_has_no_control():
    model = LikelihoodGAN(NGram, random_state=0).fit(NAMES)
    assert control_of(model) is None
    assert control_of(model, NAMES) is None
