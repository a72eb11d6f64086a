"""SeqGAN: policy gradient with Monte-Carlo roll-outs (Yu et al. 2017, Equation 4, Algorithm 1).

It changes nothing in the models, but the generator must offer `step`, states included: every prefix
of every generated sequence is completed `n_rollouts` times and every completion judged: for T
symbols a sequence up to n_rollouts (T - 1) / 2 passes of the generator and n_rollouts (T - 1) of
the discriminator. With 16 of them an update of names costs 18 maximum-likelihood steps.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from benchmarks.alternatives.training import playing, rng_on, train_copy
from likelihood_gan.protocols import END
from likelihood_gan.sampling import draw, take_rows


@dataclass(eq=False)
class RollOuts:
    """Ascend E_p[D] with a value for every symbol: an objective of the package's loop.

    The value of a prefix is the mean D of `n_rollouts` completions, drawn from the generator as it
    is (the paper's roll-out policy); that of a whole sequence is its D. The baseline of a symbol is
    the value of what stands before it, of the first the mean D of the other sequences: neither
    depends on the symbol, so the gradient stays unbiased. The paper has no baseline.
    """

    width: int
    n_rollouts: int
    rng: torch.Generator

    def __call__(self, batch):
        generator, discriminator = batch.generated.generator, batch.generated.discriminator
        with playing(generator, discriminator):
            log_prob, values = self.read(generator, discriminator, batch.generated.tokens)
        loss = -((values[:, 1:] - values[:, :-1]) * log_prob).sum() / len(log_prob)
        return loss - (loss + values[:, -1].mean()).detach()  # its value is the mean D, negated

    def read(self, generator, discriminator, tokens):
        """Return log p of every symbol and the values before, between and after the symbols.

        Shapes (batch, time) and (batch, time + 1). After the end the first are 0 and the second
        repeat the sequence's D, so that no advantage is left there.
        """
        with torch.no_grad():
            whole = discriminator(tokens).sigmoid()
        values = whole[:, None].repeat(1, tokens.shape[1] + 1)
        values[:, 0] = (whole.sum() - whole) / max(len(whole) - 1, 1)
        going = torch.arange(len(tokens), device=tokens.device)
        current, state, columns = torch.full_like(going, END), None, []
        for t in range(tokens.shape[1]):
            log_probs, state = generator.step(current, state)
            if t > 0:
                prefixes = tokens[going, :t]
                values[going, t] = self.value(generator, discriminator, prefixes, log_probs, state)
            current = tokens[going, t]
            chosen = log_probs.gather(1, current[:, None])[:, 0]
            columns.append(chosen.new_zeros(len(tokens)).index_put((going,), chosen))
            keep = (current != END).nonzero()[:, 0]
            if len(keep) == 0:
                break
            going, current, state = going[keep], current[keep], take_rows(state, keep)
        return pad(torch.stack(columns, 1), (0, tokens.shape[1] - len(columns))), values

    @torch.no_grad()
    def value(self, generator, discriminator, prefixes, log_probs, state):
        """Return the mean D of `n_rollouts` completions of every prefix, (rows,)."""
        many = torch.arange(len(prefixes), device=prefixes.device)
        many = many.repeat_interleave(self.n_rollouts)
        state = take_rows(state, many)
        completed = self.complete(generator, prefixes[many], log_probs[many], state)
        return discriminator(completed).sigmoid().view(-1, self.n_rollouts).mean(1)

    def complete(self, generator, prefixes, log_probs, state):
        """Draw the rest of every row, (rows, t) -> (rows, width); rows that end are dropped."""
        tokens = pad(prefixes, (0, self.width - prefixes.shape[1]))
        going = torch.arange(len(tokens), device=tokens.device)
        for t in range(prefixes.shape[1], self.width):
            drawn = draw(log_probs, self.rng)
            tokens[going, t] = drawn
            keep = (drawn != END).nonzero()[:, 0]
            if t + 1 == self.width or len(keep) == 0:
                break
            going, drawn, state = going[keep], drawn[keep], take_rows(state, keep)
            log_probs, state = generator.step(drawn, state)
        return tokens


def train(gan, sequences, *, epochs, random_state, n_rollouts=16, **params):
    """Train a copy by SeqGAN; `params` are further parameters of the estimator."""
    width = max(map(len, sequences)) + 1
    objective = RollOuts(width, n_rollouts, rng_on(gan, random_state))
    return train_copy(gan, sequences, objective, epochs, random_state, params)
