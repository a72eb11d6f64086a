"""Check what users pass: every error names the argument, its value and the remedy.

What a vocabulary makes of the sequences is left to `vocabulary`.
"""

import itertools
import numbers
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_scalar

from likelihood_gan.training import Schedule, rate_at

CHUNK = 2**16
"""Sequences that are scored at a time: bounds the memory, whatever the corpus."""


def check_chunks(X: Any) -> Iterator[list[Sequence[Hashable]]]:
    """Yield the elements of an iterable of sequences in lists, as `check_sequences` gives them."""
    if isinstance(X, (str, bytes)) or not isinstance(X, Iterable):
        check_sequences(X)  # raises
    elements, start = iter(X), 0
    while chunk := list(itertools.islice(elements, CHUNK)):
        yield check_sequences(chunk, first=start)
        start += len(chunk)


def check_sequences(X: Any, name: str = "X", first: int = 0) -> list[Sequence[Hashable]]:
    """Return the elements of an iterable of sequences as a list of str or of tuples.

    `first` is the number of the first one, for messages.

    Raises
    ------
    TypeError
        If `X` is a bare string, is no iterable, or holds something that is no sequence of
        hashable symbols, or mixes strings with other sequences.
    """
    if isinstance(X, (str, bytes)):
        raise TypeError(
            f"{name} must be an iterable of sequences, got the bare string {X[:20]!r}; "
            f"for one sequence pass [{name}]"
        )
    try:
        elements = list(X)
    except TypeError:
        raise TypeError(
            f"{name} must be an iterable of sequences, got {type(X).__name__}"
        ) from None
    sequences = [_check_sequence(e, name, i) for i, e in enumerate(elements, start=first)]
    if len({isinstance(seq, str) for seq in sequences}) > 1:
        raise TypeError(f"{name} mixes strings with other sequences; make all of them one type")
    return sequences


def _check_sequence(element: Any, name: str, i: int) -> Sequence[Hashable]:
    if isinstance(element, str):
        return str(element)
    remedy = "expected a str or a sequence (list, tuple) of hashable symbols"
    if isinstance(element, (bytes, set, frozenset, dict)):
        raise TypeError(f"{name}[{i}] is {element!r}, a {type(element).__name__}; {remedy}")
    try:
        # tolist: the rows of a numpy array become tuples of Python numbers
        symbols = tuple(element.tolist() if hasattr(element, "tolist") else element)
        hash(symbols)
    except TypeError:
        raise TypeError(
            f"{name}[{i}] is {element!r}, a {type(element).__name__}; {remedy}"
        ) from None
    return symbols


def check_schedule(schedule: Schedule, name: str) -> None:
    """Check a learning rate: a positive number, a mapping of epochs to such, or a callable."""
    if callable(schedule):
        rates = [rate_at(schedule, 1)]
    elif isinstance(schedule, Mapping):
        if 1 not in schedule:
            raise ValueError(f"{name} must say the rate of epoch 1, got {schedule!r}")
        rates = list(schedule.values())
    else:
        rates = [schedule]
    for rate in rates:
        check_scalar(rate, name, numbers.Real, min_val=0, include_boundaries="neither")


def check_weights(sample_weight: Any, n: int) -> np.ndarray:
    """Return the weights of `n` sequences as float64, ones if there are none given.

    Raises
    ------
    ValueError
        If there are no sequences, or a weight is missing, negative, infinite or NaN, or all are 0.
    """
    if n == 0:
        raise ValueError("X is empty; pass at least one sequence")
    if sample_weight is None:
        return np.ones(n)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,):
        raise ValueError(
            f"sample_weight must have one number for each of the {n} sequences, got shape "
            f"{weights.shape}"
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
        worst = weights[~(np.isfinite(weights) & (weights >= 0))]
        found = f"{worst[0]}" if len(worst) else "only zeros"
        raise ValueError(f"sample_weight must be finite, not negative and not all 0, got {found}")
    return weights
