"""One fit from fresh modules to the epoch that is kept: phases, early stopping, interruption.

The loop itself is `training.train`, one call per phase; what a user passes and gets is left to
the estimator.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import nn

from likelihood_gan.corpus import Corpus
from likelihood_gan.objectives import Objective
from likelihood_gan.protocols import GeneratorModule
from likelihood_gan.training import Record, Schedule, log_probs, train


@dataclass(frozen=True)
class Phase:
    """Some epochs with one objective; None trains the discriminator alone."""

    name: str
    objective: Objective | None
    epochs: int
    learning_rate: Schedule
    length_buckets: bool = False


@dataclass
class Run:
    """What came of a fit, also of one that was cut short.

    Attributes
    ----------
    history : list of dict
        One record per epoch: those of `training.train`, with `epoch` (from 1), `phase` and, if
        some data was held out, `validation_nll` (nats per sequence).
    best_epoch : int
        The epoch whose weights are kept; 0 if none was finished.
    stopped_by : exception or None
        KeyboardInterrupt or FloatingPointError if that ended the fit.
    """

    history: list[Record] = field(default_factory=list)
    best_epoch: int = 0
    stopped_by: BaseException | None = None


def fit_modules(
    generator: GeneratorModule,
    discriminator: nn.Module | None,
    corpus: Corpus,
    phases: Iterable[Phase],
    *,
    validation: Corpus | None,
    patience: int,
    batch_size: int,
    discriminator_learning_rate: Schedule,
    watchers: Sequence[Callable[[Record], bool | None]],
    rng: torch.Generator,
    precision: str = "float32",
) -> Run:
    """Train in place; leave the weights of the best epoch, or of the last finished one.

    With `validation` the best epoch is the one of the lowest held-out negative log-likelihood; a
    phase ends after `patience` epochs without progress, and the next starts from the best weights.
    A NaN or Ctrl-C ends the fit and is reported in the result.
    """
    run = Run()
    kept = _Snapshot(generator, discriminator)
    best = float("inf")
    try:
        for phase in phases:
            records = train(
                generator,
                corpus,
                phase.objective,
                discriminator=discriminator,
                batch_size=batch_size,
                learning_rate=phase.learning_rate,
                discriminator_learning_rate=discriminator_learning_rate,
                precision=precision,
                length_buckets=phase.length_buckets,
                rng=rng,
            )
            waited = 0
            for record in islice(records, phase.epochs):
                record = {"epoch": len(run.history) + 1, "phase": phase.name, **record}
                if validation is not None:
                    record["validation_nll"] = _nll(generator, validation, rng)
                run.history.append(record)
                nll = record.get("validation_nll", best)
                waited = 0 if nll < best else waited + 1
                if nll <= best:  # equal while the discriminator alone is trained: keep that too
                    best, run.best_epoch = nll, record["epoch"]
                    kept.take()
                votes = [watch(record) for watch in watchers]
                if any(votes):
                    kept.restore()
                    return run
                if validation is not None and phase.objective is not None and waited >= patience:
                    break
            kept.restore()
    except (FloatingPointError, KeyboardInterrupt) as reason:
        run.stopped_by = reason
        if run.best_epoch or isinstance(reason, FloatingPointError):
            kept.restore()
    return run


class _Snapshot:
    """The weights of the modules at one moment."""

    def __init__(self, *modules: nn.Module | None):
        self.modules = [module for module in modules if module is not None]
        self.take()

    def take(self) -> None:
        self.states = [copy.deepcopy(module.state_dict()) for module in self.modules]

    def restore(self) -> None:
        for module, state in zip(self.modules, self.states, strict=True):
            module.load_state_dict(state)


def _nll(generator: GeneratorModule, held_out: Corpus, rng: torch.Generator) -> float:
    """Negative log-likelihood under the held-out shares, in nats per sequence."""
    shares = held_out.log_frequency.double().exp()
    return -float((shares * log_probs(generator, held_out.tokens, rng)).sum())
