"""What may hold sequences: lists, iterators, arrays and columns of every kind; and what may not.

The libraries that arrays and tables are from are not imported: they are known by what they can do. What
the elements are is left to `validation`.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any


def elements_of(X: Any, name: str) -> Iterable[Any]:
    """Return the elements of a list, an iterator, an array or a column (pandas, polars, Arrow).

    Raises
    ------
    TypeError
        If `X` is something else, such as a string, a file, a table, a mapping or an array of floats;
        the message has the remedy.
    """
    if isinstance(X, (str, bytes)):
        text = os.fsdecode(X)
        remedy = f"for one sequence pass [{name}]"
        if _looks_like_path(text):
            remedy += (
                f"; to read a file pass likelihood_gan.datasets.read_sequences({text[:200]!r})"
            )
        raise TypeError(
            f"{name} must be an iterable of sequences, got the bare string {X[:20]!r}; {remedy}"
        )
    if isinstance(X, os.PathLike) or hasattr(X, "readline"):
        what = "the path" if isinstance(X, os.PathLike) else "the open file"
        raise TypeError(
            f"{name} must be an iterable of sequences, got {what} {X!r}; pass "
            f"likelihood_gan.datasets.read_sequences({name}), which strips the line ends"
        )
    if isinstance(X, Mapping):
        raise TypeError(
            f"{name} is a {type(X).__name__}, a mapping; fit, score and perplexity take its values as "
            f"counts; elsewhere pass list({name})"
        )
    if hasattr(X, "columns") or hasattr(X, "column_names"):
        _refuse_table(X, name)
    _check_array(X, name)
    for method in ("to_pylist", "to_list", "tolist"):  # Arrow, polars and pandas, numpy
        if callable(convert := getattr(X, method, None)):
            X = convert()
            break
    if not isinstance(X, Iterable):
        raise TypeError(f"{name} must be an iterable of sequences, got {type(X).__name__}")
    return X


def shortened(value: Any) -> str:
    """Return a `repr` that a message can hold."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _looks_like_path(text: str) -> bool:
    return bool(re.search(r"\.[A-Za-z]\w{0,4}$", text)) or (
        0 < len(text) < 4096 and "\0" not in text and os.path.isfile(text)
    )


def _refuse_table(X: Any, name: str) -> None:
    columns = getattr(X, "column_names", None) or list(X.columns)
    kind = type(X).__name__
    if len(columns) == 1:
        raise TypeError(
            f"{name} is a {kind} of one column; pass the column itself, {name}[{columns[0]!r}]"
        )
    first = columns[0] if columns else "name"
    raise TypeError(
        f"{name} is a {kind} with the columns {columns[:10]}; pass the one that holds the sequences, "
        f"such as {name}[{first!r}]"
    )


def _check_array(X: Any, name: str) -> None:
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None:
        return
    if len(shape) == 2 and shape[1] == 1:
        raise TypeError(
            f"{name} is an array of shape {tuple(shape)}, a column; pass {name}[:, 0] if it holds "
            f"sequences, or list(map(tuple, {name}.tolist())) if every row is a sequence of one symbol"
        )
    if shape == ():
        raise TypeError(
            f"{name} must be an iterable of sequences, got an array without dimensions, {X!r}"
        )
    if getattr(dtype, "kind", "") in ("f", "c") or getattr(dtype, "is_floating_point", False):
        raise TypeError(
            f"{name} is an array of {dtype}, and symbols must be discrete; cast whole numbers by "
            f"{name}.astype(int), or bin the others, such as by numpy.digitize"
        )
