"""How commands read and write: sequences one a line, results and remarks apart.

Results go to standard output, everything else, progress included, to standard error. What is read and
written is left to the commands.
"""

import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likelihood_gan.datasets import read_sequences

STANDARD_INPUT = "-"
DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: training that diverged has FAILED, options and files may be WRONG."""


def read(
    path: str, arguments: Namespace, counts: bool | None = None
) -> tuple[list[str], NDArray[np.float64] | None]:
    """Read sequences, and their counts if the lines have some."""
    counts = arguments.counts if counts is None else counts
    options: Any = dict(encoding=arguments.encoding, keep_empty=arguments.keep_empty)
    source = open_source(path)
    if counts:
        return read_sequences(source, counts=True, **options)
    return read_sequences(source, **options), None


def open_source(path: str) -> Any:
    """Return standard input for "-", anything else as it is."""
    return sys.stdin.buffer if path == STANDARD_INPUT else path


def tell(text: str) -> None:
    """Print what is no result."""
    print(f"likelihood-gan: {text}", file=sys.stderr, flush=True)


def write(lines: Iterable[str]) -> None:
    """Print lines to standard output."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def write_scores(sequences: Sequence[Any], scores: Iterable[float]) -> None:
    """Print sequences and numbers with a tab between them."""
    write(f"{line}\t{value:.6f}" for line, value in zip(sequences, scores, strict=True))


def write_table(lines: Iterable[Sequence[str]]) -> None:
    """Print cells in columns; numbers, which come last, end below each other."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for cells in lines:
        padded = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        write(["  ".join(padded).rstrip()])
