"""Log-probabilities and logits of many rows: without gradients, in the fastest way that is exact.

What is done with the numbers is left to the callers.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from likelihood_gan.devices import device_of
from likelihood_gan.prefix_tree import PrefixTree
from likelihood_gan.protocols import (
    Discriminator,
    Generator,
    call_with_rng,
    checked_log_prob,
    checked_logits,
    is_by_steps,
    lengths,
)
from likelihood_gan.rows import by_length

ROWS_WORTH_A_TREE = 512
"""Rows from which on it pays to look for prefixes that they share."""
_SHARING_WORTH_A_TREE = 2
"""A step costs more than a position of a whole row: that many rows have to share one."""
_NUMBERS_PER_BATCH = 2**24
"""Most numbers of what a model makes of a batch, unless that is a single row."""
_NUMBERS_PER_TOKEN = 256
"""What a layer makes of a token, about, if the vocabulary is smaller than that."""


@contextmanager
def evaluating(module: object) -> Iterator[None]:
    """Hold a module in evaluation mode (no dropout); every part of it gets its mode back."""
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    training = [part for part in parts if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def score_rows(generator: Generator, tokens: Tensor) -> Tensor:
    """Score rows in nats, (n,), float64, on the CPU: by their prefix tree if it is much smaller.

    Random numbers, for a plug-in that draws when it scores, are the same in every call.
    """
    device = device_of(generator)
    tokens = tokens.to(device)
    if device.type == "cpu" and len(tokens) >= ROWS_WORTH_A_TREE and is_by_steps(generator):
        tree = PrefixTree(tokens)
        if tree.sharing() > _SHARING_WORTH_A_TREE:
            with evaluating(generator):
                return tree.log_probs(generator)  # type: ignore[arg-type]
    return log_probs(generator, tokens, torch.Generator(device).manual_seed(0)).cpu()


def judge_rows(discriminator: Discriminator, tokens: Tensor) -> Tensor:
    """Give the logit of each row, (n,), float64, on the CPU; for random numbers see `score_rows`."""
    device = device_of(discriminator)
    rng = torch.Generator(device).manual_seed(0)
    return logits(discriminator, tokens.to(device), rng).cpu()


def posterior_logits(
    generator: Generator, discriminator: Discriminator, tokens: Tensor, n_tokens: int | None
) -> Tensor:
    """Give the log-odds that each row is real, against generated and, with `n_tokens`, random: (n,).

    A random row draws every symbol and END from all tokens alike; all sources are equally probable
    beforehand. The discriminator's logit l estimates log p_data / p, so by Bayes' rule the odds are
    u p / (p + q), u = exp(l).
    """
    logits = judge_rows(discriminator, tokens)
    if n_tokens is None:
        return logits
    log_q = -(lengths(tokens) + 1) * math.log(n_tokens)
    return logits - softplus(log_q - score_rows(generator, tokens))


def log_probs(
    generator: Generator, tokens: Tensor, rng: torch.Generator, batch_size: int = 1024
) -> Tensor:
    """Score rows in nats, float64, without gradients and in batches of similar length."""
    return _in_batches(
        lambda rows: checked_log_prob(call_with_rng(generator.log_prob, rows, rng=rng), len(rows)),
        generator,
        tokens,
        batch_size,
    )


def logits(
    discriminator: Discriminator, tokens: Tensor, rng: torch.Generator, batch_size: int = 1024
) -> Tensor:
    """Judge rows, float64, without gradients and in batches of similar length."""
    return _in_batches(
        lambda rows: checked_logits(call_with_rng(discriminator, rows, rng=rng), len(rows)),
        discriminator,
        tokens,
        batch_size,
    )


def _in_batches(
    function: Callable[[Tensor], Tensor], module: object, tokens: Tensor, batch_size: int
) -> Tensor:
    n_symbols = lengths(tokens).cpu()
    result = torch.empty(len(tokens), dtype=torch.float64, device=tokens.device)
    # a table of next symbols has a number for each token, of which the largest is an estimate
    per_token = max(int(tokens.max()) + 1 if tokens.numel() else 1, _NUMBERS_PER_TOKEN)
    groups = by_length(n_symbols.numpy() + 1, _NUMBERS_PER_BATCH // per_token, batch_size)
    with torch.no_grad(), evaluating(module):
        for index in map(torch.from_numpy, groups):
            rows = tokens[index.to(tokens.device), : int(n_symbols[index].max()) + 1]
            result[index.to(tokens.device)] = function(rows).double()
    return result
