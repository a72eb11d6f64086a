"""Check what users pass: every error names the argument, its value and the remedy.

What a vocabulary makes of the sequences is left to `vocabulary`.
"""

import itertools
import math
import numbers
import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likelihood_gan.containers import elements_of, shortened
from likelihood_gan.vocabulary import Vocabulary, is_text

Sequences = Iterable[Sequence[Hashable]]
"""What users pass as data: any iterable of str, or of sequences of hashable symbols."""

_MOST_WEIGHT = 1e300
"""The sum of all weights; sums of products with them must not overflow."""
SEQUENCES_PER_CHUNK = 2**16
"""Sequences that are scored at a time: bounds the memory, whatever the corpus."""


def check_chunks(X: Sequences, size: int | None = None) -> Iterator[list[Sequence[Hashable]]]:
    """Yield the elements of an iterable of sequences in lists, as `check_sequences` gives them.

    A list has `size` elements, SEQUENCES_PER_CHUNK if that is None.
    """
    elements, start = iter(elements_of(X, "X")), 0
    while chunk := list(itertools.islice(elements, size or SEQUENCES_PER_CHUNK)):
        yield _check_elements(chunk, "X", start)
        start += len(chunk)


def check_sequences(X: Sequences, name: str = "X") -> list[Sequence[Hashable]]:
    """Return the elements of an iterable of sequences as a list of str or of tuples.

    Raises
    ------
    TypeError
        If `X` is no list of sequences, such as a bare string, a file, a DataFrame or a mapping, or
        holds something that is no sequence of hashable symbols, or mixes strings with other sequences.
    """
    return _check_elements(list(elements_of(X, name)), name, 0)


def _check_elements(elements: list[Any], name: str, first: int) -> list[Sequence[Hashable]]:
    if set(map(type, elements)) <= {str}:
        return elements
    sequences = [_check_sequence(e, name, i) for i, e in enumerate(elements, start=first)]
    check_one_type(sequences, is_text(sequences), name)
    return sequences


def unpack_counts(
    X: Sequences, sample_weight: ArrayLike | None, name: str = "X"
) -> tuple[Sequences, ArrayLike | None]:
    """Return the sequences and the weights that a mapping of counts, such as a Counter, stands for.

    Anything else, and its weights, is returned as it is.

    Raises
    ------
    TypeError, ValueError
        If there are weights besides, or a value of the mapping is no count.
    """
    if not isinstance(X, Mapping):
        return X, sample_weight
    if sample_weight is not None:
        raise TypeError(
            f"{name} is a mapping of counts, and sample_weight is given, too; pass list({name}) with "
            "the product of both as sample_weight"
        )
    for sequence, count in X.items():
        if not isinstance(count, (numbers.Real, np.bool_)) or not 0 <= float(count) < math.inf:
            raise ValueError(
                f"{name} is a mapping, so that its values are counts, and {name}[{sequence!r}] is "
                f"{shortened(count)}; counts must be finite and not negative"
            )
    return list(X), np.fromiter(X.values(), dtype=np.float64, count=len(X))


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
            "vocabulary= with all symbols before fitting, or handle_unknown='token' to give unseen "
            "symbols a probability, or 'neg_inf' to score such sequences as impossible"
            + _line_ends(unknown)
        )


def _line_ends(unknown: Sequence[Hashable]) -> str:
    return "; strip the line ends" if {"\n", "\r"}.intersection(unknown) else ""


def _check_sequence(element: Any, name: str, i: int) -> Sequence[Hashable]:
    if isinstance(element, str):
        return str(element)
    if isinstance(element, (bytes, set, frozenset, dict)):
        _refuse_element(element, name, i)
    try:
        # tolist: the rows of a numpy array become tuples of Python numbers
        symbols = tuple(element.tolist() if hasattr(element, "tolist") else element)
        hash(symbols)
    except TypeError:
        _refuse_element(element, name, i)
    return symbols


def _refuse_element(element: Any, name: str, i: int) -> NoReturn:
    remedy = "expected a str or a sequence (list, tuple) of hashable symbols"
    is_nan = isinstance(element, float) and math.isnan(element)
    if element is None or is_nan or type(element).__name__ in ("NAType", "NaTType"):
        remedy += "; leave out what is missing, as by dropna()"
    elif isinstance(element, bytes):
        remedy += "; decode it, as by .decode()"
    elif isinstance(element, (list, tuple)):
        odd = next(type(symbol).__name__ for symbol in element if not _is_hashable(symbol))
        remedy += f", and a symbol is a {odd}; make it a tuple, or flatten the sequence"
    raise TypeError(
        f"{name}[{i}] is {shortened(element)}, a {type(element).__name__}; {remedy}"
    ) from None


