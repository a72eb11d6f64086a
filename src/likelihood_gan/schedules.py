"""Learning rates over epochs: what may be given, and the rate of an epoch.

When epochs begin and what they train is left to `training`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from likelihood_gan.rules import NOT_NEGATIVE, POSITIVE, check, integer

MOST_EPOCHS = 10_000
"""Epochs whose rates are asked of a callable before training."""


@dataclass(frozen=True)
class Cosine:
    """From `rate` down to 0 along half a cosine (Loshchilov and Hutter 2017), over `epochs` epochs."""

    rate: float
    epochs: int

    def __call__(self, epoch: int) -> float:
        """Return the rate in the middle of an epoch."""
        return self.rate * (1 + math.cos(math.pi * (epoch - 0.5) / self.epochs)) / 2


Schedule = float | Mapping[int, float] | Callable[[int], float]
"""A learning rate: constant, from some epochs on, or a function of the epoch (the first is 1)."""


def rate_at(schedule: Schedule, epoch: int, name: str = "the learning rate") -> float:
    """Learning rate of an epoch (the first is 1).

    A number is constant, a mapping such as {1: 0.02, 6: 0.002} gives the rate from an epoch on,
    a callable maps the epoch to the rate, which is checked.
    """
    if callable(schedule):
        rate = schedule(epoch)
        check(rate, f"{name} of epoch {epoch}", NOT_NEGATIVE)
        return float(rate)
    if isinstance(schedule, Mapping):
        return float(schedule[max(start for start in schedule if start <= epoch)])
    return float(schedule)


def check_schedule(schedule: Schedule, name: str, epochs: int = 1) -> None:
    """Check a learning rate for a number of epochs, before the first of them.

    A number is positive. The rates of a mapping or a callable may be 0, but not all of them; those of
    a callable are asked for now, so it must not count how often it is called.

    Raises
    ------
    TypeError, ValueError
        If a rate is no number, negative or not finite, if all are 0, or if a mapping lacks epoch 1
        or has a key that is no epoch.
    """
    if callable(schedule):
        rates = {e: schedule(e) for e in range(1, min(max(epochs, 1), MOST_EPOCHS) + 1)}
    elif isinstance(schedule, Mapping):
        for epoch in schedule:
            check(epoch, f"{name} = {schedule!r}: an epoch", integer(1))
        if 1 not in schedule:
            raise ValueError(f"{name} must say the rate of epoch 1, got {schedule!r}")
        rates = dict(schedule)
    else:
        check(schedule, name, POSITIVE)
        return
    for epoch, rate in rates.items():
        check(rate, f"{name}, in epoch {epoch},", NOT_NEGATIVE)
    if not any(rates.values()):
        raise ValueError(f"{name} must not be 0 in all epochs; to train nothing set epochs to 0")
