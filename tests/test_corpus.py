"""An epoch is a draw from the empirical distribution, and a part of the data can be held out."""

import math

import numpy as np
import pytest
import torch
from conftest import STEPS_PER_EPOCH
from enumeration import seeded
from hypothesis import given
from hypothesis import strategies as st

from likelihood_gan.corpus import STEPS_WITH_SAMPLES, Corpus, hold_out

ROWS = torch.tensor([[1, 0, 0], [1, 2, 0], [2, 0, 0], [2, 2, 0]])


def drawn(corpus, batch_size, seed=0):
    return torch.cat(list(corpus.epoch(batch_size, seeded(seed))))


def test_epoch_over_a_uniform_distribution_is_a_permutation():
    corpus = Corpus(torch.arange(1, 301)[:, None] * torch.tensor([[1, 0]]), torch.ones(300))
    assert sorted(drawn(corpus, 100).tolist()) == list(range(300))
    assert not torch.equal(drawn(corpus, 100, 1), drawn(corpus, 100, 2))


def test_every_row_comes_as_often_as_its_share_up_to_rounding():
    corpus = Corpus(ROWS, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    counts = torch.bincount(drawn(corpus, 8), minlength=4)
    expected = 8 * torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert ((counts - expected).abs() < 1).all()


def test_the_mean_over_epochs_is_the_share():
    corpus = Corpus(ROWS, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    counts = sum(torch.bincount(drawn(corpus, 7, seed), minlength=4) for seed in range(2000))
    torch.testing.assert_close(
        counts / counts.sum(), torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.01, rtol=0
    )


@pytest.mark.parametrize("n, batch_size, sizes", [(10, 4, [4, 4, 2]), (9, 4, [4, 4]), (3, 4, [4])])
def test_a_last_batch_below_half_the_size_is_left_out(n, batch_size, sizes):
    rows = torch.arange(1, n + 1)[:, None] * torch.tensor([[1, 0]])
    batches = Corpus(rows, torch.ones(n)).epoch(batch_size, seeded())
    assert [len(batch) for batch in batches] == sizes


def test_rows_are_as_wide_as_the_longest_needs():
    corpus = Corpus(torch.tensor([[1, 0, 0, 0], [1, 2, 1, 0]]), torch.ones(2))
    assert corpus.rows(torch.tensor([0]))[0].tolist() == [[1, 0]]
    assert corpus.width == 4


def test_log_frequency_of_any_row_whatever_its_padding():
    corpus = Corpus(ROWS, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    found = corpus.log_frequency_of(torch.tensor([[1, 2, 0, 0], [2, 1, 0, 0], [2, 2, 2, 2]]))
    torch.testing.assert_close(found, torch.tensor([math.log(0.2), -math.inf, -math.inf]))
    unfinished = corpus.log_frequency_of(torch.tensor([[1, 2]]))
    assert unfinished.item() == -math.inf


def test_a_row_that_is_wider_than_the_corpus_is_not_in_it():
    corpus = Corpus(ROWS, torch.ones(4))
    found = corpus.log_frequency_of(torch.tensor([[1, 2, 0, 0, 0], [1, 2, 1, 2, 0]]))
    assert found.tolist() == [pytest.approx(math.log(0.25)), -math.inf]


def test_batches_by_length_hold_the_same_rows_and_less_padding():
    n_symbols = torch.arange(600) % 12 + 1
    rows = (torch.arange(13) < n_symbols[:, None]) * torch.arange(1, 601)[:, None]
    corpus = Corpus(rows, torch.ones(600))
    mixed = list(corpus.epoch(20, seeded()))
    sorted_ = list(corpus.epoch(20, seeded(), by_length=True))
    assert sorted(torch.cat(sorted_).tolist()) == list(range(600))
    width = [sum(corpus.rows(batch)[0].numel() for batch in part) for part in (mixed, sorted_)]
    assert width[1] < 0.75 * width[0]
    means = [float(n_symbols[batch].double().mean()) for batch in sorted_]
    assert means != sorted(means)  # the batches come in random order
    again = list(corpus.epoch(20, seeded(), by_length=True))
    assert all(torch.equal(a, b) for a, b in zip(sorted_, again, strict=True))


# The length of an epoch


FEWEST, MOST = STEPS_PER_EPOCH


@pytest.mark.parametrize("by_length", [True, False])
@pytest.mark.parametrize(
    "n, n_batches", [(1, FEWEST), (12, FEWEST), (4 * FEWEST + 40, FEWEST + 10), (5 * MOST, MOST)]
)
def test_an_epoch_has_neither_too_few_nor_too_many_batches(n, n_batches, by_length, real_epochs):
    batch_size = 4
    rows = torch.arange(1, n + 1)[:, None] * torch.tensor([[1, 0]])
    corpus = Corpus(rows, torch.arange(1, n + 1).double())
    drawn_rows = torch.cat(list(corpus.epoch(batch_size, seeded(), by_length=by_length)))
    most = MOST if by_length else STEPS_WITH_SAMPLES
    assert len(drawn_rows) == min(n_batches, most) * batch_size
    shares = corpus.log_frequency.exp() * len(drawn_rows)
    assert ((torch.bincount(drawn_rows, minlength=n) - shares).abs() < 1.001).all()


# What is held out


def held_out(weights, fraction, seed=0):
    weights = np.array(weights, dtype=float)
    training, held = hold_out(weights, fraction, np.random.RandomState(seed))
    assert (training >= 0).all() and (held >= 0).all()
    np.testing.assert_allclose(training + held, weights)
    return training, held


@given(
    st.lists(st.one_of(st.integers(1, 30), st.floats(0.01, 30)), min_size=2, max_size=30),
    st.floats(0.01, 0.5),
    st.integers(0, 9),
)
def test_what_is_held_out_and_what_is_trained_on_are_all_and_neither_is_nothing(
    weights, fraction, seed
):
    training, held = held_out(weights, fraction, seed)
    assert training.any() and held.any()
    np.testing.assert_array_equal(held_out(weights, fraction, seed)[1], held)


@pytest.mark.parametrize("weights", [np.ones(50), [1.0] * 49 + [20.0]])
def test_of_data_that_do_not_repeat_themselves_distinct_sequences_are_held_out(weights):
    training, held = held_out(weights, 0.1)
    assert ((training == 0) != (held == 0)).all()
    assert (held > 0).sum() == 5
    assert (held_out(weights, 0.1, seed=1)[1] != held).any()


@pytest.mark.parametrize("unit", [1.0, 1 / 1024])
def test_of_data_that_repeat_themselves_the_share_is_held_out_of_every_sequence(unit):
    counts = np.array([1.0, 2, 43, 357, 600])
    _, held = held_out(counts * unit, 0.1)
    assert (np.abs(held / unit - counts / 10) < 1).all()
    np.testing.assert_array_equal(held, np.round(held / unit) * unit)
    np.testing.assert_array_equal(held / unit, held_out(counts, 0.1)[1])


def test_every_occurrence_is_held_out_as_likely_as_any_other():
    counts = np.array([1.0, 2, 43, 357, 600])
    draws = np.array([held_out(counts, 0.1, seed)[1] for seed in range(400)])
    p = counts / 10 - np.floor(counts / 10)  # that one more than the whole number is held out
    error = np.sqrt(p * (1 - p) / len(draws))
    assert (np.abs(draws.mean(0) - counts / 10) <= 4 * error).all()


def test_a_billion_occurrences_are_no_problem_and_something_is_left():
    for counts in ([6e8, 6e8], [0.6, 0.4, 1e-10], [1e20, 1e20]):
        training, held = held_out(counts, 0.1)
        np.testing.assert_allclose(held.sum() / np.sum(counts), 0.1)
    training, held = held_out([2.0], 0.8)
    assert (training, held) == ([1.0], [1.0])


def test_nothing_is_held_out_if_nothing_is_asked_for():
    training, held = held_out([1, 2, 3], 0)
    assert training.tolist() == [1, 2, 3] and not held.any()
