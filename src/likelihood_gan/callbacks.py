"""Things that watch a fit: called after every epoch, they may look, report or stop it.

A callback is any callable `(estimator, record) -> bool | None`. The estimator is a fitted view of
the current state (it samples and scores), `record` is the epoch's row of the history, and a true
result stops the fit. Which epoch is kept is decided elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SHOWN = {
    "generator_loss": "generator",
    "discriminator_loss": "discriminator",
    "effective_sample_size": "ESS",
    "validation_nll": "held-out nats",
    "seconds": "seconds",
}

Callback = Callable[[Any, dict[str, Any]], bool | None]


@dataclass(frozen=True)
class PrintEpoch:
    """Print one line per `every` epochs; `verbose=n` adds it to a fit."""

    every: int = 1

    def __call__(self, estimator: Any, record: dict[str, Any]) -> None:
        """Print the losses, the effective sample size and the held-out nats per sequence."""
        if record["epoch"] % self.every == 0:
            numbers = (f"{name} {record[key]:.2f}" for key, name in SHOWN.items() if key in record)
            print(f"epoch {record['epoch']:3d} {record['phase']:13s}", *numbers, sep="  ")


@dataclass(frozen=True)
class PrintSamples:
    """Print `n_samples` sequences of the model as it is, once per `every` epochs."""

    n_samples: int = 5
    every: int = 1

    def __call__(self, estimator: Any, record: dict[str, Any]) -> None:
        """Draw with the epoch as the seed, so that watching does not change other draws."""
        if record["epoch"] % self.every == 0:
            samples = estimator.sample(self.n_samples, random_state=record["epoch"])
            print(f"epoch {record['epoch']:3d}", *samples, sep="  ")
