"""Measure samples against data: pure functions of lists of sequences.

Each says what fools it; report several, at equal sizes, beside their floor (`real_against_real`).
Figures are left to `displays`, and no function here knows how the samples were made.
"""

import inspect
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from likelihood_gan.ngrams import NGramHasher, n_grams
from likelihood_gan.rules import check, integer, random_source
from likelihood_gan.validation import Sequences, check_lines, check_one_type, check_sequences
from likelihood_gan.vocabulary import is_text

__all__ = [
    "coverage",
    "hashed_frechet_distance",
    "length_divergence",
    "n_gram_divergence",
    "nll",
    "novelty",
    "real_against_real",
    "two_sample_auc",
    "uniqueness",
]


def nll(estimator: Any, sequences: Sequences) -> float:
    r"""Mean negative log-likelihood, :math:`-\frac1n \sum_i \log p(x_i)`, END included.

    In nats per sequence, from 0 to infinity (one sequence of probability 0 is enough); lower is
    better. `estimator` is anything with ``score_samples``.

    **What fools it**: it says little about samples, since to mix in 99 % of noise costs only
    log 100 = 4.6 nats; and sequences seen in training, or repeated, reward memorising.

    References
    ----------
    Theis, van den Oord, Bethge (2016), "A note on the evaluation of generative models".
    """
    (checked,) = _checked(sequences=sequences)
    return -float(np.mean(estimator.score_samples(checked), dtype=np.float64))


def uniqueness(generated: Sequences) -> float:
    """Share of distinct sequences: number of distinct samples / number of samples.

    From 1/n (all are the same) to 1; what the real data give is best. It falls as the number of
    samples grows: compare at equal n.

    **What fools it**: noise, which is always unique.

    References
    ----------
    Brown, Fiscato, Segler, Vaucher (2019), "GuacaMol: benchmarking models for de novo molecular
    design".

    Examples
    --------
    >>> uniqueness(["ada", "ada", "eva", "zoe"])
    0.75
    """
    (samples,) = _checked(generated=generated)
    return len(set(samples)) / len(samples)


def novelty(generated: Sequences, training: Sequences) -> float:
    """Share of the samples that are not in `training`; of samples, so duplicates count.

    From 0 to 1; best is about what held-out real data give, 0 is a copy of the training data. (The
    same name elsewhere, as in MOSES, is a share of the DISTINCT samples, which is higher where
    known sequences are repeated.)

    **What fools it**: noise, which is always new; and a copy with one changed symbol.

    References
    ----------
    Polykovskiy et al. (2020), "Molecular Sets (MOSES)".

    Examples
    --------
    >>> novelty(["ada", "ada", "eva", "zoe"], training=["ada", "ann"])
    0.5
    """
    samples, known = _checked(generated=generated, training=training)
    known = set(known)
    return sum(sample not in known for sample in samples) / len(samples)


def coverage(generated: Sequences, held_out: Sequences) -> float:
    """Share of the distinct sequences of `held_out` that occur among the samples.

    From 0 to 1; higher is better. It grows with the number of samples, without other limit than 1
    for any model that gives every sequence some probability: compare at equal n only.

    **What fools it**: a lower temperature, which repeats the likely sequences and may cover more
    of them with worse samples; and held-out sequences that are also training data.

    References
    ----------
    Arús-Pous et al. (2019), "Exploring the GDB-13 chemical space using deep generative models".

    Examples
    --------
    >>> coverage(["ada", "ada", "eva", "zoe"], held_out=["zoe", "ann"])
    0.5
    """
    samples, expected = (set(x) for x in _checked(generated=generated, held_out=held_out))
    return len(samples & expected) / len(expected)


def length_divergence(generated: Sequences, real: Sequences) -> float:
    r"""Total variation of the lengths, :math:`\frac12 \sum_n |p(n) - q(n)|`.

    From 0 (the same shares of every length) to 1 (no length in common); lower is better; symmetric.
    Small samples raise it.

    **What fools it**: any symbols whatever in sequences of the right lengths.
    """
    p, q = (_shares(map(len, x)) for x in _checked(generated=generated, real=real))
    differences = (abs(p.get(n, 0) - q.get(n, 0)) for n in p.keys() | q.keys())
    return min(math.fsum(differences) / 2, 1.0)


def n_gram_divergence(generated: Sequences, real: Sequences, n: int = 3) -> float:
    r"""Jensen-Shannon divergence between the distributions of n-grams.

    :math:`\frac12 KL(p \| m) + \frac12 KL(q \| m)` with :math:`m = (p + q) / 2`, where p and q are
    the shares of the n-grams among all those of a list. A sequence is read between one start mark
    and one end mark, so "ab" has the trigrams ^ab and ab$, and beginnings and ends count. If that
    is shorter than n, the whole of it is its one n-gram. With n = 1 the marks are unigrams too.

    In nats, from 0 (the same shares) to log 2 (no n-gram in common); lower is better; symmetric.
    Biased by size: small samples raise it, the more the larger n is; compare at equal sizes.

    **What fools it**: memorising the training data; and it is blind beyond n symbols, so
    sequences that are locally right and globally wrong pass.

    References
    ----------
    Lin (1991), "Divergence measures based on the Shannon entropy".
    """
    check(n, "n", integer(1))
    p, q = (
        _shares(gram for sequence in x for gram in n_grams(sequence, n, n))
        for x in _checked(generated=generated, real=real)
    )
    terms = (
        share * math.log(2 * share / (share + other.get(gram, 0)))
        for one, other in [(p, q), (q, p)]
        for gram, share in one.items()
    )
    return min(max(math.fsum(terms) / 2, 0.0), math.log(2))


