"""Things that watch a fit: called after every epoch, they may look, report or stop it.

A callback is any callable `(distribution, history) -> bool | None`. The distribution is that of the
generator as it is now: it samples, scores and can be saved. The history has one record per epoch so
far, the last one is new. A true result stops the fit. Which epoch is kept is decided elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from likelihood_gan.distribution import SequenceDistribution
from likelihood_gan.persistence import bundled

Callback = Callable[[SequenceDistribution, list[dict[str, Any]]], bool | None]

SHOWN = {
    "generator_loss": "generator",
    "discriminator_loss": "discriminator",
    "effective_sample_size": "ESS",
    "validation_nll": "held-out nats",
    "seconds": "seconds",
}


@bundled
@dataclass(frozen=True)
class PrintEpoch:
    """Print one line per `every` epochs; `verbose=n` adds it to a fit."""

    every: int = 1

    def __call__(self, distribution: SequenceDistribution, history: list[dict[str, Any]]) -> None:
        """Print the losses, the effective sample size and the held-out nats per sequence."""
        record = history[-1]
        if record["epoch"] % self.every == 0:
            numbers = (f"{name} {record[key]:.2f}" for key, name in SHOWN.items() if key in record)
            print(f"epoch {record['epoch']:3d} {record['phase']:13s}", *numbers, sep="  ")


@bundled
@dataclass(frozen=True)
class PrintSamples:
    """Print `n_samples` sequences of the model as it is, once per `every` epochs."""

    n_samples: int = 5
    every: int = 1

    def __call__(self, distribution: SequenceDistribution, history: list[dict[str, Any]]) -> None:
        """Draw with the epoch as the seed, so that watching does not change other draws."""
        epoch = history[-1]["epoch"]
        if epoch % self.every == 0:
            samples = distribution.sample(self.n_samples, random_state=epoch)
            print(f"epoch {epoch:3d}", *samples, sep="  ")
