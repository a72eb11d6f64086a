"""Oracles: all rows over a tiny alphabet, and models whose distribution is known."""

import itertools

import torch
from torch import nn

from likelihood_gan import Autoregressive


def all_rows(n_tokens, width):
    """List every ended row of at most `width` tokens and every unfinished one of `width`."""
    rows = []
    for length in range(width + 1):
        for symbols in itertools.product(range(1, n_tokens), repeat=length):
            rows.append([*symbols, *[0] * (width - length)])
    return torch.tensor(rows)


def frequencies(sample, rows):
    """Share of each of `rows` in a sample, which is padded to their width."""
    sample = nn.functional.pad(sample, (0, rows.shape[1] - sample.shape[1]))
    base = int(rows.max()) + 1
    place = base ** torch.arange(rows.shape[1])
    index = {int(code): i for i, code in enumerate((rows * place).sum(1))}
    counts = torch.zeros(len(rows))
    for code in (sample * place).sum(1).tolist():
        counts[index[code]] += 1
    return counts / len(sample)


class Bigram(Autoregressive, nn.Module):
    """A table of next-symbol logits: the smallest generator."""

    def __init__(self, n_tokens, seed=0):
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.logits = nn.Parameter(torch.randn(n_tokens, n_tokens, generator=rng))

    def step(self, tokens, state):
        return self.logits.log_softmax(-1)[tokens], state


class NoStep(nn.Module):
    """A generator that offers the two required methods only, and draws from the global state."""

    def __init__(self, n_tokens):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_tokens))

    def log_prob(self, tokens):
        log_p = self.logits.log_softmax(-1)
        first_end = (tokens == 0).cumsum(1).cumsum(1) <= 1
        return (log_p[tokens] * first_end).sum(1)

    def sample(self, n, max_len):
        tokens = torch.multinomial(self.logits.softmax(-1), n * max_len, replacement=True)
        tokens = tokens.view(n, max_len)
        return tokens * ((tokens == 0).cumsum(1) == 0)
