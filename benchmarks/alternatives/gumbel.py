"""Straight-through Gumbel-softmax (Jang et al. 2017; Kusner and Hernández-Lobato 2016).

Both models must read vectors of symbol weights instead of tokens, so it needs their insides (a linear
input layer); a prefix tree, a language model with token ids or a discriminator on features has
none. One pass of each, but symbol by symbol: 2 maximum-likelihood steps. The gradient is biased.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot, softplus

from benchmarks.alternatives.training import playing, rng_on, train_copy
from likelihood_gan.protocols import END, lengths
from likelihood_gan.sampling import take_rows


@dataclass(eq=False)
class GumbelSoftmax:
    """Differentiate D through the symbols: one-hot forwards, softmax at a temperature backwards.

    The loss is the non-saturating -mean log D. The discriminator's own loss needs no change: what
    it reads in the forward direction are sequences.
    """

    width: int
    temperature: float
    rng: torch.Generator

    def __call__(self, batch):
        generator, discriminator = batch.real.generator, batch.real.discriminator
        with playing(generator, discriminator):
            weights = self.write(generator, len(batch.real.tokens))
            return softplus(-judge(discriminator, weights)).mean()

    def write(self, generator, n):
        """Draw rows of symbol weights, one-hot in value, (n, time, n_tokens); END once they end."""
        parameter = generator.output.weight
        end = one_hot(torch.tensor(END), len(parameter)).to(parameter).expand(n, -1)
        going, state, current, columns = torch.arange(n, device=parameter.device), None, end, []
        for _ in range(self.width):
            inputs = embed(generator.symbols, current)[:, None]
            hidden, state = generator.lstm(inputs, state, None)
            log_probs = generator.output(hidden[:, 0]).log_softmax(-1)
            gumbel = -torch.empty_like(log_probs).exponential_(generator=self.rng).log()
            drawn = (log_probs + gumbel).argmax(-1)
            soft = ((log_probs + gumbel) / self.temperature).softmax(-1)
            current = one_hot(drawn, len(parameter)) + (soft - soft.detach())
            columns.append(end.index_put((going,), current))
            keep = (drawn != END).nonzero()[:, 0]
            if len(keep) == 0:
                break
            going, current, state = going[keep], current[keep], take_rows(state, keep)
        return torch.stack(columns, 1)


def embed(symbols, weights):
    """Return what the module `symbols` makes of tokens, of weighted symbols."""
    return weights if symbols.embedding is None else weights @ symbols.embedding.weight


def judge(discriminator, weights):
    """Return the logits of an `LSTMDiscriminator` for symbol weights (batch, time, n_tokens)."""
    rows, positions = (torch.arange(size, device=weights.device) for size in weights.shape[:2])
    last = lengths(weights.argmax(-1)).clamp(max=len(positions) - 1)
    inputs = embed(discriminator.symbols, weights)
    backwards = inputs[rows[:, None], (last[:, None] - positions).clamp(min=0)]
    readings = zip(discriminator.directions, (inputs, backwards), strict=False)
    summaries = [stack(reading, None, None)[0][rows, last] for stack, reading in readings]
    return discriminator.output(torch.cat(summaries, 1))[:, 0]


def train(gan, sequences, *, epochs, random_state, temperature=1.0, **params):
    """Train a copy by straight-through Gumbel-softmax; both models must be the bundled ones."""
    width = max(map(len, sequences)) + 1
    objective = GumbelSoftmax(width, temperature, rng_on(gan, random_state))
    return train_copy(gan, sequences, objective, epochs, random_state, params)
