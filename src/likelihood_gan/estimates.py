"""What draws tell of a distribution that can be scored: the probability of an event, and divergences.

Of distributions only `sample` and `score_samples` are used. How they draw is left to them; samples
are compared with data in `metrics`.
"""

import inspect
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from likelihood_gan.rules import check, integer, random_source

LONGEST = 1000
"""Samples are drawn up to this length, or four times the distribution's `max_len` if that is more."""
LEVEL = 0.95

Array = NDArray[np.float64]


class Probability(NamedTuple):
    """Estimate of a probability, and its interval."""

    value: float
    lower: float
    upper: float


class Divergence(NamedTuple):
    """Estimates of divergences between distributions p and q in nats, and their standard errors.

    `kl` is KL(p, q), `reverse_kl` is KL(q, p), `js` is the Jensen-Shannon divergence.
    """

    kl: float
    kl_error: float
    reverse_kl: float
    reverse_kl_error: float
    js: float
    js_error: float


def probability(
    distribution: Any,
    where: Callable[[Any], object],
    n_samples: int = 100_000,
    *,
    random_state: Any = None,
    **arguments: Any,
) -> Probability:
    """Estimate the probability of an event by the share of samples in which it occurs.

    The interval is that of Clopper and Pearson: it holds the truth with a probability of at least
    95 %, whatever that is. An event that no sample shows has probability 0 to 3.7 / `n_samples`.

    **What fools it**: rare events, for which it says little more than that. Samples of `Refined` are
    resampled from common proposals and not quite independent, so its interval is a little too narrow.

    Parameters
    ----------
    distribution : estimator or distribution
        Has `sample`; with `sample_counts` samples that repeat themselves cost as much as one.
    where : callable
        The event: ``where(sequence)`` is true where it occurs.
    n_samples : int, default=100_000
        Number of samples. The width of the interval falls with its square root.
    random_state : int, RandomState or None, default=None
        Seed of the samples.
    **arguments
        For `sample`: ``prefix="ma"`` gives the probability under that condition, for instance.
        Without `max_len`, samples may have 1,000 symbols, or four times the `max_len` of the
        distribution; one that is longer raises ValueError, unless ``cut="redraw"`` or
        ``cut="keep"``.

    Returns
    -------
    Probability
        `value`, `lower` and `upper`.

    References
    ----------
    Clopper, Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the
    binomial".
    """
    if not callable(where):
        raise TypeError(f"where must be a function of a sequence, got {where!r}")
    check(n_samples, "n_samples", integer(1))
    sequences, counts = _draw(distribution, n_samples, random_state, arguments)
    n_hits = sum(n for s, n in zip(sequences, counts.tolist(), strict=True) if where(s))
    interval = binomtest(n_hits, n_samples).proportion_ci(LEVEL, method="exact")
    return Probability(n_hits / n_samples, float(interval.low), float(interval.high))


def divergence(
    p: Any,
    q: Any,
    n_samples: int = 10_000,
    *,
    max_len: int | None = None,
    random_state: Any = None,
) -> Divergence:
    r"""Estimate divergences between two distributions by their log-ratios on samples of each.

    KL(p, q) is the mean of :math:`\log p(x) - \log q(x)` over samples of p. Jensen-Shannon is the mean
    of :math:`\frac12 \log p(x)/m(x)` over samples of p plus that of :math:`\frac12 \log q(x)/m(x)`
    over samples of q, with :math:`m = (p + q)/2`; it is at most log 2. All are unbiased, and so may be
    a little below 0 where the truth is near 0. Standard errors are those of the means.

    If q gives a sample of p the probability 0, KL(p, q) is infinite, with error 0: that is certain.

    **What fools it**: sequences that p draws too rarely to be among the samples, and q finds all but
    impossible. They may carry most of KL(p, q), and then value and error are both too small;
    Jensen-Shannon, which is bounded, is safe from that. Samples of `Refined` are resampled, and its
    scores hold an estimate of log Z, whose error is not in the standard errors.

    Parameters
    ----------
    p, q : estimators or distributions
        With `sample` and `score_samples`. What has a symbol that the other does not know raises
        ValueError in an estimator with ``handle_unknown="error"``; to a `SequenceDistribution` it is
        impossible.
    n_samples : int, default=10_000
        Number of samples of each.
    max_len : int, optional
        Most symbols of a sample: longer ones raise ValueError, since a part has another probability.
        Default: 1,000, or four times the `max_len` of a distribution, if that is more.
    random_state : int, RandomState or None, default=None
        Seed of the samples.

    Returns
    -------
    Divergence
        `kl`, `kl_error`, `reverse_kl`, `reverse_kl_error`, `js` and `js_error`.

    References
    ----------
    Kullback, Leibler (1951), "On information and sufficiency"; Lin (1991), "Divergence measures based
    on the Shannon entropy".
    """
    check(n_samples, "n_samples", integer(2))
    random_state = random_source(random_state)
    arguments = {} if max_len is None else {"max_len": max_len}
    means, variances = [], []
    for own, other in ((p, q), (q, p)):
        sequences, counts = _draw(own, n_samples, random_state, arguments)
        log_own, log_other = _score(own, sequences), _score(other, sequences)
        log_middle = np.logaddexp(log_own, log_other) - math.log(2)
        for terms in (log_own - log_other, log_own - log_middle):
            mean, variance = _moments(terms, counts)
            means.append(mean)
            variances.append(variance / n_samples)
    (kl, js, reverse_kl, other_js), errors = means, np.sqrt(variances).tolist()
    js_error = math.hypot(errors[1], errors[3]) / 2
    return Divergence(kl, errors[0], reverse_kl, errors[2], (js + other_js) / 2, js_error)


def _draw(
    distribution: Any, n: int, random_state: Any, arguments: dict[str, Any]
) -> tuple[list[Any], NDArray[np.int64]]:
    """Draw different sequences that nothing has cut, and tell how often each came."""
    longest = getattr(distribution, "max_len_", getattr(distribution, "max_len", None))
    if longest is not None:
        arguments = {"max_len": max(LONGEST, 4 * longest), "cut": "error"} | arguments
    if hasattr(distribution, "sample_counts"):
        sequences, counts = distribution.sample_counts(n, random_state=random_state, **arguments)
        return sequences, counts
    found = Counter(distribution.sample(n, random_state=random_state, **arguments))
    return list(found), np.array(list(found.values()), dtype=np.int64)


def _score(distribution: Any, sequences: list[Any]) -> Array:
    """Score what may hold symbols that the distribution does not know; estimators have a parameter."""
    options = {}
    if "handle_unknown" in inspect.signature(distribution.score_samples).parameters:
        options["handle_unknown"] = "neg_inf"
    return np.asarray(distribution.score_samples(sequences, **options), dtype=np.float64)


def _moments(terms: Array, counts: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and variance of values that came so often; nothing varies about infinity."""
    mean = float(np.average(terms, weights=counts))
    if math.isinf(mean):
        return mean, 0.0
    return mean, float(counts @ (terms - mean) ** 2) / (int(counts.sum()) - 1)
