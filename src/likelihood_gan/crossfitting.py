"""Classifiers of data against samples, cross-fitted: each sequence is judged by one not taught by it.

A sequence belongs to a fold by its hash, known or new. What the logits say is left to `calibration`.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from likelihood_gan.calibration import Array, logit
from likelihood_gan.hashing import CELLS_PER_BLOCK, Written, blocks
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.progress import counting

N_FOLDS = 5
"""Classifiers that share the work."""
SEQUENCES_PER_BLOCK = 8192
"""Sequences that are judged at a time: bounds the size of their features."""


class Lessons(NamedTuple):
    """What classifiers learn from and what they judge: n sequences, data and samples.

    Attributes
    ----------
    sequences : list of sequences
        Data and samples together.
    is_real : ndarray of bool, (n,)
        Which ones are data.
    weights : ndarray of float, (n,), or None
        None if all are equal.
    learned, judged : ndarray of bool, (n,)
        Which ones are learned from, and which are judged. A classifier learns from the data of all
        folds but one, and judges that one, so a sequence can be both. Samples teach every
        classifier: other samples, and data that are held out, meet them all alike.
    """

    sequences: Sequence[Sequence[Hashable]]
    is_real: NDArray[np.bool_]
    weights: Array | None
    learned: NDArray[np.bool_]
    judged: NDArray[np.bool_]


def folds(sequences: Sequence[Sequence[Hashable]]) -> NDArray[np.int64]:
    """Return the fold of each sequence, by a hash that is the same in every process: (n,)."""
    checksums = [Written.of(block).checksums() for block in blocks(sequences, CELLS_PER_BLOCK)]
    return np.concatenate(checksums) % N_FOLDS


def check_folds(fold: NDArray[np.int64]) -> None:
    """Raise ValueError if distinct sequences, whose folds are given, are all in one."""
    if len(np.unique(fold)) < 2:
        raise ValueError(
            f"X holds too few distinct sequences to cross-fit {N_FOLDS} classifiers, got {len(fold)} "
            "to learn from; pass at least ten"
        )


def cross_fitted_logits(
    classifiers: Sequence[Any], sequences: Sequence[Sequence[Hashable]], average: bool
) -> Array:
    """Judge each sequence by the classifier that did not learn from its fold, or by the mean of all.

    Features that learn nothing from the sequences are made once for all classifiers.
    """
    logits = np.zeros(len(sequences))
    for start in range(0, len(sequences), SEQUENCES_PER_BLOCK):
        part = slice(start, start + SEQUENCES_PER_BLOCK)
        logits[part] = _judge(classifiers, sequences[part], average)
    return logits


def _judge(
    classifiers: Sequence[Any], sequences: Sequence[Sequence[Hashable]], average: bool
) -> Array:
    features: Any = None
    if isinstance(classifiers[0], Pipeline):
        if [type(step) for _, step in classifiers[0].steps] == [NGramHasher, LogisticRegression]:
            features = classifiers[0][0].uncollected(sequences)
        else:
            features = _features(classifiers[0][:-1], sequences)
    if features is not None:
        classifiers = [classifier[-1] for classifier in classifiers]
    if average:
        every = sequences if features is None else features
        return np.mean([logit(classifier, every) for classifier in classifiers], axis=0)
    logits, fold = np.zeros(len(sequences)), folds(sequences)
    for k, classifier in enumerate(classifiers):
        rows = fold == k
        if rows.any():
            own = _take(sequences, rows) if features is None else features[rows]
            logits[rows] = logit(classifier, own)
    return logits


def cross_fit(
    classifier: Any, Cs: Sequence[float] | None, lessons: Lessons, n_jobs: int | None
) -> dict[float | None, tuple[list[Any], Array]]:
    """Fit one classifier for each fold and strength of regularisation.

    Returns
    -------
    dict
        For each C (None if the classifier has no such parameter) the classifiers in the order of
        their folds, and the logits of what is judged, (n,), NaN elsewhere.

    Raises
    ------
    ValueError
        If the data are all in one fold, or the classifier takes no weights although there are some.
    """
    front, last = None, classifier
    if isinstance(classifier, Pipeline) and len(classifier.steps) > 1:
        front, last = classifier[:-1], classifier[-1]
    if lessons.weights is not None and not has_fit_parameter(last, "sample_weight"):
        raise ValueError(
            f"the data are weighted, but {type(last).__name__}.fit takes no sample_weight; choose "
            "another classifier, or give every sequence once"
        )
    fold = folds(lessons.sequences)
    check_folds(fold[lessons.learned & lessons.is_real])
    strengths: Sequence[float | None] = (None,)
    if Cs is not None and "C" in last.get_params():
        strengths = Cs
    features = None if front is None else _features(front, lessons.sequences)  # for all folds

    def job(k: int) -> Any:
        learned = lessons.learned & ((fold != k) | ~lessons.is_real)
        judged = lessons.judged & (fold == k)
        fit = joblib.delayed(_fit_fold)
        y = lessons.is_real[learned].astype(np.int64)
        weights = None if lessons.weights is None else lessons.weights[learned]
        if features is not None:
            return fit(None, last, strengths, features[learned], y, weights, features[judged])
        X, unseen = (_take(lessons.sequences, rows) for rows in (learned, judged))
        return fit(front, last, strengths, X, y, weights, unseen)

    jobs = (job(k) for k in range(N_FOLDS))
    with counting(N_FOLDS, "fitting classifiers") as add:
        if add is None:
            results = joblib.Parallel(n_jobs)(jobs)
        else:  # not always: some backends cannot give one result after the other
            results = []
            for result in joblib.Parallel(n_jobs, return_as="generator")(jobs):
                results.append(result)
                add(1)
    found = {}
    for C, *of_folds in zip(strengths, *results, strict=True):
        logits = np.full(len(fold), np.nan)
        classifiers = []
        for k, (steps, judge, values) in enumerate(of_folds):
            logits[lessons.judged & (fold == k)] = values
            if front is not None:
                judge = Pipeline([*(steps or front).steps, (classifier.steps[-1][0], judge)])
            classifiers.append(judge)
        found[C] = classifiers, logits
    return found


def seeded(classifier: Any, random_state: np.random.RandomState) -> Any:
    """Copy a classifier and give a seed to every part that has none, so that a fit can be repeated.

    None is logistic regression on hashed n-grams.
    """
    if classifier is None:  # in the dual, 30 times faster than by LBFGS, and as good
        judge = LogisticRegression(solver="liblinear", dual=True, tol=0.01, max_iter=1000)
        classifier = make_pipeline(NGramHasher(), judge)
    classifier = clone(classifier)
    params = sorted(classifier.get_params().items(), key=lambda item: item[0])
    unseeded = [name for name, value in params if name.endswith("random_state") and value is None]
    return classifier.set_params(**{name: random_state.randint(2**31 - 1) for name in unseeded})


def _fit_fold(
    front: Any,
    last: Any,
    strengths: Sequence[float | None],
    X: Any,
    y: NDArray[np.int64],
    weights: Array | None,
    unseen: Any,
) -> list[tuple[Any, Any, Array]]:
    """Fit the features, and clones of the classifier; return both and the logits of what is unseen."""
    n_unseen = unseen.shape[0] if hasattr(unseen, "shape") else len(unseen)
    if front is not None:
        front = clone(front)
        X = front.fit_transform(X, y)
        unseen = front.transform(unseen) if n_unseen else unseen
    weighing = {} if weights is None else {"sample_weight": weights}
    results = []
    for C in strengths:
        judge = clone(last).set_params(**({} if C is None else {"C": C})).fit(X, y, **weighing)
        results.append((front, judge, logit(judge, unseen) if n_unseen else np.empty(0)))
    return results


def _features(front: Pipeline, sequences: Sequence[Sequence[Hashable]]) -> Any:
    """Return what the steps before a classifier make of sequences; None if they learn from some."""
    if len(front.steps) == 0 or any(get_tags(step).requires_fit for _, step in front.steps):
        return None
    return front.transform(sequences)


def _take(sequences: Sequence[Any], use: NDArray[np.bool_]) -> list[Any]:
    return [sequence for sequence, used in zip(sequences, use, strict=True) if used]
