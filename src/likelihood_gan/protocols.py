"""What a generator and a discriminator are, and the one convention for token tensors.

How to use them (sampling, training, scoring) is left to the modules that do; the laws that go
beyond shapes are in `likelihood_gan.checks`.

`tokens` are int64 tensors of shape (batch, time). 0 is `END`: it ends a sequence, and everything
after the first 0 of a row is 0 as well. A row without a 0 is an unfinished sequence; its
probability is that of all the sequences that begin with it. 0 is also the start symbol, what an
autoregressive model reads before it writes the first symbol.
"""

import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

END = 0

State = Any
"""What a generator remembers between two steps: None at the start, later a tensor or a tuple, list
or dict of tensors, each with the batch as its first dimension."""


@runtime_checkable
class Generator(Protocol):
    """A distribution over sequences: any object with these two methods is a generator.

    Gradients train the parameters of a `torch.nn.Module`. Anything else learns by `count`, or is taken
    as it is; tensors come to it on the CPU. For models in NumPy see `likelihood_gan.models.FromNumpy`.
    """

    def log_prob(self, tokens: Tensor) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,), differentiable.

        The first 0 of a row counts, what stands behind it does not.
        """
        ...

    def sample(self, n: int, max_len: int) -> Tensor:
        """Draw `n` rows of at most `max_len` tokens each, END included; longer ones are cut."""
        ...


@runtime_checkable
class StepGenerator(Generator, Protocol):
    """A generator that also tells the distribution of the next symbol."""

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row, (batch,), and return next-symbol log-probabilities and the state.

        The log-probabilities are normalised, (batch, n_tokens); the first call reads END (the
        start symbol) with state None.
        """
        ...


@runtime_checkable
class CountingGenerator(Generator, Protocol):
    """A generator that learns from the data as they are, before and beside any gradient.

    `fit` calls `count` with the training data before the first epoch, and with all data, what was held
    out included, once training has chosen the epoch to keep; `resume` begins like `fit`. In training mode the `log_prob` of a
    row that was counted should be that of a generator that has not counted it: with the memory of
    its own targets, whatever is trained on top only learns to copy.
    """

    def count(self, tokens: Tensor, weights: Tensor) -> None:
        """Learn rows, and forget what was counted before.

        The rows, (n, time), are all different, each with its END; the weights, (n,), are positive,
        counts or shares.
        """
        ...


class Discriminator(Protocol):
    """A callable that judges sequences: tokens (batch, time) -> logits (batch,), high is real."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return the logit of the probability that each row is real."""
        ...


_Method = TypeVar("_Method", bound=Callable[..., Any])


def by_steps(log_prob: _Method) -> _Method:
    """Mark a `log_prob` that may be replaced by `step`, which gives the same and costs no more.

    Then sequences are scored by their prefix tree where they share prefixes. A subclass that writes
    its own `log_prob` is asked for it, unless it is marked as well.
    """
    log_prob.by_steps = True  # type: ignore[attr-defined]
    return log_prob


def is_by_steps(generator: object) -> bool:
    """Tell whether a generator has `step` and its `log_prob` may be replaced by it."""
    log_prob = getattr(type(generator), "log_prob", None)
    return has_step(generator) and getattr(log_prob, "by_steps", False)


def is_generator(value: object) -> TypeGuard[Generator]:
    """Tell whether an object, not a class, has `log_prob` and `sample`."""
    return isinstance(value, Generator) and not isinstance(value, type)


def require_generator(value: object, what: str = "generator") -> None:
    """Raise TypeError, which begins with `what`, if an object is no generator."""
    if is_generator(value):
        return
    if isinstance(value, type):
        raise TypeError(f"{what} must be an object, got the class {value.__name__}; call it")
    missing = [name for name in ("log_prob", "sample") if not hasattr(value, name)]
    remedy = "; pass its generator, generator_ once it is fitted" if hasattr(value, "fit") else ""
    raise TypeError(
        f"{what} must have the methods log_prob(tokens) and sample(n, max_len), got "
        f"{type(value).__name__} without {' and '.join(missing)}{remedy}"
    )


def has_count(generator: object) -> TypeGuard[CountingGenerator]:
    """Tell whether a generator offers `count`; `isinstance` sees what is there under a condition."""
    return callable(getattr(generator, "count", None))


def has_step(generator: object) -> TypeGuard[StepGenerator]:
    """Tell whether a generator offers `step`, which prefixes, temperature and the like need."""
    return callable(getattr(generator, "step", None))


def has_parameters(generator: object) -> bool:
    """Tell whether there is anything to train by gradients: parameters of a `torch.nn.Module`."""
    return isinstance(generator, nn.Module) and any(p.requires_grad for p in generator.parameters())


