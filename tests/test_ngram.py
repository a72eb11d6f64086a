"""The n-gram model as a control: its order is chosen well, it beats shorter ones and is a distribution."""

import math

import numpy as np
import pytest

from benchmarks.starts import ORDERS, fit_ngram
from likelihood_gan import Refined, SequenceDistribution
from likelihood_gan.datasets import load_first_names


@pytest.fixture(scope="module")
def names():
    return load_first_names()[::2]


def test_a_weight_is_a_repetition(names):
    names = names[:300]
    weights = np.arange(len(names)) % 3 + 1
    repeated = [name for name, n in zip(names, weights, strict=True) for _ in range(n)]
    one, other = fit_ngram(names, weights, order=3), fit_ngram(repeated, order=3)
    np.testing.assert_allclose(one.score_samples(names), other.score_samples(names))
    none = fit_ngram([*names, "zzzz"], [*weights, 0], vocabulary=set("".join(names)), order=3)
    np.testing.assert_allclose(one.score_samples(names), none.score_samples(names))


def test_a_held_out_name_is_likelier_than_under_lower_orders_and_a_uniform_choice(names):
    train, test = names[::2], names[1::2]
    model = fit_ngram(train, vocabulary=set("".join(names)))
    nats = -model.score_samples(test).mean()
    lower = fit_ngram(train, order=1, vocabulary=set("".join(names)))
    uniform = math.log(model.vocabulary.n_tokens) * np.mean([len(name) + 1 for name in test])
    assert nats < -lower.score_samples(test).mean() - 2 < uniform - 2
    assert model.generator.order > 2


def test_the_order_is_the_best_by_the_likelihood_of_each_name_under_the_others(names):
    seen = []
    best = fit_ngram(names, watch=lambda distribution, history: seen.append(distribution))
    place = ORDERS.index(best.generator.order)
    assert [model.generator.order for model in seen] == list(ORDERS[: place + 1])

    def nats(n):
        model = fit_ngram(names, order=n)
        tokens = model.vocabulary.encode_rows(names)
        return -model.generator.train().log_prob(tokens).mean()

    lower, chosen, higher = map(nats, ORDERS[place - 1 : place + 2])
    assert chosen < lower and chosen <= higher
    first = fit_ngram(names, watch=lambda distribution, history: True)
    assert first.generator.order == 1


def test_the_mean_score_of_samples_is_the_entropy(names):
    model = fit_ngram(names[:500], order=2)
    scores = [model.score_samples(model.sample(4000, 200, random_state=seed)) for seed in (0, 1)]
    error = math.hypot(*(np.std(s) / math.sqrt(len(s)) for s in scores))
    assert abs(scores[0].mean() - scores[1].mean()) < 4 * error
    assert model.sample(5, random_state=3) == model.sample(5, random_state=3)
    assert max(map(len, model.sample(100, 4, random_state=0))) == 4


def test_symbols_need_not_be_characters():
    songs = [("I", "IV"), ("I", "V", "I"), ("V", "I")] * 2
    model = fit_ngram(songs, order=3)
    assert all(isinstance(song, tuple) for song in model.sample(3, random_state=0))
    with pytest.raises(ValueError, match="vocabulary="):
        model.score_samples([("ii",)])


def test_it_can_be_refined_as_it_is(names):
    train, test = names[::4], names[1::4]
    model = fit_ngram(train, order=1, vocabulary=set("".join(names)))
    assert isinstance(model, SequenceDistribution)
    refined = Refined(model, n_samples=2000, random_state=0).fit(train)
    assert refined.estimator_ is model
    assert refined.score(test) > model.score(test) + 0.5  # letters alone are easily told from names
    assert refined.score(test) == pytest.approx(model.score(test) + refined.gain_, abs=0.5)
    assert all(name.startswith("ma") for name in refined.sample(20, prefix="ma", random_state=0))
