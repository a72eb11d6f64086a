"""How far long work is: a bar on a terminal or in a notebook, flushed lines elsewhere.

What is worth watching, and how much is shown, is left to the callers.
"""

import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self, TypeVar

LINE_SECONDS = 30.0
"""Where there is no bar: at least a line in that time."""
PATIENCE_SECONDS = 2.0
"""What is over before is not shown, unless it is a fit."""

COLUMNS = {
    "generator_loss": "generator",
    "discriminator_loss": "discriminator",
    "effective_sample_size": "ESS",
    "validation_nll": "held-out nats",
    "seconds": "seconds",
}
"""The columns of the history that a line shows."""

_Chunk = TypeVar("_Chunk", bound=Collection[Any])


def say(text: str) -> None:
    """Print a line at once, above a bar if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def describe(record: Mapping[str, Any], of: int | None = None) -> str:
    """Return a record of the history as a line."""
    numbers = [f"{name} {record[key]:.2f}" for key, name in COLUMNS.items() if key in record]
    total = "" if of is None else f" of {of}"
    return "  ".join([f"epoch {record['epoch']:3d}{total} {record['phase']:13s}", *numbers])


class Progress:
    """One bar, or lines where it could not move.

    Parameters
    ----------
    total : float or None
        What there is to do; None if that is not known.
    what : str
        What is done, for the reader.
    done : int or float, default=0
        What was done before.
    delay : float, default=0
        Seconds before anything is shown.
    """

    def __init__(self, total: float | None, what: str, *, done: float = 0, delay: float = 0.0):
        with warnings.catch_warnings():  # of a notebook without widgets, which gets lines
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
        shown = "{desc} |{bar}| {percentage:3.0f}%, {elapsed} gone{postfix}"
        self._bar = tqdm(
            total=total,
            desc=what,
            initial=done,
            delay=delay,
            disable=None,  # where there is no terminal
            bar_format=None if total is None else shown,
            dynamic_ncols=True,
            miniters=0,
        )
        self.is_bar = not self._bar.disable
        self.total, self.done = total, done
        self._spoke = time.monotonic()
        self.start_the_clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def move(self, done: float, what: str | None = None) -> None:
        """Say how much is done, and what comes next."""
        if what is not None:
            self._bar.set_description_str(what, refresh=False)
        more, self.done = done - self.done, done
        if left := self.time_left():
            self._bar.set_postfix_str(f"{left} left", refresh=False)
        self._bar.update(more)

    def start_the_clock(self) -> None:
        """Estimate the time left by the speed from now on."""
        self._first, self._started = self.done, time.monotonic()

    def line(self, text: str) -> None:
        """Print a line, with the time left."""
        self._spoke = time.monotonic()
        say(f"{text}  {left} left" if (left := self.time_left()) else text)

    @property
    def is_silent(self) -> bool:
        """Whether nothing was shown for long."""
        return not self.is_bar and time.monotonic() - self._spoke > LINE_SECONDS

    def time_left(self) -> str:
        """Estimate it by the mean speed so far; empty if nothing is known of it."""
        done = self.done - self._first
        if self.total is None or done <= 0 or self.done >= self.total:
            return ""
        seconds = (time.monotonic() - self._started) / done * (self.total - self.done)
        minutes, seconds = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


class Epochs(Progress):
    """The epochs of a fit; within them it moves by steps.

    Parameters
    ----------
    done, most : int
        Epochs that were run before, and the most that there can be in all.
    every : int
        Where there is no bar, a line in so many epochs.
    what : str
        What there is to do, for the time before the first epoch.
    """

    def __init__(self, done: int, most: int, every: int, what: str):
        super().__init__(most, what, done=done)
        if not self.is_bar:
            self.line(what)
        self._every, self._epoch, self._nats, self._began = every, done, "", False

    def go_on(self, done: int) -> None:
        """Say that so many epochs were run before, when that is known only now."""
        self._epoch = done
        self.move(done)

    def step(self, phase: str, share: float) -> None:
        """Say which share of the current epoch's steps is done."""
        if not self._began:  # what came before was no step
            self._began = True
            self.start_the_clock()
        what = f"epoch {self._epoch + 1} of {self.total}, {phase}{self._nats}"
        self.move(self._epoch + share, what)
        if self.is_silent:
            self.line(f"{what}, {share:.0%} of its steps")

    def epoch(self, record: Mapping[str, Any], most: int) -> None:
        """Say that an epoch is finished, and how many there can be now."""
        self._epoch, self.total, self._bar.total = record["epoch"], most, most
        if "validation_nll" in record:
            self._nats = f", {record['validation_nll']:.2f} held-out nats"
        self.move(self._epoch, f"epoch {self._epoch} of {most}, {record['phase']}{self._nats}")
        if not self.is_bar and (self._epoch % self._every == 0 or self._epoch == most):
            self.line(describe(record, most))
        self._bar.refresh()


# Within a call: who is asked to do long work knows nothing of who watches it.


class _Watcher:
    """Who wants to see progress, and whether it is shown already."""

    busy = False


_WATCHER: ContextVar[_Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(verbose: int) -> Iterator[None]:
    """Show the progress of what is counted inside, if `verbose` or if someone watches already."""
    before = _WATCHER.get()
    _WATCHER.set(_Watcher() if verbose and before is None else before)
    try:
        yield
    finally:
        _WATCHER.set(before)


@contextmanager
def counting(total: float | None, what: str) -> Iterator[Callable[[float], None] | None]:
    """Give a function to call with what was done more; None if no one watches.

    What is counted inside is not shown, too.
    """
    watcher = _WATCHER.get()
    if watcher is None or watcher.busy:
        yield None
        return
    watcher.busy = True
    try:
        with Progress(total, what, delay=PATIENCE_SECONDS) as progress:

            def add(more: float) -> None:
                progress.move(progress.done + more)
                if progress.is_silent:
                    of = "" if total is None else f" of {total:,}"
                    progress.line(f"{what}: {progress.done:,}{of}")

            yield add
    finally:
        watcher.busy = False


def counted(chunks: Iterable[_Chunk], total: float | None, what: str) -> Iterator[_Chunk]:
    """Yield chunks, and count their elements once they were used."""
    with counting(total, what) as add:
        for chunk in chunks:
            yield chunk
            if add is not None:
                add(len(chunk))
