"""Learning rates over epochs: what may be given, and the rate of an epoch.

When epochs begin and what they train is left to `training`.
"""

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sklearn.utils.validation import check_scalar


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


def rate_at(schedule: Schedule, epoch: int) -> float:
    """Learning rate of an epoch (the first is 1).

    A number is constant, a mapping such as {1: 0.02, 6: 0.002} gives the rate from an epoch on,
    a callable maps the epoch to the rate.
    """
    if callable(schedule):
        return float(schedule(epoch))
    if isinstance(schedule, Mapping):
        return float(schedule[max(start for start in schedule if start <= epoch)])
    return float(schedule)


def check_schedule(schedule: Schedule, name: str) -> None:
    """Check a learning rate: a positive number, a mapping of epochs to such, or a callable.

    Raises
    ------
    TypeError, ValueError
        If a rate is no number, not positive or not finite, or a mapping lacks epoch 1.
    """
    if callable(schedule):
        rates = [rate_at(schedule, 1)]
    elif isinstance(schedule, Mapping):
        if 1 not in schedule:
            raise ValueError(f"{name} must say the rate of epoch 1, got {schedule!r}")
        rates = list(schedule.values())
    else:
        rates = [schedule]
    for rate in rates:
        check_scalar(rate, name, numbers.Real, min_val=0, include_boundaries="neither")
        if not math.isfinite(rate):
            raise ValueError(f"{name} must be finite, got {rate}")
