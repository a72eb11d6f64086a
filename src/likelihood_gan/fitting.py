"""One fit from fresh modules to the epoch that is kept: phases, early stopping, interruption.

The loop itself is `training.train`, one call per phase; what a user passes and gets is left to
the estimator.
"""

import numbers
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from likelihood_gan.controls import Diverged, PoorFitWarning, check_progress, nats, poor_fit
from likelihood_gan.corpus import Corpus, Data
from likelihood_gan.objectives import MLE, Objective, is_adversarial
from likelihood_gan.protocols import (
    CountingGenerator,
    Generator,
    GeneratorModule,
    has_count,
    has_parameters,
)
from likelihood_gan.schedules import Cosine, Schedule
from likelihood_gan.scoring import log_probs
from likelihood_gan.training import Record, train


@dataclass(frozen=True)
class Phase:
    """Some epochs with one objective; None trains the discriminator alone."""

    name: str
    objective: Objective | None
    epochs: int
    learning_rate: Schedule

    @property
    def may_end(self) -> bool:
        """Whether it ends without progress: a rate that still has to fall would bring some."""
        return self.objective is not None and not isinstance(self.learning_rate, Cosine)

    @property
    def user_rate(self) -> object:
        """The learning rate as it was given."""
        return getattr(self.learning_rate, "rate", self.learning_rate)


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
    poor : str or None
        The control that explains the held-out data better, if there is one.
    """

    history: list[Record] = field(default_factory=list)
    best_epoch: int = 0
    stopped_by: BaseException | None = None
    poor: str | None = None

    @property
    def fitted(self) -> bool:
        """Whether there is something to keep."""
        if isinstance(self.stopped_by, Diverged):
            return self.best_epoch == 0  # what was counted
        return bool(self.history) or not isinstance(self.stopped_by, FloatingPointError)

    @property
    def n_epochs(self) -> int:
        """Number of epochs that were finished."""
        return int(self.history[-1]["epoch"]) if self.history else 0


PHASES = (
    "pretrain_epochs",
    "discriminator_pretrain_epochs",
    "adversarial_epochs",
    "pretrain_learning_rate",
    "adversarial_learning_rate",
)
"""The parameters of `make_phases`."""


def make_phases(
    objective: Objective,
    pretrain_epochs: int,
    discriminator_pretrain_epochs: int,
    adversarial_epochs: int,
    pretrain_learning_rate: Schedule,
    adversarial_learning_rate: Schedule,
) -> list[Phase]:
    """List the phases of a fit: maximum likelihood, the discriminator alone, then `objective`.

    A number as `pretrain_learning_rate` falls to 0 along a cosine.
    """
    judging = discriminator_pretrain_epochs if is_adversarial(objective) else 0
    if isinstance(pretrain_learning_rate, numbers.Real):
        pretrain_learning_rate = Cosine(float(pretrain_learning_rate), max(pretrain_epochs, 1))
    return [
        Phase("pretrain", MLE(), pretrain_epochs, pretrain_learning_rate),
        Phase("discriminator", None, judging, 0.0),
        Phase("adversarial", objective, adversarial_epochs, adversarial_learning_rate),
    ]


def fit_modules(
    generator: GeneratorModule,
    discriminator: nn.Module | None,
    data: Data,
    phases: Iterable[Phase],
    *,
    n_tokens: int,
    patience: int,
    batch_size: int,
    discriminator_learning_rate: Schedule,
    watchers: Sequence[Callable[[list[Record]], bool | None]],
    rng: torch.Generator,
    precision: str = "float32",
) -> Run:
    """Train in place; leave the weights of the best epoch, or of the last finished one.

    A generator that counts does so first, which is epoch 0, and once more in the end, then all data.
    Without parameters, that is all. If data are held out, the best epoch is the one of the lowest held-out negative log-likelihood; a
    phase ends after `patience` epochs without progress, unless its rate falls along a cosine, and the
    next starts from the best weights.
    A NaN or Ctrl-C ends the fit and is reported in the result. `watchers` are called with the history
    after every epoch; one that returns true ends the fit.
    """
    corpus, validation = data.training, data.held_out
    run = Run()
    best = float("inf")
    if has_count(generator):
        record = _counted(generator, corpus)
        if validation is not None:
            record["validation_nll"] = best = _nll(generator, validation, rng)
        run.history.append(record)
    kept, before = _Snapshot(generator, discriminator), nats(generator, corpus)
    try:
        for phase in phases if has_parameters(generator) else ():
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
            waited, stopped = 0, False
            for record in islice(records, phase.epochs):
                record = {"epoch": run.n_epochs + 1, "phase": phase.name, **record}
                if validation is not None:
                    record["validation_nll"] = _nll(generator, validation, rng)
                run.history.append(record)
                nll = record.get("validation_nll", best)
                waited = 0 if nll < best else waited + 1
                if nll <= best:  # equal while the discriminator alone is trained: keep that too
                    best, run.best_epoch = nll, record["epoch"]
                    kept.take()
                votes = [watch(run.history) for watch in watchers]
                stopped = any(votes)
                if stopped:
                    break
                if validation is not None and phase.may_end and waited >= patience:
                    break
            check_progress(run.history, corpus, n_tokens, before, phase.user_rate)
            kept.restore()
            if stopped:
                break
    except (FloatingPointError, KeyboardInterrupt) as reason:
        run.stopped_by = reason
        if run.history or isinstance(reason, FloatingPointError):
            kept.restore()
    if run.fitted:
        run.poor = poor_fit(generator, corpus, validation, n_tokens)
        if validation is not None and has_count(generator):  # what was held out is known now
            generator.count(data.everything.tokens, data.everything.weights)
    return run


def report(run: Run) -> None:
    """Raise FloatingPointError if a fit diverged; warn if Ctrl-C ended it, or if it is poor."""
    if isinstance(run.stopped_by, FloatingPointError):
        # the epoch that diverged may have been finished
        epoch = run.n_epochs + (not isinstance(run.stopped_by, Diverged))
        raise FloatingPointError(
            f"training diverged in epoch {epoch}: {run.stopped_by}; try a lower "
            "learning rate (pretrain_, adversarial_ or discriminator_learning_rate); "
            + (
                f"the estimator holds the model of epoch {run.best_epoch}"
                if run.fitted
                else "the estimator is unchanged"
            )
        ) from run.stopped_by
    if run.stopped_by is not None:
        kept = f"the model of epoch {run.best_epoch}" if run.history else "an unfinished model"
        warnings.warn(
            f"fit was interrupted after {run.n_epochs} epochs; the estimator holds {kept}",
            stacklevel=3,
        )
    if run.poor is not None:
        warnings.warn(run.poor, PoorFitWarning, stacklevel=3)


def _counted(generator: CountingGenerator, corpus: Corpus) -> Record:
    started = time.perf_counter()
    generator.count(corpus.tokens, corpus.weights)
    return {"epoch": 0, "phase": "count", "seconds": time.perf_counter() - started}


class _Snapshot:
    """The weights of the modules at one moment."""

    def __init__(self, *modules: Any):
        self.modules = [module for module in modules if isinstance(module, nn.Module)]
        self.take()

    def take(self) -> None:
        self.states = [
            {name: value.clone() for name, value in _changing(module)} for module in self.modules
        ]

    def restore(self) -> None:
        for module, state in zip(self.modules, self.states, strict=True):
            with torch.no_grad():
                for name, value in _changing(module):
                    value.copy_(state[name])


def _changing(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers by name, without what was counted: no epoch changes that."""
    yield from module.named_parameters()
    for name, part in module.named_modules():
        if not has_count(part):
            yield from part.named_buffers(name, recurse=False)


def _nll(generator: Generator, held_out: Corpus, rng: torch.Generator) -> float:
    """Negative log-likelihood under the held-out shares, in nats per sequence."""
    shares = held_out.log_frequency.double().exp()
    return -float((shares * log_probs(generator, held_out.tokens, rng)).sum())
