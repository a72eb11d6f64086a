"""An epoch is a draw from the empirical distribution."""

import math

import numpy as np
import pytest
import torch
from enumeration import seeded

from likelihood_gan.corpus import Corpus, count_distinct

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


def test_equal_rows_are_counted():
    rows = torch.tensor([[2, 0], [1, 0], [2, 0], [1, 2]])
    first, weights = count_distinct(rows, np.array([1.0, 2.0, 0.5, 4.0]))
    assert rows[first].tolist() == [[1, 0], [1, 2], [2, 0]]  # whatever their order was
    assert weights.tolist() == [2.0, 4.0, 1.5]


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
