"""`Refined`, the meta-estimator: p*(x) = p(x) exp(beta l(x)) / Z above any distribution p.

`l` is the calibrated logit of a classifier of data against samples of p. What logits say is left to
`calibration`, how p came to be to the estimator that is refined.
"""

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence, Sized
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from likelihood_gan import persistence
from likelihood_gan.calibration import (
    Array,
    LogPartition,
    choose,
    log_partition,
    relative_effective_sample_size,
)
from likelihood_gan.crossfitting import (
    N_FOLDS,
    Lessons,
    check_folds,
    cross_fit,
    cross_fitted_logits,
    folds,
    seeded,
)
from likelihood_gan.distribution import SequenceEstimator
from likelihood_gan.estimator import LikelihoodGAN
from likelihood_gan.progress import counted, say, watched
from likelihood_gan.rows import repeat_themselves
from likelihood_gan.rules import (
    FINITE,
    FLAG,
    NONE,
    NOT_NEGATIVE,
    NOT_ZERO,
    NUMBER,
    POSITIVE,
    POSITIVES,
    Rule,
    check_attributes,
    instance,
    integer,
    random_source,
)
from likelihood_gan.validation import Sequences, check_chunks, check_weighed
from likelihood_gan.verbs import DistributionMixin
from likelihood_gan.vocabulary import Vocabulary, sort_symbols, vocabulary_of

N_PROPOSALS = 8
"""Proposals of p for each refined sample."""
N_ERRORS = 2.0
"""Standard errors that a gain must exceed; else nothing is refined."""
MIN_RELATIVE_EFFECTIVE_SAMPLE_SIZE = 0.3
"""Exponents and strengths that leave less come last: few proposals would carry all the weight."""
SYMBOLS_PER_BLOCK = 2**22
"""Symbols, at most, of the proposals that are in memory; the more, the more of them share a prefix."""
_TRUSTED = 0.1
_LONG = 128  # if nothing says how long samples may be
_RULES: dict[str, Rule] = {
    "n_samples": NONE | integer(2),
    "betas": POSITIVES,
    "Cs": NONE | POSITIVES,
    "n_jobs": NONE | NOT_ZERO,
}

_Data = Sequence[Sequence[Hashable]]

persistence.bundled(value=NUMBER, lower=NUMBER, upper=NUMBER)(LogPartition)


