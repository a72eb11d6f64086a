"""The adversarial loop: a Python generator of one record per epoch.

To stop is not to ask for the next record, and what it remembers between two of them can be saved. The
loop knows token tensors and models; sequences, callbacks, files and the choice of the best epoch are
left to the callers.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from likelihood_gan.corpus import Corpus
from likelihood_gan.objectives import Objective, is_adversarial
from likelihood_gan.processes import average_gradients, check_same, divided
from likelihood_gan.protocols import (
    END,
    Discriminator,
    Generator,
    call_with_rng,
    checked_logits,
    checked_sample,
    lengths,
)
from likelihood_gan.schedules import Schedule, rate_at
from likelihood_gan.scoring import evaluating

Record = dict[str, Any]
"""What happened in an epoch, by name."""


class Memory:
    """What training remembers from epoch to epoch, beside weights and random numbers.

    Parameters
    ----------
    epochs : int, default=0
        How many are finished.
    moments : mapping of str to Tensor, optional
        What `moments` gave after them: training goes on to the same bits.
    """

    def __init__(self, epochs: int = 0, moments: Mapping[str, Tensor] | None = None):
        self.epochs = epochs
        self._start = moments or {}
        self._optimisers: dict[str, torch.optim.Optimizer] = {}

    def check(self, modules: Mapping[str, nn.Module]) -> None:
        """Raise LookupError or ValueError if moments are not those of parameters of the modules."""
        for key, value in self._start.items():
            owner, number, what = key.split(".")
            trained = [p for p in modules[owner].parameters() if p.requires_grad]
            if what != "step" and value.shape != trained[int(number)].shape:
                raise ValueError(f"moments.{key} has the shape {tuple(value.shape)}")

    def adam(self, name: str, module: Any) -> torch.optim.Optimizer:
        """Make the optimiser of a module, with the moments that are remembered of it."""
        adam = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], fused=True)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self._start.items():
            owner, number, what = key.split(".")
            if owner == name:
                state.setdefault(int(number), {})[what] = value
        adam.load_state_dict(adam.state_dict() | {"state": state})
        self._optimisers[name] = adam
        return adam

    def moments(self) -> dict[str, Tensor]:
        """Return the moments of both optimisers by module, number of the parameter, and name."""
        moments = {} if self._optimisers else dict(self._start)
        for name, adam in self._optimisers.items():
            for number, state in adam.state_dict()["state"].items():
                moments |= {f"{name}.{number}.{what}": value for what, value in state.items()}
        return moments


def train(
    generator: Generator,
    corpus: Corpus,
    objective: Objective | None,
    *,
    discriminator: Discriminator | None = None,
    batch_size: int = 128,
    learning_rate: Schedule = 1e-3,
    discriminator_learning_rate: Schedule = 1e-3,
    precision: str = "float32",
    rng: torch.Generator,
    memory: Memory | None = None,
    watch: Callable[[float], None] | None = None,
) -> Iterator[Record]:
    """Train both modules in place, without end, and yield one record per epoch.

    Batches hold sequences of similar length, which are padded less, where nothing is compared with
    samples: those have all lengths.

    Parameters
    ----------
    generator : module
        Follows the `Generator` protocol.
    corpus : Corpus
        The data, on the device of the modules.
    objective : callable or None
        Batch -> scalar, minimised by the generator; None trains the discriminator alone.
    discriminator : module, optional
        Minimises the report's Equation 2 (negated), the binary cross-entropy of real against
        generated. Left alone if the objective is not adversarial.
    batch_size : int
        Real, and generated, sequences a step.
    learning_rate, discriminator_learning_rate : float, mapping or callable
        Adam's step size; see `rate_at`.
    precision : {"float32", "bf16"}
        What the passes of the modules are computed in; weights, losses and Adam stay float32.
    rng : torch.Generator
        Source of all randomness, on the device of the modules.
    memory : Memory, optional
        Where to go on, brought up to date before every record; a new one if missing.
    watch : callable, optional
        Called after every step with the share of the epoch's steps that is done.

    Yields
    ------
    dict
        Means over the epoch's steps: `discriminator_loss` and `discriminator_accuracy`;
        `generator_loss`; of the weights w = |∂loss/∂log p| that the objective gives to the
        sequences of a batch, `effective_sample_size`, (Σ w)² / Σ w², and `weighted_mean_length`,
        Σ w length / Σ w; if it reads the real ones, `corpus_mass`, the generator's probability of
        writing a sequence of the corpus, estimated by the mean of p / p̂. And the `seconds` of the
        epoch.

    Raises
    ------
    FloatingPointError
        If a loss became NaN or infinite, or a parameter NaN.
    """
    alone = objective is not None and not is_adversarial(objective)
    if alone:
        discriminator = None
    for module in (generator, discriminator):
        if isinstance(module, nn.Module):
            module.train()
    memory = Memory() if memory is None else memory
    adam = None if objective is None else memory.adam("generator", generator)
    discriminator_adam = None
    if discriminator is not None:
        discriminator_adam = memory.adam("discriminator", discriminator)
    models = _Models(generator, discriminator, rng, precision)
    for epoch in itertools.count(memory.epochs + 1):
        started = time.perf_counter()
        rate = rate_at(learning_rate, epoch)
        discriminator_rate = rate_at(discriminator_learning_rate, epoch)
        sums: dict[str, Tensor] = {}
        batches = list(corpus.epoch(batch_size, rng, by_length=alone))
        for steps, index in enumerate(batches, start=1):
            values = {}
            with _explaining_nan(generator, discriminator):
                # samples and logits are checked once an epoch: reading them synchronises with a GPU
                batch = _make_batch(index, corpus, models, check=steps == 1)
                if discriminator_adam is not None:
                    loss, accuracy = _discriminator_loss(models, batch, check=steps == 1)
                    _descend(loss, discriminator_adam, discriminator_rate)
                    values["discriminator_loss"] = loss.detach()
                    values["discriminator_accuracy"] = accuracy
                if adam is not None and objective is not None:
                    loss = _checked_loss(objective(batch))
                    _descend(loss, adam, rate)
                    values["generator_loss"] = loss.detach()
                    values |= _explain(batch)
            sums = {key: sums.get(key, 0) + value for key, value in values.items()}
            if watch is not None:
                watch(steps / len(batches))
        record: Record = {key: float(value) / len(batches) for key, value in sums.items()}
        for key, value in record.items():
            if key.endswith("loss") and not math.isfinite(value):
                raise FloatingPointError(f"{key} became {value}")
        if _has_nan(generator, discriminator):  # the last step's loss was still good
            raise FloatingPointError("a weight became NaN")
        check_same("the weights after an epoch", lambda: _sums(generator, discriminator))
        memory.epochs = epoch
        yield record | {"seconds": time.perf_counter() - started}


class _Models(NamedTuple):
    """What a step calls, and how."""

    generator: Generator
    discriminator: Discriminator | None
    rng: torch.Generator
    precision: str

    def __call__(self, function: Any, tokens: Tensor) -> Tensor:
        """Apply one of the models to rows: (batch,), float32 or better."""
        low = self.precision == "bf16"
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=low):
            values = divided(lambda rows: call_with_rng(function, rows, rng=self.rng), tokens)
        return values.float() if low else values


class _HalfBatch:
    """Half of a batch; see `likelihood_gan.objectives.HalfBatch`.

    `rows` are evaluated; if some come more than once, `number` says which row each sequence is.
    """

    def __init__(
        self,
        rows: Tensor,
        log_frequency: Callable[[], Tensor],
        models: _Models,
        number: Tensor | None = None,
    ):
        self.rows, self.number = rows, number
        self.generator = models.generator
        self.discriminator = models.discriminator
        self._log_frequency = log_frequency
        self._models = models

    def spread(self, values: Tensor) -> Tensor:
        """Return what rows have for every sequence."""
        return values if self.number is None else values[self.number]

    @cached_property
    def tokens(self) -> Tensor:
        return self.spread(self.rows)

    @cached_property
    def log_prob(self) -> Tensor:
        values = self.spread(self._models(self.generator.log_prob, self.rows))
        if values.requires_grad:
            values.retain_grad()  # its gradient holds the objective's weights
        return values

    @cached_property
    def logits(self) -> Tensor:
        if self.discriminator is None:
            raise ValueError("the objective reads logits, so it must not say adversarial = False")
        with torch.no_grad(), evaluating(self.discriminator):
            return self.spread(self._models(self.discriminator, self.rows))

    @cached_property
    def log_frequency(self) -> Tensor:
        return self.spread(self._log_frequency())

    @property
    def length(self) -> Tensor:
        return (lengths(self.tokens) + 1).clamp(max=self.tokens.shape[1])


class _Batch:
    """What an objective sees; see `likelihood_gan.objectives.Batch`."""

    def __init__(self, real: _HalfBatch, generated: Callable[[], _HalfBatch]):
        self.real = real
        self._generated = generated

    @cached_property
    def generated(self) -> _HalfBatch:
        return self._generated()


def _make_batch(index: Tensor, corpus: Corpus, models: _Models, *, check: bool) -> _Batch:
    """Take some rows of the corpus, and as many of the generator once they are asked for."""
    n_samples = len(index)

    def generated() -> _HalfBatch:
        n, generator = n_samples, models.generator
        with torch.no_grad(), evaluating(generator):
            tokens = call_with_rng(generator.sample, n, corpus.width, rng=models.rng)
        if check:
            checked_sample(tokens, n, corpus.width)
            check_same("the samples of the generator", tokens.tolist)
        return _HalfBatch(tokens, lambda: corpus.log_frequency_of(tokens), models)

    number = None
    if len(corpus.tokens) < 2 * len(index):  # most rows come more than once: each is evaluated once
        index, number = index.unique(return_inverse=True)
    rows, log_frequency = corpus.rows(index)
    return _Batch(_HalfBatch(rows, lambda: log_frequency, models, number), generated)


def _discriminator_loss(models: _Models, batch: _Batch, *, check: bool) -> tuple[Tensor, Tensor]:
    """-(1/N) [Σ log D(real) + Σ log(1 - D(generated))], the report's Equation 2, and accuracy."""
    real, generated = batch.real.rows, batch.generated.rows
    width = max(real.shape[1], generated.shape[1])
    both = torch.cat(
        [nn.functional.pad(t, (0, width - t.shape[1]), value=END) for t in (real, generated)]
    )
    values = models(models.discriminator, both)
    if check:
        checked_logits(values, len(both))
    towards_real = batch.real.spread(values[: len(real)])
    right = torch.cat([towards_real, -values[len(real) :]])
    return softplus(-right).sum() / len(towards_real), (right > 0).double().mean()


