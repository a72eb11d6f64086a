"""The refined distribution p*(x) = p(x) exp(beta l(x)) / Z: fitted, sampled and normalised.

`l` is the calibrated logit of a classifier of data against samples of the finished generator. The
generator is seen through two functions of sequences, one that draws and one that scores; which ones,
and what users call, is left to the estimator.
"""

import functools
import math
import numbers
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted, check_scalar, has_fit_parameter

from likelihood_gan.calibration import (
    Choice,
    choose,
    effective_sample_size,
    log_partition,
    logit,
)
from likelihood_gan.ngrams import NGramHasher

Propose = Callable[[int], Sequence[Any]]
"""Draw this many sequences from the generator."""
LogProb = Callable[[Sequence[Any]], np.ndarray]
"""Generator's log-probability of each sequence, in nats; of one as long as `max_len`, or longer, that
of its first `max_len` symbols, whatever follows."""

BLOCK = 4096
"""Refined samples that are drawn at a time: bounds the number of proposals in memory."""
_TRUSTED_SHARE = 0.1


class Refiner(BaseEstimator):
    """Weigh the samples of a generator by what a classifier says of them.

    With u = p_data / p, and a classifier whose logit l estimates log u up to a constant, the refined
    distribution is

        p*(x) = p(x) exp(beta l(x)) / Z,   Z = E_p[exp(beta l)].

    The classifier is fitted to data against samples. Its logit is calibrated by logistic regression
    (Platt 1999) on held-out data against other samples. Regularisation and beta are those with the
    highest held-out log-likelihood, E_data[beta l] - log Z. If no gain exceeds `n_errors` of its
    standard errors, beta is 0: nothing is refined.

    Where most of what comes next will be known already, as frequencies tell (Good 1953), held-out
    sequences are compared only with samples that the classifier has not seen.

    Parameters
    ----------
    classifier : scikit-learn classifier or None, default=None
        Fitted to a list of sequences, with `decision_function` or `predict_proba`; usually a pipeline
        that begins with a vectorizer. It is cloned. None is logistic regression on hashed 1- to
        5-grams.
    use_log_prob : bool, default=False
        Calibrate with log p(x), too. On lists of distinct sequences that adds to the held-out
        likelihood, and fewer samples are copies of the data; but they look less like the data. It is
        left out where it would tell what the data happen to hold: with frequencies, without held-out
        sequences and with `cv`.
    Cs : sequence of float or None, default=(0.03, 0.1, 0.3, 1.0)
        Inverse strengths of regularisation to try, if the classifier, or the last step of the
        pipeline, has a parameter `C`. None leaves it as it is.
    betas : sequence of float, default=(0.25, 0.5, 0.75, 1.0)
        Exponents to try. A lower one moves less, but keeps more of the effective sample size.
    min_effective_sample_size : float, default=0.3
        Exponents and strengths that leave less come last, whatever they gain: few proposals would
        carry all the weight.
    n_samples : int or None, default=None
        Samples of the generator that the classifier learns from; None is twice the number of distinct
        sequences, and at least 20,000. As many again calibrate it and choose beta, and as many
        estimate Z.
    cv : int or None, default=None
        Number of folds to fit one classifier each; the data are judged by the one that has not seen
        them, anything else by the mean of all. None calibrates on the sequences that the fit held
        out; without such, cv is 5.
    n_errors : float, default=2.0
        See above.
    sampler : {"sir", "mh"}, default="sir"
        Sampling-importance-resampling (Rubin 1987), or independence Metropolis-Hastings, one chain
        for each sample (Turner et al. 2019). Both are exact in the limit of many proposals.
    n_proposals : int, default=8
        Proposals for each refined sample.
    confidence : float, default=0.95
        Level of the interval of log Z.

    Attributes
    ----------
    classifiers_ : list
        The fitted classifiers, one without `cv`.
    coef_, intercept_ : tuple of two floats, float
        ``l(x) = coef_[0] * (mean logit of the classifiers) + coef_[1] * log p(x) + intercept_``.
    logit_range_ : tuple of two floats
        The lowest and the highest logit that the calibration met; others count as these.
    log_prob_floor_ : float
        The lowest log p(x) that it met among samples; less counts as this. So exp(l) is bounded.
    beta_ : float
        The chosen exponent.
    C_ : float or None
        The chosen regularisation.
    gain_, gain_error_ : float
        Held-out nats per sequence that refinement adds, and its standard error. The choice was made
        on the same data, so it is slightly optimistic.
    max_len_ : int or None
        Symbols of a sequence that count: where the samples were cut.
    log_partition_ : LogPartition
        log Z: the logarithm of a mean over samples that were used for nothing else. Its bias, of
        minus half its squared standard error, is left in; the interval is asymptotically normal.
    effective_sample_size_ : float
        (Σ w)² / (n Σ w²) of w = exp(beta l) over the same samples, a share between 0 and 1.

    References
    ----------
    Deng et al. (2020), "Residual energy-based models for text generation"; Azadi et al. (2018),
    "Discriminator rejection sampling"; Turner et al. (2019), "Metropolis-Hastings generative
    adversarial networks"; Platt (1999), "Probabilistic outputs for support vector machines"; Good
    (1953), "The population frequencies of species and the estimation of population parameters".
    """

    def __init__(
        self,
        classifier: Any = None,
        *,
        use_log_prob: bool = False,
        Cs: Sequence[float] | None = (0.03, 0.1, 0.3, 1.0),
        betas: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
        min_effective_sample_size: float = 0.3,
        n_samples: int | None = None,
        cv: int | None = None,
        n_errors: float = 2.0,
        sampler: str = "sir",
        n_proposals: int = 8,
        confidence: float = 0.95,
    ):
        self.classifier = classifier
        self.use_log_prob = use_log_prob
        self.Cs = Cs
        self.betas = betas
        self.min_effective_sample_size = min_effective_sample_size
        self.n_samples = n_samples
        self.cv = cv
        self.n_errors = n_errors
        self.sampler = sampler
        self.n_proposals = n_proposals
        self.confidence = confidence

    def fit(
        self,
        data: Sequence[Any],
        weights: np.ndarray,
        held_out: np.ndarray,
        propose: Propose,
        log_prob: LogProb,
        rng: np.random.RandomState,
        max_len: int | None = None,
    ) -> Self:
        """Fit to distinct sequences.

        Parameters
        ----------
        data : sequence of sequences
            Distinct ones.
        weights : ndarray of shape (n,)
            Positive.
        held_out : ndarray of bool, shape (n,)
            Those that the generator was not trained on; all False if there are none.
        propose : callable
            n -> n sequences drawn from the generator.
        log_prob : callable
            n sequences -> their log-probabilities (n,), see `LogProb`.
        rng : RandomState
            Deals the folds, and seeds a `classifier` that has no seed of its own.
        max_len : int or None, default=None
            Where `propose` cuts its samples. Any sequence is judged by what is left of it if it is
            cut there, too: then Z is right for sequences of every length.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the classifier is not as promised, or the data are fewer than the
            folds.
        """
        self.check()
        self.max_len_ = max_len
        data = self._cut(data)
        n = self.n_samples or max(20_000, 2 * len(data))
        cv = self.cv or (None if held_out.any() else 5)
        if cv is None:
            fold = np.where(held_out, 0, -1)
        else:
            if cv > len(data):
                raise ValueError(
                    f"cv={cv} folds, but there are only {len(data)} distinct sequences; pass more "
                    "data or a smaller cv"
                )
            fold = rng.permutation(np.arange(len(data)) % cv)
        known, other, fresh = propose(n), propose(n), propose(n)
        repeating = _share_of_new(weights) < 0.5
        judged = _deal(other, data, fold, repeating)
        log_p = [np.zeros(int((fold >= 0).sum())), *(np.zeros(len(part)) for part in judged)]
        self.log_prob_floor_ = 0.0
        if self.use_log_prob and cv is None and not repeating:
            log_p = [log_prob(_take(data, fold >= 0)), *map(log_prob, judged)]
            self.log_prob_floor_ = float(np.concatenate(log_p[1:]).min())
        tried = self._try(rng, data, weights, fold, known, judged, log_p)
        choice, self.classifiers_, self.C_ = max(tried, key=lambda found: found[0])
        said = any(choice.coef) and choice.gain > self.n_errors * choice.error
        self.coef_, self.intercept_ = choice.coef, choice.intercept
        self.logit_range_ = choice.logit_range
        self.beta_ = choice.beta if said else 0.0
        self.gain_, self.gain_error_ = (choice.gain, choice.error) if said else (0.0, 0.0)
        log_weights = self.log_weight(fresh, log_prob)
        self.log_partition_ = log_partition(log_weights, self.confidence)
        self.effective_sample_size_ = effective_sample_size(log_weights)
        return self

    def log_weight(self, sequences: Sequence[Any], log_prob: LogProb) -> np.ndarray:
        """Return beta l(x) of each sequence: (n,), nats."""
        check_is_fitted(self, "beta_")
        if self.beta_ == 0 or not len(sequences):
            return np.zeros(len(sequences))
        sequences = self._cut(sequences)
        logits = np.mean([logit(classifier, sequences) for classifier in self.classifiers_], 0)
        l = self.coef_[0] * logits.clip(*self.logit_range_) + self.intercept_
        if self.coef_[1]:
            l += self.coef_[1] * log_prob(sequences).clip(self.log_prob_floor_)
        return self.beta_ * l

    def sample(
        self, n: int, propose: Propose, log_prob: LogProb, rng: np.random.RandomState
    ) -> Iterator[list[Any]]:
        """Draw `n` sequences from the refined distribution, in blocks of bounded size."""
        check_is_fitted(self, "beta_")
        self.check()
        if self.beta_ == 0:
            yield list(propose(n))
            return
        if self.effective_sample_size_ < _TRUSTED_SHARE:
            warnings.warn(
                f"the effective sample size of the refined distribution is "
                f"{self.effective_sample_size_:.3f} of the number of proposals: few of them carry "
                "all the weight; lower betas or Cs, or improve the generator",
                stacklevel=4,
            )
        draw = _SAMPLERS[self.sampler]
        log_weight = functools.partial(self.log_weight, log_prob=log_prob)
        for start in range(0, n, BLOCK):
            m = min(BLOCK, n - start)
            yield draw(m, self.n_proposals, propose, log_weight, rng)

    def check(self) -> None:
        """Raise TypeError or ValueError if a parameter is out of range."""
        if self.sampler not in _SAMPLERS:
            raise ValueError(f"sampler must be one of {sorted(_SAMPLERS)}, got {self.sampler!r}")
        check_scalar(self.n_proposals, "n_proposals", numbers.Integral, min_val=1)
        for name, least in {"n_samples": 2, "cv": 2}.items():
            if getattr(self, name) is not None:
                check_scalar(getattr(self, name), name, numbers.Integral, min_val=least)
        open_interval = dict(min_val=0, max_val=1, include_boundaries="neither")
        check_scalar(self.confidence, "confidence", numbers.Real, **open_interval)
        check_scalar(self.n_errors, "n_errors", numbers.Real)
        share = self.min_effective_sample_size
        check_scalar(share, "min_effective_sample_size", numbers.Real, min_val=0, max_val=1)
        for name in ("betas", "Cs"):
            values = getattr(self, name)
            if name == "Cs" and values is None:
                continue
            if np.ndim(values) != 1 or not len(values) or not all(map(_is_positive, values)):
                raise ValueError(f"{name} must be a sequence of positive numbers, got {values!r}")
        if self.classifier is not None and not _is_classifier(self.classifier):
            raise TypeError(
                "classifier must be a scikit-learn classifier with decision_function or "
                f"predict_proba, such as LogisticRegression(), got {self.classifier!r}"
            )

    def _try(
        self,
        rng: np.random.RandomState,
        data: Sequence[Any],
        weights: np.ndarray,
        fold: np.ndarray,
        known: Sequence[Any],
        judged: Sequence[Sequence[Any]],
        log_p: Sequence[np.ndarray],
    ) -> Iterator[tuple[Choice, list[Any], float | None]]:
        """For every C, fit one classifier per fold; it judges its fold and its share of samples."""
        classifier = self.classifier
        if classifier is None:  # in the dual, 30 times faster than by LBFGS, and as good
            judge = LogisticRegression(solver="liblinear", dual=True, tol=0.01, max_iter=1000)
            classifier = make_pipeline(NGramHasher(), judge)
        classifier = _seeded(clone(classifier), rng)
        found: dict[float | None, list[Any]] = {}
        for k, part in enumerate(judged):
            X, y, w = _learning_set(data, weights, fold != k, known)
            for C, *result in self._fit_all(classifier, X, y, w, _take(data, fold == k), part):
                found.setdefault(C, []).append(result)
        out, least = fold >= 0, self.min_effective_sample_size
        for C, folds in found.items():
            fitted, of_real, of_generated = zip(*folds, strict=True)
            real = np.column_stack([np.empty(out.sum()), log_p[0].clip(self.log_prob_floor_)])
            for k, logits in enumerate(of_real):
                real[fold[out] == k, 0] = logits
            parts = zip(of_generated, log_p[1:], strict=True)
            generated = np.concatenate([np.column_stack(part) for part in parts])
            yield choose(real, weights[out], generated, self.betas, least), list(fitted), C

    def _fit_all(
        self, classifier: Any, X: Any, y: np.ndarray, w: np.ndarray | None, *unseen: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Yield C, the fitted classifier and its logits of unseen lists; features are made once."""
        front, last = None, classifier
        if isinstance(classifier, Pipeline) and len(classifier.steps) > 1:
            front, last = clone(classifier[:-1]), classifier[-1]
            X = front.fit_transform(X, y)
            unseen = tuple(map(front.transform, unseen))
        weighing = {}
        if w is not None:
            if not has_fit_parameter(last, "sample_weight"):
                raise ValueError(
                    f"the data are weighted, but {type(last).__name__}.fit takes no sample_weight; "
                    "choose another classifier, or give every sequence once"
                )
            weighing = {"sample_weight": w}
        tuned = self.Cs is not None and "C" in last.get_params()
        for C in self.Cs if tuned else (None,):  # type: ignore[union-attr]
            judge = clone(last).set_params(**{"C": C} if tuned else {}).fit(X, y, **weighing)
            whole = judge
            if front is not None:
                whole = Pipeline([*front.steps, (classifier.steps[-1][0], judge)])
            yield C, whole, *(logit(judge, features) for features in unseen)

    def _cut(self, sequences: Sequence[Any]) -> list[Any]:
        return [sequence[: self.max_len_] for sequence in sequences]


def _share_of_new(weights: np.ndarray) -> float:
    """Estimate how probably the next sequence is new: the share of those that came once (Good)."""
    return float(weights[weights < 1.5 * weights.min()].sum() / weights.sum())


def _deal(
    samples: Sequence[Any], data: Sequence[Any], fold: np.ndarray, repeating: bool
) -> list[Sequence[Any]]:
    """Deal samples to the classifiers of the folds, which will judge them beside unseen data.

    If the data repeat themselves, a sample is often one that the classifier has seen as real, while
    the unseen data never are: such samples are left out.
    """
    n_folds = int(fold.max()) + 1
    parts = [samples[k::n_folds] for k in range(n_folds)]
    if not repeating:
        return parts
    for k, part in enumerate(parts):
        seen = set(_take(data, fold != k))
        parts[k] = [sample for sample in part if sample not in seen] or part
    return parts


def _learning_set(
    data: Sequence[Any], weights: np.ndarray, use: np.ndarray, generated: Sequence[Any]
) -> tuple[list[Any], np.ndarray, np.ndarray | None]:
    """Put the chosen data (1) and samples (0) together: sequences, classes and weights, if any."""
    X = [*_take(data, use), *generated]
    y = np.repeat([1, 0], [use.sum(), len(generated)])
    w = weights[use] / weights[use].mean()
    if w.min() == w.max():
        return X, y, None
    return X, y, np.concatenate([w, np.ones(len(generated))])


def _seeded(classifier: Any, rng: np.random.RandomState) -> Any:
    """Give a seed to every part of a classifier that has none, so that a fit can be repeated."""
    params = sorted(classifier.get_params().items(), key=lambda item: item[0])
    unseeded = [name for name, value in params if name.endswith("random_state") and value is None]
    return classifier.set_params(**{name: rng.randint(2**31 - 1) for name in unseeded})


def _take(sequences: Sequence[Any], use: np.ndarray) -> list[Any]:
    return [sequence for sequence, used in zip(sequences, use, strict=True) if used]


def _is_classifier(value: Any) -> bool:
    if isinstance(value, type) or not hasattr(value, "get_params"):
        return False
    if hasattr(value, "decision_function") or hasattr(value, "predict_proba"):
        return True
    return is_classifier(value)  # some show their methods only once they are fitted


def _is_positive(value: Any) -> bool:
    return isinstance(value, numbers.Real) and 0 < float(value) < math.inf


def _resample(
    n: int, k: int, propose: Propose, log_weight: Callable, rng: np.random.RandomState
) -> list[Any]:
    """Resample `n` of k n proposals by their weights, systematically: few repeat themselves."""
    proposals = propose(max(n * k, 1000))  # one sample needs more than k to choose from
    log_weights = log_weight(proposals)
    w = np.exp(log_weights - log_weights.max())
    ends = np.cumsum(w) / w.sum() * n
    index = np.searchsorted(ends, rng.uniform() + np.arange(n), side="right")
    index = rng.permutation(index.clip(max=len(proposals) - 1))
    return [proposals[i] for i in index.tolist()]


def _metropolis_hastings(
    n: int, k: int, propose: Propose, log_weight: Callable, rng: np.random.RandomState
) -> list[Any]:
    """Run `n` chains of k proposals each; they accept with probability min(1, w' / w)."""
    states = list(propose(n))
    current = log_weight(states)
    for _ in range(k - 1):
        proposals = propose(n)
        proposed = log_weight(proposals)
        accepted = -rng.exponential(size=n) < proposed - current  # log of a uniform number
        for i in np.flatnonzero(accepted).tolist():
            states[i] = proposals[i]
        current = np.where(accepted, proposed, current)
    return states


_SAMPLERS = {"sir": _resample, "mh": _metropolis_hastings}
