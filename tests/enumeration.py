"""Oracles: all rows over a tiny alphabet, and models whose distribution is known."""

import itertools

import torch
from scipy.stats import chi2
from torch import nn

from likelihood_gan import Autoregressive


def seeded(seed=0):
    """Return a source of random numbers."""
    return torch.Generator().manual_seed(seed)


def stirred(model, seed=0):
    """Move all weights by a random amount, in place: a fresh model may begin as something simple."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=seeded(seed))
    return model


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


def assert_distribution(sampled, rows, p):
    """Pearson's chi-square; rows that are expected less than 5 times count as one."""
    p, observed = p.detach().double(), frequencies(sampled, rows).double()
    rare = p * len(sampled) < 5
    p, observed = (torch.cat([x[~rare], x[rare].sum()[None]]) for x in (p, observed))
    chi_square = (len(sampled) * (observed - p).square() / p.clamp(min=1e-12)).sum()
    assert chi2.sf(float(chi_square), len(p) - 1) > 1e-3


class Bigram(Autoregressive, nn.Module):
    """A table of next-symbol logits: the smallest generator."""

    def __init__(self, n_tokens, seed=0):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(n_tokens, n_tokens, generator=seeded(seed)))

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
