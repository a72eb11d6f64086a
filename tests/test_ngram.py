"""The n-gram control: normalised, equal to a calculation by hand, and a lawful generator."""

import math

import numpy as np
import pytest
import torch
from enumeration import all_rows

from benchmarks import ngram
from likelihood_gan import Refined, SequenceDistribution
from likelihood_gan.checks import check_generator
from likelihood_gan.datasets import load_first_names

ROWS = all_rows(3, 4)[::2]
ROWS = ROWS[ROWS[:, -1] == 0]


@pytest.fixture(scope="module")
def names():
    return load_first_names()[::2]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_all_rows_have_mass_one(order):
    model = ngram.NGram(4, order, ROWS, np.linspace(0.3, 4, len(ROWS)))  # token 3 is never seen
    for width in (1, 3, 5):
        mass = model.log_prob(all_rows(4, width)).exp().sum()
        torch.testing.assert_close(mass, torch.ones_like(mass))


@pytest.mark.parametrize("order", [2, 3, 8])
def test_it_is_a_lawful_generator(order):
    check_generator(ngram.NGram(3, order, ROWS), n_tokens=3)


def test_probabilities_are_those_calculated_by_hand():
    # "ab" twice and "b"; symbols END, a, b = 0, 1, 2
    model = ngram.NGram(3, 2, torch.tensor([[1, 2, 0], [2, 0, 0]]), [2, 1])
    once, twice, more = 0.2, 0.3, 0.4
    with torch.no_grad():
        model.logits.copy_(torch.tensor([[once, twice, more]] * 2).logit())
    # left neighbours: of END {b}, of a {^}, of b {^, a}; 4 pairs, 3 symbols
    cut = (2 * once * 1 + twice * 2) / 4
    end = (1 - once) / 4 + cut / 3
    a, b = end, (2 - twice * 2) / 4 + cut / 3
    assert end + a + b == pytest.approx(1)
    # after ^: a twice, b once; after a: b twice; after b: END three times
    after_start = (2 * twice + once) / 3
    p_a = (2 - 2 * twice) / 3 + after_start * a
    p_b = (1 - once) / 3 + after_start * b
    b_after_a = (2 - 2 * twice) / 2 + twice * b
    end_after_b = (3 - 3 * more) / 3 + more * end
    expected = [p_a * b_after_a * end_after_b, p_b * end_after_b, p_b * (more * a)]
    found = model.log_prob(torch.tensor([[1, 2, 0], [2, 0, 0], [2, 1, 1]])).exp().tolist()
    assert found[:2] == pytest.approx(expected[:2])
    # a context that was never seen (a after a) goes on to the shorter one
    assert found[2] == pytest.approx(expected[2] * (twice * a))


def test_what_cannot_be_prolonged_to_the_left_is_counted_by_weight():
    rows, weights = torch.tensor([[1, 2, 0], [2, 0, 0]]), [2, 1]
    first = [
        ngram.NGram(3, order, rows, weights).step(torch.tensor([0]), None)[0] for order in (2, 3, 9)
    ]  # only the start mark to the left, so that no order knows more
    torch.testing.assert_close(first[0], first[1])
    torch.testing.assert_close(first[0], first[2])


def test_a_weight_is_a_repetition(names):
    names = names[:300]
    weights = np.arange(len(names)) % 3 + 1
    repeated = [name for name, n in zip(names, weights, strict=True) for _ in range(n)]
    one = ngram.fit_ngram(names, weights, order=3, random_state=0)
    other = ngram.fit_ngram(repeated, order=3, random_state=0)
    np.testing.assert_allclose(one.score_samples(names), other.score_samples(names))
    none = ngram.fit_ngram([*names, "zzzz"], [*weights, 0], order=3, random_state=0)
    np.testing.assert_allclose(one.score_samples(names), none.score_samples(names))


def test_a_held_out_name_is_likelier_than_under_lower_orders_and_a_uniform_choice(names):
    train, test = names[::2], names[1::2]
    model = ngram.fit_ngram(train, vocabulary=set("".join(names)), random_state=0)
    nats = -model.score_samples(test).mean()
    lower = ngram.fit_ngram(train, order=1, vocabulary=set("".join(names)), random_state=0)
    uniform = math.log(model.vocabulary.n_tokens) * np.mean([len(name) + 1 for name in test])
    assert nats < -lower.score_samples(test).mean() - 2 < uniform - 2
    assert model.generator.order > 2


def test_orders_are_tried_until_one_is_no_better_and_the_best_is_counted_on_all():
    tokens = torch.cat([ROWS, ROWS[:3]])
    weights = torch.arange(1, len(tokens) + 1).double()
    tried = ngram.try_orders(3, 9, (tokens, weights), (tokens[:6], weights[:6]))
    nats = [value for value, _ in tried]
    assert [model.order for _, model in tried] == list(range(1, len(tried) + 1))
    assert nats[:-1] == sorted(nats[:-1], reverse=True)
    assert len(tried) == 9 or nats[-1] >= nats[-2]


def test_the_mean_score_of_samples_is_the_entropy(names):
    model = ngram.fit_ngram(names[:500], order=2, random_state=0)
    scores = [model.score_samples(model.sample(4000, 200, random_state=seed)) for seed in (0, 1)]
    error = math.hypot(*(np.std(s) / math.sqrt(len(s)) for s in scores))
    assert abs(scores[0].mean() - scores[1].mean()) < 4 * error
    assert model.sample(5, random_state=3) == model.sample(5, random_state=3)
    assert max(map(len, model.sample(100, 4, random_state=0))) == 4


def test_symbols_need_not_be_characters():
    songs = [("I", "IV"), ("I", "V", "I"), ("V", "I")] * 2
    model = ngram.fit_ngram(songs, order=3, random_state=0)
    assert all(isinstance(song, tuple) for song in model.sample(3, random_state=0))
    with pytest.raises(ValueError, match="vocabulary="):
        model.score_samples([("ii",)])


def test_it_can_be_refined_as_it_is(names):
    train, test = names[::4], names[1::4]
    model = ngram.fit_ngram(train, order=1, vocabulary=set("".join(names)), random_state=0)
    assert isinstance(model, SequenceDistribution)
    refined = Refined(model, n_samples=2000, random_state=0).fit(train)
    assert refined.estimator_ is model
    assert refined.score(test) > model.score(test) + 0.5  # letters alone are easily told from names
    assert refined.score(test) == pytest.approx(model.score(test) + refined.gain_, abs=0.5)
    assert all(name.startswith("ma") for name in refined.sample(20, prefix="ma", random_state=0))
