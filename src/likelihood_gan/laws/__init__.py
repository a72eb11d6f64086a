"""The protocols as executable laws: whether a model is a generator or a discriminator.

Each law is a function whose name is the law, in `scores`, `probabilities` and `samples`. What it is
tried on is a `trials.Trial`. Who asks is left to `plugins`, which is quick, and `checks`, which is thorough.
"""

from collections.abc import Callable, Iterable

import torch

from likelihood_gan.devices import computing
from likelihood_gan.laws.probabilities import COUNTING, STEPS, SUMS
from likelihood_gan.laws.samples import SAMPLES, TOKENS
from likelihood_gan.laws.scores import DRIFT, FORM, SCORES, coarse_weights
from likelihood_gan.laws.trials import Budget, Trial
from likelihood_gan.protocols import keeping_global_rng

__all__ = [
    "DISCRIMINATOR_LAWS",
    "GENERATOR_LAWS",
    "Budget",
    "Trial",
    "coarse_weights",
    "name_of",
    "require",
]

Law = Callable[[Trial], str | None]
"""Returns None, or a sentence with the numbers and the remedy if it is broken."""

DISCRIMINATOR_LAWS: list[Law] = [*FORM, *SCORES, *DRIFT]
GENERATOR_LAWS: list[Law] = [
    *FORM,
    *STEPS,
    *TOKENS,
    *SCORES,
    *SUMS,
    *SAMPLES,
    *COUNTING,
    *DRIFT,
]


def name_of(law: Law) -> str:
    """Return a law in words."""
    return str(getattr(law, "__name__", "")).replace("_", " ").strip()


def require(laws: Iterable[Law], trial: Trial) -> None:
    """Raise ValueError, which begins with the name of the first law that is broken.

    PyTorch's global random numbers stay as they were.
    """
    with computing(trial.original), keeping_global_rng(trial.device), torch.no_grad():
        for law in laws:
            name = name_of(law)
            try:
                violation = law(trial)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            except Exception as error:
                failed = f"{type(trial.original).__name__} failed on tokens below n_tokens="
                raise ValueError(f"{name}: {failed}{trial.n_tokens} with {error!r}") from error
            if violation is not None:
                raise ValueError(f"{name}: {violation}")
