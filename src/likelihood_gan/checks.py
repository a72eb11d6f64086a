"""The protocols as executable laws: whether a model is a generator or a discriminator.

Each law is a function whose name is the law. How models are trained is left to `training`.
"""

import copy
import inspect
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any

import torch
from scipy.stats import chi2
from torch import Tensor, nn
from torch.nn.functional import pad

from likelihood_gan import protocols
from likelihood_gan.devices import computing, device_of
from likelihood_gan.protocols import END, Generator, call_with_rng, has_parameters, has_step
from likelihood_gan.rules import random_source
from likelihood_gan.sampling import Autoregressive, take_rows

__all__ = ["check_discriminator", "check_generator"]

_WIDTH = 8
"""Tokens of the rows that are tried; the law of padding makes them 3 wider."""


def check_generator(
    model: Generator, n_tokens: int, *, n_samples: int = 10_000, random_state: Any = 0
) -> None:
    """Raise an error if a model breaks a law of the `Generator` protocol.

    A copy of it is tried, a module in evaluation mode: the model, trained or not, stays as it is, and
    so do PyTorch's global random numbers. A small alphabet is checked best: with 3 tokens all rows
    of up to 6 columns are enumerated, with 27 those of 2, with 5,000 those of 1.

    Parameters
    ----------
    model : Generator
        Any object with `log_prob` and `sample`; `step` is checked if it is there. In single or double
        precision, and ready for rows of 11 tokens.
    n_tokens : int
        Number of tokens, END (0) included; at least 2.
    n_samples : int, default=10_000
        Rows drawn to compare their frequencies with `exp(log_prob)`.
    random_state : int, RandomState or None, default=0
        Seed of all draws.

    Raises
    ------
    ValueError
        It begins with the name of the first law that is broken.
    """
    _check(_GENERATOR_LAWS, _Trial(model, "log_prob", n_tokens, n_samples, random_state))


def check_discriminator(model: nn.Module, n_tokens: int, *, random_state: Any = 0) -> None:
    """Raise an error if a module breaks a law of the `Discriminator` protocol.

    Parameters, errors and what stays as it was: see `check_generator`.
    """
    _check(_DISCRIMINATOR_LAWS, _Trial(model, "logit", n_tokens, 0, random_state))


