"""What laws are tried on: a copy of a model, rows of tokens, and how much may be spent.

What the laws are is left to the other files.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from likelihood_gan import protocols
from likelihood_gan.devices import device_of
from likelihood_gan.protocols import END, call_with_rng, has_count

_LENGTHS = 9
"""Different lengths of the random rows; there are two rows of each."""
_COUNTED = 64
"""Rows of the data that a generator which counts has counted before it is tried."""


@dataclass(frozen=True)
class Budget:
    """How much is tried.

    Parameters
    ----------
    width : int
        Tokens of the longest rows.
    spare : int
        Columns of zeros by which a model may be asked for still wider ones.
    n_samples : int
        Rows that are drawn to compare them with their probabilities.
    n_listed : int
        Most rows that are listed to add up their probabilities.
    n_alone : int
        Rows that are also scored one by one.
    """

    width: int
    spare: int
    n_samples: int
    n_listed: int
    n_alone: int


class Trial:
    """The copy that is tried, and what it is tried on.

    Parameters
    ----------
    model : object
        A generator or a discriminator; it stays as it is.
    kind : {"log_prob", "logit"}
        What it gives for a row.
    n_tokens : int
        Number of tokens, END included.
    budget : Budget
        How much is tried.
    seed : int
        Of all random numbers.
    data : Tensor, optional
        Rows of a corpus, each with its END; a generator that counts has counted some of them.
    """

    def __init__(
        self,
        model: Any,
        kind: str,
        n_tokens: int,
        budget: Budget,
        seed: int = 0,
        data: Tensor | None = None,
    ):
        self.original, self.kind, self.n_tokens, self.budget = model, kind, n_tokens, budget
        self.width, self.n_calls = budget.width, 0
        self.device = device_of(model)
        # on a GPU cuDNN may compute in TF32, whose numbers have 10 bits
        self.rounding = 1e-4 if self.device.type == "cpu" else 1e-2
        self.rng = torch.Generator(self.device).manual_seed(seed)
        self.data = torch.zeros((0, self.width), dtype=torch.int64) if data is None else data

    @cached_property
    def model(self) -> Any:
        """The copy, in evaluation mode."""
        copied = copy.deepcopy(self.original)
        if has_count(copied) and len(self.data):
            rows = self.counted_rows.clone()
            copied.count(rows, torch.ones(len(rows), dtype=torch.float64, device=rows.device))
        if isinstance(copied, nn.Module):
            self.first_state = {k: v.clone() for k, v in tensors_of(copied.eval())}
        return copied

    def score(self, tokens: Tensor, model: Any = None) -> Tensor:
        """Log-probabilities or logits, (batch, time) -> (batch,), checked."""
        model = self.model if model is None else model
        judging = self.kind == "logit"
        values = self._call(model if judging else model.log_prob, tokens)
        checked = protocols.checked_logits if judging else protocols.checked_log_prob
        return checked(values, len(tokens))

    def sample(self, n: int, max_len: int) -> Tensor:
        """Rows of tokens, checked."""
        self.n_calls += 1
        tokens = call_with_rng(self.model.sample, n, max_len, rng=self.rng)
        return protocols.checked_sample(tokens, n, max_len, self.n_tokens)

    def step(self, tokens: Tensor, state: Any) -> Any:
        """Next-symbol log-probabilities of the right shape, and the state."""
        log_probs, state = self._call(self.model.step, tokens, state)
        shape = len(tokens), self.n_tokens
        if tuple(log_probs.shape) != shape:
            raise ValueError(
                f"step must return {shape} log-probabilities, got {tuple(log_probs.shape)}"
            )
        return log_probs, state

    def _call(self, function: Any, tokens: Tensor, *others: Any) -> Any:
        self.n_calls += 1
        given = tokens.clone()
        result = call_with_rng(function, given, *others, rng=self.rng)
        if not torch.equal(given, tokens):
            raise ValueError(
                "the tokens that it reads are changed in place, work on a copy of them"
            )
        return result

    @cached_property
    def random_rows(self) -> Tensor:
        """Rows of several lengths up to unfinished ones."""
        n_lengths = min(self.width + 1, _LENGTHS)
        length = torch.linspace(0, self.width, n_lengths).round().repeat(2)[:, None]
        rows = torch.randint(
            1,
            self.n_tokens,
            (len(length), self.width),
            generator=self.rng,
            device=self.device,
        )
        return rows * (torch.arange(self.width) < length).to(self.device)

    @cached_property
    def given_rows(self) -> Tensor:
        """The random rows and some of the data: they need no model."""
        few = torch.linspace(0, max(len(self.data) - 1, 0), min(len(self.data), 8)).long()
        longest = (self.data != END).sum(1).argmax()[None] if len(self.data) else few
        index = torch.cat([few.to(self.data.device), longest])
        return torch.cat([self.random_rows, self.data[index].to(self.device)])

    @cached_property
    def counted_rows(self) -> Tensor:
        """Different rows, each with its END, for a generator that counts."""
        if len(self.data) > 1:
            return self.data[:_COUNTED].to(self.device)
        n, symbols = 128, self.n_tokens - 1
        length = torch.linspace(0, self.width - 1, n).round()[:, None]
        rows = 1 + torch.arange(n * self.width).reshape(n, -1) % symbols
        rows = rows * (torch.arange(self.width) < length)
        return rows.unique(dim=0).to(self.device)

    @cached_property
    def rows(self) -> Tensor:
        """The same and, of a generator, some of its own: those are possible."""
        if self.kind == "logit":
            return self.given_rows
        return torch.cat([self.given_rows, self.widened(self.sample(8, self.width))])

    @cached_property
    def drawn(self) -> Tensor:
        """`n_samples` rows that it draws, as wide as all others."""
        return self.widened(self.sample(self.budget.n_samples, self.width))

    @cached_property
    def two_draws(self) -> tuple[Tensor, Tensor, Tensor, bool]:
        """The random state before two draws, copies of both, and whether the second changed the first."""
        state, n = self.rng.get_state(), min(max(self.budget.n_samples // 2, 64), 1000)
        first = self.sample(n, self.width)
        copied = first.clone()
        second = self.sample(n, self.width).clone()
        return state, copied, second, not torch.equal(first, copied)

    @cached_property
    def training(self) -> tuple[Any, Tensor]:
        """Another copy, in training mode, and its scores, which have gradients."""
        model = copy.deepcopy(self.model).train()
        with torch.enable_grad():
            return model, self.score(self.rows, model)

    @cached_property
    def first_scores(self) -> Tensor:
        """What the rows score when they are scored for the first time."""
        return self.score(self.rows).clone()

    @cached_property
    def widths(self) -> list[int]:
        """Widths at which all rows are few enough to be listed."""
        most = min(self.width, 6)
        return [w for w in range(1, most + 1) if self.n_tokens**w <= self.budget.n_listed]

    def all_rows(self, width: int) -> tuple[Tensor, Tensor]:
        """All complete and unfinished rows of a width, and their log-probabilities, float64."""
        symbols = torch.arange(self.n_tokens, device=self.device)
        rows = torch.cartesian_prod(*[symbols] * width).reshape(-1, width)
        rows = rows[~((rows == END).cumsum(1) * rows).any(1)]
        batches = rows.split(max(1, 2**21 // self.n_tokens))  # few enough for a large alphabet
        return rows, torch.cat([self.score(batch) for batch in batches]).double()

    def widened(self, rows: Tensor) -> Tensor:
        """Rows with zeros behind them, as wide as all others."""
        return pad(rows, (0, self.width - rows.shape[1]))

    def unequal(
        self, rows: Tensor, expected: Tensor, found: Tensor, why: str, least: float = 0.0
    ) -> str | None:
        """Say which row has two different scores, if one has: the share `least` is rounding."""
        tolerance = max(least, self.rounding, 4 * torch.finfo(expected.dtype).eps)
        differs = ~expected.isclose(found.to(expected), tolerance, tolerance, equal_nan=True)
        if not differs.any():
            return None
        i = int(differs.nonzero()[0])
        return f"{self.kind} of {rows[i].tolist()} is {expected[i]:.5g}, but {found[i]:.5g} {why}"


def tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()
