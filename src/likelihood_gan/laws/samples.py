"""Laws of samples: they are tokens, a seed repeats them, and they are as probable as the scores say."""

import inspect
import math

import torch
from scipy.stats import chi2
from torch import Tensor
from torch.nn.functional import pad

from likelihood_gan.laws.trials import Trial
from likelihood_gan.protocols import END, has_step

_IMPROBABLE = 1e-6
"""Samples that are less probable than this break a law."""
_SAME = (
    "sample from the distribution that log_prob describes: same temperature, no top-k, same start and "
    "END"
)


def _samples_are_tokens(trial: Trial) -> str | None:
    """Draw tokens that obey the convention and max_len; only there a row may be unfinished."""
    for n, max_len in ((1, 1), (64, 1), (64, min(2, trial.width))):
        trial.sample(n, max_len)
    return None if len(trial.drawn) else "there are no rows"


def _an_rng_repeats_the_samples(trial: Trial) -> str | None:
    """Draw twice from the same random numbers, through `rng` if there is such a parameter."""
    state, first, *_ = trial.two_draws
    trial.rng.set_state(state)
    if torch.equal(first, trial.sample(len(first), trial.width)):
        return None
    given = "rng" in inspect.signature(trial.model.sample).parameters
    source = (
        "generator=rng"
        if given
        else "PyTorch, not from NumPy or random; models.FromNumpy gives a NumPy model its rng"
    )
    return f"two draws of {len(first)} rows with the same seed differ, draw from {source}"


