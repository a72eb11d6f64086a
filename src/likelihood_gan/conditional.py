"""`GenerativeClassifier`, the meta-estimator for labels: p(x | y), and p(y | x) by Bayes' rule.

A label is the first symbol of its sequence. How a distribution over sequences is fitted is left to
the estimator, what can be done with one to `distribution`.
"""

import dataclasses
import numbers
from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from likelihood_gan import persistence
from likelihood_gan.distribution import SequenceDistribution
from likelihood_gan.estimator import LikelihoodGAN
from likelihood_gan.models.given import Given
from likelihood_gan.protocols import has_step
from likelihood_gan.rebuilding import n_tokens_of
from likelihood_gan.refined import Refined
from likelihood_gan.rules import array, check, instance, integer, random_source
from likelihood_gan.splitting import check_covered
from likelihood_gan.validation import (
    Sequences,
    check_known,
    check_longest,
    check_sequences,
    check_weights,
)
from likelihood_gan.vocabulary import UNKNOWN_SYMBOL, Vocabulary, is_text, sort_symbols

Array = NDArray[np.float64]

persistence.bundled()(Given)


@persistence.bundled(number=integer(0))
@dataclasses.dataclass(frozen=True)
class Label:
    """The symbol of a label, by its number in `classes_`: equal to no symbol of the data."""

    number: int


