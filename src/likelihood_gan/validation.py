"""Check what users pass: every error names the argument, its value and the remedy.

What a vocabulary makes of the sequences is left to `vocabulary`.
"""

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likelihood_gan.vocabulary import Vocabulary, is_text

Sequences = Iterable[Sequence[Hashable]]
"""What users pass as data: any iterable of str, or of sequences of hashable symbols."""

SEQUENCES_PER_CHUNK = 2**16
"""Sequences that are scored at a time: bounds the memory, whatever the corpus."""


def check_chunks(X: Sequences) -> Iterator[list[Sequence[Hashable]]]:
    """Yield the elements of an iterable of sequences in lists, as `check_sequences` gives them."""
    if isinstance(X, (str, bytes)) or not isinstance(X, Iterable):
        check_sequences(X)  # raises
    elements, start = iter(X), 0
    while chunk := list(itertools.islice(elements, SEQUENCES_PER_CHUNK)):
        yield check_sequences(chunk, first=start)
        start += len(chunk)


def check_sequences(X: Sequences, name: str = "X", first: int = 0) -> list[Sequence[Hashable]]:
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
    check_one_type(sequences, is_text(sequences), name)
    return sequences


def check_one_type(
    sequences: Sequence[Sequence[Hashable]], text: bool, name: str, like: str = "the others"
) -> None:
    """Raise TypeError unless all sequences are strings, or all are none.

    Parameters
    ----------
    sequences : sequence of sequences
        Checked, see `check_sequences`.
    text : bool
        Whether they have to be strings.
    name, like : str
        What holds them and whom they have to resemble, for the message.
    """
    odd = next((s for s in sequences if isinstance(s, str) != text), None)
    if odd is not None:
        expected = "strings" if text else "sequences of symbols"
        raise TypeError(f"{name} must hold {expected}, like {like}, got {odd!r}")


def check_known(
    vocabulary: Vocabulary, sequences: Iterable[Sequence[Hashable]], name: str = "X"
) -> None:
    """Raise ValueError if a symbol is not in the vocabulary."""
    unknown = vocabulary.unknown(sequences)
    if unknown:
        raise ValueError(
            f"{name} holds symbols that are not in the vocabulary: {unknown[:20]}; pass "
            "vocabulary= with all symbols before fitting, or handle_unknown='neg_inf' to "
            "score such sequences as impossible"
        )


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


def check_longest(longest: int, max_len: int | None) -> int:
    """Return how long sequences may be: `max_len`, or as long as the longest.

    Raises
    ------
    ValueError
        If there is a longer one than `max_len`.
    """
    if max_len is not None and longest > max_len:
        raise ValueError(
            f"max_len={max_len}, but X holds a sequence of {longest} symbols; raise max_len or leave "
            "longer sequences out"
        )
    return max_len or max(longest, 1)


def check_handle_unknown(value: str) -> None:
    """Raise ValueError if `handle_unknown` is neither "error" nor "neg_inf"."""
    if value not in ("error", "neg_inf"):
        raise ValueError(f"handle_unknown must be 'error' or 'neg_inf', got {value!r}")


def check_weights(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64]:
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


def check_weighed(
    X: Sequences, sample_weight: ArrayLike | None
) -> tuple[list[Sequence[Hashable]], NDArray[np.float64]]:
    """Return sequences and their weights, both checked, without what weighs nothing."""
    sequences = check_sequences(X)
    weights = check_weights(sample_weight, len(sequences))
    counted = weights > 0
    return [sequences[i] for i in np.flatnonzero(counted)], weights[counted]