def _samples_follow_the_steps(trial: Trial) -> str | None:
    """Along samples, END and the rank of every symbol are as likely as step says.

    The rank is the probability of all likelier symbols and half of its own: its mean is 1/2 and its
    variance (1 - Σ p³) / 12. At a temperature above 1 it is higher, below lower. Without `step`, END
    alone is looked at, by log_prob of a beginning with and without it.
    """
    n = max(16, min(trial.budget.n_samples, 2**20 // trial.n_tokens))
    tokens = trial.drawn[:n]
    if not has_step(trial.model):
        return _ends_follow_log_prob(trial, tokens)
    previous, state = torch.full_like(tokens[:, 0], END), None
    alive = torch.ones_like(previous, dtype=torch.bool)
    ends = ranks = ends_variance = ranks_variance = 0.0
    n_drawn = n_ends = 0
    for current in tokens.unbind(1):
        log_probs, state = trial.step(previous, state)
        p, drawn = log_probs[alive].double().exp(), current[alive]
        ordered, order = p.sort(1, descending=True)
        place = (order == drawn[:, None]).long().argmax(1, keepdim=True)
        own = ordered.gather(1, place)[:, 0]
        if not own.all():
            return f"a symbol was drawn that step gives probability 0, {_SAME}"
        rank = ordered.cumsum(1).gather(1, place)[:, 0] - own / 2
        ranks += float((rank - 0.5).sum())
        ranks_variance += float((1 - p.pow(3).sum(1)).sum()) / 12
        ends += float(((drawn == END).double() - p[:, END]).sum())
        ends_variance += float((p[:, END] * (1 - p[:, END])).sum())
        n_drawn, n_ends = n_drawn + len(drawn), n_ends + int((drawn == END).sum())
        previous, alive = current, alive & (current != END)
        if not alive.any():
            break
    wrong_ends = _wrong_ends(ends, n_drawn) if _bound(ends, ends_variance) < _IMPROBABLE else None
    if n_ends and _bound(ranks, ranks_variance) < _IMPROBABLE:
        direction = "more evenly" if ranks > 0 else "more often the likeliest"
        return (
            f"{n_drawn} symbols in samples are drawn {direction} than step says, their mean rank is "
            f"{0.5 + ranks / n_drawn:.3f} instead of 0.5, {_SAME}"
        )
    return wrong_ends


def _ends_follow_log_prob(trial: Trial, tokens: Tensor) -> str | None:
    """END is as frequent in samples as log_prob says, at several lengths."""
    tokens = tokens[: trial.budget.n_listed // 8]
    ends = variance = 0.0
    n_drawn = 0
    for depth in torch.linspace(1, trial.width - 1, min(8, trial.width - 1)).long().tolist():
        rows = tokens[(tokens[:, :depth] != END).all(1)]
        if not len(rows):
            break
        ended = pad(rows[:, :depth], (0, 1))
        p = (trial.score(ended).double() - trial.score(rows[:, :depth]).double()).exp()
        p = p.nan_to_num(0.0).clamp(0, 1)
        ends += float(((rows[:, depth] == END).double() - p).sum())
        variance += float((p * (1 - p)).sum())
        n_drawn += len(rows)
    return _wrong_ends(ends, n_drawn) if _bound(ends, variance) < _IMPROBABLE else None


def _wrong_ends(excess: float, n: int) -> str:
    often = "more" if excess > 0 else "less"
    return (
        f"END was drawn {abs(excess):.0f} times {often} in {n} places than log_prob says, draw it like "
        "any other token, and end a row there"
    )


def _sample_frequencies_are_probabilities(trial: Trial) -> str | None:
    """Frequencies agree with exp(log_prob): a G test, their mean rank, and no sample is impossible."""
    if not trial.widths:
        return None
    n, width = trial.budget.n_samples, trial.widths[-1]
    rows, log_probs = trial.all_rows(width)
    drawn = trial.sample(n, width)
    place = trial.n_tokens ** torch.arange(width, device=trial.device)
    cells = (pad(drawn, (0, width - drawn.shape[1])) * place).sum(1)
    counts = cells.bincount(minlength=trial.n_tokens**width)[(rows * place).sum(1)].double()
    probabilities = log_probs.softmax(0)
    # Rarest first, neighbours are pooled until about 20 are expected.
    order = probabilities.argsort()
    expected, observed = n * probabilities[order], counts[order]
    cumulative = expected.cumsum(0)
    group = ((cumulative - expected) / 20).long()
    pooled, in_group = (group.bincount(weights=x) for x in (expected, observed))
    in_group, pooled = in_group[pooled > 0], pooled[pooled > 0]
    g = 2 * float(in_group.xlogy(in_group / pooled).sum())
    p = float(chi2.sf(g, len(pooled) - 1)) if len(pooled) > 1 else 1.0
    rank = float((observed * (cumulative - expected / 2)).sum()) / n - n / 2  # see the steps
    even = _bound(rank, n * float(1 - probabilities.pow(3).sum()) / 12)
    impossible = int(counts[probabilities == 0].sum())
    if min(p, even) > _IMPROBABLE and not impossible:
        return None
    expected = n * probabilities
    scale = (expected + (expected > 0) + 1e-9).sqrt()  # an impossible row is the worst
    worst = int(((counts - expected) / scale).abs().argmax())
    return (
        f"{rows[worst].tolist()} came {int(counts[worst])} times in {n} samples, but log_prob "
        f"expects {expected[worst]:.1f} (G = {g:.0f} on {len(pooled) - 1} degrees of freedom, "
        f"p = {p:.1g}, p of ranks {even:.1g}, {impossible} samples impossible), {_SAME}"
    )


def _draws_are_independent(trial: Trial) -> str | None:
    """Rows of two draws come again as often as their probabilities say.

    Given the rows before it, a row is one of them with the sum of their probabilities, and the last of
    them with its own. That two draws are equal has the probability of the second.
    """
    _, first, second, overwritten = trial.two_draws
    if overwritten:
        return "a later call has changed what an earlier one returned, return a new tensor"
    rows = torch.cat([trial.widened(first), trial.widened(second)])
    log_probs = trial.score(rows).double()
    remedy = "draw every row anew from the rng, and seed nothing inside of sample"
    if torch.equal(first, second) and log_probs[len(first) :].sum() < math.log(_IMPROBABLE):
        return f"two draws of {len(first)} rows in a row are equal, {remedy}"
    p = log_probs.exp()
    same = (rows[1:] == rows[:-1]).all(1)
    twins, few = float((same.double() - p[:-1]).sum()), float((p * (1 - p).clamp(min=0))[:-1].sum())
    if _bound(twins, few) < _IMPROBABLE:
        return (
            f"{int(same.sum())} of {len(rows)} rows are equal to the one before, but log_prob expects "
            f"{float(p[:-1].sum()):.1f}, {remedy}"
        )
    _, kind = rows.unique(dim=0, return_inverse=True)
    number = torch.arange(len(rows), device=rows.device)
    earliest = number.new_full((len(rows),), len(rows)).scatter_reduce(0, kind, number, "amin")
    is_new = earliest[kind] == number
    known = ((p * is_new).cumsum(0) - p * is_new).clamp(0, 1)
    repeats, expected = float((~is_new).sum()), float(known.sum())
    if _bound(repeats - expected, float((known * (1 - known)).sum())) > _IMPROBABLE:
        return None
    return (
        f"{repeats:.0f} of {len(rows)} rows in two draws came before, but log_prob expects "
        f"{expected:.1f}, {remedy}"
    )


def _bound(deviation: float, variance: float) -> float:
    """Bound the probability that a sum deviates as far from its mean (Freedman's inequality, 1975).

    Each term is at most 1 away from its mean, given those before it; `variance` is the sum of theirs.
    """
    return 2 * math.exp(-(deviation**2) / (2 * (variance + abs(deviation) / 3) + 1e-9))


TOKENS = [_samples_are_tokens]
SAMPLES = [
    _an_rng_repeats_the_samples,
    _samples_follow_the_steps,
    _sample_frequencies_are_probabilities,
    _draws_are_independent,
]
