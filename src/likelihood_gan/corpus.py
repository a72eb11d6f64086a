"""The data as tensors: distinct sequences with their shares, and how an epoch is drawn from them.

What is done with a batch is left to `training`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from likelihood_gan.protocols import END, lengths


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
        return self.tokens[index, : int(self.lengths[index].max()) + 1], self.log_frequency[index]

    def epoch(self, batch_size: int, rng: torch.Generator) -> Iterator[Tensor]:
        """Draw an epoch from p̂ in batches of row numbers.

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
        batches = drawn[torch.randperm(n, device=device, generator=rng)].split(batch_size)
        # A last batch much smaller than the others would be a noisy step of the same size.
        yield from batches if 2 * len(batches[-1]) >= batch_size else batches[:-1]

    def log_frequency_of(self, tokens: Tensor) -> Tensor:
        """Log p̂ of any rows, -inf off the corpus: (batch, time) -> (batch,)."""
        found = [self._row.get(_key(row), -1) for row in tokens.tolist()]
        index = torch.tensor(found, device=tokens.device)
        return self.log_frequency[index].where(index >= 0, -torch.inf)

    @cached_property
    def _row(self) -> dict[tuple[int, ...], int]:
        return {_key(row): i for i, row in enumerate(self.tokens.tolist())}


def count_distinct(
    rows: Iterable[Sequence[int]], weights: Iterable[float]
) -> tuple[list[tuple[int, ...]], list[float]]:
    """Add up the weights of equal rows; sorted, so that the order of the data does not matter."""
    total: Counter[tuple[int, ...]] = Counter()
    for row, weight in zip(rows, weights, strict=True):
        total[tuple(row)] += weight  # type: ignore[assignment]
    distinct = sorted(total)
    return distinct, [total[row] for row in distinct]


def _key(row: list[int]) -> tuple[int, ...]:
    """Tell apart rows whatever their padding; an unfinished row differs from the ended one."""
    return tuple(row[: row.index(END) + 1]) if END in row else tuple(row)
