"""Sequences from text files, one a line, compressed or not.

What a sequence consists of is left to the estimator.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import math
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

_OPEN: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_COUNTED = re.compile(r".*\t\d+(\.\d*)?\Z", re.DOTALL)

Source = str | os.PathLike[str] | IO[Any]
"""A path, or an open file."""


@overload
def read_sequences(
    path: Source, *, counts: Literal[False] = False, encoding: str = ..., keep_empty: bool = ...
) -> list[str]: ...
@overload
def read_sequences(
    path: Source, *, counts: Literal[True], encoding: str = ..., keep_empty: bool = ...
) -> tuple[list[str], NDArray[np.float64]]: ...
@overload
def read_sequences(
    path: Source, *, counts: bool, encoding: str = ..., keep_empty: bool = ...
) -> list[str] | tuple[list[str], NDArray[np.float64]]: ...


def read_sequences(
    path: Source, *, counts: bool = False, encoding: str = "utf-8", keep_empty: bool = False
) -> list[str] | tuple[list[str], NDArray[np.float64]]:
    r"""Read sequences from a text file, one a line.

    A line ends in ``\n``, ``\r\n`` or ``\r``, of which nothing is left. Blanks stay as they are.

    Parameters
    ----------
    path : path or open file
        Files that end in ``.gz``, ``.bz2`` or ``.xz`` are decompressed. An open file is read to its end
        and not closed; one that was opened as text has its own encoding.
    counts : bool, default=False
        Whether a tab and a number follow each sequence: how often it came, or its weight.
    encoding : str, default="utf-8"
        What the bytes mean. A byte order mark of UTF-8 is left out.
    keep_empty : bool, default=False
        Whether an empty line is the empty sequence; else it is left out.

    Returns
    -------
    sequences : list of str
    counts : ndarray of shape (n,), float64
        Only if `counts` is true; to be passed as `sample_weight`.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If a line is not in the encoding, or a count is missing, negative or no number; the message names
        file and line. Also if all lines end in a tab and a number although `counts` is false, and if a
        compressed file is damaged.

    See Also
    --------
    iter_sequences : one after the other, without keeping them.

    Examples
    --------
    >>> import io
    >>> from likelihood_gan.datasets import read_sequences
    >>> read_sequences(io.StringIO("ann\r\nbob\n"))
    ['ann', 'bob']
    >>> sequences, weights = read_sequences(io.StringIO("ann\t3\nbob\t1\n"), counts=True)
    >>> sequences, weights.tolist()
    (['ann', 'bob'], [3.0, 1.0])
    """
    lines = _lines(path, encoding)
    if not counts:
        sequences = [line for _, line in lines if line or keep_empty]
        if sequences and all(_COUNTED.match(line) for line in sequences):
            raise ValueError(
                f"{_name(path)}: every line ends in a tab and a number, such as {sequences[0]!r}; pass "
                "counts=True, or take the lines of iter_sequences if the tab belongs to the sequence"
            )
        return sequences
    words, numbers = [], []
    for i, line in lines:
        if line or keep_empty:
            word, _, number = line.rpartition("\t")
            words.append(word)
            numbers.append(_count(number, line, f"{_name(path)}, line {i}"))
    return words, np.array(numbers, dtype=np.float64)


def iter_sequences(
    path: Source, *, encoding: str = "utf-8", keep_empty: bool = False
) -> Iterator[str]:
    """Yield the sequences of a text file one after the other, as `read_sequences` reads them.

    The file is open as long as the iterator is used; it need not fit into memory.

    Parameters
    ----------
    path, encoding, keep_empty
        As in `read_sequences`.

    Yields
    ------
    str

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ValueError
        As `read_sequences`, once the line is reached.
    """
    return (line for _, line in _lines(path, encoding) if line or keep_empty)


def _count(number: str, line: str, where: str) -> float:
    try:
        count = float(number) if "\t" in line else math.nan
    except ValueError:
        count = math.nan
    if not 0 <= count < math.inf:
        raise ValueError(
            f"{where}: with counts=True a line is a sequence, a tab and a number that is not negative, "
            f"got {line[:80]!r}"
        )
    return count


def _lines(path: Source, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file without their ends, numbered from 1."""
    name, number = _name(path), 0
    with contextlib.ExitStack() as stack:
        file: Any = path
        if isinstance(path, (str, os.PathLike)):
            open_binary = _OPEN.get(Path(path).suffix.lower(), open)
            file = stack.enter_context(open_binary(path, "rb"))
        elif not hasattr(file, "read"):
            raise TypeError(f"path must be a path or an open file, got {path!r}")
        if not isinstance(file, io.TextIOBase) and isinstance(file.read(0), bytes):
            if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
                encoding = "utf-8-sig"
            # what is no UTF-8 is marked in its line, so that the line can be named
            file = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline=None)
            stack.callback(file.detach)
        try:
            for number, line in enumerate(file, start=1):
                if not line.isascii() or "\0" in line:
                    _check_line(line, f"{name}, line {number}", encoding)
                yield number, line.rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}, after line {number}: {error}; open the file with the encoding that it is in"
            ) from error
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            if getattr(error, "errno", None) is not None:  # not of the data
                raise
            raise ValueError(
                f"{name}, after line {number}: cannot be decompressed, the file is damaged or no "
                f"{Path(name).suffix} file: {error}"
            ) from error


def _check_line(line: str, where: str, encoding: str) -> None:
    encoding = encoding.removesuffix("-sig")
    if odd := re.search("[\udc80-\udcff]", line):
        before = line[max(odd.start() - 20, 0) : odd.start()]
        raise ValueError(
            f"{where}: the byte 0x{ord(odd[0]) - 0xDC00:02x} behind {before!r} is no {encoding.upper()}; "
            "pass encoding= with what the file is in, such as 'latin-1' or 'utf-16', or convert it to "
            "UTF-8; a compressed file has to end in .gz, .bz2 or .xz"
        )
    if "\0" in line:
        raise ValueError(
            f"{where}: holds a NUL, which no text does; pass encoding='utf-16' if the file is in that, "
            "and text if it is something else"
        )


def _name(path: Any) -> str:
    if isinstance(path, (str, os.PathLike)):
        return os.fspath(path)
    return str(getattr(path, "name", None) or type(path).__name__)
