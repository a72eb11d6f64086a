"""`ResidualLSTM`, an LSTM that corrects an n-gram model.

Counting and leaving out is left to `ngram`, how the LSTM is trained to `training`.
"""

import math
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from likelihood_gan.models.ngram import NGram
from likelihood_gan.models.recurrent import LSTMStack, Symbols, checked_arguments, initialise
from likelihood_gan.processes import draw_rows
from likelihood_gan.protocols import END, State, by_steps, lengths
from likelihood_gan.rows import hash_rows
from likelihood_gan.rules import DROPOUT, check
from likelihood_gan.sampling import Autoregressive, log_prob_of

NUMBERS_WORTH_KEEPING = 2**26
"""Size up to which the n-gram model's tables of the training data are kept from epoch to epoch."""
_ROWS_PER_BLOCK = 1024


class ResidualLSTM(Autoregressive, nn.Module):
    """An n-gram model and a network that corrects it, symbol by symbol.

    With q the next-symbol probabilities of `NGram`, and h the state of an LSTM that reads each symbol
    together with q,

        p(w | past) = softmax_w( o(h) + a(h) log q(w | past) ),   o and a linear in h,

    which begins as q itself. What n-grams know is there from the first step; the network learns what
    they cannot: agreement over a distance, length, when to trust them.

    **In training mode the n-gram model scores a counted row as if it had not counted it.** With the
    counts of its own targets the network would only learn to copy.

    A symbol that was never counted is left to the n-gram model, o = 0 and a = 1: the network, which
    never meets it, would only learn to make it impossible.

    Parameters
    ----------
    n_tokens : int
        Number of tokens, END (0) included. END is also the start symbol.
    hidden_size : int, default=128
        Units of each layer.
    n_layers : int, default=1
        Number of layers.
    dropout : float or None, default=None
        Share of every layer's outputs that are dropped in training. None is .5 for up to 50,000 symbols
        that are counted, .25 for a million, and in between by their logarithm.
    ngram_dropout : float, default=0.1
        Share of the rows from which the n-gram model is hidden in training: the LSTM does not read q, and
        its correction stands alone. So the network learns the whole task, as an expert of its own.
    order : int or None, default=None
        The n-gram model's, see `NGram`.
    min_count : float, default=0
        The n-gram model's: contexts that were met less often are left out.
    embedding_size : int or None, default=None
        Width of a learned embedding of the symbol that is read; None feeds one-hot vectors.
    rng : torch.Generator, optional
        Draws the initial weights; PyTorch's global state if missing.

    Notes
    -----
    The counts are memory: much of a list can be rebuilt from the model, and its file grows with it.

    A network on top of the probabilities of an n-gram model is an old idea (Mikolov et al. 2011
    wired hashed n-grams to the output); new here is that the counts leave the row out in closed form.
    """

    def __init__(
        self,
        n_tokens: int,
        hidden_size: int = 128,
        n_layers: int = 1,
        dropout: float | None = None,
        ngram_dropout: float = 0.1,
        order: int | None = None,
        min_count: float = 0.0,
        embedding_size: int | None = None,
        rng: torch.Generator | None = None,
    ):
        super().__init__()
        check(ngram_dropout, "ngram_dropout", DROPOUT)
        self.arguments = checked_arguments(
            n_tokens=n_tokens,
            hidden_size=hidden_size,
            n_layers=n_layers,
            dropout=0.5 if dropout is None else dropout,
            embedding_size=embedding_size,
        ) | {
            "dropout": dropout,
            "ngram_dropout": ngram_dropout,
            "order": order,
            "min_count": min_count,
        }
        self.ngram = NGram(n_tokens, order, min_count)
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial draws are thrown away
            self.symbols = Symbols(n_tokens, embedding_size)
            self.lstm = LSTMStack(
                self.symbols.size + n_tokens, hidden_size, n_layers, _dropout(dropout, 0)
            )
            self.output = nn.Linear(hidden_size, n_tokens)
            self.trust = nn.Linear(hidden_size, n_tokens)
        initialise(self, rng)
        with torch.no_grad():  # the n-gram model as it is
            for layer, value in ((self.output, 0.0), (self.trust, 1.0)):
                layer.weight.zero_()
                layer.bias.fill_(value)
        self._unseen: tuple[Tensor, Tensor | None] | None = None
        self._counted: Tensor | None = None
        self._kept: _Tables | None = None

    def count(self, tokens: Tensor, weights: Tensor) -> None:
        """Count rows, and forget what was counted before; see `NGram.count`."""
        self.ngram.count(tokens, weights)
        self._counted, self._kept = tokens, None
        n_symbols = int((lengths(tokens) + 1).sum())
        self.lstm.dropout = _dropout(self.arguments["dropout"], n_symbols)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens)."""
        counted, read = (None, None) if state is None else state
        log_q, counted = self.ngram.step(tokens, counted)
        log_probs, read = self._correct(tokens[:, None], log_q[:, None], read, None)
        return log_probs[:, 0], (counted, read)

    @by_steps
    def log_prob(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        return log_prob_of(self.next_log_probs(tokens, rng), tokens)

    def next_log_probs(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probabilities of every next symbol, (batch, time) -> (batch, time, n_tokens)."""
        read = nn.functional.pad(tokens[:, :-1], (1, 0), value=END)
        return self._correct(read, self._log_q(tokens), None, rng)[0]

    def train(self, mode: bool = True) -> Self:
        """Enter or leave training mode; to leave it frees what was kept for training."""
        if not mode:
            self._counted = self._kept = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_counted": None, "_kept": None, "_unseen": None}

    def _correct(
        self, read: Tensor, log_q: Tensor, state: State, rng: torch.Generator | None
    ) -> tuple[Tensor, State]:
        dtype = self.output.weight.dtype
        log_q = log_q.to(dtype)
        seen, given = log_q.exp(), log_q
        if self.training and (hidden := self.arguments["ngram_dropout"]):
            drawn = draw_rows(
                lambda like: torch.rand(like.shape, device=like.device, generator=rng),
                read[:, :1, None],
            )
            shown = drawn >= hidden
            seen, given = seen * shown, given * shown
        inputs = torch.cat([self.symbols(read, dtype), seen], 2)
        h, state = self.lstm(inputs, state, rng)
        # a symbol of probability 0 in the counts has one in the uniform end of the recursion
        scores = self.output(h) + self.trust(h) * given
        if (unseen := self._never_counted()) is not None:
            scores = torch.where(unseen, log_q, scores)
        return scores.log_softmax(-1), state

    def _never_counted(self) -> Tensor | None:
        """Return what the n-gram model has never counted, looked up once for what it has counted."""
        pairs = self.ngram.pairs
        if self._unseen is None or self._unseen[0] is not pairs:
            self._unseen = pairs, self.ngram.never_counted()
        return self._unseen[1]

    def _log_q(self, tokens: Tensor) -> Tensor:
        """Return the n-gram model's table of some rows; those of the training data are made once."""
        with torch.no_grad():
            if not self.training or self._counted is None:
                return self.ngram.next_log_probs(tokens)
            if self._kept is None:
                n_numbers = int((lengths(self._counted) + 1).sum()) * self.ngram.n_tokens
                if n_numbers > NUMBERS_WORTH_KEEPING:
                    return self.ngram.next_log_probs(tokens)
                self._kept = _Tables.of(self.ngram, self._counted)
            table, missing = self._kept.look_up(tokens)
            if missing.any():
                table[missing] = self.ngram.next_log_probs(tokens[missing])
            return table


