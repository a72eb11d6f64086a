"""Sequences written as bytes, and their n-grams hashed: whole arrays at a time.

What the hashes are good for is left to `ngrams` and `crossfitting`.
"""

import functools
import itertools
import numbers
import zlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from likelihood_gan.vocabulary import is_text

CELLS_PER_BLOCK = 2**16
"""n-grams that are hashed at a time, about: more would leave the processor's cache."""
_MARKS = "START", "END"  # what no `repr` of a str is

_U32 = NDArray[np.uint32]


@functools.lru_cache(maxsize=2**16)
def symbol_name(symbol: Hashable) -> str:
    """Write a symbol so that different ones differ and equal ones do not."""
    if isinstance(symbol, numbers.Real) and symbol == symbol // 1:
        return repr(int(symbol))
    return repr(symbol)


class Written(NamedTuple):
    """Sequences between START and END, one line for the name of each symbol, one after the other.

    Symbol i is ``text[begin[i] : begin[i + 1] - 1]``; sequence j has the symbols from ``first[j]`` to
    ``first[j + 1] - 1``, marks included.
    """

    text: NDArray[np.uint8]
    begin: NDArray[np.int64]
    first: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[Hashable]]) -> "Written":
        """Write checked sequences."""
        names, numbered = _named(sequences)
        sizes = np.fromiter(map(len, sequences), np.int64, len(sequences))
        first = np.concatenate([[0], (sizes + 2).cumsum()])
        number = np.zeros(first[-1], dtype=np.int64)
        number[first[1:] - 1] = 1
        inside = np.ones(len(number), dtype=bool)
        inside[first[:-1]] = inside[first[1:] - 1] = False
        number[inside] = numbered + len(_MARKS)
        lines = [f"{name}\n".encode() for name in (*_MARKS, *names)]
        widths = np.fromiter(map(len, lines), np.int64, len(lines))
        begin = np.concatenate([[0], widths[number].cumsum()])
        shift = (widths.cumsum() - widths)[number] - begin[:-1]
        place = np.repeat(shift, widths[number]) + np.arange(begin[-1])
        return cls(np.frombuffer(b"".join(lines), np.uint8)[place], begin, first)

    def checksums(self) -> NDArray[np.int64]:
        """CRC-32 of the names of each sequence, without marks: (n,)."""
        text = self.text.tobytes()
        begin = self.begin[self.first[:-1] + 1].tolist()
        end = (self.begin[self.first[1:] - 1] - 1).tolist()
        sums = (zlib.crc32(text[i:j]) for i, j in zip(begin, end, strict=True))
        return np.fromiter(sums, np.int64, len(begin))

    def n_grams(self, low: int, high: int) -> tuple[_U32, NDArray[np.int64]]:
        """Hash the n-grams, n from `low` to `high`, and count those of each sequence.

        The hash is 32-bit MurmurHash3 of their lines. A sequence that is too short has one n-gram:
        itself and its marks.

        Returns
        -------
        hashes : ndarray of uint32
            Of the n-grams of the first sequence, then those of the second, and so on.
        counts : ndarray of int64, (n,)
        """
        sizes = np.diff(self.first)
        room = np.repeat(self.first[1:], sizes) - np.arange(self.first[-1])
        whole = np.repeat(sizes, sizes) == room  # at the start mark
        ns = range(min(low, int(sizes.min())), min(high, int(sizes.max())) + 1)
        used = [room >= n if n >= low else whole & (room == n) for n in ns]
        last = np.arange(self.first[-1])
        length = [self.begin[np.minimum(last + n, len(last))] - self.begin[:-1] - 1 for n in ns]
        hashes = murmur3(self.text, self.begin[:-1], length)
        chosen = np.stack(used, 1)
        return hashes[chosen], np.add.reduceat(chosen.sum(1), self.first[:-1])


def blocks(
    sequences: Sequence[Sequence[Hashable]], size: int
) -> Iterator[Sequence[Sequence[Hashable]]]:
    """Divide sequences into parts of about `size` symbols, marks included: more by one sequence at most."""
    ends = (np.fromiter(map(len, sequences), np.int64, len(sequences)) + 2).cumsum()
    cuts = np.flatnonzero(np.diff(ends // size)) + 1
    for i, j in itertools.pairwise([0, *cuts.tolist(), len(sequences)]):
        yield sequences[i:j]


def murmur3(
    text: NDArray[np.uint8], begin: NDArray[np.int64], lengths: Sequence[NDArray[np.int64]]
) -> _U32:
    """32-bit MurmurHash3 (Appleby 2011, seed 0) of some of the strings that begin at each place.

    Parameters
    ----------
    text : ndarray of uint8
    begin : ndarray of int64, (n,)
    lengths : k arrays of int64, (n,)
        Bytes of the k strings.

    Returns
    -------
    ndarray of uint32, (n, k)
    """
    n_blocks = [length >> 2 for length in lengths]
    most = max(int(n.max()) for n in n_blocks)
    padded = np.concatenate([text, np.zeros(4 * most + 8, dtype=np.uint8)])
    # the four bytes from every place on
    words = np.ndarray(len(padded) - 3, "<u4", padded, strides=(1,)).astype(np.uint32)
    states = np.zeros((most + 1, len(begin)), dtype=np.uint32)
    for i in range(most):  # all strings that begin at a place share their blocks
        mixed = _rotated(states[i] ^ _scrambled(words[begin + 4 * i]), 13)
        states[i + 1] = mixed * np.uint32(5) + np.uint32(0xE6546B64)
    tails = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], dtype=np.uint32)
    hashes = np.empty((len(begin), len(lengths)), dtype=np.uint32)
    column = np.arange(len(begin))
    for k, (length, n) in enumerate(zip(lengths, n_blocks, strict=True)):
        h = states.reshape(-1)[n * len(begin) + column]
        h ^= _scrambled(words[begin + 4 * n] & tails[length & 3])
        h ^= length.astype(np.uint32)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            h ^= h >> np.uint32(shift)
            h *= np.uint32(factor)
        hashes[:, k] = h ^ (h >> np.uint32(16))
    return hashes


def _scrambled(words: _U32) -> _U32:
    return _rotated(words * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)


def _rotated(words: _U32, n: int) -> _U32:
    return (words << np.uint32(n)) | (words >> np.uint32(32 - n))


def _named(sequences: Sequence[Sequence[Hashable]]) -> tuple[Iterable[str], NDArray[np.int64]]:
    """Name the distinct symbols, and number all symbols by them."""
    if is_text(sequences):
        text = "".join(map(str, sequences)).encode("utf-32-le", "surrogatepass")
        code_points = np.frombuffer(text, "<u4")
        seen = np.zeros(int(code_points.max(initial=0)) + 1, dtype=bool)
        seen[code_points] = True
        symbols = map(chr, np.flatnonzero(seen).tolist())
        return map(symbol_name, symbols), (seen.cumsum() - 1)[code_points]
    number: dict[Hashable, int] = {}
    every = (number.setdefault(s, len(number)) for s in itertools.chain.from_iterable(sequences))
    numbered = np.fromiter(every, np.int64)
    return map(symbol_name, number), numbered
