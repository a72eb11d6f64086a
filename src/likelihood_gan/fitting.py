"""One fit from fresh modules to the epoch that is kept: phases, early stopping, interruption.

The loop itself is `training.train`, one call per phase; what a user passes and gets is left to
the estimator.
"""

import copy
import numbers
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import nn

from likelihood_gan.corpus import Corpus
from likelihood_gan.objectives import MLE, Objective, is_adversarial
from likelihood_gan.protocols import GeneratorModule
from likelihood_gan.schedules import Schedule
from likelihood_gan.scoring import log_probs
from likelihood_gan.training import Record, train


@dataclass(frozen=True)
class Phase:
    """Some epochs with one objective; None trains the discriminator alone."""

    name: str
    objective: Objective | None
    epochs: int
    learning_rate: Schedule


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


def make_phases(
    objective: Objective,
    pretrain_epochs: int,
    discriminator_pretrain_epochs: int,
    adversarial_epochs: int,
    pretrain_learning_rate: Schedule,
    adversarial_learning_rate: Schedule,
) -> list[Phase]:
    """List the phases of a fit: maximum likelihood, the discriminator alone, then `objective`.

    A number as `pretrain_learning_rate` is followed by a tenth of it in the last quarter.
    """
    judging = discriminator_pretrain_epochs if is_adversarial(objective) else 0
    pretraining = [(pretrain_epochs, pretrain_learning_rate)]
    if isinstance(pretrain_learning_rate, numbers.Real):
        slow = pretrain_epochs // 4
        rate = float(pretrain_learning_rate)
        pretraining = [(pretrain_epochs - slow, rate), (slow, rate / 10)]
    return [
        *(Phase("pretrain", MLE(), *part) for part in pretraining),
        Phase("discriminator", None, judging, 0.0),
        Phase("adversarial", objective, adversarial_epochs, adversarial_learning_rate),
    ]


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
    watchers: Sequence[Callable[[list[Record]], bool | None]],
    rng: torch.Generator,
    precision: str = "float32",
) -> Run:
    """Train in place; leave the weights of the best epoch, or of the last finished one.

    With `validation` the best epoch is the one of the lowest held-out negative log-likelihood; a
    phase ends after `patience` epochs without progress, and the next starts from the best weights.
    A NaN or Ctrl-C ends the fit and is reported in the result. `watchers` are called with the history
    after every epoch; one that returns true ends the fit.
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
                votes = [watch(run.history) for watch in watchers]
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


def report_interruption(run: Run) -> None:
    """Raise FloatingPointError if a fit diverged, warn if Ctrl-C ended it."""
    if isinstance(run.stopped_by, FloatingPointError):
        raise FloatingPointError(
            f"training diverged in epoch {len(run.history) + 1}: {run.stopped_by}; try a lower "
            "learning rate (pretrain_, adversarial_ or discriminator_learning_rate); "
            + (
                f"the estimator holds the model of epoch {run.best_epoch}"
                if run.history
                else "the estimator is unchanged"
            )
        ) from run.stopped_by
    if run.stopped_by is not None:
        kept = f"the model of epoch {run.best_epoch}" if run.history else "an unfinished model"
        warnings.warn(
            f"fit was interrupted after {len(run.history)} epochs; the estimator holds {kept}",
            stacklevel=3,
        )


class _Snapshot:
    """The weights of the modules at one moment."""

    def __init__(self, *modules: GeneratorModule | nn.Module | None):
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
