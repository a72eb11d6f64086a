"""What a fitted generator should beat on held-out data: an n-gram model, and the data's frequencies.

What is held out, and what is made of a generator that does not, is left to the callers.
"""

import math

import torch
from torch import Tensor

from likelihood_gan.corpus import Corpus
from likelihood_gan.models import NGram
from likelihood_gan.protocols import Generator, has_count
from likelihood_gan.rows import occurrences
from likelihood_gan.scoring import log_probs

N_ERRORS = 2.0
"""Standard errors by which a control must be better to be worth a word."""


class PoorFitWarning(UserWarning):
    """A fitted generator is worse than a control that takes no time."""


def poor_fit(generator: Generator, corpus: Corpus, held_out: Corpus, n_tokens: int) -> str | None:
    """Say which control is better on held-out data than a generator; None if there is none.

    A generator that counts begins as an n-gram model and is compared with frequencies alone.
    """
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


def _gain(difference: Tensor, shares: Tensor, n: float) -> tuple[float, float]:
    """Mean of `n` differences, whose shares are given, and its standard error."""
    mean = float((shares * difference).sum())
    if n < 2 or math.isinf(mean):
        return mean, math.inf if n < 2 else 0.0
    return mean, math.sqrt(float((shares * (difference - mean).square()).sum()) / (n - 1))