def lengths(tokens: Tensor) -> Tensor:
    """Count the symbols of each row, END not counted: (batch, time) -> (batch,)."""
    return (tokens != END).sum(1)


def call_with_rng(function: Callable[..., Any], *args: Any, rng: torch.Generator) -> Any:
    """Call a method of a model so that all its random draws come from `rng`.

    A function with a parameter `rng` receives it. Any other draws from PyTorch's global state,
    which is seeded from `rng` for the length of the call and put back afterwards; such calls of
    several threads wait for each other.
    """
    if _takes_rng(function):
        return function(*args, rng=rng)
    with keeping_global_rng(rng.device):
        torch.manual_seed(
            int(torch.randint(2**62, (), generator=rng, device=rng.device, dtype=torch.int64))
        )
        return function(*args)


@contextmanager
def keeping_global_rng(device: torch.device) -> Iterator[None]:
    """Put PyTorch's global random state back afterwards: one thread at a time, since all share it."""
    with _GLOBAL_RNG, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _renew_lock() -> None:
    """In a process that was forked nobody else holds the lock."""
    global _GLOBAL_RNG
    _GLOBAL_RNG = threading.RLock()


_GLOBAL_RNG = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def checked_log_prob(log_prob: Any, batch: int) -> Tensor:
    """Return what a generator's `log_prob` gave for `batch` rows, or say what is wrong with it.

    Raises
    ------
    ValueError
        If the shape is not (batch,), or a value is NaN or above 0.
    """
    _require_batch_vector(log_prob, batch, "generator.log_prob(tokens)")
    if log_prob.isnan().any():
        raise ValueError(
            "generator.log_prob(tokens) returned NaN; a sequence that the generator cannot write "
            "has log-probability -inf"
        )
    if (log_prob > 1e-4).any():
        raise ValueError(
            f"generator.log_prob(tokens) returned {float(log_prob.max()):.4g}, but the logarithm "
            "of a probability is at most 0: normalise over symbols with log_softmax"
        )
    return log_prob


def checked_logits(logits: Any, batch: int) -> Tensor:
    """Return what a discriminator gave for `batch` rows, or raise ValueError."""
    _require_batch_vector(logits, batch, "discriminator(tokens)")
    if not logits.isfinite().all():
        raise ValueError("discriminator(tokens) returned NaN or infinity; logits must be finite")
    return logits


def checked_sample(tokens: Any, n: int, max_len: int, n_tokens: int | None = None) -> Tensor:
    """Return what a generator's `sample(n, max_len)` gave, or raise ValueError."""
    if not isinstance(tokens, Tensor) or tokens.dtype != torch.int64 or tokens.ndim != 2:
        found = f"{tokens.dtype} {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else tokens
        raise ValueError(
            f"generator.sample(n, max_len) must return an int64 tensor (n, length), got {found}"
        )
    if len(tokens) != n or tokens.shape[1] > max_len:
        raise ValueError(
            f"generator.sample({n}, {max_len}) must return {n} rows of at most {max_len} tokens, "
            f"got shape {tuple(tokens.shape)}"
        )
    ended = (tokens == END).cumsum(1) > 0
    if (ended & (tokens != END)).any():
        raise ValueError(
            "generator.sample(n, max_len) returned symbols after the first 0 of a row; "
            "0 ends a sequence, so everything after it must be 0"
        )
    if n and tokens.shape[1] < max_len and not ended[:, -1:].all():
        raise ValueError(
            f"generator.sample({n}, {max_len}) returned a row of {tokens.shape[1]} tokens without "
            "END (0); only a row that is cut at max_len may lack it"
        )
    low, high = (int(tokens.min()), int(tokens.max())) if tokens.numel() else (0, 0)
    if low < 0 or (n_tokens is not None and high >= n_tokens):
        most = "" if n_tokens is None else f" to {n_tokens - 1}"
        raise ValueError(
            f"generator.sample(n, max_len) must return tokens from 0{most}, got {low} to {high}"
        )
    return tokens


def _takes_rng(function: Callable[..., Any]) -> bool:
    signed = function.forward if isinstance(function, torch.nn.Module) else function
    if inspect.ismethod(signed):
        return _names_rng(signed.__func__)
    return _names_rng.__wrapped__(signed)


@functools.lru_cache(maxsize=256)
def _names_rng(function: Callable[..., Any]) -> bool:
    try:
        return "rng" in inspect.signature(function).parameters
    except ValueError:  # some builtin types have no signature
        return False


def _require_batch_vector(values: Any, batch: int, what: str) -> None:
    found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
    if found != (batch,):
        raise ValueError(f"{what} must return a tensor of shape ({batch},), got {found}")
    if not values.is_floating_point():
        raise ValueError(f"{what} must return floating-point numbers, got {values.dtype}")
