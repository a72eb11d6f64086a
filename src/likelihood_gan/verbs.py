"""What every distribution over sequences can do, once it can draw some and score them.

How it draws and scores is left to the classes that inherit from `DistributionMixin`.
"""

from collections import Counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likelihood_gan import estimates
from likelihood_gan.estimates import Divergence, Probability
from likelihood_gan.rejection import Conditions, Predicate
from likelihood_gan.rules import FLAG, check, integer, random_source
from likelihood_gan.validation import (
    Sequences,
    check_sequences,
    check_weights,
    unpack_counts,
)
from likelihood_gan.vocabulary import vocabulary_of

_SAMPLES_PER_COUNT = 4096
"""Samples that are drawn at a time if only their counts are wanted."""


class DistributionMixin:
    """What every distribution over sequences can do, once it can draw some and score them.

    A class that inherits from it has `_draw` and `score_samples`.
    """

    def _draw(
        self,
        n: int,
        max_len: int | None,
        random_state: np.random.RandomState,
        constraints: dict[str, Any],
    ) -> list[Any]:
        """Draw `n` sequences; the other arguments are not checked yet.

        Among the constraints may be `cut`, checked, and then is not "keep". If it is "redraw", fewer
        than `n` may come: without those that were cut.
        """
        raise NotImplementedError

    def score_samples(self, X: Sequences) -> NDArray[np.float64]:
        """Log-probability of each sequence in nats, END included."""
        raise NotImplementedError

    def _as_it_is(self) -> Self:
        """Return what stays the same to the end of a call; an estimator may be refitted meanwhile."""
        return self

    def sample(
        self,
        n_samples: int = 1,
        max_len: int | None = None,
        *,
        distinct: bool = False,
        exclude: Any = None,
        where: Predicate | None = None,
        return_log_prob: bool = False,
        cut: str = "keep",
        random_state: Any = None,
        **constraints: Any,
    ) -> Any:
        """Draw sequences.

        Parameters
        ----------
        n_samples : int, default=1
            Number of sequences.
        max_len : int, optional
            Most symbols of a sequence, prefix included; for longer ones see `cut`. Default: the
            `max_len` of the distribution.
        distinct : bool, default=False
            Leave repetitions out: sequences come in the order of their first appearance.
        exclude : container of sequences, optional
            Sequences that are not returned, such as the data. A list becomes a set; anything else
            with `__contains__` is asked for every sample.
        where : callable, optional
            ``where(sequence)`` is true for the sequences that are returned, such as
            ``re.compile("ie$").search``.
        return_log_prob : bool, default=False
            Also return `score_samples` of the samples.
        cut : {"keep", "redraw", "error"}, default="keep"
            What becomes of a sequence that goes on behind `max_len`: it is returned as far as it
            came, as in the report, or left out, or raises ValueError.
        random_state : int, RandomState or None, default=None
            An int repeats the draw, None draws anew.
        **constraints
            What is asked of every sequence, see `likelihood_gan.sampling.Constraints`:

            - ``prefix``, a str or sequence of symbols that it begins with;
            - ``min_len``, its fewest symbols; equal to `max_len` it forces the length;
            - ``temperature``: below 1 the next symbol is drawn from its likelier candidates, above
              1 more evenly;
            - ``top_k`` and ``top_p``: the next symbol is one of the k likeliest, or of the likeliest
              that together have probability p;
            - ``banned`` and ``allowed``: symbols that do not come behind the prefix, and the only
              ones that do.

        Returns
        -------
        samples : list of str, or of tuples of symbols
            `n_samples` sequences, of the type of the data.
        log_probs : ndarray of shape (n_samples,), float64
            Only if `return_log_prob`: the log-probability of each sample in nats, prefix and END
            included, as if nothing were asked of it. If `max_len` cut a sequence, that of what is
            left of it, with an END.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range; if a constraint is asked of a generator without `step`;
            or if too few of the draws are accepted.

        Notes
        -----
        `exclude`, `where`, ``cut="redraw"`` and `distinct` draw until there are enough, so the first
        three give exactly the distribution under that condition. If in 2^20 draws fewer than one in
        10,000 is accepted, an error says how many, and why. Constraints steer the draws instead, and
        cost nothing; what they make of a sequence's probability is not that condition: a banned
        symbol's share goes to the other symbols at its place.
        """
        check(n_samples, "n_samples", integer(1))
        check(return_log_prob, "return_log_prob", FLAG)
        conditions = Conditions(exclude, where, distinct)
        random_state = random_source(random_state)
        arguments, now = (max_len, random_state, _with_cut(constraints, cut)), self._as_it_is()
        if conditions or cut == "redraw":
            samples = conditions.draw(n_samples, lambda n: now._draw(n, *arguments))
        else:
            samples = now._draw(n_samples, *arguments)
        return (samples, now.score_samples(samples)) if return_log_prob else samples

    def sample_counts(
        self,
        n_samples: int = 1,
        max_len: int | None = None,
        *,
        exclude: Any = None,
        where: Predicate | None = None,
        cut: str = "keep",
        random_state: Any = None,
        **constraints: Any,
    ) -> tuple[list[Any], NDArray[np.int64]]:
        """Draw sequences, and tell how often each one came.

        Billions of draws from a generator with `step` are no problem: time and memory grow with the
        number of different sequences.

        Parameters
        ----------
        n_samples, max_len, exclude, where, cut, random_state, **constraints
            As in `sample`.

        Returns
        -------
        sequences : list of str, or of tuples of symbols
            Different ones, in an order without meaning.
        counts : ndarray of int64
            Their numbers; the sum is `n_samples`.

        Raises
        ------
        TypeError, ValueError
            As in `sample`.
        """
        check(n_samples, "n_samples", integer(1))
        conditions = Conditions(exclude, where)
        random_state = random_source(random_state)
        arguments, now = (max_len, random_state, _with_cut(constraints, cut)), self._as_it_is()
        if conditions or cut == "redraw":
            return conditions.count(
                n_samples, lambda n: now._draw_counts(n, *arguments), random_state
            )
        return now._draw_counts(n_samples, *arguments)

    def _draw_counts(
        self,
        n: int,
        max_len: int | None,
        random_state: np.random.RandomState,
        constraints: dict[str, Any],
    ) -> tuple[list[Any], NDArray[np.int64]]:
        found: Counter[Any] = Counter()
        for start in range(0, n, _SAMPLES_PER_COUNT):
            m = min(_SAMPLES_PER_COUNT, n - start)
            found.update(self._draw(m, max_len, random_state, constraints))
        return list(found), np.array(list(found.values()), dtype=np.int64)

    def score(self, X: Sequences, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log-probability of the sequences, in nats per sequence; higher is better.

        A mapping, such as a Counter, gives the weights of its keys.
        """
        X, sample_weight = unpack_counts(X, sample_weight)
        scores = self.score_samples(X)
        weights = check_weights(sample_weight, len(scores))
        counted = weights > 0  # 0 * -inf would be NaN
        return float(np.average(scores[counted], weights=weights[counted]))

    def perplexity(self, X: Sequences) -> float:
        r"""Perplexity per symbol, :math:`\exp(-\sum_i \log p(x_i) / \sum_i (|x_i| + 1))`.

        Each sequence's END counts as a symbol. From 1 to infinity, lower is better; a uniform choice
        among k symbols and END has k + 1. A mapping, such as a Counter, gives the weights of its keys.
        """
        X, counts = unpack_counts(X, None)
        sequences = check_sequences(X)
        weights = check_weights(counts, len(sequences), "X")
        now = self._as_it_is()
        vocabulary = vocabulary_of(now)
        split = len if vocabulary is None else lambda sequence: len(vocabulary.split(sequence))
        n_symbols = weights @ np.array([split(sequence) + 1 for sequence in sequences])
        counted = weights > 0  # 0 * -inf would be NaN
        total = weights[counted] @ now.score_samples(sequences)[counted]
        with np.errstate(over="ignore"):
            return float(np.exp(-total / n_symbols))

    def probability(
        self,
        where: Predicate,
        n_samples: int = 100_000,
        *,
        random_state: Any = None,
        **arguments: Any,
    ) -> Probability:
        """Estimate the probability of an event, with a 95 % interval.

        Parameters
        ----------
        where : callable
            The event: ``where(sequence)`` is true where it occurs.
        n_samples, random_state, **arguments
            As in `likelihood_gan.estimates.probability`, which says what fools it.

        Returns
        -------
        Probability
            `value`, `lower` and `upper`.
        """
        now = self._as_it_is()
        return estimates.probability(now, where, n_samples, random_state=random_state, **arguments)

    def divergence(
        self,
        other: Any,
        n_samples: int = 10_000,
        *,
        max_len: int | None = None,
        random_state: Any = None,
    ) -> Divergence:
        """Estimate Kullback-Leibler divergences both ways, and the Jensen-Shannon divergence.

        Parameters
        ----------
        other : estimator or distribution
            With `sample` and `score_samples`.
        n_samples, max_len, random_state
            As in `likelihood_gan.estimates.divergence`, which says what fools it.

        Returns
        -------
        Divergence
            `kl`, from this one to the other, `reverse_kl`, `js`, and their standard errors, in nats.
        """
        now = self._as_it_is()
        return estimates.divergence(
            now, other, n_samples, max_len=max_len, random_state=random_state
        )


def _with_cut(constraints: dict[str, Any], cut: str) -> dict[str, Any]:
    if cut not in ("keep", "redraw", "error"):
        raise ValueError(f"cut must be 'keep', 'redraw' or 'error', got {cut!r}")
    return constraints if cut == "keep" else constraints | {"cut": cut}
