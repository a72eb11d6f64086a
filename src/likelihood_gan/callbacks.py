"""Things that watch a fit: called after every epoch, they may look, report or stop it.

A callback is any callable `(distribution, history) -> bool | None`. The distribution is that of the
generator as it is now: it samples, scores and can be saved. The history has one record per epoch so
far, the last one is new, and may be added to. A true result stops the fit. Which epoch is kept is
decided elsewhere. Those here remember nothing: a fit that is resumed goes on as if it had not ended.
"""

import csv
import functools
import io
import numbers
import os
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from likelihood_gan.atomic import write_atomically
from likelihood_gan.checkpoint import Checkpoint, Frame
from likelihood_gan.distribution import SequenceDistribution
from likelihood_gan.fitting import Saver, Watcher
from likelihood_gan.persistence import bundled
from likelihood_gan.processes import is_first
from likelihood_gan.progress import COLUMNS, describe, say
from likelihood_gan.rules import FLAG, NOT_NEGATIVE, check, instance, integer

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "PrintEpoch",
    "PrintSamples",
    "WriteCSV",
    "WriteScalars",
]

Callback = Callable[[SequenceDistribution, list[dict[str, Any]]], bool | None]


def attach(
    callbacks: Iterable[Callback], distribution: SequenceDistribution, frame: Frame
) -> tuple[list[Watcher], list[Saver]]:
    """Return what a fit calls after an epoch, and what it calls once those have looked.

    Of several processes that train one model, the first alone calls something.
    """
    if not is_first():
        return [], []
    callbacks = list(callbacks)
    keepers = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    watchers: list[Watcher] = [functools.partial(callback, distribution) for callback in callbacks]
    return watchers, [functools.partial(keeper.write, frame=frame) for keeper in keepers]


@bundled()
@dataclass(frozen=True)
class PrintEpoch:
    """Print one line per `every` epochs, also on a terminal, where `verbose=n` has a bar."""

    every: int = 1

    def __post_init__(self) -> None:
        check(self.every, "every", integer(1))

    def __call__(self, distribution: SequenceDistribution, history: list[dict[str, Any]]) -> None:
        """Print the losses, the effective sample size and the held-out nats per sequence."""
        if history[-1]["epoch"] % self.every == 0:
            say(describe(history[-1]))


@bundled()
@dataclass(frozen=True)
class PrintSamples:
    """Print `n_samples` sequences of the model as it is, once per `every` epochs.

    Parameters
    ----------
    n_samples, every : int
    known : collection of sequences or None, default=None
        The training data, say: what is not among them is printed behind a "+". They are not saved.
    """

    n_samples: int = 5
    every: int = 1
    known: Collection[Sequence[Hashable]] | None = field(
        default=None, repr=False, metadata={"saved": False}
    )

    def __post_init__(self) -> None:
        check(self.n_samples, "n_samples", integer(1))
        check(self.every, "every", integer(1))
        if self.known is not None:
            known = frozenset(s if isinstance(s, str) else tuple(s) for s in self.known)
            object.__setattr__(self, "known", known)

    def __call__(self, distribution: SequenceDistribution, history: list[dict[str, Any]]) -> None:
        """Draw with the epoch as the seed, so that watching does not change other draws."""
        epoch = history[-1]["epoch"]
        if epoch % self.every == 0:
            samples = distribution.sample(self.n_samples, random_state=epoch)
            known = samples if self.known is None else self.known
            marked = [str(s) if s in known else f"+{s}" for s in samples]
            say("  ".join([f"epoch {epoch:3d}", *marked]))


@bundled(maximise=FLAG)
@dataclass(frozen=True)
class EarlyStopping:
    """Stop a fit without progress, by any number.

    The early stopping of the estimator itself ends phases, and knows held-out nats only.

    Parameters
    ----------
    metric : str or callable, default="validation_nll"
        A column of the history; epochs without it do not count. Or a callable of the distribution,
        such as ``lambda p: p.score(words)``, whose values are added to the history by its name.
    patience : int, default=10
        Epochs without progress that end the fit.
    min_delta : float, default=0
        The least change that is progress.
    maximise : bool, default=False
        Whether high is good.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range; when called, if there is no such column.
    """

    metric: str | Callable[[SequenceDistribution], float] = "validation_nll"
    patience: int = 10
    min_delta: float = 0.0
    maximise: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) and not callable(self.metric):
            raise TypeError(f"metric must be a column or a callable, got {self.metric!r}")
        check(self.patience, "patience", integer(1))
        check(self.min_delta, "min_delta", NOT_NEGATIVE)

    @property
    def name(self) -> str:
        """The column that is watched."""
        if isinstance(self.metric, str):
            return self.metric
        return getattr(self.metric, "__name__", type(self.metric).__name__)

    def __call__(self, distribution: SequenceDistribution, history: list[dict[str, Any]]) -> bool:
        """Tell whether the best of this fit's epochs is `patience` epochs old."""
        record, name = history[-1], self.name
        if not isinstance(self.metric, str):
            record[name] = float(self.metric(distribution))
        ours = [r for r in history if r.get("fit") == record.get("fit") and r["phase"] != "count"]
        values = [r[name] * (-1 if self.maximise else 1) for r in ours if name in r]
        later = name in COLUMNS and name != "validation_nll"  # a column of another phase
        if not values and not later:
            raise ValueError(
                f"metric must be a column of the history {sorted(record)} or a callable, got {name!r}; "
                "held-out nats need early_stopping=True"
            )
        best, waited = float("inf"), 0
        for value in values:
            better = value < best - self.min_delta
            best, waited = (value, 0) if better else (best, waited + 1)
        return waited >= self.patience


@bundled(path=instance(str))
@dataclass(frozen=True)
class WriteCSV:
    """Write the history to a file of comma-separated values after every epoch, the whole atomically.

    Columns are those of all records so far; a record has nothing where it has no such number.
    """

    path: str | os.PathLike[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))

    def __call__(self, distribution: SequenceDistribution, history: list[dict[str, Any]]) -> None:
        """Replace the file."""
        columns = list(dict.fromkeys(key for record in history for key in record))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_atomically(self.path, text.getvalue().encode())


@dataclass(frozen=True)
class WriteScalars:
    """Hand every number of an epoch to a writer, such as TensorBoard's `SummaryWriter`.

    Parameters
    ----------
    writer : object with ``add_scalar(name, value, step)``
        It is used as it is, also by a clone of the estimator; the step is the epoch.
    prefix : str, default=""
        What the names begin with.

    Raises
    ------
    TypeError
        If it has no `add_scalar`.
    """

    writer: Any
    prefix: str = ""

    def __post_init__(self) -> None:
        if not callable(getattr(self.writer, "add_scalar", None)):
            raise TypeError(f"writer must have add_scalar(name, value, step), got {self.writer!r}")

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __call__(self, distribution: SequenceDistribution, history: list[dict[str, Any]]) -> None:
        """Write the last record, and what was counted before the first epoch."""
        first = len(history) > 1 and history[-2]["phase"] == "count"
        for record in history[-2:] if first else history[-1:]:
            for key, value in record.items():
                if isinstance(value, numbers.Real) and key not in ("epoch", "fit"):
                    self.writer.add_scalar(self.prefix + key, float(value), record["epoch"])
