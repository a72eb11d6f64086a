"""One fit from modules to the epoch that is kept: early stopping, interruption, going on.

The loop itself is `training.train`, one call per phase; what a user passes and gets is left to
the estimator.
"""

import copy
import functools
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from likelihood_gan.controls import check_progress, nats, poor_fit
from likelihood_gan.corpus import Corpus, Data
from likelihood_gan.phases import Phase
from likelihood_gan.processes import divided, from_first
from likelihood_gan.progress import Epochs
from likelihood_gan.protocols import (
    Generator,
    has_count,
    has_parameters,
)
from likelihood_gan.runs import Run
from likelihood_gan.scoring import log_probs
from likelihood_gan.snapshots import Snapshot, all_of, fill, part
from likelihood_gan.training import Memory, Record, train

Watcher = Callable[[list[Record]], bool | None]
"""Is called with the history after every epoch; a true result ends the fit."""
Saver = Callable[["Fit"], None]
"""Is called with the fit before the first epoch and after every one."""
_SAVED = ("history", "n_before", "before", "best_epoch", "best", "phase", "waited", "stopped")


class State(NamedTuple):
    """All that the epochs of a fit change: what is JSON, and tensors. It holds until the next one."""

    numbers: dict[str, Any]
    tensors: dict[str, Tensor]
    source: str = "the state"  # where it was read


class Fit:
    """Modules that are trained in place, and where that stands between two epochs.

    A generator that counts does so first, which is epoch 0, and once more in the end, then all data.
    Without parameters, that is all; one that does not count either stays as it is. If data are held out, the best epoch is the one of the lowest
    held-out negative log-likelihood; a phase ends after `patience` epochs without progress, unless its
    rate falls along a cosine, and the next starts from the best weights.

    Parameters
    ----------
    generator : Generator
        A module, or anything else that counts or stays as it is.
    discriminator : module or None
        What judges it.
    data : Data
        What is trained on, and what is held out.
    phases : sequence of Phase
        What is done.
    patience : int
        Epochs without progress.
    rng : torch.Generator
        Source of all randomness.
    n_tokens : int
        Number of symbols, END included.
    history, best_epoch
        The records of a fit that this one continues, and the epoch whose weights it begins with.
    **settings
        Those of `training.train`.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: nn.Module | None,
        data: Data,
        phases: Sequence[Phase],
        *,
        patience: int,
        rng: torch.Generator,
        n_tokens: int,
        history: Sequence[Record] = (),
        best_epoch: int = 0,
        **settings: Any,
    ):
        self.generator, self.data, self.n_tokens = generator, data, n_tokens
        self.phases = phases if has_parameters(generator) else ()
        self.patience, self.rng = patience, rng
        self.settings = {"discriminator": discriminator, "rng": rng, **settings}
        pair: dict[str, Any] = {"generator": generator, "discriminator": discriminator}
        self.modules = {name: m for name, m in pair.items() if isinstance(m, nn.Module)}
        self.run, self.memory = Run(list(history), len(history), best_epoch=best_epoch), Memory()
        self._look_ahead()

    def begin(self) -> None:
        """Count, if the generator does, and see what the weights are worth before any epoch."""
        run, counts = self.run, has_count(self.generator)
        if counts:
            started = time.perf_counter()
            self._count(self.data.training)
            seconds = time.perf_counter() - started
            run.add({"epoch": run.n_epochs, "phase": "count", "seconds": seconds})
        if self.data.held_out is not None and run.history:
            run.best = _nll(self.generator, self.data.held_out, self.rng)
            if counts:
                run.history[-1]["validation_nll"] = run.best
        run.before = nats(self.generator, self.data.training)
        self.kept = Snapshot(self.modules, run.best_epoch)
        self._look_ahead()

    @property
    def epoch(self) -> int:
        """How many epochs of this fit are finished."""
        before = self.run.history[: self.run.n_before]
        return self.run.n_epochs - (before[-1]["epoch"] if before else 0)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to train."""
        return self.run.n_epochs == self.run.most

    def state(self) -> State:
        """Return what `restore` needs to go on to the same bits."""
        numbers = {name: getattr(self.run, name) for name in _SAVED}
        tensors = {"rng": self.rng.get_state()}
        for name, module in self.modules.items():
            tensors |= {f"{name}.{key}": value for key, value in all_of(module)}
            best = self.kept.states[name]
            tensors |= {f"best.{name}.{key}": value for key, value in best.items()}
        tensors |= {f"moments.{key}": value for key, value in self.memory.moments().items()}
        return State(numbers | {"epochs": self.memory.epochs}, tensors)

    def restore(self, state: State) -> None:
        """Go back to a state, instead of `begin`.

        Raises
        ------
        ValueError
            If a module is not the one whose state it is.
        """
        if has_count(self.generator):  # for what it keeps beside its buffers
            self._count(self.data.training)
        try:
            self._restore(state.numbers, state.tensors)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{state.source} does not fit: {error}") from error
        self._look_ahead()

    def _restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        for name, module in self.modules.items():
            fill(name, dict(all_of(module)), part(tensors, name))
        self.kept = Snapshot(self.modules, numbers["best_epoch"])
        for name, best in self.kept.states.items():
            fill(name, best, part(tensors, f"best.{name}"))
        self.rng.set_state(tensors["rng"])
        self.memory = Memory(numbers["epochs"], part(tensors, "moments"))
        self.memory.check(self.modules)
        vars(self.run).update({name: numbers[name] for name in _SAVED})

    def go_on(
        self, watchers: Sequence[Watcher], savers: Sequence[Saver], bar: Epochs | None
    ) -> None:
        """Run the phases, or what is left of them; leave the weights of the best epoch."""
        run = self.run
        while run.phase < len(self.phases):
            phase = self.phases[run.phase]
            records = train(
                self.generator,
                self.data.training,
                phase.objective,
                learning_rate=phase.learning_rate,
                memory=self.memory,
                watch=functools.partial(bar.step, phase.name) if bar else None,
                **self.settings,
            )
            while not self._phase_is_over():
                self._end_epoch({"phase": phase.name, **next(records)}, watchers)
                if bar:
                    bar.epoch(run.history[-1], run.most)
                for save in savers:
                    save(self)
            check_progress(
                run.history[run.n_before :],
                self.data.training,
                self.n_tokens,
                run.before,
                phase.given or phase.learning_rate,
            )
            self.kept.restore()
            if run.stopped:
                break
            run.phase, run.waited, self.memory = run.phase + 1, 0, Memory()
        run.poor = poor_fit(self.generator, self.data.training, self.data.held_out, self.n_tokens)

    def end(self) -> None:
        """Count what was held out, too, or nothing anew if that fails."""
        generator: Any = self.generator
        if self.data.held_out is None or not has_count(generator):
            return
        before = copy.deepcopy(generator)
        try:
            self._count(self.data.everything)
        except BaseException:
            if hasattr(generator, "__dict__"):
                vars(generator).clear()
                vars(generator).update(vars(before))
            else:  # a class with __slots__
                self._count(self.data.training)
            raise

    def left(self) -> str:
        """Say what there is to do."""
        held_out = 0 if self.data.held_out is None else len(self.data.held_out.tokens)
        rows = f"{len(self.data.training.tokens):,} distinct sequences"
        return f"{rows} to train on, {held_out:,} held out, epoch {self.run.n_epochs} of {self.run.most}"

    def _end_epoch(self, record: Record, watchers: Sequence[Watcher]) -> None:
        run, held_out = self.run, self.data.held_out
        record = {"epoch": run.n_epochs + 1, **record}
        if held_out is not None:
            record["validation_nll"] = _nll(self.generator, held_out, self.rng)
        nll: float = record.get("validation_nll", run.best)
        run.add(record)
        run.waited = 0 if nll < run.best else run.waited + 1
        if nll <= run.best:  # equal while the discriminator alone is trained: keep that too
            self.kept.take(record["epoch"])
            run.best, run.best_epoch = nll, record["epoch"]
        votes = [watch(run.history) for watch in watchers]
        run.stopped = from_first(any(votes))
        self._look_ahead()

    def _phase_is_over(self) -> bool:
        run, phase = self.run, self.phases[self.run.phase]
        in_vain = self.data.held_out is not None and run.waited >= self.patience
        return run.stopped or self.memory.epochs >= phase.epochs or (phase.may_end and in_vain)

    def _look_ahead(self) -> None:
        run = self.run
        left = sum(phase.epochs for phase in self.phases[run.phase + 1 :])
        if run.phase < len(self.phases) and not self._phase_is_over():
            left += self.phases[run.phase].epochs - self.memory.epochs
        run.most = run.n_epochs + (0 if run.stopped else left)

    def _count(self, corpus: Corpus) -> None:
        generator: Any = self.generator
        generator.count(corpus.tokens, corpus.weights)


