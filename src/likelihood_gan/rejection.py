"""Draw until enough sequences are accepted: exact for any condition, with an end if few are.

What is drawn at a time has the wanted distribution but for the condition. How it is drawn is left
to the callers.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likelihood_gan.rules import FLAG, check
from likelihood_gan.validation import check_one_type, check_sequences

DRAWS_PER_BLOCK = 2**17
"""Sequences that are drawn at a time, if not more are wanted: blocks grow up to it."""
DRAWS_BEFORE_GIVING_UP = 2**20
"""After so many draws, and then again, at least `LEAST_ACCEPTED` of them must have been accepted."""
LEAST_ACCEPTED = 1e-4

Predicate = Callable[[Any], object]


class Conditions:
    """What a sequence must be, beyond what the generator can be told.

    Parameters
    ----------
    exclude : container of sequences, optional
        Those that are left out. Of a set, a mapping or anything else with `__contains__` only that
        is asked; a list, an array or an iterator becomes a set.
    where : callable, optional
        True for the sequences that are kept.
    distinct : bool
        Whether repetitions are left out.

    Raises
    ------
    TypeError
        If `exclude` is a string or no container, or `where` cannot be called.
    """

    def __init__(self, exclude: Any = None, where: Predicate | None = None, distinct: bool = False):
        if where is not None and not callable(where):
            raise TypeError(f"where must be a function of a sequence, got {where!r}")
        self._excluded = _container(exclude)
        self._where = where
        check(distinct, "distinct", FLAG)
        self._distinct = bool(distinct)
        self._rejected: Counter[str] = Counter()
        self._drawn = self._accepted = 0
        self._seen_before = 0, 0

    def __bool__(self) -> bool:
        return self._distinct or self._excluded is not None or self._where is not None

    def draw(self, n: int, draw: Callable[[int], list[Any]]) -> list[Any]:
        """Take the first `n` that are accepted from a stream of independent draws.

        Parameters
        ----------
        n : int
            Number of sequences.
        draw : callable
            ``draw(m)`` gives `m` sequences, or fewer if max_len cut the others.

        Raises
        ------
        ValueError
            If too few are accepted; it tells how many were rejected, and why.
        """
        found: list[Any] = []
        seen: set[Any] = set()
        m = n
        while True:
            block = draw(m)
            self._count(m, len(block), block)
            judged: dict[Any, str] = {}  # the condition may be slow: once for each
            for sequence in block:
                verdict = judged.get(sequence)
                if verdict is None:
                    verdict = judged[sequence] = self._judge(sequence)
                if self._distinct and not verdict:
                    verdict = "distinct" if sequence in seen else ""
                    seen.add(sequence)
                if verdict:
                    self._rejected[verdict] += 1
                    continue
                found.append(sequence)
                if len(found) == n:
                    return found
            m = self._next_block(m, n, len(found))

    def count(
        self,
        n: int,
        draw_counts: Callable[[int], tuple[list[Any], NDArray[np.int64]]],
        random_state: np.random.RandomState,
    ) -> tuple[list[Any], NDArray[np.int64]]:
        """Tell how often each sequence comes among the first `n` that are accepted.

        As `draw`; ``draw_counts(m)`` gives different sequences, and how often each came.
        """
        found: Counter[Any] = Counter()
        n_found, m = 0, n
        while True:
            sequences, counts = draw_counts(m)
            self._count(m, int(counts.sum()), sequences)
            verdicts = [self._judge(sequence) for sequence in sequences]
            for verdict, times in zip(verdicts, counts.tolist(), strict=True):
                if verdict:
                    self._rejected[verdict] += times
            accepted = np.array([not verdict for verdict in verdicts], dtype=bool)
            counts = np.where(accepted, counts, 0)
            if counts.sum() > n - n_found:  # only of blocks that are small
                counts = _some(counts, n - n_found, random_state)
            for i in np.flatnonzero(counts).tolist():
                found[sequences[i]] += int(counts[i])
            n_found += int(counts.sum())
            if n_found == n:
                return list(found), np.array(list(found.values()), dtype=np.int64)
            m = self._next_block(m, n, n_found)

    def accepts(self, sequence: Any) -> bool:
        """Tell whether a sequence is neither excluded nor refused by `where`."""
        return not self._judge(sequence)

    def _judge(self, sequence: Any) -> str:
        """Return which condition rejects a sequence, "" if none does."""
        if self._excluded is not None and sequence in self._excluded:
            return "exclude"
        if self._where is not None and not self._where(sequence):
            return "where"
        return ""

    def _count(self, n_drawn: int, n_complete: int, sequences: list[Any]) -> None:
        if self._drawn == 0 and sequences and isinstance(self._excluded, (AbstractSet, Mapping)):
            some = list(itertools.islice(self._excluded, 1))
            check_one_type(some, isinstance(sequences[0], str), "exclude", like="the samples")
        self._drawn += n_drawn
        if n_drawn > n_complete:
            self._rejected["cut"] += n_drawn - n_complete

    def _next_block(self, m: int, n: int, n_found: int) -> int:
        """Return how many to draw next, by the share of the last block that was accepted."""
        drawn, accepted = self._seen_before
        if self._drawn - drawn >= DRAWS_BEFORE_GIVING_UP:
            if n_found - accepted < LEAST_ACCEPTED * (self._drawn - drawn):
                raise ValueError(self._too_few(n, n_found))
            self._seen_before = self._drawn, n_found
        new, missing = n_found - self._accepted, n - n_found
        self._accepted = n_found
        wanted = math.ceil(1.2 * missing * m / new) if new else 2 * m
        return max(missing, min(wanted, DRAWS_PER_BLOCK))

    def _too_few(self, n: int, n_found: int) -> str:
        meaning = {
            "cut": "cut by max_len (cut='redraw')",
            "exclude": "in exclude",
            "where": "refused by where",
            "distinct": "repeated (distinct=True)",
        }
        reasons = ", ".join(
            f"{self._rejected[name]} were {words}"
            for name, words in meaning.items()
            if self._rejected[name]
        )
        kind = "different sequences" if self._distinct else "sequences"
        return (
            f"found {n_found} {kind} in {self._drawn} draws, a share of "
            f"{n_found / self._drawn:.2g}, not n_samples={n}: {reasons}; ask for fewer, or "
            "steer the draws with temperature, prefix, min_len, max_len, banned or allowed"
        )


def _container(exclude: Any) -> Container[Hashable] | None:
    if exclude is None or isinstance(exclude, (AbstractSet, Mapping)):
        return exclude
    is_list = isinstance(exclude, Sequence) or hasattr(exclude, "__array__")
    if hasattr(exclude, "__contains__") and not is_list:
        return exclude
    return set(check_sequences(exclude, "exclude"))


def _some(
    counts: NDArray[np.int64], n: int, random_state: np.random.RandomState
) -> NDArray[np.int64]:
    """Take `n` of the counted at random, without replacement."""
    taken = random_state.permutation(np.repeat(np.arange(len(counts)), counts))[:n]
    return np.bincount(taken, minlength=len(counts)).astype(np.int64)
