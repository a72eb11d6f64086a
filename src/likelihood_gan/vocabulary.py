"""Turn sequences into tokens and back.

A vocabulary numbers the symbols of a corpus from 1; 0 is END. A str is a sequence of Unicode code
points. What may be a sequence at all is left to `validation`.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from likelihood_gan.protocols import END

UNKNOWN = -1
"""What `Vocabulary.encode_rows` writes for a symbol that has no token."""


class Vocabulary:
    """A numbered list of symbols.

    Parameters
    ----------
    symbols : iterable of hashable
        The symbols in the order of their tokens, which start at 1.
    text : bool, default=True
        Whether sequences are strings (else tuples of symbols).

    Attributes
    ----------
    n_tokens : int
        Number of tokens: every symbol and END.

    Raises
    ------
    ValueError
        If a symbol is given twice, or is no single character although `text` is true.
    """

    def __init__(self, symbols: Iterable[Hashable], text: bool = True):
        self.symbols: tuple[Any, ...] = tuple(symbols)
        self.text = text
        self._token = {symbol: token for token, symbol in enumerate(self.symbols, start=1)}
        if len(self._token) != len(self.symbols):
            raise ValueError("vocabulary holds the same symbol twice; give every symbol once")
        odd = [s for s in self.symbols if not (isinstance(s, str) and len(s) == 1)]
        if text and odd:
            raise ValueError(f"vocabulary of strings must hold single characters, got {odd[:5]}")
        # whole arrays of text at a time; numpy cannot tell a NUL from the end of a str
        self._code_points: np.ndarray | None = None
        if text and "\0" not in self._token:
            self._code_points = np.array([0, *map(ord, self.symbols)], dtype=np.uint32)

    @property
    def n_tokens(self) -> int:
        """Number of tokens: every symbol and END."""
        return len(self.symbols) + 1

    @classmethod
    def from_sequences(cls, sequences: Sequence[Sequence[Hashable]]) -> "Vocabulary":
        """Collect the symbols of checked sequences, sorted where they can be compared."""
        return cls(sort_symbols(symbol for seq in sequences for symbol in seq), is_text(sequences))

    def unknown(self, sequences: Iterable[Sequence[Hashable]]) -> list[Hashable]:
        """List the symbols of `sequences` that have no token."""
        found = {symbol: None for seq in sequences for symbol in seq if symbol not in self._token}
        return sort_symbols(found)

    def encode(self, sequence: Sequence[Hashable]) -> list[int]:
        """Return the tokens of one sequence, END not included; UNKNOWN for an unknown symbol."""
        return [self._token.get(symbol, UNKNOWN) for symbol in sequence]

    def encode_rows(self, sequences: Sequence[Sequence[Hashable]]) -> Tensor:
        """Return the tokens of sequences as rows, each with at least one END.

        UNKNOWN (-1) stands for symbols that have no token.
        """
        if self._code_points is None or not sequences or any("\0" in s for s in sequences):
            return stack_rows([self.encode(sequence) for sequence in sequences])
        code_points = np.array(sequences, dtype=np.str_).view(np.uint32).reshape(len(sequences), -1)
        order = np.argsort(self._code_points)
        place = np.searchsorted(self._code_points, code_points, sorter=order)
        tokens = order[place.clip(max=len(order) - 1)]
        tokens[self._code_points[tokens] != code_points] = UNKNOWN
        width = int((tokens != END).sum(1).max())
        return pad(torch.from_numpy(tokens[:, :width]), (0, 1), value=END)

    def decode(self, tokens: Tensor) -> list[Any]:
        """Turn rows of tokens back into sequences: str, or tuples of symbols."""
        if self._code_points is not None and tokens.numel():
            code_points = self._code_points[tokens.cpu().numpy()]
            texts: list[Any] = code_points.view(f"<U{tokens.shape[1]}")[:, 0].tolist()
            return texts
        sequences = []
        for row in tokens.tolist():
            symbols = [self.symbols[token - 1] for token in row[: _end(row)]]
            sequences.append("".join(symbols) if self.text else tuple(symbols))
        return sequences

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.symbols)} symbols, text={self.text})"


def is_text(sequences: Sequence[Sequence[Hashable]]) -> bool:
    """Tell whether checked sequences are strings."""
    return bool(sequences) and isinstance(sequences[0], str)


def sort_symbols(symbols: Iterable[Hashable]) -> list[Any]:
    """Return distinct symbols in an order that does not depend on the order of the corpus."""
    distinct: list[Any] = list(dict.fromkeys(symbols))
    try:
        return sorted(distinct)
    except TypeError:
        return sorted(distinct, key=lambda symbol: (type(symbol).__name__, repr(symbol)))


def stack_rows(rows: Sequence[Sequence[int]]) -> Tensor:
    """Stack token rows into one tensor; every row ends with at least one END."""
    width = max((len(row) for row in rows), default=0) + 1
    return torch.tensor([[*row, *[END] * (width - len(row))] for row in rows], dtype=torch.int64)


def _end(row: list[int]) -> int:
    return row.index(END) if END in row else len(row)
