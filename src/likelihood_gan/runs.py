"""How far a fit is, and what to tell of one that was cut short or is poor.

What is done in a fit is left to `fitting`.
"""

import warnings
from dataclasses import dataclass, field

from torch import Tensor

from likelihood_gan.controls import Diverged, PoorFitWarning
from likelihood_gan.training import Record
from likelihood_gan.vocabulary import Vocabulary


@dataclass
class Run:
    """How far a fit is, and in the end what came of it, also of one that was cut short.

    Attributes
    ----------
    history : list of dict
        One record per epoch: those of `training.train`, with `epoch` (from 1), `phase` and, if
        some data was held out, `validation_nll` (nats per sequence). First come those of the fit
        that this one continues; then `fit` says which fit a record is of.
    n_before : int
        How many there are of that fit.
    before : float
        Nats of the data under the generator as it was before any epoch.
    best_epoch : int
        The epoch whose weights are kept; 0 if none was finished.
    best : float
        Its held-out nats.
    phase : int
        The number of the current one, from 0.
    waited : int
        Its epochs since the last progress.
    stopped : bool
        Whether a watcher has ended the fit.
    most : int
        The last epoch, if no phase ends earlier.
    stopped_by : BaseException or None
        What has cut the fit short: Ctrl-C, divergence, an error of a callback or a plug-in.
    impossible : Tensor or None
        If it was divergence, a row of the data that the generator gives probability 0.
    counted_all : bool
        Whether a generator that counts knows what was held out: not if the fit was cut short.
    poor : str or None
        The control that explains the held-out data better, if there is one.
    """

    history: list[Record] = field(default_factory=list)
    n_before: int = 0
    before: float = float("inf")
    best_epoch: int = 0
    best: float = float("inf")
    phase: int = 0
    waited: int = 0
    stopped: bool = False
    most: int = 0
    stopped_by: BaseException | None = None
    impossible: Tensor | None = None
    counted_all: bool = True
    poor: str | None = None

    @property
    def fitted(self) -> bool:
        """Whether there is something to keep: an epoch was finished, be it the counting."""
        if isinstance(self.stopped_by, Diverged):  # every epoch but the counting is lost
            return self.best_epoch == 0
        return len(self.history) > self.n_before or self.stopped_by is None

    @property
    def n_epochs(self) -> int:
        """Number of epochs that were finished."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    def add(self, record: Record) -> None:
        """Append the record of an epoch."""
        fit = self.history[self.n_before - 1].get("fit", 1) + 1 if self.n_before else 1
        self.history.append(record | ({"fit": fit} if fit > 1 else {}))


def report(run: Run, vocabulary: Vocabulary) -> None:
    """Raise what has cut a fit short, with a note of what is left; warn of a poor fit."""
    if run.stopped_by is None:
        if run.poor is not None:
            warnings.warn(run.poor, PoorFitWarning, stacklevel=4)
        return
    left = "the estimator is unchanged"
    if run.fitted:
        nats = f", {run.best:.2f} held-out nats" if run.best < float("inf") else ""
        left = f"the estimator holds the model of epoch {run.best_epoch}{nats}"
        if not run.counted_all:
            left += ", which has not counted what was held out"
    if isinstance(run.stopped_by, FloatingPointError):
        # the epoch that diverged may have been finished
        epoch = run.n_epochs + (not isinstance(run.stopped_by, Diverged))
        remedy = (
            "try a lower learning rate (pretrain_, adversarial_ or discriminator_learning_rate)"
        )
        if run.impossible is not None:
            (sequence,) = vocabulary.decode(run.impossible[None])
            remedy = (
                f"X holds {sequence!r}, which the generator gives probability 0, so that its loss is "
                "infinite at any learning rate: leave such sequences out, or take a generator that can "
                "write them"
            )
        raise FloatingPointError(
            f"training diverged in epoch {epoch}: {run.stopped_by}; {remedy}; {left}"
        ) from run.stopped_by
    run.stopped_by.add_note(f"fit ended after {run.n_epochs} of {run.most} epochs; {left}")
    raise run.stopped_by