def fit_modules(
    generator: Generator,
    discriminator: nn.Module | None,
    data: Data,
    phases: Sequence[Phase],
    *,
    watchers: Sequence[Watcher] = (),
    savers: Sequence[Saver] = (),
    state: State | None = None,
    verbose: int = 0,
    **settings: Any,
) -> Run:
    """Train in place from the beginning, or from a state on; see `Fit`.

    Whatever is raised once an epoch is finished ends the fit, and is reported in the result.
    """
    fit = Fit(generator, discriminator, data, phases, **settings)
    run = fit.run
    bar = Epochs(run.n_epochs, run.most, verbose, fit.left()) if verbose else None
    with bar or nullcontext():
        if state is None:
            fit.begin()
            for save in savers:
                save(fit)
        else:
            fit.restore(state)
            if bar:
                bar.go_on(run.n_epochs)
        try:
            fit.go_on(watchers, savers, bar)
            fit.end()
        except BaseException as reason:  # noqa: BLE001  (raised by `report`, once all is kept)
            run.stopped_by, run.best_epoch = reason, fit.kept.epoch
            run.counted_all = not has_count(generator) or data.held_out is None
            fit.kept.restore()
    return run


def _nll(generator: Generator, held_out: Corpus, rng: torch.Generator) -> float:
    """Negative log-likelihood under the held-out shares, in nats per sequence."""
    shares = held_out.log_frequency.double().exp()
    scores = divided(lambda rows: log_probs(generator, rows, rng), held_out.tokens)
    return -float((shares * scores).sum())
