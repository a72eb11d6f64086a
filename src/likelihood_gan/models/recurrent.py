"""The bundled LSTMs: `CharLSTM` writes sequences, `LSTMDiscriminator` judges them.

How they are trained is left to `training`.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from likelihood_gan.processes import draw_rows
from likelihood_gan.protocols import END, State, by_steps, lengths
from likelihood_gan.rules import DROPOUT, FLAG, NONE, check, integer
from likelihood_gan.sampling import Autoregressive, log_prob_of

ONE_HOT_TOKENS = 1000
"""Most tokens that are fed as one-hot vectors: with more, an embedding is made by itself.

A step of a `CharLSTM` of 128 units over 64 rows of 10 symbols took 4.9 ms one-hot and 6.1 ms with an
embedding of 128 at 30 tokens, 7.7 and 6.9 at 200, 22.9 and 12.8 at 1,000, 272.6 and 107.5 at 10,000 (one
thread); a width of 64 took 5 to 12% less than 128.
"""
EMBEDDING_SIZE = 128
"""Width of the embedding that is made by itself."""


class Symbols(nn.Module):
    """Tokens to vectors: one-hot, or a learned embedding.

    Without `embedding_size` they are one-hot up to ONE_HOT_TOKENS tokens, else EMBEDDING_SIZE wide.
    """

    def __init__(self, n_tokens: int, embedding_size: int | None):
        super().__init__()
        if embedding_size is None and n_tokens > ONE_HOT_TOKENS:
            embedding_size = EMBEDDING_SIZE
        self.n_tokens = n_tokens
        self.size = embedding_size or n_tokens
        self.embedding = nn.Embedding(n_tokens, embedding_size) if embedding_size else None

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """(batch, time) -> (batch, time, size)."""
        if self.embedding is not None:
            return self.embedding(tokens)
        return nn.functional.one_hot(tokens, self.n_tokens).to(dtype)


class LSTMStack(nn.Module):
    """LSTM layers with dropout in front of every layer but the first, and after the last."""

    def __init__(self, input_size: int, hidden_size: int, n_layers: int, dropout: float):
        super().__init__()
        hidden_size = int(hidden_size)  # PyTorch refuses numpy's integers
        sizes = [int(input_size)] + [hidden_size] * (n_layers - 1)
        self.layers = nn.ModuleList(nn.LSTM(size, hidden_size, batch_first=True) for size in sizes)
        self.dropout = dropout

    def forward(
        self, inputs: Tensor, state: State, rng: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """(batch, time, input) -> (batch, time, hidden); state: one (h, c) a layer."""
        new_state = []
        for i, layer in enumerate(self.layers):
            before = None if state is None else tuple(s[None] for s in state[i])
            inputs, (h, c) = layer(inputs, before)
            inputs = _drop(inputs, self.dropout if self.training else 0.0, rng)
            new_state.append((h[0], c[0]))
        return inputs, new_state


class CharLSTM(Autoregressive, nn.Module):
    """Autoregressive LSTM over symbols: each one is predicted from all before it.

    Parameters
    ----------
    n_tokens : int
        Number of tokens, END (0) included. END is also the start symbol.
    hidden_size : int, default=128
        Units of each layer.
    n_layers : int, default=1
        Number of layers.
    dropout : float, default=0.25
        Share of every layer's outputs that are dropped in training.
    embedding_size : int or None, default=None
        Width of a learned embedding; None feeds one-hot vectors, which is faster for small
        vocabularies, up to 1,000 tokens, and makes an embedding of 128 for more.
    rng : torch.Generator, optional
        Draws the initial weights; PyTorch's global state if missing.

    Notes
    -----
    `CharLSTM(n_tokens, hidden_size=8, dropout=0)` is the generator of the report "GAN Training
    for Discrete Generators".
    """

    def __init__(
        self,
        n_tokens: int,
        hidden_size: int = 128,
        n_layers: int = 1,
        dropout: float = 0.25,
        embedding_size: int | None = None,
        rng: torch.Generator | None = None,
    ):
        super().__init__()
        self.arguments = checked_arguments(
            n_tokens=n_tokens,
            hidden_size=hidden_size,
            n_layers=n_layers,
            dropout=dropout,
            embedding_size=embedding_size,
        )
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial draws are thrown away
            self.symbols = Symbols(n_tokens, embedding_size)
            self.lstm = LSTMStack(self.symbols.size, hidden_size, n_layers, dropout)
            self.output = nn.Linear(hidden_size, n_tokens)
        initialise(self, rng)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens)."""
        log_probs, state = self._read(tokens[:, None], state)
        return log_probs[:, 0], state

    @by_steps
    def log_prob(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        return log_prob_of(self.next_log_probs(tokens, rng), tokens)

    def next_log_probs(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probabilities of every next symbol, (batch, time) -> (batch, time, n_tokens)."""
        read = nn.functional.pad(tokens[:, :-1], (1, 0), value=END)
        log_probs, _ = self._read(read, None, rng)
        return log_probs

    def _read(
        self, tokens: Tensor, state: State, rng: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        inputs = self.symbols(tokens, self.output.weight.dtype)
        outputs, state = self.lstm(inputs, state, rng)
        return self.output(outputs).log_softmax(-1), state


class LSTMDiscriminator(nn.Module):
    """LSTM that reads a sequence up to its END and turns its last state into one logit.

    The logit depends on the sequence alone, not on the padding behind its END or on the rows
    beside it.

    Parameters
    ----------
    n_tokens : int
        Number of tokens, END (0) included.
    hidden_size : int, default=64
        Units of each layer and direction.
    n_layers : int, default=1
        Number of layers.
    dropout : float, default=0.0
        Share of every layer's outputs that are dropped in training.
    embedding_size : int or None, default=None
        Width of a learned embedding; None feeds one-hot vectors up to 1,000 tokens, and makes an
        embedding of 128 for more.
    bidirectional : bool, default=False
        Whether a second stack reads the sequence backwards, from its END.
    rng : torch.Generator, optional
        Draws the initial weights; PyTorch's global state if missing.

    Notes
    -----
    `LSTMDiscriminator(n_tokens, hidden_size=8)` is the report's discriminator.
    """

    def __init__(
        self,
        n_tokens: int,
        hidden_size: int = 64,
        n_layers: int = 1,
        dropout: float = 0.0,
        embedding_size: int | None = None,
        bidirectional: bool = False,
        rng: torch.Generator | None = None,
    ):
        super().__init__()
        check(bidirectional, "bidirectional", FLAG)
        self.arguments = checked_arguments(
            n_tokens=n_tokens,
            hidden_size=hidden_size,
            n_layers=n_layers,
            dropout=dropout,
            embedding_size=embedding_size,
        ) | {"bidirectional": bool(bidirectional)}
        with torch.random.fork_rng(devices=[]):
            self.symbols = Symbols(n_tokens, embedding_size)
            self.directions = nn.ModuleList(
                LSTMStack(self.symbols.size, hidden_size, n_layers, dropout)
                for _ in range(1 + bidirectional)
            )
            self.output = nn.Linear(hidden_size * (1 + bidirectional), 1)
        initialise(self, rng)

    def forward(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Logit of the probability that each row is real, (batch, time) -> (batch,)."""
        last = lengths(tokens).clamp(max=tokens.shape[1] - 1)  # END, or the last of a cut row
        time = torch.arange(tokens.shape[1], device=tokens.device)
        backwards = tokens.gather(1, (last[:, None] - time).clamp(min=0))
        summaries = []
        for stack, read in zip(self.directions, (tokens, backwards), strict=False):
            outputs, _ = stack(self.symbols(read, self.output.weight.dtype), None, rng)
            summaries.append(outputs[torch.arange(len(tokens), device=tokens.device), last])
        return self.output(torch.cat(summaries, 1))[:, 0]


def checked_arguments(dropout: float, **sizes: int | None) -> dict[str, Any]:
    """Return the arguments of a module, with which it can be built again, after a check."""
    for name, value in sizes.items():
        check(value, name, NONE | integer(1) if name == "embedding_size" else integer(1))
    check(dropout, "dropout", DROPOUT)
    return {**sizes, "dropout": dropout}


def _drop(inputs: Tensor, share: float, rng: torch.Generator | None) -> Tensor:
    # nn.Dropout draws from PyTorch's global state; threads would disturb each other
    if share == 0:
        return inputs
    keep = 1 - share
    # the draws of bernoulli_ on the CPU, in a third of its time
    uniform = draw_rows(
        lambda like: torch.empty_like(like, dtype=torch.float64).uniform_(generator=rng), inputs
    )
    return inputs * (uniform < keep) / keep


def initialise(module: nn.Module, rng: torch.Generator | None) -> None:
    """Draw all weights again, PyTorch's distributions, from an explicit source."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Embedding):
                part.weight.normal_(generator=rng)
            elif isinstance(part, (nn.LSTM, nn.Linear)):
                fan = part.hidden_size if isinstance(part, nn.LSTM) else part.in_features
                for weight in part.parameters(recurse=False):
                    weight.uniform_(-1 / math.sqrt(fan), 1 / math.sqrt(fan), generator=rng)
