"""The data as tensors: distinct sequences with their shares, and how an epoch is drawn from them.

What is done with a batch is left to `training`.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from likelihood_gan.protocols import END, lengths

BATCHES_PER_POOL = 16
"""Batches whose rows are sorted among each other, if batches are to be of similar length."""


class Corpus:
    """Distinct sequences and the empirical distribution p̂ over them.

    Parameters
    ----------
    tokens : Tensor
        (n, time), every row different and with its END.
    weights : Tensor
        (n,), positive, in any unit; normalised they are p̂.

    Attributes
    ----------
    log_frequency : Tensor
        (n,), log p̂.
    width : int
        Tokens of the longest row, END included.
    """

    def __init__(self, tokens: Tensor, weights: Tensor):
        self.tokens = tokens
        self.weights = weights
        self.lengths = lengths(tokens)
        self.width = int(self.lengths.max()) + 1
        weights = weights.double()
        self.log_frequency = (weights / weights.sum()).log().float()
        self._cumulative = weights.cumsum(0) / weights.sum()

    def to(self, device: torch.device) -> "Corpus":
        """Return the same corpus on a device."""
        return Corpus(self.tokens.to(device), self.weights.to(device))

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of some rows, as wide as the longest needs, and their log p̂."""
        width = self.width  # to read the longest of them back would synchronise with a GPU
        if not index.is_cuda:
            width = int(self.lengths[index].max()) + 1
        return self.tokens[index, :width], self.log_frequency[index]

    def epoch(
        self, batch_size: int, rng: torch.Generator, *, by_length: bool = False
    ) -> Iterator[Tensor]:
        """Draw an epoch from p̂ in batches of row numbers, of similar length if `by_length`.

        It has as many draws as there are distinct sequences, at least one batch. The draw is
        systematic: a row comes floor(n p̂) or ceil(n p̂) times, so that an epoch over a uniform p̂
        is a permutation.
        """
        device = self.tokens.device
        n = max(len(self.tokens), batch_size)
        offset = torch.rand((), dtype=torch.float64, device=device, generator=rng)
        points = (torch.arange(n, device=device) + offset) / n
        drawn = torch.searchsorted(self._cumulative, points, right=True)
        drawn = drawn.clamp(max=len(self.tokens) - 1)
        drawn = drawn[torch.randperm(n, device=device, generator=rng)]
        if by_length:
            pools = drawn.split(BATCHES_PER_POOL * batch_size)
            drawn = torch.cat([pool[self.lengths[pool].argsort(stable=True)] for pool in pools])
        batches = drawn.split(batch_size)
        # A last batch much smaller than the others would be a noisy step of the same size.
        n_batches = len(batches) - (2 * len(batches[-1]) < batch_size)
        order: Iterable[int] = range(n_batches)
        if by_length:
            order = torch.randperm(n_batches, device=device, generator=rng).tolist()
        yield from (batches[i] for i in order)

    def log_frequency_of(self, tokens: Tensor) -> Tensor:
        """Log p̂ of any rows, -inf off the corpus: (batch, time) -> (batch,)."""
        width = max(self.tokens.shape[1], tokens.shape[1])
        ended = (tokens == END).any(1)
        tokens = pad(tokens, (0, width - tokens.shape[1]), value=END)
        keys, rows = self._index
        place = torch.searchsorted(keys, _key(tokens, self.tokens.shape[1]))
        row = rows[place.clamp(max=len(rows) - 1)]
        listed = pad(self.tokens[row], (0, width - self.tokens.shape[1]), value=END)
        return self.log_frequency[row].where(ended & (tokens == listed).all(1), -torch.inf)

    @cached_property
    def _index(self) -> tuple[Tensor, Tensor]:
        keys, rows = _key(self.tokens, self.tokens.shape[1]).sort()
        return keys, rows


def count_distinct(tokens: Tensor, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up the weights of equal rows: (n, time) and (n,) -> m rows that differ, and their weights.

    The rows are given by number, the first of each kind, in lexicographic order: so the order of the
    data does not matter.
    """
    _, first, row = np.unique(tokens.numpy(), axis=0, return_index=True, return_inverse=True)
    return first, np.bincount(row.reshape(-1), weights=weights)


def hold_out(
    n: int, fraction: float, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Choose which of `n` distinct sequences to train on, and which to hold out; none if 0.

    Raises
    ------
    ValueError
        If there are too few for both.
    """
    order = random_state.permutation(n)
    if fraction == 0:
        return order, order[:0]
    if n < 2:
        raise ValueError(
            "early_stopping=True holds sequences out, so X must have at least two distinct ones, got "
            f"n_samples={n}; pass more or set early_stopping=False"
        )
    n_held_out = min(max(round(fraction * n), 1), n - 1)
    return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


def _key(tokens: Tensor, width: int) -> Tensor:
    """Hash rows to 64 bits, whatever their padding, by their first `width` tokens: (n,)."""
    rng = torch.Generator().manual_seed(0)
    factors = torch.randint(2**62, (width,), generator=rng).to(tokens.device)
    return (tokens[:, :width] * factors).sum(1)  # END is 0, and overflow does no harm