def _dropout(given: float | None, n_symbols: int) -> float:
    if given is not None:
        return given
    share = 0.5 - 0.25 * math.log(max(n_symbols, 1) / 50_000) / math.log(20)
    return min(max(share, 0.25), 0.5)


class _Tables(NamedTuple):
    """Next-symbol tables of rows that were counted, each as if it had not been.

    `keys` (n,) are the rows' hashes, sorted; the table of a row is at `first` and the places behind
    it, `n_places` in all, of `values` (places, n_tokens).
    """

    keys: Tensor
    first: Tensor
    n_places: Tensor
    values: Tensor

    @classmethod
    def of(cls, ngram: NGram, tokens: Tensor) -> "_Tables":
        keys, order = hash_rows(tokens).sort()
        n_places = (lengths(tokens) + 1)[order]
        blocks = []
        for rows in order.split(_ROWS_PER_BLOCK):
            block = tokens[rows, : int(lengths(tokens[rows]).max()) + 1]
            table = ngram.next_log_probs(block)
            place = torch.arange(block.shape[1], device=block.device)
            blocks.append(table[place <= lengths(block)[:, None]])
        return cls(keys, n_places.cumsum(0) - n_places, n_places, torch.cat(blocks))

    def look_up(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return tables, (batch, time, n_tokens), and which rows are not there: (batch,)."""
        key = hash_rows(tokens)
        row = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        found = (self.keys[row] == key) & (tokens == END).any(1)  # a cut row was not counted
        place = torch.arange(tokens.shape[1], device=tokens.device)
        there = (place < self.n_places[row][:, None]) & found[:, None]
        index = (self.first[row][:, None] + place).where(there, 0)
        return self.values[index].where(there[:, :, None], 0.0), ~found
