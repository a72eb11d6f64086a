"""Whether a model is a generator or a discriminator: all laws of the protocols, thoroughly.

The laws themselves are in `laws`; `fit` tries the same ones, with less of everything.
"""

from typing import Any

from torch import nn

from likelihood_gan.laws import DISCRIMINATOR_LAWS, GENERATOR_LAWS, Budget, Trial, require
from likelihood_gan.protocols import Generator
from likelihood_gan.rules import check, integer, random_source

__all__ = ["check_discriminator", "check_generator"]

_LISTED = 4096
"""Most rows that are listed to add up their probabilities; of one column always all."""


def check_generator(
    model: Generator,
    n_tokens: int,
    *,
    max_len: int = 8,
    n_samples: int = 10_000,
    random_state: Any = 0,
) -> None:
    """Raise an error if a model breaks a law of the `Generator` protocol.

    A copy of it is tried, a module in evaluation mode: the model, trained or not, stays as it is, and
    so do PyTorch's global random numbers. A small alphabet is checked best: with 3 tokens all rows
    of up to 6 columns are enumerated, with 27 those of 2, with 5,000 those of 1.

    Parameters
    ----------
    model : Generator
        Any object with `log_prob` and `sample`; `step` and `count` are checked if they are there. In
        single or double precision, and ready for rows of `max_len` + 3 tokens.
    n_tokens : int
        Number of tokens, END (0) included; at least 2.
    max_len : int, default=8
        Most tokens of the rows that are tried. What goes wrong in longer ones is not seen.
    n_samples : int, default=10_000
        Rows drawn to compare them with their probabilities.
    random_state : int, RandomState or None, default=0
        Seed of all draws.

    Raises
    ------
    ValueError
        It begins with the name of the first law that is broken.

    Notes
    -----
    A lawful model is refused by a test of its samples less than once in a million. With 27 tokens, a
    model that samples at a temperature of 1.1 was found by 1,000 samples (9 of 10 seeds, a table of
    bigrams and an LSTM of names), of 1.05 by 10,000 (all of 10), of 1.02 by 100,000; one that leaves out
    the least likely twentieth (``top_p=0.95``) by 1,000 (9 of 10), the least likely hundredth by 100,000.
    A model that is nearly uniform samples alike at every temperature.

    Scores are compared to four digits. What cannot be known is what goes wrong in other rows than the
    some thirty that are tried, after more calls than are made, or on another device; and what noise hides
    in training mode: only a model without noise is compared with itself in evaluation mode.
    """
    _require_tokens(n_tokens)
    check(max_len, "max_len", integer(1))
    check(n_samples, "n_samples", integer(1))
    budget = Budget(max_len, 3, n_samples, max(_LISTED, n_tokens), n_alone=64)
    require(GENERATOR_LAWS, Trial(model, "log_prob", n_tokens, budget, _seed(random_state)))


def check_discriminator(
    model: nn.Module, n_tokens: int, *, max_len: int = 8, random_state: Any = 0
) -> None:
    """Raise an error if a module breaks a law of the `Discriminator` protocol.

    Parameters, errors and what stays as it was: see `check_generator`.
    """
    _require_tokens(n_tokens)
    check(max_len, "max_len", integer(1))
    budget = Budget(max_len, 3, n_samples=0, n_listed=0, n_alone=64)
    require(DISCRIMINATOR_LAWS, Trial(model, "logit", n_tokens, budget, _seed(random_state)))


def _require_tokens(n_tokens: int) -> None:
    if n_tokens < 2:
        raise ValueError(f"n_tokens must be at least 2 (END and a symbol), got {n_tokens}")


def _seed(random_state: Any) -> int:
    return int(random_source(random_state).randint(2**31 - 1))