@persistence.bundled(
    C_=NONE | POSITIVE,
    beta_=NOT_NEGATIVE,
    classifiers_=instance(list),
    coef_=FINITE,
    estimator_=instance(DistributionMixin),
    gain_=NUMBER,
    gain_error_=NUMBER,
    intercept_=FINITE,
    log_partition_=instance(LogPartition),
    logit_range_=instance(tuple),
    max_len_=NONE | integer(1),
    relative_effective_sample_size_=NUMBER,
    repeating_=FLAG,
)
class Refined(SequenceEstimator):
    """Weigh the samples of a distribution by what a classifier can still tell from the data.

    With u = p_data / p, and a classifier whose logit l estimates log u up to a constant, the refined
    distribution is

        p*(x) = p(x) exp(beta l(x)) / Z,   Z = E_p[exp(beta l)],

    a residual energy-based model (Deng et al. 2020). The logit is calibrated by logistic regression
    (Platt 1999) on data that the estimator held out, against other samples. Regularisation and beta
    are those with the highest held-out log-likelihood, E_data[beta l] - log Z. If the gain does not
    exceed two of its standard errors, beta is 0: p* is p.

    Five classifiers are fitted to the data against samples, each without the data of one fold. A
    sequence, known or new, belongs to a fold by its hash, and is judged by the classifier that did
    not learn from the data of that fold. So known sequences get no weight for being known: to a
    classifier that had learned them they would look more real than others do. Where the data repeat
    themselves, though, it is right that a known sequence is likely to come again; there all five
    judge, and the mean logit counts.

    If the estimator held nothing of the data out, or the data repeat themselves, the logits are
    calibrated on all data. This refines less: an estimator that has learned the data by heart looks
    better on them than it is.

    Parameters
    ----------
    estimator : estimator or distribution, default=None
        What is refined: anything with `sample` and `score_samples`. A clone of it is fitted to the
        data first; what is inside a `sklearn.frozen.FrozenEstimator`, or has no `fit`, such as a
        `SequenceDistribution`, is taken as it is. None is `LikelihoodGAN`.
    classifier : scikit-learn classifier or None, default=None
        Fitted to a list of sequences, with `decision_function` or `predict_proba`; usually a pipeline
        that begins with a vectorizer. It is cloned. None is logistic regression on hashed 1- to
        5-grams.
    Cs : sequence of float or None, default=(0.03, 0.1, 0.3, 1.0)
        Inverse strengths of regularisation to try, if the classifier, or the last step of the
        pipeline, has a parameter `C`. None leaves it as it is.
    betas : sequence of float, default=(0.25, 0.5, 0.75, 1.0)
        Exponents to try. A lower one moves less, but keeps more of the effective sample size.
    n_samples : int or None, default=None
        Samples that the classifiers learn from; None is twice the number of distinct sequences, and
        at least 20,000. As many again calibrate it and choose beta, and as many estimate Z.
    n_jobs : int or None, default=None
        Classifiers that are fitted at the same time, by joblib.
    random_state : int, RandomState or None, default=None
        Seed of the samples, of a classifier that has no seed of its own, and of the estimator if
        that is None.
    verbose : int, default=0
        Whether `fit` and long `sample` and `score_samples` say how far they are. An estimator that
        is given has its own. It is not saved.

    Attributes
    ----------
    estimator_ : estimator or distribution
        What is refined, fitted.
    classifiers_ : list
        The five cross-fitted classifiers.
    repeating_ : bool
        Whether the data repeat themselves: by Good's estimate the next sequence is more probably one
        of them than a new one.
    coef_, intercept_ : float
        ``l(x) = coef_ * logit + intercept_``.
    logit_range_ : tuple of two floats
        The lowest and the highest logit that the calibration met; others count as these.
    beta_ : float
        The chosen exponent.
    C_ : float or None
        The chosen regularisation.
    gain_, gain_error_ : float
        Held-out nats per sequence that refinement adds, and its standard error. The choice was made
        on the same data, so it is slightly optimistic.
    max_len_ : int or None
        Symbols of a sequence that count: where the samples of the estimator are cut.
    log_partition_ : LogPartition
        log Z: the logarithm of a mean over samples that were used for nothing else, with a 95 %
        interval, asymptotically normal. Its bias, of minus half its squared standard error, is left
        in.
    relative_effective_sample_size_ : float
        (Σ w)² / (n Σ w²) of w = exp(beta l) over the same samples, a share between 0 and 1.

    Notes
    -----
    To cross-validate around a frozen estimator, on data that it was trained on, measures nothing: it
    has seen every test fold. Give an estimator that is not frozen, or data that it never saw.

    References
    ----------
    Deng et al. (2020), "Residual energy-based models for text generation"; Azadi et al. (2018),
    "Discriminator rejection sampling"; Rubin (1987), "A noniterative sampling/importance resampling
    alternative"; Platt (1999), "Probabilistic outputs for support vector machines"; Good (1953), "The
    population frequencies of species and the estimation of population parameters".

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from likelihood_gan import LikelihoodGAN, Refined
    >>> from likelihood_gan.datasets import load_first_names
    >>> names = load_first_names()[::9]
    >>> gan = LikelihoodGAN(pretrain_epochs=3, adversarial_epochs=0, random_state=0).fit(names)
    >>> refined = Refined(FrozenEstimator(gan), n_samples=500, random_state=0).fit(names)
    >>> len(refined.sample(3, prefix="ma"))
    3
    """

    def __init__(
        self,
        estimator: Any = None,
        classifier: Any = None,
        *,
        Cs: Sequence[float] | None = (0.03, 0.1, 0.3, 1.0),
        betas: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
        n_samples: int | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.estimator = estimator
        self.classifier = classifier
        self.Cs = Cs
        self.betas = betas
        self.n_samples = n_samples
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Sequences, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the estimator, unless it is taken as it is, and the classifier above it.

        Parameters
        ----------
        X : iterable of str, or of sequences of hashable symbols, or a mapping of them to counts
            The data; of an estimator that is taken as it is, those it was trained on, what it held
            out included.
        y : ignored
            But refused if it holds numbers, which may be meant as weights.
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each sequence, in any unit.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter, the data or the classifier is not as promised. What was fitted before
            stays; if there was nothing, a newly fitted estimator is kept as `estimator_`.
        """
        self._check_parameters()
        sequences, weights = check_weighed(X, sample_weight, y)
        check_folds(folds(sort_symbols(sequences)))
        random_state = random_source(self.random_state)
        estimator = self._fit_estimator(sequences, weights, random_state)
        try:
            with watched(self.verbose):
                learned = self._fit_classifiers(estimator, sequences, weights, random_state)
        except BaseException as error:
            if not hasattr(self, "beta_") and estimator is not _unfrozen(self.estimator):
                self.estimator_ = estimator
                error.add_note(
                    "the estimator is fitted: refine it alone with FrozenEstimator(estimator_)"
                )
            raise
        self._become(**learned)
        return self

    def score_samples(self, X: Sequences) -> Array:
        """Log-probability of each sequence in nats, log p + beta l - log Z.

        log Z is an estimate: `log_partition_` has its interval.

        Parameters
        ----------
        X : iterable of sequences
            As in `fit`; any length.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        check_is_fitted(self)
        scores, now = [], self._as_it_is()
        n = len(X) if isinstance(X, Sized) else None
        with watched(self.verbose):
            for sequences in counted(check_chunks(X), n, "scoring sequences"):
                plain = np.asarray(now.estimator_.score_samples(sequences), dtype=np.float64)
                scores.append(plain + now.log_weight(sequences) - now.log_partition_.value)
        if not scores:
            raise ValueError("X is empty; pass at least one sequence")
        return np.concatenate(scores)

    def log_weight(self, sequences: _Data) -> Array:
        """Return beta l(x) of each sequence: (n,), nats, the logarithm of what its sample weighs."""
        check_is_fitted(self)
        if self.beta_ == 0 or not len(sequences):
            return np.zeros(len(sequences))
        sequences = _cut(sequences, self.max_len_, vocabulary_of(self.estimator_))
        logits = cross_fitted_logits(self.classifiers_, sequences, average=self.repeating_)
        l: Array = self.coef_ * logits.clip(*self.logit_range_) + self.intercept_
        return self.beta_ * l

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "beta_")

    def _finish_reading(self) -> None:
        self._check_parameters()
        if not hasattr(self, "beta_"):
            return
        low, high = self.logit_range_
        if not low <= high:
            raise ValueError(f"logit_range_ must be from low to high, got {self.logit_range_}")
        if len(self.classifiers_) != N_FOLDS:
            raise ValueError(f"classifiers_ must hold {N_FOLDS}, got {len(self.classifiers_)}")
        nothing: Any = () if (v := vocabulary_of(self.estimator_)) and not v.text else ""
        cross_fitted_logits(self.classifiers_, [nothing], average=True)

    def _check_parameters(self) -> None:
        check_attributes(self, _RULES)
        if self.classifier is not None and not _is_classifier(self.classifier):
            raise TypeError(
                "classifier must be a scikit-learn classifier with decision_function or "
                f"predict_proba, such as LogisticRegression(), got {self.classifier!r}"
            )
        wanted = _unfrozen(self.estimator)
        if wanted is not None and not (
            callable(getattr(wanted, "sample", None))
            and callable(getattr(wanted, "score_samples", None))
            and not isinstance(wanted, type)
        ):
            raise TypeError(
                "estimator must have sample and score_samples, such as LikelihoodGAN() or a "
                f"SequenceDistribution, got {self.estimator!r}"
            )

    def _fit_estimator(
        self,
        sequences: _Data,
        weights: Array,
        random_state: np.random.RandomState,
    ) -> Any:
        """Return what is refined: taken as it is, or a fitted clone."""
        wanted = _unfrozen(self.estimator)
        if wanted is None:
            seed = random_state.randint(2**31 - 1)
            wanted = LikelihoodGAN(random_state=seed, verbose=self.verbose)
        if not hasattr(wanted, "fit"):
            return wanted
        if isinstance(self.estimator, FrozenEstimator):
            check_is_fitted(wanted)
            return wanted
        weighing = {} if (weights == 1).all() else {"sample_weight": weights}
        if self.verbose:
            say(f"fitting the estimator, {type(wanted).__name__}")
        return clone(wanted).fit(sequences, **weighing)

    def _fit_classifiers(
        self,
        estimator: Any,
        sequences: _Data,
        weights: Array,
        random_state: np.random.RandomState,
    ) -> dict[str, Any]:
        """Return the attributes that are learned."""
        max_len = getattr(estimator, "max_len_", getattr(estimator, "max_len", None))
        vocabulary = vocabulary_of(estimator)
        data, weights = _distinct(_cut(sequences, max_len, vocabulary), weights)
        repeating = repeat_themselves(weights)
        kept_back = [] if repeating else getattr(estimator, "held_out_", [])
        known = set(_cut(kept_back, max_len, vocabulary))
        held_out = np.array([sequence in known for sequence in data])
        n = self.n_samples or max(20_000, 2 * len(data))
        if self.verbose:
            say(f"drawing 3 times {n:,} sequences")
        learned, judged, fresh = (
            list(estimator.sample(n, random_state=random_state)) for _ in range(3)
        )
        lessons = Lessons(
            sequences=[*data, *learned, *judged],
            is_real=np.repeat([True, False], [len(data), 2 * n]),
            weights=_learning_weights(weights, 2 * n),
            learned=np.concatenate([~held_out, np.repeat([True, False], n)]),
            judged=np.concatenate([held_out | ~held_out.any(), np.repeat([False, True], n)]),
        )
        tried = []
        of_data = lessons.judged & lessons.is_real
        if self.verbose:
            n_learned = len(data) + n
            say(f"fitting {N_FOLDS} classifiers to up to {n_learned:,} sequences")
        for C, (classifiers, logits) in cross_fit(
            seeded(self.classifier, random_state), self.Cs, lessons, self.n_jobs
        ).items():
            choice = choose(
                logits[of_data],
                weights[of_data[: len(data)]],
                logits[lessons.judged & ~lessons.is_real],
                self.betas,
                MIN_RELATIVE_EFFECTIVE_SAMPLE_SIZE,
            )
            tried.append((choice, C, classifiers))
        choice, C, classifiers = max(tried, key=lambda found: found[0])
        if self.verbose:
            error = f"standard error {choice.error:.3f}"
            say(f"held-out nats gained: {choice.gain:.3f}, {error}; beta {choice.beta}, C {C}")
        gained = choice.coef > 0 and choice.gain > N_ERRORS * choice.error
        learned_attributes: dict[str, Any] = {
            "estimator_": estimator,
            "classifiers_": classifiers,
            "repeating_": repeating,
            "C_": C,
            "coef_": choice.coef,
            "intercept_": choice.intercept,
            "logit_range_": choice.logit_range,
            "beta_": choice.beta if gained else 0.0,
            "gain_": choice.gain if gained else 0.0,
            "gain_error_": choice.error if gained else 0.0,
            "max_len_": max_len,
        }
        trial = Refined()
        trial.__dict__.update(learned_attributes)
        log_weights = trial.log_weight(fresh)
        return learned_attributes | {
            "log_partition_": log_partition(log_weights, 0.95),
            "relative_effective_sample_size_": relative_effective_sample_size(log_weights),
        }

    def _draw(
        self,
        n: int,
        max_len: int | None,
        random_state: np.random.RandomState,
        constraints: dict[str, Any],
    ) -> list[Any]:
        check_is_fitted(self)
        given = constraints | {"random_state": random_state}
        if max_len is not None:
            given["max_len"] = max_len
        if self.beta_ == 0:
            return list(self.estimator_.sample(n, **given))
        if self.relative_effective_sample_size_ < _TRUSTED:
            warnings.warn(
                f"the effective sample size of the refined distribution is "
                f"{self.relative_effective_sample_size_:.3f} of the number of proposals: few of them "
                "carry all the weight; lower betas or Cs, or improve the estimator",
                stacklevel=3,
            )
        propose = functools.partial(_counts_of, self.estimator_, **given)
        samples: list[Any] = []
        longest = max_len or self.max_len_ or _LONG
        size = max(SYMBOLS_PER_BLOCK // (N_PROPOSALS * longest), 1)
        blocks = [range(n)[i : i + size] for i in range(0, n, size)]
        with watched(self.verbose):
            for block in counted(blocks, n, "drawing refined sequences"):
                samples += _resample(len(block), propose, self.log_weight, random_state)
        return samples


def _unfrozen(estimator: Any) -> Any:
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def _distinct(sequences: _Data, weights: Array) -> tuple[list[Any], Array]:
    """Add up the weights of equal sequences, in an order that is not that of the data."""
    distinct = sort_symbols(sequences)
    number = {sequence: i for i, sequence in enumerate(distinct)}
    total = np.bincount([number[s] for s in sequences], weights=weights)
    return distinct, total.astype(np.float64)


def _learning_weights(weights: Array, n_samples: int) -> Array | None:
    """Weigh data by their share and samples by 1; None if all are equal."""
    weights = weights / weights.mean()
    if weights.min() == weights.max():
        return None
    return np.concatenate([weights, np.ones(n_samples)])


def _cut(sequences: _Data, max_len: int | None, vocabulary: Vocabulary | None) -> list[Any]:
    """Leave only so many symbols of each sequence as samples have."""
    if vocabulary is None:
        return [sequence[:max_len] for sequence in sequences]
    return [vocabulary.cut(sequence, max_len) for sequence in sequences]


def _is_classifier(value: Any) -> bool:
    if isinstance(value, type) or not hasattr(value, "get_params"):
        return False
    if hasattr(value, "decision_function") or hasattr(value, "predict_proba"):
        return True
    return bool(is_classifier(value))  # some show their methods only once they are fitted


def _resample(
    n: int, propose: Callable[[int], Any], log_weight: Callable[[_Data], Array], random_state: Any
) -> list[Any]:
    """Resample `n` of many proposals by their weights, systematically: few repeat themselves (SIR)."""
    proposals, counts = propose(max(n * N_PROPOSALS, 1000))  # one needs more than 8 to choose from
    log_weights = log_weight(proposals)
    w = counts * np.exp(log_weights - log_weights.max())
    ends = np.cumsum(w) / w.sum() * n
    index = np.searchsorted(ends, random_state.uniform() + np.arange(n), side="right")
    index = random_state.permutation(index.clip(max=len(proposals) - 1))
    return [proposals[i] for i in index.tolist()]


def _counts_of(estimator: Any, n: int, **arguments: Any) -> tuple[list[Any], NDArray[np.int64]]:
    """Draw different sequences and tell how often each came."""
    if hasattr(estimator, "sample_counts"):
        sequences, counts = estimator.sample_counts(n, **arguments)
        return sequences, counts
    found = Counter(estimator.sample(n, **arguments))
    return list(found), np.array(list(found.values()))
