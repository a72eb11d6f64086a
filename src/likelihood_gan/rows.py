"""What can be told of rows of tokens and their weights without a model: equal ones, hashes, repetition.

Also which rows share a matrix. What is drawn from them is left to `corpus`.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PADDED = 4
"""Most numbers of a matrix of rows, for each symbol that these have."""


def count_distinct(
    tokens: Tensor, weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Add up the weights of equal rows: (n, time) and (n,) -> m rows that differ, and their weights.

    The rows are given by number, the first of each kind, in lexicographic order: so the order of the
    data does not matter.
    """
    _, first, row = np.unique(tokens.numpy(), axis=0, return_index=True, return_inverse=True)
    return first, np.bincount(row.reshape(-1), weights=weights).astype(np.float64)


def share_of_new(weights: NDArray[np.float64]) -> float:
    """Estimate how probably the next sequence is a new one, by the share of those that came once.

    `weights` are of distinct sequences; see `occurrences`.

    References
    ----------
    Good (1953), "The population frequencies of species and the estimation of population parameters".
    """
    times = occurrences(weights)
    return float(times[times < 1.5].sum() / times.sum())


def occurrences(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often each sequence came: weights from 1 on are counts.

    If there are lower ones, they are shares, and the lowest is one occurrence.
    """
    times = weights / min(1.0, float(weights.min()))
    whole = times.round()  # shares are rounded, and 2 times is not 2.0000001
    return np.where(np.isclose(times, whole, rtol=1e-5), whole, times)


def repeat_themselves(weights: NDArray[np.float64]) -> bool:
    """Tell whether the next sequence is more probably a known one than a new one."""
    return share_of_new(weights) < 0.5


def hash_rows(tokens: Tensor) -> Tensor:
    """Hash rows to 64 bits, whatever their padding: (n, time) -> (n,)."""
    rng = torch.Generator().manual_seed(0)
    factors = torch.randint(2**62, (tokens.shape[1],), generator=rng).to(tokens.device)
    return (tokens * factors).sum(1)  # END is 0, and overflow does no harm


def by_length(
    widths: NDArray[np.int64], max_numbers: int, max_rows: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Group rows, the shortest first, so that the matrix of a group is little larger than its rows are.

    Parameters
    ----------
    widths : ndarray of shape (n,)
        Tokens of each row, at least 1.
    max_numbers : int
        Most numbers of a matrix, unless it has a single row. It has at most PADDED times as many as
        its rows have tokens, too.
    max_rows : int, optional
        Most rows of a group.

    Yields
    ------
    ndarray of int64
        The numbers of the rows of a group. Their count grows with the logarithm of the longest row
        where `max_numbers` and `max_rows` do not cut.
    """
    order = widths.argsort(kind="stable")
    while len(order):
        width = widths[order[:max_rows]]
        numbers = width * np.arange(1, len(width) + 1)
        fits = (numbers <= max_numbers) & (numbers <= PADDED * width.cumsum())
        size = int(fits.nonzero()[0].max(initial=0)) + 1
        yield order[:size]
        order = order[size:]