class _Trial:
    """The copy that is tried, and what it is tried on."""

    def __init__(self, model: Any, kind: str, n_tokens: int, n_samples: int, random_state: Any):
        self.original, self.kind, self.n_tokens, self.n_samples = model, kind, n_tokens, n_samples
        self.device = device_of(model)
        seed = int(random_source(random_state).randint(2**31 - 1))
        self.rng = torch.Generator(self.device).manual_seed(seed)

    @cached_property
    def model(self) -> Any:
        copied = copy.deepcopy(self.original)
        return copied.eval() if isinstance(copied, nn.Module) else copied

    def score(self, tokens: Tensor, model: Any = None) -> Tensor:
        """Log-probabilities or logits, (batch, time) -> (batch,), checked."""
        model = self.model if model is None else model
        if self.kind == "logit":
            values = call_with_rng(model, tokens, rng=self.rng)
            return protocols.checked_logits(values, len(tokens))
        values = call_with_rng(model.log_prob, tokens, rng=self.rng)
        return protocols.checked_log_prob(values, len(tokens))

    def sample(self, n: int, max_len: int) -> Tensor:
        tokens = call_with_rng(self.model.sample, n, max_len, rng=self.rng)
        return protocols.checked_sample(tokens, n, max_len, self.n_tokens)

    def step(self, tokens: Tensor, state: Any) -> Any:
        return call_with_rng(self.model.step, tokens, state, rng=self.rng)

    @cached_property
    def random_rows(self) -> Tensor:
        """Rows of every length up to unfinished ones; they need no model."""
        length = torch.arange(2 * _WIDTH + 2, device=self.device)[:, None] % (_WIDTH + 1)
        shape = len(length), _WIDTH
        rows = torch.randint(1, self.n_tokens, shape, generator=self.rng, device=self.device)
        return rows * (torch.arange(_WIDTH, device=self.device) < length)

    @cached_property
    def rows(self) -> Tensor:
        """The random rows and, of a generator, some of its own: those are possible."""
        if self.kind == "logit":
            return self.random_rows
        own = self.sample(_WIDTH, _WIDTH)
        return torch.cat([self.random_rows, pad(own, (0, _WIDTH - own.shape[1]))])

    @cached_property
    def widths(self) -> list[int]:
        """Widths at which all rows are few enough to be enumerated."""
        return [1] + [width for width in range(2, 7) if self.n_tokens**width <= 4096]

    def all_rows(self, width: int) -> tuple[Tensor, Tensor]:
        """All complete and unfinished rows of a width, and their log-probabilities, float64."""
        symbols = torch.arange(self.n_tokens, device=self.device)
        rows = torch.cartesian_prod(*[symbols] * width).reshape(-1, width)
        rows = rows[~((rows == END).cumsum(1) * rows).any(1)]
        batches = rows.split(max(1, 2**21 // self.n_tokens))  # few enough for a large alphabet
        return rows, torch.cat([self.score(batch) for batch in batches]).double()

    def unequal(self, rows: Tensor, expected: Tensor, found: Tensor, why: str) -> str | None:
        """Say which row has two different scores, if one has."""
        tolerance = max(1e-4, 4 * torch.finfo(expected.dtype).eps)
        differs = ~expected.isclose(found.to(expected), tolerance, tolerance, equal_nan=True)
        if not differs.any():
            return None
        i = int(differs.nonzero()[0])
        return f"{self.kind} of {rows[i].tolist()} is {expected[i]:.5g}, but {found[i]:.5g} {why}"


def _state(model: Any) -> dict[str, Tensor]:
    """Return the parameters and buffers of a module."""
    return model.state_dict() if isinstance(model, nn.Module) else {}


Law = Callable[[_Trial], str | None]
"""Returns None, or a sentence with the numbers and the remedy if it is broken."""


def _check(laws: Iterable[Law], trial: _Trial) -> None:
    if trial.n_tokens < 2:
        raise ValueError(f"n_tokens must be at least 2 (END and a symbol), got {trial.n_tokens}")
    devices = [trial.device] if trial.device.type == "cuda" else []
    limited = computing(trial.original)
    with limited, torch.random.fork_rng(devices=devices), torch.no_grad():
        for law in laws:
            name = getattr(law, "__name__", "").strip("_").replace("_", " ")
            try:
                violation = law(trial)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            except Exception as error:
                failed = f"{type(trial.original).__name__} failed on tokens below n_tokens="
                raise ValueError(f"{name}: {failed}{trial.n_tokens} with {error!r}") from error
            if violation is not None:
                raise ValueError(f"{name}: {violation}")


# Laws of both


def _it_has_what_is_called(trial: _Trial) -> str | None:
    """Require log_prob and sample of a generator; a discriminator is a torch.nn.Module."""
    if trial.kind == "log_prob":
        try:
            protocols.require_generator(trial.original, "the model")
        except TypeError as error:
            return str(error)
    elif not isinstance(trial.original, nn.Module):
        found = type(trial.original).__name__
        return f"the model must be an instance of torch.nn.Module, got {found}"
    return None


def _it_can_be_copied(trial: _Trial) -> str | None:
    """copy.deepcopy works, and the copy shares no weights with the model."""
    try:
        copied = trial.model
    except Exception as error:
        remedy = "keep only weights and plain values as attributes"
        raise ValueError(f"copy.deepcopy failed ({error}), {remedy}") from error
    if not isinstance(copied, nn.Module):
        return None
    old, new = ([*m.parameters(), *m.buffers()] for m in (trial.original, copied))
    shared = {t.data_ptr() for t in old if t.numel()} & {t.data_ptr() for t in new}
    return f"a deep copy shares {len(shared)} tensors with the model, copy them" if shared else None


def _every_row_has_a_score(trial: _Trial) -> str | None:
    """Scores are floating and (batch,), for 1 row and for many; log_prob <= 0, logits finite."""
    for tokens in (trial.rows[:1, :1], trial.rows[:1], trial.rows):
        trial.score(tokens)
    return None


def _scores_repeat(trial: _Trial) -> str | None:
    """Two calls in evaluation mode agree, and so do one after a sample and a deep copy."""
    expected, again = trial.score(trial.rows), trial.score(trial.rows)
    if trial.kind == "log_prob":
        trial.sample(_WIDTH, _WIDTH)
    later, copied = (trial.score(trial.rows, m) for m in (trial.model, copy.deepcopy(trial.model)))
    for found, why in (
        (again, "when called again, let dropout and noise obey self.training"),
        (later, "after a call of sample, let only training and count change it"),
        (copied, "in a deep copy, keep its weights as parameters and buffers"),
    ):
        if violation := trial.unequal(trial.rows, expected, found, why):
            return violation
    return None


def _padding_does_not_count(trial: _Trial) -> str | None:
    """More zeros after the END of a row do not change its score."""
    rows = trial.rows[(trial.rows == END).any(1)]
    why = "with 3 more zeros, count the first 0 of a row and nothing after it"
    if trial.kind == "logit":
        why = (
            "with 3 more zeros, read nothing after the first 0 in any direction (a bidirectional "
            "LSTM that reads padding tells real from generated by the width of the batch)"
        )
    return trial.unequal(rows, trial.score(rows), trial.score(pad(rows, (0, 3))), why)


def _rows_do_not_depend_on_each_other(trial: _Trial) -> str | None:
    """Score a row alone, in a batch, and in the batch in another order: always the same."""
    rows, together = trial.rows, trial.score(trial.rows)
    alone = torch.cat([trial.score(row[None]) for row in rows])
    reversed_ = trial.score(rows.flip(0)).flip(0)
    why = "use no statistic of the batch (LayerNorm, not BatchNorm)"
    return trial.unequal(rows, alone, together, f"beside {len(rows) - 1} other rows, {why}") or (
        trial.unequal(rows, together, reversed_, f"in the reversed batch, {why}")
    )


def _using_it_leaves_its_weights(trial: _Trial) -> str | None:
    """Scoring and sampling in evaluation mode change no parameter and no buffer."""
    before = {name: tensor.clone() for name, tensor in _state(trial.model).items()}
    trial.score(trial.rows)
    if trial.kind == "log_prob":
        trial.sample(_WIDTH, _WIDTH)
    after = _state(trial.model)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    return f"a call in evaluation mode changed {changed}, leave them alone" if changed else None


def _a_gradient_reaches_the_parameters(trial: _Trial) -> str | None:
    """In training mode the gradient is nonzero for some parameter, and finite for all.

    It is that of a random combination of the finite scores: their plain sum has the gradient 0
    where a model is uniform. Parameters without use and frozen ones are legal.
    """
    if trial.kind == "log_prob" and not has_parameters(trial.model):
        return None  # nothing to train
    model = copy.deepcopy(trial.model).train()  # cuDNN's LSTM has no gradient otherwise
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        values = trial.score(trial.rows, model)
        values = values[values.isfinite()]
        noise = torch.rand(values.shape, generator=trial.rng, device=values.device)
        total = (values * noise).sum()
    if not (parameters and total.requires_grad):
        return (
            f"{trial.kind} is detached from the {len(parameters)} parameters that require a "
            "gradient, compute it from them in PyTorch throughout"
        )
    gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    used = {n: g for n, g in zip(parameters, gradients, strict=True) if g is not None}
    bad = [name for name, gradient in used.items() if not gradient.isfinite().all()]
    if bad:
        return f"the gradient of {bad} is NaN or infinite, avoid log(0) and 0 * inf"
    moved = any(gradient.any() for gradient in used.values())
    return None if moved else f"all {len(parameters)} gradients are 0, so nothing can be learned"


# Laws of generators


def _samples_are_tokens(trial: _Trial) -> str | None:
    """Draw tokens that obey the convention and max_len; only there a row may be unfinished."""
    for n, max_len in ((1, 1), (64, 1), (64, 2), (64, _WIDTH)):
        trial.sample(n, max_len)
    return None


def _total_mass_is_one(trial: _Trial) -> str | None:
    """Over all rows of some width, complete or unfinished, exp(log_prob) sums to 1."""
    for width in trial.widths:
        rows, log_probs = trial.all_rows(width)
        mass = float(log_probs.logsumexp(0).exp())
        if not abs(mass - 1) < 1e-3:
            return (
                f"the {len(rows)} rows of width {width} have probability {mass:.4f} together, use "
                f"log_softmax over {trial.n_tokens} tokens, count the first 0 of a row, and in a "
                "row without a 0 count none"
            )
    return None


def _an_rng_repeats_the_samples(trial: _Trial) -> str | None:
    """Draw twice from the same random numbers, through `rng` if there is such a parameter."""
    state = trial.rng.get_state()
    first = trial.sample(64, _WIDTH)
    trial.rng.set_state(state)
    if torch.equal(first, trial.sample(64, _WIDTH)):
        return None
    given = "rng" in inspect.signature(trial.model.sample).parameters
    source = (
        "generator=rng"
        if given
        else "PyTorch, not from NumPy or random; models.FromNumpy gives a NumPy model its rng"
    )
    return f"two draws of 64 rows with the same seed differ, draw from {source}"


def _sample_frequencies_are_probabilities(trial: _Trial) -> str | None:
    """Frequencies agree with exp(log_prob): a G test at 1e-6, and no sample is impossible."""
    n, width = trial.n_samples, trial.widths[-1]
    rows, log_probs = trial.all_rows(width)
    drawn = trial.sample(n, width)
    place = trial.n_tokens ** torch.arange(width, device=trial.device)
    cells = (pad(drawn, (0, width - drawn.shape[1])) * place).sum(1)
    counts = cells.bincount(minlength=trial.n_tokens**width)[(rows * place).sum(1)].double()
    expected = n * log_probs.softmax(0)
    # Rarest first, neighbours are pooled until about 20 are expected.
    order = expected.argsort()
    group = ((expected[order].cumsum(0) - expected[order]) / 20).long()
    observed, pooled = (group.bincount(weights=x[order]) for x in (counts, expected))
    observed, pooled = observed[pooled > 0], pooled[pooled > 0]
    g = 2 * float(observed.xlogy(observed / pooled).sum())
    p = float(chi2.sf(g, len(pooled) - 1)) if len(pooled) > 1 else 1.0
    impossible = int(counts[expected == 0].sum())
    if p > 1e-6 and not impossible:
        return None
    scale = (expected + (expected > 0) + 1e-9).sqrt()  # an impossible row is the worst
    worst = int(((counts - expected) / scale).abs().argmax())
    return (
        f"{rows[worst].tolist()} came {int(counts[worst])} times in {n} samples, but log_prob "
        f"expects {expected[worst]:.1f} (G = {g:.0f} on {len(pooled) - 1} degrees of freedom, "
        f"p = {p:.1g}, {impossible} samples impossible), sample from the distribution that "
        "log_prob describes: same temperature, same start and END"
    )


def _step_is_normalised(trial: _Trial) -> str | None:
    """Step returns (batch, n_tokens) log-probabilities whose exponentials sum to 1."""
    if not has_step(trial.model):
        return None
    previous, state = torch.full_like(trial.random_rows[:, 0], END), None
    reached = torch.ones_like(previous, dtype=torch.bool)
    shape = (len(previous), trial.n_tokens)
    for current in trial.random_rows.unbind(1):
        log_probs, state = trial.step(previous, state)
        if tuple(log_probs.shape) != shape:
            return f"step must return {shape} log-probabilities, got {tuple(log_probs.shape)}"
        mass = log_probs[reached].double().logsumexp(1).exp()
        if not ((mass - 1).abs() < 1e-3).all():
            return f"the probabilities of a step sum to {mass.max():.4g}, end with log_softmax"
        chosen = log_probs.gather(1, current[:, None])[:, 0]
        previous, reached = current, reached & (current != END) & (chosen > -torch.inf)
    return None


def _state_rows_can_be_selected(trial: _Trial) -> str | None:
    """Rows of the state can be reordered, repeated and left out, and step leaves it as it was."""
    if not has_step(trial.model):
        return None
    first, second = trial.random_rows[:, 0], trial.random_rows[:, 1]
    _, state = trial.step(torch.zeros_like(first), None)
    _, state = trial.step(first, state)
    index = torch.arange(len(first) - 1, 0, -1, device=trial.device).repeat(2)
    expected = trial.step(second, state)[0][index]
    remedy = "keep tensors with the batch first in the state and return a new one, do not change it"
    try:
        found = trial.step(second[index], take_rows(state, index))[0]
    except Exception as error:
        raise ValueError(f"after a selection step failed ({error}), {remedy}") from error
    wrong = int((~expected.isclose(found, 1e-3, 1e-3, equal_nan=True)).any(1).sum())
    if not wrong:
        return None
    return f"{wrong} of {len(index)} selected rows go on with other probabilities, {remedy}"


def _steps_multiply_to_log_prob(trial: _Trial) -> str | None:
    """Next-symbol log-probabilities along a row sum to its log_prob."""
    if not has_step(trial.model):
        return None
    by_steps = partial(Autoregressive.log_prob, trial.model)
    found = call_with_rng(by_steps, trial.rows, rng=trial.rng)
    why = "by its steps, read END first and then the symbols so far in both"
    return trial.unequal(trial.rows, trial.score(trial.rows), found, why)


_FIRST: list[Law] = [_it_has_what_is_called, _it_can_be_copied]
_SCORES: list[Law] = [
    _every_row_has_a_score,
    _using_it_leaves_its_weights,
    _scores_repeat,
    _padding_does_not_count,
    _rows_do_not_depend_on_each_other,
    _a_gradient_reaches_the_parameters,
]
_DISCRIMINATOR_LAWS = _FIRST + _SCORES
_GENERATOR_LAWS = [
    *_FIRST,
    _step_is_normalised,
    _state_rows_can_be_selected,
    _samples_are_tokens,
    *_SCORES,
    _total_mass_is_one,
    _an_rng_repeats_the_samples,
    _sample_frequencies_are_probabilities,
    _steps_multiply_to_log_prob,
]