def hashed_frechet_distance(
    generated: Sequences,
    real: Sequences,
    *,
    n_features: int = 64,
    ngram_range: tuple[int, int] = (1, 3),
) -> float:
    r"""Fréchet distance between Gaussians fitted to hashed counts of n-grams.

    :math:`\|\mu_1 - \mu_2\|^2 + \mathrm{tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})`,
    squared as in the Fréchet inception distance, of the means and (1/n) covariances of the
    `n_features` signed sums into which the counts of a sequence's n-grams, boundary marks included,
    are hashed. No network is needed, and the numbers are the same in every process, provided that
    the symbols' `repr` is (that of a set, or of a class that defines none, is not).

    In squared counts, from 0 to infinity; lower is better; symmetric; longer sequences have larger
    values, so read it beside `real_against_real`. Biased by size: small samples raise it (about as
    1/n); compare at equal sizes.

    **What fools it**: memorising the training data, and anything that keeps means and covariances
    of counts; few features make n-grams collide, many make the covariances too noisy.

    Parameters
    ----------
    generated, real : iterable of sequences
        Of any sizes.
    n_features : int, default=64
        Dimension of the Gaussians.
    ngram_range : (int, int), default=(1, 3)
        Shortest and longest n-grams.

    References
    ----------
    Heusel et al. (2017), "GANs trained by a two time-scale update rule ..." (FID); Preuer et al.
    (2018), "Fréchet ChemNet distance"; Weinberger et al. (2009), "Feature hashing for large scale
    multitask learning".
    """
    lists = _checked(generated=generated, real=real)
    hasher = NGramHasher(ngram_range, n_features)
    first, second = (_moments(hasher.transform(x)) for x in lists)
    return _gaussian_frechet(*first, *second)


def two_sample_auc(
    generated: Sequences,
    real: Sequences,
    *,
    classifier: Any = None,
    cv: int = 5,
    random_state: Any = None,
) -> float:
    """Area under the ROC curve of a fresh classifier that tells `real` from `generated`.

    The probability that a real sequence is given a higher score than a generated one, by a
    classifier trained on other sequences. From 0 to 1; 0.5 is best: what the classifier learnt does
    not tell them apart; 1 is worst; clearly below 0.5 is chance or too few sequences.

    Scores are out of fold and pooled, so those of separate fits are compared: with 50 sequences a
    list this lowers the value by a few thousandths. All copies of a sequence, from both lists, are
    in one fold: a classifier that saw a copy in the other list would recall the wrong label
    (AUC < 0.5), one that saw a copy in the same list the right one (AUC > 0.5), by identity alone.
    Two equal lists give exactly 0.5. Unequal sizes do not bias it, but more data make a better
    classifier.

    **What fools it**: memorising the training data; and what the classifier cannot see, to which
    the grouping adds how often any single sequence is repeated (see `uniqueness`). In the other
    direction one trivial flaw, such as the length, may bring otherwise good samples near 1.

    Parameters
    ----------
    generated, real : iterable of sequences
        Of any sizes, each with at least `cv` distinct sequences.
    classifier : scikit-learn classifier, default=None
        Fitted to a list of sequences, so usually a pipeline that starts with a vectorizer; it is
        cloned. Its kind should not be the one the generator was trained against. None is a
        logistic regression (C = 0.1) on hashed counts of 1- to 4-grams, boundary marks included.
    cv : int, default=5
        Number of folds. They follow one another: with the default classifier all take seconds, and
        processes are better used for several models.
    random_state : int, RandomState or None, default=None
        Seed of the folds; the classifier has its own.

    References
    ----------
    Lopez-Paz, Oquab (2017), "Revisiting classifier two-sample tests".
    """
    lists = _checked(generated=generated, real=real)
    check(cv, "cv", integer(2))
    for name, x in zip(("generated", "real"), lists, strict=True):
        if len(set(x)) < cv:
            raise ValueError(
                f"{name} must hold at least cv={cv} distinct sequences, got {len(set(x))}; "
                "pass more or lower cv"
            )
    X: Any = [*lists[0], *lists[1]]
    y = np.repeat([0, 1], [len(x) for x in lists])
    folds = PredefinedSplit(_folds(X, y, cv, random_source(random_state)))
    if classifier is None:  # to hash the n-grams learns nothing, so once for all folds will do
        X = NGramHasher((1, 4), 2**16).transform(X)
        fast = dict(solver="liblinear", dual=True, tol=0.01, random_state=0)
        classifier = LogisticRegression(C=0.1, max_iter=1000, **fast)
    methods = [m for m in ("decision_function", "predict_proba") if hasattr(classifier, m)]
    if not methods:
        raise TypeError(
            "classifier must be a classifier with decision_function or predict_proba, got "
            f"{classifier!r}"
        )
    scores = cross_val_predict(classifier, X, y, cv=folds, method=methods[0])
    return float(roc_auc_score(y, scores if scores.ndim == 1 else scores[:, 1]))


