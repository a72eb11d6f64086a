"""n-grams of sequences, with marks at both ends: listed, and hashed to sparse vectors.

How they are hashed is left to `hashing`, what is made of them to `metrics` and `crossfitting`.
"""

import enum
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin

from likelihood_gan.hashing import CELLS_PER_BLOCK, Written, blocks
from likelihood_gan.rules import NGRAM_RANGE, check_attributes, integer
from likelihood_gan.validation import Sequences, check_sequences


class _Mark(enum.Enum):
    """What stands before and after every sequence in n-grams; equal to no symbol of a user."""

    START = enum.auto()
    END = enum.auto()


def n_grams(
    sequence: Iterable[Hashable],
    low: int,
    high: int,
    marks: tuple[Hashable, Hashable] = (_Mark.START, _Mark.END),
) -> Iterator[tuple[Any, ...]]:
    """Yield the n-grams, n from `low` to `high`, of a sequence between its marks.

    A sequence that is too short for them has one: itself and its marks.
    """
    marked = (marks[0], *sequence, marks[1])
    for n in range(min(low, len(marked)), min(high, len(marked)) + 1):
        for i in range(len(marked) - n + 1):
            yield marked[i : i + n]


class NGramHasher(TransformerMixin, BaseEstimator):
    """Sequences to signed sums of the counts of their hashed n-grams, a sparse matrix.

    Nothing is learned. "ab" is read as ^ab$, so beginnings and ends count. A symbol is hashed by its
    `repr`, so that the numbers are the same in every process (unless the `repr` is not, like that
    of a set or of a class that defines none); equal numbers such as 1 and 1.0 are one symbol.

    Parameters
    ----------
    ngram_range : (int, int), default=(1, 5)
        Shortest and longest n-grams.
    n_features : int, default=2**18
        Width of the matrix; few features make n-grams collide.

    References
    ----------
    Weinberger et al. (2009), "Feature hashing for large scale multitask learning".

    Examples
    --------
    >>> NGramHasher(ngram_range=(1, 2)).transform(["ada", "ed"]).shape
    (2, 262144)
    """

    def __init__(self, ngram_range: tuple[int, int] = (1, 5), n_features: int = 2**18):
        self.ngram_range = ngram_range
        self.n_features = n_features

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Do nothing."""
        return self

    def transform(self, X: Sequences) -> Any:
        """Return the (n, n_features) sparse matrix of a list of sequences.

        Raises
        ------
        TypeError, ValueError
            If a parameter is of the wrong type, or out of range.
        """
        matrix = self.uncollected(X)
        matrix.sum_duplicates()
        return matrix

    def uncollected(self, X: Sequences) -> Any:
        """Return the same matrix, but with an entry for every n-gram, in no order.

        That takes half the time, and is as good where the entries are multiplied and added up.
        """
        rules = {"n_features": integer(1, 2**31 - 1), "ngram_range": NGRAM_RANGE}
        check_attributes(self, rules)
        (low, high), width = self.ngram_range, np.uint32(self.n_features)
        columns, signs, counts = [], [], [np.zeros(1, dtype=np.int64)]
        sequences = check_sequences(X)
        for block in blocks(sequences, max(CELLS_PER_BLOCK // (high - low + 1), 1)):
            hashes, n = Written.of(block).n_grams(low, high)
            negative = hashes >= 2**31  # as a signed number, whose size gives the column
            columns.append((np.where(negative, -hashes, hashes) % width).astype(np.int32))
            signs.append(1 - 2 * negative.astype(np.int8))
            counts.append(n)
        shape, ends = (len(sequences), self.n_features), np.concatenate(counts).cumsum()
        values = np.concatenate(signs).astype(np.float64)
        return csr_matrix((values, np.concatenate(columns), ends), shape)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
