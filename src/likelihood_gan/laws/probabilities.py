"""Laws of generators: probabilities sum to 1, in rows, in steps and behind a beginning; counting."""

import copy
from functools import partial
from typing import Any

import torch
from torch import nn

from likelihood_gan.laws.trials import Trial
from likelihood_gan.protocols import END, call_with_rng, has_count, has_step
from likelihood_gan.sampling import Autoregressive, take_rows

_DEPTHS, _LISTED = 6, 1024
"""Different beginnings that are looked at, and how many tokens may follow to list them all."""


def _total_mass_is_one(trial: Trial) -> str | None:
    """Over all rows of some width, complete or unfinished, exp(log_prob) sums to 1."""
    for width in trial.widths:
        rows, log_probs = trial.all_rows(width)
        mass = float(log_probs.logsumexp(0).exp())
        if not abs(mass - 1) < 1e-3:
            return (
                f"the {len(rows)} rows of width {width} have probability {mass:.4f} together, use "
                f"log_softmax over {trial.n_tokens} tokens, in nats, count the first 0 of a row, and "
                "in a row without a 0 count none"
            )
    return None


def _a_beginning_is_as_likely_as_all_that_follows(trial: Trial) -> str | None:
    """At several lengths, a row and one more token have the probability of the row, all together.

    Where there are too many tokens to list, some of them have no more than that.
    """
    n, device = trial.n_tokens, trial.device
    symbols = torch.arange(n, device=device)
    if n > _LISTED:
        few = 1 + torch.randperm(n - 1, generator=trial.rng, device=device)[: 2**20 // n + 16]
        symbols = torch.cat([symbols[:1], few])
    depths = torch.linspace(0, trial.width - 1, _DEPTHS if n <= _LISTED else 2).long().unique()
    for depth in depths.tolist():
        unfinished = trial.rows[(trial.rows[:, :depth] != END).all(1), :depth]
        beginning = unfinished[-1:]  # the last ones are the model's own
        whole = float(trial.score(beginning)) if depth else 0.0
        rows = torch.cat([beginning.expand(len(symbols), -1), symbols[:, None]], 1)
        parts = float(trial.score(rows).double().logsumexp(0))
        tolerance = 10 * trial.rounding * (1 + abs(whole) / 100)
        too_little = n <= _LISTED and parts < whole - tolerance
        if parts > whole + tolerance or too_little:
            return (
                f"the rows that go on after {beginning[0].tolist()} have log-probability {parts:.5g} "
                f"together, and the beginning {whole:.5g}, use log_softmax over all {n} tokens at "
                "every position, in nats, and count no END in a row without one"
            )
    return None


def _step_is_normalised(trial: Trial) -> str | None:
    """Step returns (batch, n_tokens) log-probabilities whose exponentials sum to 1."""
    if not has_step(trial.model):
        return None
    rows = trial.given_rows
    previous, state = torch.full_like(rows[:, 0], END), None
    reached = torch.ones_like(previous, dtype=torch.bool)
    for current in rows.unbind(1):
        log_probs, state = trial.step(previous, state)
        mass = log_probs[reached].double().logsumexp(1).exp()
        if not ((mass - 1).abs() < 1e-3).all():
            worst = mass[(mass - 1).abs().nan_to_num(torch.inf).argmax()]
            return f"the probabilities of a step sum to {worst:.4g}, end with log_softmax, in nats"
        chosen = log_probs.gather(1, current[:, None])[:, 0]
        previous, reached = current, reached & (current != END) & (chosen > -torch.inf)
    return None


def _state_rows_can_be_selected(trial: Trial) -> str | None:
    """Rows of the state can be reordered, repeated and left out, and step leaves it as it was."""
    if not has_step(trial.model):
        return None
    first, second = trial.random_rows[:, 0], trial.random_rows[:, min(1, trial.width - 1)]
    _, state = trial.step(torch.zeros_like(first), None)
    _, state = trial.step(first, state)
    index = torch.arange(len(first) - 1, 0, -1, device=trial.device).repeat(2)
    expected = trial.step(second, state)[0][index]
    remedy = "keep tensors with the batch first in the state and return a new one, do not change it"
    try:
        found = trial.step(second[index], take_rows(state, index))[0]
    except Exception as error:
        raise ValueError(f"after a selection step failed ({error}), {remedy}") from error
    tolerance = max(1e-3, trial.rounding)
    wrong = int((~expected.isclose(found, tolerance, tolerance, equal_nan=True)).any(1).sum())
    if not wrong:
        return None
    return f"{wrong} of {len(index)} selected rows go on with other probabilities, {remedy}"


def _steps_multiply_to_log_prob(trial: Trial) -> str | None:
    """Next-symbol log-probabilities along a row sum to its log_prob."""
    if not has_step(trial.model):
        return None
    by_steps = partial(Autoregressive.log_prob, trial.model)
    found = call_with_rng(by_steps, trial.rows, rng=trial.rng)
    why = "by its steps, read END first and then the symbols so far in both"
    return trial.unequal(trial.rows, trial.first_scores, found, why)


def _counting_forgets_what_was_counted(trial: Trial) -> str | None:
    """Count rows, the same ones with other weights, and again: scores are as after the first time."""
    if not has_count(trial.model):
        return None
    model: Any = copy.deepcopy(trial.original)
    model = model.eval() if isinstance(model, nn.Module) else model
    rows = trial.counted_rows
    ones = torch.ones(len(rows), dtype=torch.float64, device=rows.device)
    found = [trial.score(trial.rows, model).clone()]
    for weights in (ones, ones.cumsum(0), ones):
        given = rows.clone()
        model.count(given, weights.clone())
        if not torch.equal(given, rows):
            return "the rows that are counted are changed in place, work on a copy of them"
        found.append(trial.score(trial.rows, model).clone())
    before, first, weighed, again = found
    why = "once they were counted with other weights in between, forget in count what was counted before"
    # a hundredth, since what is fitted by steps may begin where the last count has ended
    if violation := trial.unequal(trial.rows, first, again, why, least=1e-2):
        return violation
    if torch.equal(before, first) and torch.equal(first, weighed):
        return f"counting {len(rows)} rows changes no score, learn from them in count"
    return None


STEPS = [_step_is_normalised, _state_rows_can_be_selected]
SUMS = [
    _total_mass_is_one,
    _steps_multiply_to_log_prob,
    _a_beginning_is_as_likely_as_all_that_follows,
]
COUNTING = [_counting_forgets_what_was_counted]
