"""Turn sequences into tokens and back.

A vocabulary numbers the symbols of a corpus from 1; 0 is END. A str is a sequence of Unicode code
points, or of what a pattern finds in it. What may be a sequence at all is left to `validation`.
"""

import enum
import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from likelihood_gan.protocols import END
from likelihood_gan.splitting import TokenPattern, make_splitter

UNKNOWN = -1
"""What `Vocabulary.encode_rows` writes for a symbol that has no token."""


class Unknown(enum.Enum):
    """What stands for every unseen symbol in sequences other than strings: `UNKNOWN_SYMBOL`."""

    SYMBOL = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN_SYMBOL"


UNKNOWN_SYMBOL = Unknown.SYMBOL
UNKNOWN_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What stands for every unseen symbol in strings."""


class Vocabulary:
    r"""A numbered list of symbols.

    Parameters
    ----------
    symbols : iterable of hashable
        The symbols in the order of their tokens, which start at 1.
    text : bool, default=True
        Whether sequences are strings (else tuples of symbols).
    token_pattern : str, callable or None, default=None
        What splits a string into symbols: a regular expression, whose matches they are, or a callable
        str -> list of str. They join to the string again. None splits into single characters.
    unknown_token : bool, default=False
        Whether one more token stands for every symbol that is not listed. It is decoded as U+FFFD,
        the replacement character, in strings, and as `UNKNOWN_SYMBOL` elsewhere, and is the last of
        `symbols`.

    Attributes
    ----------
    n_tokens : int
        Number of tokens: every symbol and END.

    Raises
    ------
    TypeError, ValueError
        If a symbol is given twice or is NaN; if `text` is true and a symbol is no single character, or
        with `token_pattern` no str; or if the pattern is none.

    Examples
    --------
    >>> vocabulary = Vocabulary(["Br", "C", "O"], token_pattern="Br|.")
    >>> vocabulary.encode("BrCCO")
    [1, 2, 2, 3]
    """

    def __init__(
        self,
        symbols: Iterable[Hashable],
        text: bool = True,
        *,
        token_pattern: TokenPattern | None = None,
        unknown_token: bool = False,
    ):
        self.text, self.token_pattern, self.unknown_token = text, token_pattern, unknown_token
        listed: tuple[Any, ...] = tuple(symbols)
        if odd := [symbol for symbol in listed if _holds_nan(symbol)]:
            raise ValueError(
                f"a symbol of the sequences or the vocabulary is {odd[0]!r}: NaN equals nothing, not "
                "even itself; give what is missing a symbol of its own, such as None, or leave such "
                "sequences out"
            )
        if unknown_token:
            stand_in: Hashable = UNKNOWN_CHARACTER if text else UNKNOWN_SYMBOL
            listed = (*(symbol for symbol in listed if symbol != stand_in), stand_in)
        self.symbols: tuple[Any, ...] = listed
        self._token = {symbol: token for token, symbol in enumerate(listed, start=1)}
        if len(self._token) != len(listed):
            raise ValueError("vocabulary holds the same symbol twice; give every symbol once")
        self._check_text()
        self._unseen = len(listed) if unknown_token else UNKNOWN
        self._splitter = None if token_pattern is None else make_splitter(token_pattern)
        # whole arrays of text at a time; numpy cannot tell a NUL from the end of a str
        self._code_points: np.ndarray | None = None
        if text and token_pattern is None and "\0" not in self._token:
            self._code_points = np.array([0, *map(ord, self.symbols)], dtype=np.uint32)

    def _check_text(self) -> None:
        if not self.text:
            if self.token_pattern is not None:
                raise TypeError(
                    "token_pattern splits strings, but the sequences are tuples of symbols; leave it "
                    "out, or pass strings"
                )
            return
        several = self.token_pattern is not None
        odd = [
            s for s in self.symbols if not (isinstance(s, str) and (len(s) == 1 or (s and several)))
        ]
        if odd and several:
            raise ValueError(f"vocabulary of strings must hold non-empty str, got {odd[:5]}")
        if odd:
            raise ValueError(
                f"vocabulary of strings must hold single characters, got {odd[:5]}; for symbols of "
                "several characters pass token_pattern="
            )

    @property
    def n_tokens(self) -> int:
        """Number of tokens: every symbol and END."""
        return len(self.symbols) + 1

    @classmethod
    def from_sequences(
        cls,
        sequences: Sequence[Sequence[Hashable]],
        *,
        token_pattern: TokenPattern | None = None,
        unknown_token: bool = False,
    ) -> "Vocabulary":
        """Collect the symbols of checked sequences, sorted where they can be compared."""
        text = is_text(sequences)
        options: Any = dict(token_pattern=token_pattern, unknown_token=unknown_token)
        split = cls((), text, **options)._symbols_of
        return cls(sort_symbols(s for seq in sequences for s in split(seq)), text, **options)

    def split(self, sequence: Sequence[Hashable]) -> list[Hashable]:
        """List the symbols of one sequence, known or not."""
        return list(self._symbols_of(sequence))

    def _symbols_of(self, sequence: Sequence[Hashable]) -> Iterable[Hashable]:
        if self._splitter is None or not isinstance(sequence, str):
            return sequence
        if not self.unknown_token or UNKNOWN_CHARACTER not in sequence:
            return self._splitter(sequence)
        # a sample may hold it, and no pattern has to know it
        first, *others = map(self._splitter, sequence.split(UNKNOWN_CHARACTER))
        return [*first, *(s for part in others for s in (UNKNOWN_CHARACTER, *part))]

    def cut(self, sequence: Sequence[Hashable], max_len: int | None) -> Sequence[Hashable]:
        """Return the first `max_len` symbols of a sequence, as a sequence of the same type."""
        if self._splitter is None or max_len is None:
            return sequence[:max_len]
        return "".join(map(str, self.split(sequence)[:max_len]))

    def unknown(self, sequences: Iterable[Sequence[Hashable]]) -> list[Hashable]:
        """List the symbols of `sequences` that have no token."""
        if self.unknown_token:
            return []
        found = {
            s: None for seq in sequences for s in self._symbols_of(seq) if s not in self._token
        }
        return sort_symbols(found)

    def encode(self, sequence: Sequence[Hashable]) -> list[int]:
        """Return the tokens of one sequence, or list of symbols, END not included.

        An unknown symbol has UNKNOWN (-1), or the token that stands for all of them.
        """
        return [self._token.get(symbol, self._unseen) for symbol in self._symbols_of(sequence)]

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
        tokens[self._code_points[tokens] != code_points] = self._unseen
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

    def splits_again(self, tokens: Tensor) -> Tensor:
        """Tell which rows decode to a sequence that encodes to the same row: (batch, time) -> (batch,).

        With `token_pattern` not all do: where "C" and "Cl" are symbols, "C" and "l" in a row join to
        what is one symbol.
        """
        if self._splitter is None:
            return torch.ones(len(tokens), dtype=torch.bool)
        again = map(self.encode, self.decode(tokens))
        return torch.tensor(
            [row[: _end(row)] == other for row, other in zip(tokens.tolist(), again, strict=True)],
            dtype=torch.bool,
        )

    def __repr__(self) -> str:
        pattern = "" if self.token_pattern is None else f", token_pattern={self.token_pattern!r}"
        return f"Vocabulary({len(self.symbols)} symbols, text={self.text}{pattern})"


def vocabulary_of(model: Any) -> Vocabulary | None:
    """Return the vocabulary of a distribution or a fitted estimator, if it has one."""
    while model is not None:
        for name in ("vocabulary_", "vocabulary"):
            if isinstance(found := getattr(model, name, None), Vocabulary):
                return found
        model = getattr(model, "estimator_", None)
    return None


def is_text(sequences: Sequence[Sequence[Hashable]]) -> bool:
    """Tell whether checked sequences are strings."""
    return bool(sequences) and isinstance(sequences[0], str)


def sort_symbols(symbols: Iterable[Hashable]) -> list[Any]:
    """Return distinct symbols in an order that does not depend on the order of the corpus."""
    distinct: list[Any] = list(dict.fromkeys(symbols))
    try:
        if not any(isinstance(part, frozenset) for part in _parts(distinct)):
            return sorted(distinct)
    except (TypeError, ValueError, OverflowError):  # dates of numpy
        pass
    return sorted(distinct, key=_name)


def _name(symbol: Any) -> tuple[str, Any]:
    """Return what different symbols are sorted by: sets have no order of their own."""
    kind = type(symbol).__name__
    if isinstance(symbol, (tuple, frozenset)):
        parts = map(_name, symbol)
        return kind, repr(list(parts) if isinstance(symbol, tuple) else sorted(parts))
    return kind, repr(symbol)


def _parts(symbols: Iterable[Any]) -> Iterator[Any]:
    """Yield tuples and sets among the symbols, and those that they hold."""
    for symbol in symbols:
        if isinstance(symbol, (tuple, frozenset)):
            yield symbol
            yield from _parts(symbol)


def _holds_nan(symbol: Any) -> bool:
    if isinstance(symbol, (tuple, frozenset)):
        return any(map(_holds_nan, symbol))
    try:
        return not symbol == symbol  # noqa: PLR0124, SIM201
    except (
        TypeError,
        ArithmeticError,
    ):  # a value that is missing in another way, such as pandas.NA
        return True


def stack_rows(rows: Sequence[Sequence[int]]) -> Tensor:
    """Stack token rows into one tensor; every row ends with at least one END."""
    sizes = np.fromiter(map(len, rows), np.int64, len(rows))
    stacked = np.full((len(rows), int(sizes.max(initial=0)) + 1), END, dtype=np.int64)
    stacked[np.arange(stacked.shape[1]) < sizes[:, None]] = np.fromiter(
        itertools.chain.from_iterable(rows), np.int64, int(sizes.sum())
    )
    return torch.from_numpy(stacked)


def _end(row: list[int]) -> int:
    return row.index(END) if END in row else len(row)
