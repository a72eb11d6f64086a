"""The bundled modules: some write sequences, some judge them, and `Mixture` averages writers.

All obey the protocols and nothing else; how they are trained is left to `training`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from sklearn.utils.metaestimators import available_if
from torch import Tensor, nn
from torch.nn.functional import pad

from likelihood_gan.protocols import END, Generator, State, call_with_rng, has_step, lengths
from likelihood_gan.sampling import Autoregressive, draw


class _Symbols(nn.Module):
    """Tokens to vectors: one-hot, or a learned embedding."""

    def __init__(self, n_tokens: int, embedding_size: int | None):
        super().__init__()
        self.n_tokens = n_tokens
        self.size = embedding_size or n_tokens
        self.embedding = nn.Embedding(n_tokens, embedding_size) if embedding_size else None

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        if self.embedding is not None:
            return self.embedding(tokens)
        return nn.functional.one_hot(tokens, self.n_tokens).to(dtype)


class _LSTMStack(nn.Module):
    """LSTM layers with dropout in front of every layer but the first, and after the last."""

    def __init__(self, input_size: int, hidden_size: int, n_layers: int, dropout: float):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (n_layers - 1)
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
        vocabularies.
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
        _check_sizes(n_tokens, hidden_size, n_layers, dropout, embedding_size)
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial draws are thrown away
            self.symbols = _Symbols(n_tokens, embedding_size)
            self.lstm = _LSTMStack(self.symbols.size, hidden_size, n_layers, dropout)
            self.output = nn.Linear(hidden_size, n_tokens)
        _initialise(self, rng)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens)."""
        log_probs, state = self._read(tokens[:, None], state)
        return log_probs[:, 0], state

    def log_prob(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        read = nn.functional.pad(tokens[:, :-1], (1, 0), value=END)
        log_probs, _ = self._read(read, None, rng)
        chosen = log_probs.gather(2, tokens[:, :, None])[:, :, 0]
        up_to_end = (read != END).logical_or_(_first_column(read))
        return torch.where(up_to_end, chosen, 0.0).sum(1)

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
        Width of a learned embedding; None feeds one-hot vectors.
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
        _check_sizes(n_tokens, hidden_size, n_layers, dropout, embedding_size)
        with torch.random.fork_rng(devices=[]):
            self.symbols = _Symbols(n_tokens, embedding_size)
            self.directions = nn.ModuleList(
                _LSTMStack(self.symbols.size, hidden_size, n_layers, dropout)
                for _ in range(1 + bidirectional)
            )
            self.output = nn.Linear(hidden_size * (1 + bidirectional), 1)
        _initialise(self, rng)

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


class ConvDiscriminator(nn.Module):
    """Dilated convolutions over a sequence; their maxima and means make one logit.

    Layer i combines symbols 2^i apart, so that a position sees
    ``1 + (kernel_size - 1) * (2**n_layers - 1)`` of them (31 by default). What stands further apart,
    such as the beginning and the end, meets in the two layers behind the maxima and means. The
    logit depends on the sequence alone, as that of `LSTMDiscriminator`.

    Parameters
    ----------
    n_tokens : int
        Number of tokens, END (0) included.
    hidden_size : int, default=64
        Channels of each layer.
    n_layers : int, default=4
        Number of convolutions; all but the first are residual.
    dropout : float, default=0.0
        Share of every layer's outputs that are dropped in training.
    embedding_size : int or None, default=None
        Width of a learned embedding; None feeds one-hot vectors.
    kernel_size : int, default=3
        Symbols that a convolution combines.
    rng : torch.Generator, optional
        Draws the initial weights; PyTorch's global state if missing.

    References
    ----------
    F. Yu and V. Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", 2016.
    """

    def __init__(
        self,
        n_tokens: int,
        hidden_size: int = 64,
        n_layers: int = 4,
        dropout: float = 0.0,
        embedding_size: int | None = None,
        kernel_size: int = 3,
        rng: torch.Generator | None = None,
    ):
        super().__init__()
        _check_sizes(
            n_tokens, hidden_size, n_layers, dropout, embedding_size, kernel_size=kernel_size
        )
        self.kernel_size, self.dropout = kernel_size, dropout
        with torch.random.fork_rng(devices=[]):
            self.symbols = _Symbols(n_tokens, embedding_size)
            self.layers = nn.ModuleList(
                nn.Conv1d(
                    hidden_size if i else self.symbols.size, hidden_size, kernel_size, dilation=2**i
                )
                for i in range(n_layers)
            )
            self.hidden = nn.Linear(2 * hidden_size, hidden_size)
            self.output = nn.Linear(hidden_size, 1)
        _initialise(self, rng)

    def forward(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Logit of the probability that each row is real, (batch, time) -> (batch,)."""
        dropout = self.dropout if self.training else 0.0
        time = torch.arange(tokens.shape[1], device=tokens.device)
        inside = (time <= lengths(tokens)[:, None])[:, None]  # (batch, 1, time), END included
        features = self.symbols(tokens, self.output.weight.dtype).transpose(1, 2) * inside
        for i, layer in enumerate(self.layers):
            reach = (self.kernel_size - 1) * 2**i
            found = layer(pad(features, (reach // 2, reach - reach // 2))).relu()
            found = _drop(found, dropout, rng)
            # behind END 0 again, what stands in front of the row and behind a narrower batch
            features = (features + found if i else found) * inside
        highest = features.masked_fill(~inside, -torch.inf).amax(2)
        hidden = self.hidden(torch.cat([highest, features.sum(2) / inside.sum(2)], 1)).relu()
        return self.output(_drop(hidden, dropout, rng))[:, 0]


class Mixture(nn.Module):
    """Weighted average of the distributions of several generators, Σ_k w_k p_k(x).

    `Mixture([gan.generator_ for gan in gans])` averages fitted estimators; fit them with the same
    `vocabulary`, so that their tokens mean the same.

    Parameters
    ----------
    generators : iterable of torch.nn.Module
        Generators over one vocabulary. They become parts of the mixture and are not copied.
    weights : sequence of float or None, default=None
        Non-negative, in any unit; None is equal weights. They are not trained.

    Notes
    -----
    `step` is there if all members have it. It gives the mixture's own next-symbol distribution: a
    member that made the beginning likely counts more, by Bayes' rule.
    """

    log_weights: Tensor

    def __init__(self, generators: Iterable[nn.Module], weights: Sequence[float] | None = None):
        super().__init__()
        members = list(generators)
        for member in members:
            if not isinstance(member, nn.Module) or not isinstance(member, Generator):
                raise TypeError(
                    f"generators holds a {type(member).__name__}, but needs torch.nn.Modules with "
                    "log_prob and sample, such as generator_ of a fitted LikelihoodGAN"
                )
        shares = torch.as_tensor([1] * len(members) if weights is None else weights).double()
        if not members or shares.shape != (len(members),):
            raise ValueError(
                "generators must hold at least one module and weights one number for each, got "
                f"{len(members)} generators and weights={weights}"
            )
        if not (shares.isfinite() & (shares >= 0)).all() or not shares.any():
            raise ValueError(
                f"weights must be finite, not negative and not all 0, got {weights}; pass None "
                "for equal weights"
            )
        self.generators: Any = nn.ModuleList(members)
        device = next((p.device for p in self.parameters()), None)
        self.register_buffer("log_weights", (shares / shares.sum()).log().float().to(device))

    def log_prob(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        log_probs = [_call(member.log_prob, tokens, rng=rng) for member in self.generators]
        return _logsumexp(torch.stack(log_probs, 1) + self.log_weights)

    def sample(self, n: int, max_len: int, *, rng: torch.Generator | None = None) -> Tensor:
        """Draw `n` rows of at most `max_len` tokens, the member of each row anew."""
        chosen = draw(self.log_weights.expand(n, -1), rng)
        tokens = torch.full((n, max_len), END, device=chosen.device)
        width = 0
        for k in chosen.unique().tolist():
            rows = (chosen == k).nonzero()[:, 0]
            drawn = _call(self.generators[k].sample, len(rows), max_len, rng=rng)
            tokens[rows, : drawn.shape[1]] = drawn
            width = max(width, drawn.shape[1])
        return tokens[:, :width]

    @available_if(lambda self: all(map(has_step, self.generators)))
    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens)."""
        if state is None:
            log_posterior = self.log_weights.expand(len(tokens), -1)  # (batch, members)
            states = [None] * len(self.generators)
        else:
            log_posterior, log_probs, states = state
            index = tokens[:, None, None].expand(-1, log_probs.shape[1], 1)
            log_joint = log_posterior + log_probs.gather(2, index)[:, :, 0]
            # once no member can have written the beginning, they count as at the start
            possible = (log_joint > -torch.inf).any(1, keepdim=True)
            log_posterior = torch.where(possible, log_joint, self.log_weights).log_softmax(1)
        steps = [m.step(tokens, s) for m, s in zip(self.generators, states, strict=True)]
        log_probs = torch.stack([values for values, _ in steps], 1)  # (batch, members, n_tokens)
        mixed = _logsumexp(log_probs + log_posterior[:, :, None])
        return mixed, (log_posterior, log_probs, [member_state for _, member_state in steps])


def _call(function: Callable[..., Tensor], *args: Any, rng: torch.Generator | None) -> Tensor:
    return function(*args) if rng is None else call_with_rng(function, *args, rng=rng)


def _logsumexp(values: Tensor) -> Tensor:
    """Sum over dimension 1; where all are -inf the gradient is 0, and not PyTorch's NaN."""
    possible = (values > -torch.inf).any(1)
    total = torch.where(possible[:, None], values, 0.0).logsumexp(1)
    return torch.where(possible, total, -torch.inf)


def _first_column(tokens: Tensor) -> Tensor:
    return torch.arange(tokens.shape[1], device=tokens.device) == 0


def _check_sizes(
    n_tokens: int,
    hidden_size: int,
    n_layers: int,
    dropout: float,
    embedding_size: int | None,
    **counts: int,
) -> None:
    counts |= {"n_tokens": n_tokens, "hidden_size": hidden_size, "n_layers": n_layers}
    if embedding_size is not None:
        counts["embedding_size"] = embedding_size
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")


def _drop(inputs: Tensor, share: float, rng: torch.Generator | None) -> Tensor:
    # nn.Dropout draws from PyTorch's global state; threads would disturb each other
    if share == 0:
        return inputs
    keep = 1 - share
    return inputs * torch.empty_like(inputs).bernoulli_(keep, generator=rng) / keep


def _initialise(module: nn.Module, rng: torch.Generator | None) -> None:
    """Draw all weights again, PyTorch's distributions, from an explicit source."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Embedding):
                part.weight.normal_(generator=rng)
            elif isinstance(part, (nn.LSTM, nn.Linear, nn.Conv1d)):
                fan = part.hidden_size if isinstance(part, nn.LSTM) else part.weight[0].numel()
                for weight in part.parameters(recurse=False):
                    weight.uniform_(-1 / math.sqrt(fan), 1 / math.sqrt(fan), generator=rng)
