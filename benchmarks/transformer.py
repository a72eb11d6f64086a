"""A character Transformer of the usual small size, trained as people train it.

Size, optimiser and batches are those of makemore (https://github.com/karpathy/makemore): 4 layers,
4 heads, 64 wide, about 200,000 parameters; AdamW at 5e-4 with a weight decay of .01, 32 sequences a
step, gradients clipped at norm 1, held-out sequences scored every 500 steps, no dropout. The weights
of the best score are kept. Short lists need dropout, which nanoGPT has at the same three places. What
it is compared with is left to the experiments.
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention

from likelihood_gan import Autoregressive, SequenceDistribution
from likelihood_gan.protocols import END, by_steps
from likelihood_gan.sampling import log_prob_of
from likelihood_gan.vocabulary import Vocabulary


class CharTransformer(Autoregressive, nn.Module):
    """Decoder that reads at most `max_len` symbols; `step` keeps keys and values."""

    def __init__(self, n_tokens, max_len, n_layers=4, n_heads=4, width=64, dropout=0.0):
        super().__init__()
        self.max_len = max_len
        self.symbols = nn.Embedding(n_tokens, width)
        self.positions = nn.Embedding(max_len + 1, width)  # the start symbol has one, too
        self.blocks = nn.ModuleList(_Block(width, n_heads, dropout) for _ in range(n_layers))
        self.drop, self.norm = nn.Dropout(dropout), nn.LayerNorm(width)
        self.output = nn.Linear(width, n_tokens, bias=False)

    def step(self, tokens, state):
        """Read one token a row; the state holds keys and values of every layer."""
        log_probs, state = self._read(tokens[:, None], state)
        return log_probs[:, 0], state

    def next_log_probs(self, tokens):
        """Log-probabilities of every next symbol, (batch, time) -> (batch, time, n_tokens)."""
        return self._read(pad(tokens[:, :-1], (1, 0), value=END), None)[0]

    @by_steps
    def log_prob(self, tokens):
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        return log_prob_of(self.next_log_probs(tokens), tokens)

    def _read(self, tokens, state):
        known = 0 if state is None else state[0][0].shape[2]
        time = torch.arange(known, known + tokens.shape[1], device=tokens.device)
        if time[-1] > self.max_len:
            raise ValueError(f"tokens has more than max_len={self.max_len} symbols and END")
        hidden = self.drop(self.symbols(tokens) + self.positions(time))
        states = []
        for block, before in zip(self.blocks, state or [None] * len(self.blocks), strict=True):
            hidden, after = block(hidden, before)
            states.append(after)
        return self.output(self.norm(hidden)).log_softmax(-1), states


class _Block(nn.Module):
    """Self-attention and a perceptron, each behind a norm and beside a residual connection."""

    def __init__(self, width, n_heads, dropout):
        super().__init__()
        self.n_heads, self.drop = n_heads, nn.Dropout(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attend, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, hidden, before):
        """(batch, time, width) -> the same; keys and values (batch, heads, time, width / heads)."""
        parts = self.attend(self.norms[0](hidden)).chunk(3, -1)
        query, key, value = (x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for x in parts)
        if before is not None:  # one token, which sees all
            key, value = (torch.cat(pair, 2) for pair in zip(before, (key, value), strict=True))
        seen = scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=self.drop.p if self.training else 0.0,
            is_causal=before is None,
        )
        hidden = hidden + self.drop(self.join(seen.transpose(1, 2).flatten(2)))
        return hidden + self.drop(self.perceptron(self.norms[1](hidden))), (key, value)


def fit_transformer(
    split, seed, watch=None, *, batch_size=32, every=500, patience=8, most=200_000, **sizes
):
    """Train on a split until `patience` scores of the held-out part bring nothing new.

    `watch` is called as a callback of `LikelihoodGAN` is, whenever the held-out part is scored.

    Returns
    -------
    SequenceDistribution
        That of the best score.
    """
    vocabulary = Vocabulary(split.symbols)
    with torch.random.fork_rng(devices=[]):  # of the weights and of the dropout
        torch.manual_seed(seed)
        model = CharTransformer(vocabulary.n_tokens, split.max_len, **sizes)
        distribution = SequenceDistribution(model, vocabulary, split.max_len)
        _train(distribution, split, seed, watch, batch_size, every, patience, most)
    model.eval()
    return distribution


def _train(distribution, split, seed, watch, batch_size, every, patience, most):
    """Train in place and leave the weights of the best score."""
    model, (training, held_out) = distribution.generator, split.hold_out(seed)
    rng, shares = np.random.default_rng(seed), training / training.sum()
    tokens = distribution.vocabulary.encode_rows(split.fit)
    adam = torch.optim.AdamW(
        model.parameters(), lr=5e-4, weight_decay=0.01, betas=(0.9, 0.99), eps=1e-8
    )
    history, best, waited = [], None, 0
    for step in range(1, most + 1):
        if step % every == 1 % every:
            rows = tokens[rng.choice(len(tokens), (every, batch_size), p=shares)]
        batch = rows[(step - 1) % every]
        longest = int((batch != END).sum(1).max())
        n_symbols = (batch != END).sum() + len(batch)  # END included
        adam.zero_grad()
        (-model.log_prob(batch[:, : longest + 1]).sum() / n_symbols).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        if step % every == 0:
            nats = -distribution.score(split.fit, sample_weight=held_out)
            if not history or nats < min(record["validation_nll"] for record in history):
                best, waited = copy.deepcopy(model.state_dict()), 0
            else:
                waited += 1
            history.append({"step": step, "validation_nll": nats})
            if (watch and watch(distribution, history)) or waited >= patience:
                break
    if best is not None:
        model.load_state_dict(best)
