"""Ancestral sampling and likelihood for anything with `step`, and constraints on what is drawn.

A model that has `step` needs only the mixin `Autoregressive` to be a generator. Where the samples
are used is left to the callers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from likelihood_gan.devices import device_of
from likelihood_gan.protocols import END, State, StepGenerator, by_steps
from likelihood_gan.rules import NONE, POSITIVE, TOP_SHARE, check, integer

ROWS_PER_BLOCK = 2048
"""Rows that are drawn at a time: more would leave the processor's cache."""
_ROWS_PER_BLOCK_ON_GPU = 2**17
_LOWEST_TEMPERATURE = 1e-30


@dataclass(frozen=True)
class Constraints:
    """What is asked of every sequence that is drawn.

    Each changes the distribution of the next symbol, in this order: banned symbols get probability
    0, then the temperature acts, then `top_k`, then `top_p`; what is left is normalised again. END
    counts as a symbol in the last three. A prefix is taken as it is: constraints begin behind it.

    Parameters
    ----------
    max_len : int
        Most symbols of a sequence, prefix included; longer ones are cut there.
    min_len : int, default=0
        Fewest symbols; equal to `max_len` it forces the length, as the report does.
    temperature : float, default=1.0
        Next-symbol log-probabilities are divided by it and normalised again. Below 1 the next symbol
        is drawn from its likelier candidates, above 1 more evenly.
    prefix : sequence of int, default=()
        Tokens that every sequence begins with.
    top_k : int, optional
        The next symbol is one of the `top_k` likeliest, or as likely as the last of these.
    top_p : float, default=1.0
        The next symbol is one of the fewest that together have at least this probability, likeliest
        first, or as likely as the last of these.
    banned : sequence of int, default=()
        Tokens that are not drawn. END cannot be banned: that is what `min_len` does.
    allowed : sequence of int, optional
        The only tokens that are drawn, beside END.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range, or `max_len` is too small for the others.

    References
    ----------
    Fan, Lewis, Dauphin (2018), "Hierarchical neural story generation" (top-k sampling); Holtzman et
    al. (2020), "The curious case of neural text degeneration" (nucleus sampling, here `top_p`).
    """

    max_len: int
    min_len: int = 0
    temperature: float = 1.0
    prefix: Sequence[int] = ()
    top_k: int | None = None
    top_p: float = 1.0
    banned: Sequence[int] = ()
    allowed: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        check(self.max_len, "max_len", integer(1))
        check(self.min_len, "min_len", integer(0))
        check(self.temperature, "temperature", POSITIVE)
        if self.temperature < _LOWEST_TEMPERATURE:
            raise ValueError(
                f"temperature must be at least {_LOWEST_TEMPERATURE}, got {self.temperature}: "
                "log-probabilities divided by it overflow; top_k=1 takes the likeliest symbol"
            )
        check(self.top_k, "top_k", NONE | integer(1))
        check(self.top_p, "top_p", TOP_SHARE)
        for name in ("banned", "allowed"):
            if END in (getattr(self, name) or ()):
                raise ValueError(f"{name} holds END (0): ban it with min_len; it is always allowed")
        if self.max_len < self.min_len:
            raise ValueError(f"max_len must be at least min_len={self.min_len}, got {self.max_len}")
        if len(self.prefix) > self.max_len:
            raise ValueError(
                f"max_len={self.max_len} is shorter than the prefix of {len(self.prefix)} symbols"
            )

    @property
    def needs_step(self) -> bool:
        """Whether anything but the length is constrained: `sample` of a generator cannot do that."""
        return self.min_len > 0 or len(self.prefix) > 0 or self._reshapes

    @property
    def _reshapes(self) -> bool:
        """Whether the distribution of every next symbol changes."""
        chosen = self.top_k is not None or self.top_p < 1 or self.allowed is not None
        return chosen or self.temperature != 1 or len(self.banned) > 0

    def apply(self, log_probs: Tensor, t: int) -> Tensor:
        """Constrain next-symbol log-probabilities at position `t`: (batch, n_tokens) -> the same.

        Raises
        ------
        ValueError
            If every symbol that is left has probability 0.
        """
        ban_end = t < self.min_len
        if not ban_end and not self._reshapes:
            return log_probs
        scores = log_probs / self.temperature
        if ban_end:
            scores[:, END] = -torch.inf
        if self.allowed is not None:
            others = torch.ones_like(scores[0], dtype=torch.bool)
            others[[END, *self.allowed]] = False
            scores[:, others] = -torch.inf
        if len(self.banned):
            scores[:, list(self.banned)] = -torch.inf
        if (scores.amax(-1) == -torch.inf).any():
            raise ValueError(self._out_of_reach(ban_end))
        if self.top_k is not None and self.top_k < scores.shape[1]:
            least = scores.topk(self.top_k, -1).values[:, -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        if self.top_p < 1:
            likeliest = scores.sort(-1, descending=True).values
            p = likeliest.double().softmax(-1)
            n_needed = (p.cumsum(-1) - p < self.top_p).sum(-1, keepdim=True)
            scores = scores.masked_fill(scores < likeliest.gather(1, n_needed - 1), -torch.inf)
        return scores.log_softmax(-1)

    def _out_of_reach(self, ban_end: bool) -> str:
        asked = {
            "min_len": ban_end,
            "banned": len(self.banned),
            "allowed": self.allowed is not None,
        }
        names = [name for name, is_asked in asked.items() if is_asked]
        if not names:
            return "with some prefix the generator gives every symbol, and END, probability 0"
        return (
            f"{' with '.join(names)} is out of reach: with some prefix the generator gives every "
            "symbol that is left probability 0; choose a smaller min_len, or ban less"
        )


class Autoregressive:
    """Mixin that makes a generator of a module with `step(tokens, state)`.

    Inherit from it before `torch.nn.Module`. It writes the probability of a sequence as the
    product of its next-symbol probabilities and samples one symbol after the other.
    """

    @by_steps
    def log_prob(self: StepGenerator, tokens: Tensor) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        previous = torch.full_like(tokens[:, 0], END)
        alive = torch.ones_like(previous, dtype=torch.bool)
        state, total = None, torch.zeros((), device=tokens.device)
        for current in tokens.unbind(1):
            log_probs, state = self.step(previous, state)
            chosen = log_probs.gather(1, current[:, None])[:, 0]
            total = total + torch.where(alive, chosen, 0.0)
            alive = alive & (current != END)
            previous = current
        return total

    def sample(
        self: StepGenerator, n: int, max_len: int, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Draw `n` rows of at most `max_len` tokens, (n, length); longer sequences are cut."""
        return sample_by_steps(self, n, Constraints(max_len), rng=rng)


def next_log_probs(generator: StepGenerator, tokens: Tensor) -> Tensor:
    """Log-probabilities of every next symbol, (batch, time) -> (batch, time, n_tokens).

    The symbol at t is given those before t; what stands behind END has no meaning. A generator that
    reads whole rows at once offers a method `next_log_probs`, which is used.
    """
    if hasattr(generator, "next_log_probs"):
        table: Tensor = generator.next_log_probs(tokens)
        return table
    read = pad(tokens[:, :-1], (1, 0), value=END)
    state, steps = None, []
    for token in read.unbind(1):
        log_probs, state = generator.step(token, state)
        steps.append(log_probs)
    return torch.stack(steps, 1)


def log_prob_of(table: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of rows, by the table of `next_log_probs`: (batch,)."""
    counts = pad(tokens[:, :-1] != END, (1, 0), value=True)
    chosen = table.gather(2, tokens[:, :, None])[:, :, 0]
    return torch.where(counts, chosen, 0.0).sum(1)


def sample_by_steps(
    generator: StepGenerator,
    n: int,
    constraints: Constraints,
    *,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Draw sequences one symbol at a time; rows that have ended are computed no further.

    Parameters
    ----------
    generator : module with `step`
        Draws happen on the device of `rng`, else on that of the generator's first parameter.
    n : int
        Number of rows.
    constraints : Constraints
        Where rows are cut, and what else is asked of them.
    rng : torch.Generator, optional
        Source of randomness; PyTorch's global one if missing.

    Returns
    -------
    Tensor
        int64 tokens (n, length), length <= max_len.

    Raises
    ------
    ValueError
        If at some position every symbol that the constraints allow has probability 0.
    """
    device = device_of(generator) if rng is None else rng.device
    size, sample_block = ROWS_PER_BLOCK, _sample_shrinking
    if device.type != "cpu":
        size, sample_block = _ROWS_PER_BLOCK_ON_GPU, _sample_unwatched
    prefix = torch.tensor(constraints.prefix, dtype=torch.int64, device=device)
    with torch.no_grad():
        blocks = [
            sample_block(generator, prefix, min(size, n - start), constraints, rng)
            for start in range(0, n, size)
        ]
    width = max((block.shape[1] for block in blocks), default=0)
    rows = [pad(block, (0, width - block.shape[1])) for block in blocks]
    return torch.cat(rows) if rows else torch.zeros((0, 0), dtype=torch.int64, device=device)


def _sample_shrinking(
    generator: StepGenerator,
    prefix: Tensor,
    n: int,
    constraints: Constraints,
    rng: torch.Generator | None,
) -> Tensor:
    """Draw rows and compute no more of those that have ended."""
    max_len = constraints.max_len
    tokens, log_probs, state = _begin(generator, prefix, n, max_len)
    alive = torch.arange(n, device=prefix.device)
    for t in range(len(prefix), max_len):
        drawn = draw(constraints.apply(log_probs, t), rng)
        tokens[alive, t] = drawn
        going = (drawn != END).nonzero()[:, 0]
        if len(going) < len(alive):
            alive, drawn = alive[going], drawn[going]
            state = take_rows(state, going)
        if len(alive) == 0:
            return tokens[:, : t + 1]
        if t + 1 < max_len:
            log_probs, state = generator.step(drawn, state)
    return tokens


def _sample_unwatched(
    generator: StepGenerator,
    prefix: Tensor,
    n: int,
    constraints: Constraints,
    rng: torch.Generator | None,
) -> Tensor:
    """Draw rows without asking which have ended: reading that back would synchronise with the GPU."""
    max_len = constraints.max_len
    tokens, log_probs, state = _begin(generator, prefix, n, max_len)
    ended = torch.zeros(n, dtype=torch.bool, device=prefix.device)
    for t in range(len(prefix), max_len):
        drawn = draw(constraints.apply(log_probs, t), rng).masked_fill(ended, END)
        tokens[:, t] = drawn
        ended = ended | (drawn == END)
        if t + 1 < max_len:
            log_probs, state = generator.step(drawn, state)
    return tokens


def _begin(
    generator: StepGenerator, prefix: Tensor, n: int, max_len: int
) -> tuple[Tensor, Tensor, State]:
    """Read a prefix once, since every row begins with it: tokens, log-probabilities and state."""
    tokens = torch.full((n, max_len), END, device=prefix.device)
    tokens[:, : len(prefix)] = prefix
    log_probs, state = generator.step(prefix.new_full((1,), END), None)
    for token in prefix:
        log_probs, state = generator.step(token[None], state)
    first = prefix.new_zeros(n)
    return tokens, log_probs[first], take_rows(state, first)


def draw(log_probs: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Draw one symbol a row by inverting the distribution function: (batch, n) -> (batch,)."""
    cumulative = log_probs.double().exp().cumsum(-1)
    uniform = torch.rand(
        (len(log_probs), 1), dtype=torch.float64, device=log_probs.device, generator=rng
    )
    # right=True skips symbols of probability 0: the first whose cumulative sum exceeds the draw
    return torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)[:, 0]


def take_rows(state: State, index: Tensor) -> State:
    """Select rows of every tensor of a state (a tensor or a tuple, list or dict of them)."""
    if isinstance(state, Tensor):
        return state[index]
    if isinstance(state, dict):
        return {key: take_rows(value, index) for key, value in state.items()}
    if isinstance(state, (tuple, list)):
        return type(state)(take_rows(value, index) for value in state)
    return state