def try_objective(
    objective: Objective, generator: Generator, discriminator: Discriminator | None, corpus: Corpus
) -> None:
    """Call an objective once, so that a broken one is found before training.

    Raises
    ------
    ValueError
        If it returns no scalar, NaN, or what has no gradient.
    """
    rng = torch.Generator(corpus.tokens.device).manual_seed(0)
    index = torch.arange(len(corpus.tokens[:8]), device=corpus.tokens.device)
    models = _Models(generator, discriminator, rng, "float32")
    with evaluating(generator):
        loss = _checked_loss(objective(_make_batch(index, corpus, models, check=True)))
    if loss.isnan():
        raise ValueError(
            f"objective={objective!r} returned NaN before training; take care of logarithms of 0 and "
            "of log_frequency, which is -inf off the data"
        )


def _checked_loss(loss: Any) -> Tensor:
    found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
    if found != ():
        raise ValueError(f"objective(batch) must return a scalar tensor, got {found}")
    if not loss.requires_grad:
        raise ValueError(
            f"objective(batch) returned {loss.item()}, a constant without gradient; compute it from "
            "batch.real.log_prob or batch.generated.log_prob, without detach()"
        )
    return loss


def _explain(batch: _Batch) -> dict[str, Tensor]:
    """Say which sequences the objective listened to, once its gradient is known."""
    halves = [batch.real] + ([batch.generated] if "generated" in vars(batch) else [])
    read = [half for half in halves if "log_prob" in vars(half)]  # computed, as they were read
    gradients = [half.log_prob.grad for half in read if half.log_prob.grad is not None]
    found = {}
    if read and len(gradients) == len(read):
        weights = torch.cat(gradients).abs()
        n_symbols = torch.cat([lengths(half.tokens) for half in read])
        found["effective_sample_size"] = weights.sum().square() / weights.square().sum()
        found["weighted_mean_length"] = (weights * n_symbols).sum() / weights.sum()
    if batch.real in read:
        ratios = (batch.real.log_prob.detach() - batch.real.log_frequency).exp()
        found["corpus_mass"] = ratios.mean()
    return found


def _descend(loss: Tensor, optimiser: torch.optim.Optimizer, rate: float) -> None:
    optimiser.param_groups[0]["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    average_gradients(optimiser.param_groups[0]["params"])
    optimiser.step()


@contextmanager
def _explaining_nan(*modules: Any) -> Iterator[None]:
    """Turn whatever NaN weights led to (a symbol out of range, say) into FloatingPointError."""
    try:
        yield
    except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:
        if not _has_nan(*modules):
            raise
        raise FloatingPointError("a weight became NaN") from error


def _sums(*modules: Any) -> list[float]:
    weights = [p.detach() for m in modules if m is not None for p in m.parameters()]
    return [float(values.double().sum()) for values in weights]


def _has_nan(*modules: Any) -> bool:
    # infinite weights are legal: a table of logits may hold -inf
    return any(p.isnan().any() for m in modules if m is not None for p in m.parameters())
