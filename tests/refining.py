"""A tiny language whose refinement can be enumerated, and classifiers that do what they are told.

Words of at most six letters over a, b and c: `LANGUAGE` writes them, `WRONG` and other generators
model them.
"""

from unittest import mock

import numpy as np
import torch
from enumeration import Bigram, all_rows, seeded
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin, DensityMixin
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_random_state

import likelihood_gan
from likelihood_gan import LikelihoodGAN, Refined, SequenceDistribution
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.vocabulary import Vocabulary

N_TOKENS, WIDTH = 4, 6
ABC = Vocabulary("abc")
ROWS = all_rows(N_TOKENS, WIDTH)
WORDS = ABC.decode(ROWS)
INDEX = {word: i for i, word in enumerate(WORDS)}


def table(seed):
    """Build a generator of words of some letters."""
    model = Bigram(N_TOKENS, seed=seed)
    model.logits.data *= 0.6
    model.logits.data[:, 0] -= 1
    return model


LANGUAGE, WRONG = table(0), table(7)


def words(n, seed=0, generator=LANGUAGE):
    with torch.no_grad():
        return ABC.decode(generator.sample(n, WIDTH, rng=seeded(seed)))


def law(generator):
    """Probability of every word; the long ones are cut."""
    with torch.no_grad():
        return np.exp(generator.log_prob(ROWS).double().numpy())


def refined_law(refined):
    """Enumerated p* of every word, normalised by the exact Z."""
    log_p = refined.estimator_.score_samples(WORDS[: -(3**WIDTH)])
    log_p = np.concatenate([log_p, _log_prob_of_cut(refined.estimator_)])
    log_p += refined.log_weight(WORDS)
    return np.exp(log_p - logsumexp(log_p))


def _log_prob_of_cut(estimator):
    """Log-probability that a sample begins with each of the longest words."""
    generator = getattr(estimator, "distribution_", estimator).generator
    with torch.no_grad():
        return generator.log_prob(ROWS[-(3**WIDTH) :]).double().numpy()


def divergence(p, q):
    """KL(p, q) in nats."""
    return float(np.sum(p * (np.log(p) - np.log(q))))


def frequencies(sample, n):
    """Share of each of the first n words in a sample."""
    return np.bincount([INDEX[word] for word in sample], minlength=n) / len(sample)


def worst_error(sample, p):
    """Largest deviation of a frequency from p, in standard errors."""
    often = p * len(sample) > 5
    error = np.abs(frequencies(sample, len(p)) - p) / np.sqrt(p * (1 - p) / len(sample))
    return float(error[often].max())


def features(ngram_range=(1, 2)):
    return NGramHasher(ngram_range, n_features=256)


def linear(ngram_range=(1, 2), C=0.3):
    return make_pipeline(features(ngram_range), LogisticRegression(C=C, max_iter=1000))


def small(estimator, classifier=None, **params):
    """Build a meta-estimator that is fitted in a fraction of a second."""
    settings = {"Cs": (0.3,), "n_samples": 500, "random_state": 0} | params
    return Refined(estimator, linear() if classifier is None else classifier, **settings)


def refine(estimator, X, classifier=None, sample_weight=None, **params):
    """Refine by any gain: a few frequent words never prove one beyond doubt."""
    with mock.patch.object(likelihood_gan.refined, "N_ERRORS", 0.0):
        return small(estimator, classifier, **params).fit(X, sample_weight=sample_weight)


def distribution(generator):
    return SequenceDistribution(generator, ABC, WIDTH)


def held(generator, X, **settings):
    """Freeze an estimator that trains nothing and holds some of X out."""
    known = dict(vocabulary="abc", max_len=WIDTH, random_state=0, objective="mle")
    nothing = dict(pretrain_epochs=0, adversarial_epochs=0, validation_fraction=0.3)
    return FrozenEstimator(LikelihoodGAN(generator, **(known | nothing | settings)).fit(X))


# Words of no more than three letters, and a distribution over them whose refinement is known


def true_logit(word):
    return 0.8 * word.count("a") - 0.6 * word.count("b")


SHORT = WORDS[: 1 + 3 + 9 + 27]
P = law(WRONG)[: len(SHORT)]
P /= P.sum()
P_STAR = P * np.exp([true_logit(word) for word in SHORT])
P_STAR /= P_STAR.sum()


class Listed:
    """What a user may bring: draws from a list with given probabilities, and has no `fit`."""

    def __init__(self, p=P, held_out=()):
        self.p = p
        self.held_out_ = list(held_out)

    def sample(self, n, *, random_state=None):
        return [SHORT[i] for i in random_state.choice(len(SHORT), size=n, p=self.p)]

    def score_samples(self, X):
        return np.log([self.p[INDEX[word]] for word in X])


class Uniform(DensityMixin, BaseEstimator):
    """An estimator that knows nothing of this package: words of its lengths, all alike."""

    def __init__(self, wish=None):
        self.wish = wish

    def fit(self, X, y=None):
        self.lengths_ = sorted(map(len, X))
        return self

    def sample(self, n_samples=1, random_state=None):
        rng = check_random_state(random_state)
        return ["".join(rng.choice([*"abc"], n)) for n in rng.choice(self.lengths_, n_samples)]

    def score_samples(self, X):
        shares = {n: self.lengths_.count(n) / len(self.lengths_) for n in {*self.lengths_}}
        with np.errstate(divide="ignore"):
            return np.log([shares.get(len(word), 0.0) / 3 ** len(word) for word in X])


class Known(ClassifierMixin, BaseEstimator):
    """Learns nothing: its logit is a known function of each word."""

    def __init__(self, function):
        self.function = function

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return np.array([self.function(word) for word in X], dtype=float)


def known(function=true_logit, **params):
    """Refine P with a classifier that knows the ratio; the data are exactly P_STAR."""
    return refine(Listed(), SHORT, Known(function), P_STAR, **({"Cs": None} | params))


class Recorder(Known):
    """Tells what each classifier has learned from, and what it has judged."""

    seen: dict = {}

    def fit(self, X, y, sample_weight=None):
        self.taught_ = {x for x, label in zip(X, y, strict=True) if label}
        self.seen.setdefault("learned", []).append((list(X), np.asarray(y), sample_weight))
        return super().fit(X, y)

    def decision_function(self, X):
        self.seen.setdefault("judged", []).append((self.taught_, set(X)))
        return super().decision_function(X)


class ByHeart(Known):
    """Knows a function, and remembers of every sequence whether it was taught as real or not."""

    def fit(self, X, y, sample_weight=None):
        self.memory_ = {x: 2 * label - 1 for x, label in zip(X, y, strict=True)}
        return super().fit(X, y)

    def decision_function(self, X):
        return super().decision_function(X) + [2.0 * self.memory_.get(x, 0) for x in X]


class Failing(Known):
    """Raises what it was given while it is fitted."""

    def fit(self, X, y, sample_weight=None):
        raise self.function