@persistence.bundled(
    class_prior_=array("f", 1),
    estimator_=instance(BaseEstimator),
    label_type_=instance(str),
    labels_=instance(list),
    vocabulary_=instance(Vocabulary),
)
class GenerativeClassifier(persistence.Savable, ClassifierMixin, BaseEstimator):
    """Write sequences of a class, and tell the class of a sequence, with one distribution.

    A clone of the estimator is fitted to sequences whose first symbol is their label. After the
    label, symbols are drawn from those of the data alone, with the probabilities that the fitted
    generator gives them, divided by their sum: so p(x | y) is exact and sums to 1. The class of a
    sequence is told by Bayes' rule,

        p(y | x) = p(y) p(x | y) / Σ_k p(k) p(x | k),

    which is what a *generative* classifier does (Ng and Jordan 2002; with an LSTM, Yogatama et al.
    2017). All classes share one generator, so what they have in common is learned once.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A `LikelihoodGAN`, or another estimator whose `distribution_` has a generator with `step`. A
        clone of it is fitted. Its `vocabulary` and `max_len` are those of the sequences: labels come
        on top of them. None is `LikelihoodGAN`.
    priors : array-like of shape (n_classes,) or None, default=None
        Probabilities of the classes, in the order of `classes_`. None takes their shares of the
        data, by weight, as `sklearn.naive_bayes.GaussianNB` does: a network's first symbol would
        only approximate them.
    random_state : int, RandomState or None, default=None
        Seed of the estimator, if that is None; any other has its own.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    class_prior_ : ndarray of shape (n_classes,), float64
        Their probabilities p(y).
    vocabulary_ : Vocabulary
        The symbols of the sequences, labels not among them.
    estimator_ : estimator
        The fitted clone. Its sequences are tuples that begin with a label.
    distributions_ : list of SequenceDistribution
        p(x | y) for each of `classes_`, over the sequences of the data. They share one generator.

    References
    ----------
    Ng and Jordan (2002), "On discriminative vs. generative classifiers"; Yogatama et al. (2017),
    "Generative and discriminative text classification with recurrent neural networks".

    Examples
    --------
    >>> from likelihood_gan import GenerativeClassifier, LikelihoodGAN
    >>> words, languages = ["gatto", "sette", "katze", "sieben"], ["it", "it", "de", "de"]
    >>> estimator = LikelihoodGAN(pretrain_epochs=2, early_stopping=False, random_state=0)
    >>> model = GenerativeClassifier(estimator).fit(words, languages)
    >>> len(model.sample(3, y="it"))
    3
    >>> model.predict_proba(["zatte"]).shape
    (1, 2)
    """

    def __init__(
        self, estimator: Any = None, *, priors: ArrayLike | None = None, random_state: Any = None
    ):
        self.estimator = estimator
        self.priors = priors
        self.random_state = random_state

    def fit(self, X: Sequences, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the estimator to sequences that begin with their labels.

        Parameters
        ----------
        X : iterable of str, or of sequences of hashable symbols
            The data. A sequence may come with several labels.
        y : array-like of shape (n,)
            The label of each: str, int or bool.
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each sequence, in any unit.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data are not as promised, or there is only one class.
        """
        estimator = self._make_estimator()
        sequences, labels = check_sequences(X), _check_labels(y)
        check_consistent_length(sequences, labels)
        weights = check_weights(sample_weight, len(sequences))
        counted = np.flatnonzero(weights)  # without what weighs nothing
        sequences, labels, weights = (
            [sequences[i] for i in counted],
            labels[counted],
            weights[counted],
        )
        classes, number = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y holds only one class, {classes.tolist()}; pass sequences of at least two, or fit "
                "the estimator alone"
            )
        shares = np.bincount(number, weights=weights) / weights.sum()
        prior = shares if self.priors is None else _check_priors(self.priors, len(classes))

        vocabulary = _make_vocabulary(estimator, sequences)
        marks = [Label(k) for k in range(len(classes))]
        rows = [(marks[k], *vocabulary.split(s)) for k, s in zip(number, sequences, strict=True)]
        _make_room(estimator, vocabulary, marks, max(map(len, rows)) - 1)
        weighing = {} if sample_weight is None else {"sample_weight": weights}
        estimator.fit(rows, **weighing)
        distribution = getattr(estimator, "distribution_", None)
        if not has_step(getattr(distribution, "generator", None)):
            raise TypeError(
                "estimator must have a distribution_ after fit whose generator has step(tokens, state), "
                f"with which labels are left out of sequences, got {distribution!r}; pass a "
                "LikelihoodGAN() with such a generator"
            )
        self.estimator_ = estimator
        self.vocabulary_ = vocabulary
        self.class_prior_ = prior
        # lists, which a safe file can hold; `classes_` makes an array of them
        self.labels_, self.label_type_ = classes.tolist(), classes.dtype.str
        return self

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, sorted: (n_classes,)."""
        return np.array(self.labels_, dtype=self.label_type_)

    @property
    def distributions_(self) -> list[SequenceDistribution]:
        """The distribution of the sequences of each class, p(x | y)."""
        joint = self.estimator_.distribution_
        symbols: list[Hashable] = joint.vocabulary.symbols
        tokens = {symbol: token for token, symbol in enumerate(symbols, start=1)}
        allowed = [tokens[symbol] for symbol in _listed(self.vocabulary_)]
        if self.vocabulary_.unknown_token:
            allowed.append(tokens[UNKNOWN_SYMBOL])
        return [
            SequenceDistribution(
                Given(joint.generator, tokens[Label(k)], allowed).eval(),
                self.vocabulary_,
                max(joint.max_len - 1, 1),
            )
            for k in range(len(self.labels_))
        ]

    def sample(
        self,
        n_samples: int = 1,
        max_len: int | None = None,
        *,
        y: Any = None,
        random_state: Any = None,
        **constraints: Any,
    ) -> Any:
        """Draw sequences of a class, or sequences with their labels.

        Parameters
        ----------
        n_samples : int, default=1
            Number of sequences.
        max_len : int, optional
            Most symbols of a sequence; longer ones are cut there. Default: that of the data.
        y : label, optional
            The class to draw from. If None, labels are drawn first, by `class_prior_`: then
            constraints change the sequences of each class, but not how often a class comes.
        random_state : int, RandomState or None, default=None
            An int repeats the draw, None draws anew.
        **constraints
            What is asked of every sequence, as in `SequenceDistribution.sample`.

        Returns
        -------
        list of str, or of tuples of symbols
            The sequences, as `SequenceDistribution.sample` gives them; without `y`, the pair of them
            and an array of their labels, as `sklearn.mixture.GaussianMixture` gives it.

        Raises
        ------
        TypeError, ValueError
            If `y` is not in `classes_`, or another argument is out of range.
        """
        check_is_fitted(self)
        if y is not None:
            (number,) = self._numbers(y, 1)
            distribution = self.distributions_[number]
            return distribution.sample(n_samples, max_len, random_state=random_state, **constraints)
        check(n_samples, "n_samples", integer(1))
        if constraints.get("return_log_prob"):
            raise ValueError(
                "return_log_prob=True needs y=, one of classes_; without it, pass the sequences and "
                "labels that are returned to score_samples"
            )
        random_state = random_source(random_state)
        drawn = random_state.choice(len(self.labels_), n_samples, p=self.class_prior_)
        sequences: list[Any] = [None] * n_samples
        for number, distribution in enumerate(self.distributions_):
            places = np.flatnonzero(drawn == number).tolist()
            if places:
                found = distribution.sample(
                    len(places), max_len, random_state=random_state, **constraints
                )
                for place, sequence in zip(places, found, strict=True):
                    sequences[place] = sequence
        return sequences, self.classes_[drawn]

    def score_samples(self, X: Sequences, y: Any = None) -> Array:
        """Log-probability of each sequence given its label, in nats: (n,), float64.

        Parameters
        ----------
        X : iterable of sequences
            As in `fit`; any length.
        y : array-like of shape (n,), or a label, optional
            The label of each sequence, or one for all: log p(x | y). If None, labels are averaged
            over: log p(x), with p(x) = Σ_k p(k) p(x | k).

        Returns
        -------
        ndarray of shape (n,), float64
            -inf where a symbol is unknown and the estimator has ``handle_unknown="neg_inf"``.

        Raises
        ------
        ValueError
            If a label is not in `classes_`, or a symbol is not in the vocabulary.
        """
        if y is None:
            log_p: Array = logsumexp(self.predict_joint_log_proba(X), axis=1)
            return log_p
        check_is_fitted(self)
        sequences = check_sequences(X)
        number = self._numbers(y, len(sequences))
        scores = np.empty(len(sequences))
        for k, distribution in enumerate(self.distributions_):
            rows = np.flatnonzero(number == k)
            if len(rows):
                scores[rows] = self._score([sequences[i] for i in rows], distribution)
        return scores

    def predict_joint_log_proba(self, X: Sequences) -> Array:
        """Log-probability of each sequence with each label, log p(y) p(x | y): (n, n_classes), nats."""
        check_is_fitted(self)
        sequences = check_sequences(X)
        scores = [self._score(sequences, distribution) for distribution in self.distributions_]
        with np.errstate(divide="ignore"):  # a prior of 0
            return np.stack(scores, axis=1) + np.log(self.class_prior_)

    def predict_log_proba(self, X: Sequences) -> Array:
        """Log-probability of each class given the sequence, by Bayes' rule: (n, n_classes), nats.

        A sequence that no class can write, as it holds an unknown symbol and the estimator has
        ``handle_unknown="neg_inf"``, says nothing of its class: then it is `class_prior_`.
        """
        joint = self.predict_joint_log_proba(X)
        impossible = (joint == -np.inf).all(1)
        with np.errstate(divide="ignore"):
            joint[impossible] = np.log(self.class_prior_)
        return joint - logsumexp(joint, axis=1, keepdims=True)

    def predict_proba(self, X: Sequences) -> Array:
        """Probability of each class given the sequence, by Bayes' rule: (n, n_classes)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Sequences) -> NDArray[Any]:
        """Return the most probable label of each sequence: (n,)."""
        number = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[number]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def _finish_reading(self) -> None:
        if not hasattr(self, "estimator_"):
            return
        _check_priors(self.class_prior_, len(self.labels_))
        if self.classes_.tolist() != self.labels_:
            raise ValueError(f"labels_={self.labels_} are not of label_type_={self.label_type_}")
        for distribution in self.distributions_:
            n_tokens_of(distribution.generator)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def _make_estimator(self) -> Any:
        """Return a clone that has not been fitted."""
        if self.estimator is None:
            random_state = random_source(self.random_state)
            return LikelihoodGAN(random_state=random_state.randint(2**31 - 1))
        frozen = isinstance(self.estimator, FrozenEstimator)
        if frozen or isinstance(self.estimator, type) or not hasattr(self.estimator, "fit"):
            raise TypeError(
                "estimator must be one that can be fitted to sequences with labels, such as "
                f"LikelihoodGAN(), got {self.estimator!r}"
            )
        if isinstance(self.estimator, Refined):
            raise TypeError(
                "estimator must give the exact probability of a label, got a Refined one; fit a "
                "LikelihoodGAN(), and refine each of distributions_ with the data of its class"
            )
        return clone(self.estimator)

    def _numbers(self, y: Any, n: int) -> NDArray[np.int64]:
        """Return the places in `classes_` of `n` labels, or of one that is meant for all."""
        labels = np.asarray(y)
        if labels.ndim == 0:
            labels = np.full(n, labels)
        if labels.shape != (n,):
            raise ValueError(
                f"y must have one label for each of the {n} sequences, or be one, got shape "
                f"{labels.shape}"
            )
        place = {label: k for k, label in enumerate(self.labels_)}
        unseen = list(dict.fromkeys(label for label in labels.tolist() if label not in place))
        if unseen:
            raise ValueError(
                f"y holds labels that fit has not met: {unseen[:20]}; pass some of {self.labels_[:20]}, "
                "or fit with sequences of these, too"
            )
        return np.array([place[label] for label in labels.tolist()], dtype=np.int64)

    def _score(self, sequences: Sequences, distribution: SequenceDistribution) -> Array:
        unknown = getattr(self.estimator_, "handle_unknown", "error")
        return distribution.score_samples(sequences, handle_unknown=unknown)


def _make_vocabulary(estimator: Any, sequences: list[Sequence[Hashable]]) -> Vocabulary:
    text, pattern = is_text(sequences), getattr(estimator, "token_pattern", None)
    options: Any = dict(
        token_pattern=pattern,
        unknown_token=getattr(estimator, "handle_unknown", None) == "token",
    )
    if pattern is not None and text:
        check_covered(pattern, sequences)
    given = getattr(estimator, "vocabulary", None)
    if given is None:
        return Vocabulary.from_sequences(sequences, **options)
    vocabulary = Vocabulary(sort_symbols(given), text, **options)
    check_known(vocabulary, sequences)
    return vocabulary


def _make_room(estimator: Any, vocabulary: Vocabulary, marks: list[Label], longest: int) -> None:
    """Let an estimator, as far as it has the parameters, take split sequences with labels."""
    if hasattr(estimator, "token_pattern"):
        estimator.set_params(token_pattern=None)
    if hasattr(estimator, "vocabulary"):
        estimator.set_params(vocabulary=[*_listed(vocabulary), *marks])
    if isinstance(max_len := getattr(estimator, "max_len", None), numbers.Integral):
        estimator.set_params(max_len=check_longest(longest, int(max_len)) + 1)


def _listed(vocabulary: Vocabulary) -> list[Any]:
    """List the symbols of a vocabulary but for the one that stands for unknown symbols."""
    return list(vocabulary.symbols[:-1] if vocabulary.unknown_token else vocabulary.symbols)


def _check_labels(y: Any) -> NDArray[Any]:
    """Return labels as an array (n,); its type is theirs."""
    if y is None:
        raise ValueError(
            "GenerativeClassifier requires y to be passed, but the target y is None; pass a label for "
            "each sequence, or fit the estimator alone"
        )
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return labels


def _check_priors(priors: ArrayLike, n_classes: int) -> Array:
    found = np.asarray(priors, dtype=np.float64)
    if found.shape != (n_classes,) or not (found >= 0).all() or not np.isclose(found.sum(), 1):
        raise ValueError(
            f"priors must hold a probability for each of the {n_classes} classes, with sum 1, got "
            f"{priors!r}; pass None for their shares of the data"
        )
    return found / found.sum()