def real_against_real(
    metric: Callable[..., float],
    real: Sequences,
    *,
    n_repeats: int = 10,
    random_state: Any = None,
    **kwargs: Any,
) -> np.ndarray:
    """Values of a metric between random halves of the real data: the floor to hold others against.

    The halves are disjoint and equal in size (of an odd number one sequence is left out). A metric
    that is biased by size has this floor at n/2: compare lists of that size with it.

    **What fools it**: near-copies and duplicates in the data, which both halves share and a
    generator does not.

    Parameters
    ----------
    metric : callable
        ``metric(generated, real, **kwargs)``, such as `n_gram_divergence`. One that has a
        `random_state` with default None is given a seed, so that the result can be repeated.
    real : iterable of sequences
        At least two.
    n_repeats : int, default=10
        Number of random divisions.
    random_state : int, RandomState or None, default=None
        Seed of the divisions.
    **kwargs
        Passed to the metric.

    Returns
    -------
    ndarray of shape (n_repeats,)
    """
    (sequences,) = _checked(real=real)
    check(n_repeats, "n_repeats", integer(1))
    half = len(sequences) // 2
    if half == 0:
        raise ValueError("real must hold at least 2 sequences, got 1")
    rng = random_source(random_state)
    parameter = inspect.signature(metric).parameters.get("random_state")
    values = []
    for _ in range(n_repeats):
        order = rng.permutation(len(sequences))
        if parameter is not None and parameter.default is None:
            kwargs["random_state"] = int(rng.randint(2**31 - 1))
        first, second = ([sequences[i] for i in part] for part in (order[:half], order[-half:]))
        values.append(metric(first, second, **kwargs))
    return np.array(values, dtype=np.float64)


def _checked(**lists: Any) -> list[Any]:
    """Return checked, non-empty lists of one type of sequence; the keywords are their names."""
    checked = [check_sequences(x, name) for name, x in lists.items()]
    for name, sequences in zip(lists, checked, strict=True):
        if not sequences:
            raise ValueError(f"{name} is empty; pass at least one sequence")
        check_one_type(sequences, is_text(checked[0]), name, like=next(iter(lists)))
        check_lines(sequences, name)
    return checked


def _shares(items: Iterable[Hashable]) -> dict[Hashable, float]:
    counts = Counter(items)
    total = counts.total()
    return {item: count / total for item, count in counts.items()}


def _folds(X: list[Any], y: np.ndarray, cv: int, rng: np.random.RandomState) -> np.ndarray:
    """Deal the distinct sequences out to `cv` folds at random; return the fold of every element.

    First those of list 0 alone, then those of both, then those of list 1 alone, each by how much
    more often they are in one list: so each list is spread evenly, and is in every fold if it has
    `cv` distinct sequences. (`StratifiedGroupKFold` does not promise that; it is 200 times slower.)
    """
    number: dict[Any, int] = {}
    group = np.array([number.setdefault(sequence, len(number)) for sequence in X])
    counts = [np.bincount(group[y == label], minlength=len(number)) for label in (0, 1)]
    side = np.sign(counts[1]) - np.sign(counts[0])
    order = np.lexsort((rng.permutation(len(number)), counts[0], counts[1] - counts[0], side))
    fold = np.empty(len(number), dtype=np.int64)
    fold[order] = np.arange(len(number)) % cv
    return fold[group]


def _moments(counts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the rows, from sums of integers, which are exact."""
    n = counts.shape[0]
    total = np.asarray(counts.sum(0), dtype=np.float64).ravel()
    squares = (counts.T @ counts).toarray()
    return total / n, (n * squares - np.outer(total, total)) / n**2


def _gaussian_frechet(
    mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray
) -> float:
    """Return the squared Fréchet distance of two Gaussians (Dowson & Landau 1982).

    The trace of the root of a product of covariances is the sum of the singular values of the
    product of their roots, which needs neither to be regular.
    """
    roots = _root(covariance) @ _root(other_covariance)
    trace = np.trace(covariance) + np.trace(other_covariance) - 2 * np.linalg.norm(roots, "nuc")
    return max(float(((mean - other_mean) ** 2).sum() + trace), 0.0)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    noise = len(values) * np.finfo(np.float64).eps * max(values.max(), 0)
    return (vectors * np.sqrt(np.where(values > noise, values, 0))) @ vectors.T
