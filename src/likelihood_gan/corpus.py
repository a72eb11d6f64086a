"""The data as tensors: distinct sequences with their shares, and how an epoch is drawn from them.

What is done with a batch is left to `training`.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from likelihood_gan.protocols import END, lengths
from likelihood_gan.rows import hash_rows, occurrences, repeat_themselves

STEPS_PER_EPOCH = (50, 500)
"""Fewest and most batches of an epoch: enough for a dozen sequences, bearable for a million."""
STEPS_WITH_SAMPLES = 150
"""Most batches of an epoch that draws samples, too: each takes several times as long."""
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

        It has as many draws as there are distinct sequences, but at least 50 batches and at most
        500, or 150 if not `by_length`, which is for likelihood alone: so a number of epochs is a
        number of steps, whatever the size of the data. The draw is
        systematic: a row comes floor(n p̂) or ceil(n p̂) times, so that an epoch over a uniform p̂
        is a permutation, if it is as long.
        """
        device = self.tokens.device
        fewest, most = STEPS_PER_EPOCH
        if not by_length:
            most = max(fewest, min(most, STEPS_WITH_SAMPLES))
        n = min(max(len(self.tokens), fewest * batch_size), most * batch_size)
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
        place = torch.searchsorted(keys, hash_rows(tokens))
        row = rows[place.clamp(max=len(rows) - 1)]
        listed = pad(self.tokens[row], (0, width - self.tokens.shape[1]), value=END)
        return self.log_frequency[row].where(ended & (tokens == listed).all(1), -torch.inf)

    @cached_property
    def _index(self) -> tuple[Tensor, Tensor]:
        keys, rows = hash_rows(self.tokens).sort()
        return keys, rows


class Data(NamedTuple):
    """All data, and their two parts; nothing may be held out."""

    everything: Corpus
    training: Corpus
    held_out: Corpus | None

    @classmethod
    def of(
        cls,
        tokens: Tensor,
        training: NDArray[np.float64],
        held_out: NDArray[np.float64],
        device: torch.device,
    ) -> "Data":
        """Divide distinct rows by their weights in both parts; see `hold_out`."""

        def part(weights: NDArray[np.float64]) -> Corpus:
            used = weights > 0
            return Corpus(tokens[used], torch.from_numpy(weights[used])).to(device)

        both = part(training + held_out)
        return cls(both, part(training), part(held_out) if held_out.any() else None)


class Split(NamedTuple):
    """What a fit has held out, by the hashes of the rows: so that the next one can hold it out again.

    Attributes
    ----------
    keys : ndarray of int64, (n,)
        Hashes, sorted.
    shares : ndarray of float64, (n,)
        The share of each row's weight that was held out; 1 if none of it was trained on.
    """

    keys: NDArray[np.int64]
    shares: NDArray[np.float64]

    @classmethod
    def of(
        cls, tokens: Tensor, weights: NDArray[np.float64], held_out: NDArray[np.float64]
    ) -> "Split":
        """Remember which weights of distinct rows are held out."""
        held = held_out > 0
        keys = hash_rows(tokens[torch.from_numpy(held)]).numpy()
        order = keys.argsort()
        return cls(keys[order], (held_out[held] / weights[held])[order])

    def again(self, tokens: Tensor, weights: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Return the weights of distinct rows that are held out again, (n,): of what is new nothing.

        None if there is nothing to hold out, or would be nothing to train on.
        """
        keys = hash_rows(tokens).numpy()
        place = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        held_out = np.where(self.keys[place] == keys, self.shares[place] * weights, 0.0)
        if not held_out.any() or (held_out >= weights).all():
            return None
        return held_out


def hold_out(
    weights: NDArray[np.float64], fraction: float, random_state: np.random.RandomState
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Divide the weights of distinct sequences: what to train on, and what to hold out.

    Of data that repeat themselves occurrences are held out, since the next sequence is mostly a known
    one; of others distinct sequences, since it is a new one.

    Raises
    ------
    ValueError
        If there is not enough for both.
    """
    if fraction == 0:
        return weights, np.zeros_like(weights)
    n, order = len(weights), random_state.permutation(len(weights))
    times = occurrences(weights)
    if times.sum() < 2:
        raise ValueError(
            "early_stopping=True holds sequences out, so X must have at least two, got n_samples=1; "
            "pass more or set early_stopping=False"
        )
    if repeat_themselves(weights):
        # systematic, so that the shares of both parts differ as little as they can
        wanted = fraction * times[order]
        drawn = np.floor(wanted)
        rest = np.floor(np.cumsum(wanted - drawn) + random_state.uniform())
        drawn += np.diff(rest, prepend=0)
        most = int(times[order].argmax())
        if drawn.sum() == 0:
            drawn[most] = 1
        drawn = np.minimum(drawn, times[order])
        if (drawn >= times[order]).all():
            drawn[most] -= 1
        held_out = np.zeros(n)
        held_out[order] = drawn / times[order] * weights[order]
        return weights - held_out, held_out
    held = np.zeros(n, dtype=bool)
    held[order[: min(max(round(fraction * n), 1), n - 1)]] = True
    return np.where(held, 0.0, weights), np.where(held, weights, 0.0)