def _is_hashable(symbol: Any) -> bool:
    try:
        hash(symbol)
    except TypeError:
        return False
    return True


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
    """Raise ValueError if `handle_unknown` is neither "error" nor "neg_inf" nor "token"."""
    if value not in ("error", "neg_inf", "token"):
        raise ValueError(f"handle_unknown must be 'error', 'neg_inf' or 'token', got {value!r}")


def check_weights(
    sample_weight: ArrayLike | None, n: int, name: str = "sample_weight"
) -> NDArray[np.float64]:
    """Return the weights of `n` sequences as float64, ones if there are none given.

    Raises
    ------
    ValueError
        If there are no sequences, or a weight is missing, negative, infinite or NaN, or all are 0, or
        their sum may overflow.
    """
    if n == 0:
        raise ValueError("X is empty; pass at least one sequence")
    if sample_weight is None:
        return np.ones(n)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,):
        raise ValueError(
            f"{name} must have one number for each of the {n} sequences, got shape {weights.shape}"
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        worst = weights[~(np.isfinite(weights) & (weights >= 0))]
        found = f"{worst[0]}" if len(worst) else "only zeros"
        raise ValueError(f"{name} must be finite, not negative and not all 0, got {found}")
    if weights.max() > _MOST_WEIGHT / n:
        raise ValueError(
            f"{name} must sum to {_MOST_WEIGHT:g} at most, got {weights.max():g} for one of {n} "
            "sequences; divide all weights by the largest"
        )
    return weights


def check_weighed(
    X: Sequences, sample_weight: ArrayLike | None, y: Any = None
) -> tuple[list[Sequence[Hashable]], NDArray[np.float64]]:
    r"""Return the data of a fit and their weights, both checked, without what weighs nothing.

    Raises
    ------
    TypeError, ValueError
        As `check_sequences` and `check_weights` do; if `y` holds numbers, which may be meant as weights;
        or if the sequences are lines that were read from a file, with their ends.

    Warns
    -----
    UserWarning
        If the last sequence is the only empty one, as ``text.split("\n")`` makes it.
    """
    if y is not None and sample_weight is None and _may_be_weights(y):
        raise TypeError(
            "y holds positive numbers, as weights do, and fit takes no account of y; pass weights by "
            "name, as sample_weight=, and leave labels out or number them from 0"
        )
    X, sample_weight = unpack_counts(X, sample_weight)
    sequences = check_sequences(X)
    weights = check_weights(sample_weight, len(sequences))
    check_lines(sequences)
    if is_text(sequences) and len(sequences) > 2 and not sequences[-1] and all(sequences[:-1]):
        warnings.warn(
            "the last sequence of X is the only empty one, as text.split('\\n') makes it of the last line "
            "end; leave it out, or use text.splitlines()",
            stacklevel=3,
        )
    counted = weights > 0
    if counted.all():
        return sequences, weights
    return [sequences[i] for i in np.flatnonzero(counted)], weights[counted]


def _may_be_weights(y: Any) -> bool:
    """Tell weights, and counts, from class labels 0, 1, ..., which scikit-learn passes to all fits."""
    try:
        values = np.asarray(y)
    except ValueError:  # lists of several lengths
        return False
    if values.dtype.kind not in "iuf" or values.size == 0:
        return False
    return bool(values.min() > 0 or (values.min() == 0 and (values % 1 != 0).any()))


def check_lines(sequences: Sequence[Sequence[Hashable]], name: str = "X") -> None:
    """Refuse text whose every line, but for perhaps the last, still has its end."""
    n = max(len(sequences) - 1, 1)
    if not is_text(sequences):
        return
    if all(line[-1:] in ("\n", "\r") for line in sequences[:n]):
        raise ValueError(
            f"every sequence of {name} ends in a line end, such as {sequences[0]!r}; strip it, as by "
            f"[line.rstrip('\\n') for line in {name}], or use likelihood_gan.datasets.read_sequences"
        )
