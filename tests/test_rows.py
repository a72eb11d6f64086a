"""What rows and their weights tell without a model."""

import numpy as np
import pytest
import torch
from enumeration import all_rows

from likelihood_gan.rows import (
    count_distinct,
    hash_rows,
    occurrences,
    repeat_themselves,
    share_of_new,
)


def test_equal_rows_are_counted():
    rows = torch.tensor([[2, 0], [1, 0], [2, 0], [1, 2]])
    first, weights = count_distinct(rows, np.array([1.0, 2.0, 0.5, 4.0]))
    assert rows[first].tolist() == [[1, 0], [1, 2], [2, 0]]  # whatever their order was
    assert weights.tolist() == [2.0, 4.0, 1.5]


def test_different_rows_have_different_hashes_and_padding_does_not_count():
    rows = all_rows(5, 5)
    rows = rows[rows[:, -1] == 0]
    assert len(hash_rows(rows).unique()) == len(rows) == 1 + 4 + 16 + 64 + 256
    assert torch.equal(hash_rows(torch.nn.functional.pad(rows, (0, 9))), hash_rows(rows))


@pytest.mark.parametrize(
    "weights, expected",
    [
        ([1, 1, 3], [1, 1, 3]),
        ([2, 4, 6], [2, 4, 6]),  # a sequence that came twice came twice
        ([1.5, 2.5], [1.5, 2.5]),
        ([0.5, 1, 4], [1, 2, 8]),
        ([0.01, 0.03], [1, 3]),
    ],
)
def test_weights_from_one_on_are_counts_and_the_lowest_share_is_one_occurrence(weights, expected):
    np.testing.assert_allclose(occurrences(np.array(weights, dtype=float)), expected)


def test_the_share_of_new_ones_is_that_of_those_that_came_once():
    assert share_of_new(np.array([1.0, 1, 1, 3, 4])) == pytest.approx(3 / 10)
    assert share_of_new(np.array([0.1, 0.1, 0.1, 0.3, 0.4])) == pytest.approx(3 / 10)
    assert share_of_new(np.ones(7)) == 1
    assert share_of_new(np.full(7, 2.0)) == 0


def test_goods_estimate_is_how_often_the_next_one_is_new():
    # Zipf's law over 2,000 kinds: the mass of those that have not come is known
    p = 1 / np.arange(1, 2001)
    p /= p.sum()
    rng = np.random.default_rng(0)
    for n in (300, 3000):
        counts = [rng.multinomial(n, p) for _ in range(30)]
        missing = np.mean([p[times == 0].sum() for times in counts])
        found = np.mean([share_of_new(times[times > 0].astype(float)) for times in counts])
        assert found == pytest.approx(missing, abs=0.01)
        repeating = [repeat_themselves(times[times > 0].astype(float)) for times in counts]
        assert all(repeating) if missing < 0.45 else not any(repeating)
    assert 0.1 < missing < 0.2
