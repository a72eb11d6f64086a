"""What a fitted generator should beat: an n-gram model, the data's frequencies, random symbols.

What is held out, and what is made of a generator that does not, is left to the callers.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from likelihood_gan.corpus import Corpus
from likelihood_gan.models import NGram
from likelihood_gan.protocols import Generator, has_count
from likelihood_gan.rows import occurrences
from likelihood_gan.scoring import log_probs

N_ERRORS = 2.0
"""Standard errors by which a control must be better to be worth a word."""
TIMES_RANDOM = 2.0
"""Nats, in those of random symbols, above which training has diverged, if it did not begin there."""
_ROWS = 1000  # of the training data, where some will do


class PoorFitWarning(UserWarning):
    """A fitted generator is worse than a control that takes no time."""


class Diverged(FloatingPointError):
    """Training made a model that finds the data much less likely than random symbols."""


def nats(generator: Generator, corpus: Corpus) -> float:
    """Negative log-likelihood of the data, or of some of them, in nats per sequence."""
    own, shares, _ = _on_training_data(generator, corpus, 1)
    return -float((shares * own).sum())


def check_progress(
    history: Iterable[Mapping[str, Any]], corpus: Corpus, n_tokens: int, before: float, rate: object
) -> None:
    """Raise Diverged if in no epoch of pretraining the loss is near that of random symbols.

    Parameters
    ----------
    history : iterable of dict
        All records so far.
    corpus : Corpus
        What is trained on.
    n_tokens : int
        Number of tokens, END included.
    before : float
        Nats per sequence of the generator before training: it may have begun with worse ones.
    rate : float, mapping or callable
        `pretrain_learning_rate`, for the message.
    """
    losses = [record["generator_loss"] for record in history if record["phase"] == "pretrain"]
    shares = corpus.log_frequency.double().exp()
    random = float((shares * (corpus.lengths + 1)).sum()) * math.log(n_tokens)
    if losses and min(losses) > TIMES_RANDOM * max(before, random):
        raise Diverged(
            f"with pretrain_learning_rate={rate!r} the loss was never below {min(losses):.4g} nats per "
            f"sequence, where random symbols have {random:.4g}"
        )


def poor_discriminator(history: Iterable[Mapping[str, Any]]) -> str | None:
    """Say that a discriminator has learned nothing, if its loss was always far above that of a guess."""
    losses = [record["discriminator_loss"] for record in history if "discriminator_loss" in record]
    guess = 2 * math.log(2)
    if not losses or min(losses) <= TIMES_RANDOM * guess:
        return None
    return (
        f"the discriminator's loss was never below {min(losses):.4g}, where guessing has {guess:.4g}: "
        "it has learned nothing, and neither has the generator from it; try a lower "
        "discriminator_learning_rate"
    )


def poor_fit(
    generator: Generator, corpus: Corpus, held_out: Corpus | None, n_tokens: int
) -> str | None:
    """Say which control is better on held-out data than a generator; None if there is none.

    A generator that counts begins as an n-gram model and is compared with frequencies alone. If
    nothing is held out, the control is random symbols, on data that it was trained on.
    """
    if held_out is None:
        own, shares, random = _on_training_data(generator, corpus, n_tokens)
        gain, error = _gain(random - own, shares, len(own))
        if gain <= N_ERRORS * error:
            return None
        return (
            f"the data are better explained as random symbols than by the fitted generator: by "
            f"{gain:.2f} nats per sequence, standard error {error:.2f}; try a lower learning rate "
            "(adversarial_ or pretrain_learning_rate), or early_stopping=True"
        )
    rng = torch.Generator(corpus.tokens.device).manual_seed(0)
    own = log_probs(generator, held_out.tokens, rng)
    controls = {"by the frequencies of the data": corpus.log_frequency_of(held_out.tokens).double()}
    if not has_count(generator):
        ngram = NGram(n_tokens).to(corpus.tokens.device)
        ngram.count(corpus.tokens, corpus.weights)
        name = "by an n-gram model (generator=likelihood_gan.models.NGram)"
        controls[name] = log_probs(ngram.eval(), held_out.tokens, rng)
    shares = held_out.log_frequency.double().exp()
    n = float(occurrences(held_out.weights.double().cpu().numpy()).sum())
    for name, other in controls.items():
        if (other == -torch.inf).any():
            continue
        gain, error = _gain(other - own, shares, n)
        if gain > N_ERRORS * error:
            return (
                f"held-out data are better explained {name} than by the fitted generator: by "
                f"{gain:.2f} nats per sequence, standard error {error:.2f}"
            )
    return None


def _on_training_data(
    generator: Generator, corpus: Corpus, n_tokens: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of some rows, their shares, and their log-probabilities as random symbols."""
    rng = torch.Generator(corpus.tokens.device).manual_seed(0)
    own = log_probs(generator, corpus.tokens[:_ROWS], rng)
    random = -(corpus.lengths[:_ROWS] + 1).double() * math.log(n_tokens)
    return own, corpus.log_frequency[:_ROWS].double().softmax(0), random


def _gain(difference: Tensor, shares: Tensor, n: float) -> tuple[float, float]:
    """Mean of `n` differences, whose shares are given, and its standard error."""
    mean = float((shares * difference).sum())
    if n < 2 or math.isinf(mean):
        return mean, math.inf if n < 2 else 0.0
    return mean, math.sqrt(float((shares * (difference - mean).square()).sum()) / (n - 1))
