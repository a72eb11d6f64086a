"""Who judges whom: no sequence is judged by a classifier that learned it as data."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from likelihood_gan import Autoregressive, Refined, SequenceDistribution
from likelihood_gan.crossfitting import N_FOLDS, Lessons, cross_fit, cross_fitted_logits, folds
from likelihood_gan.ngrams import NGramHasher

WORDS = ["".join(w) for n in range(1, 5) for w in itertools.product("abc", repeat=n)]


class Remembers(ClassifierMixin, BaseEstimator):
    """Its logit is 1 for what it learned as data, -1 for what it learned as a sample, else 0."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.real_ = {x for x, label in zip(X, y, strict=True) if label}
        self.generated_ = {x for x, label in zip(X, y, strict=True) if not label}
        return self

    def decision_function(self, X):
        return np.array([float(x in self.real_) - float(x in self.generated_) for x in X])


def lessons(real, generated, weights=None, held_out=()):
    """Data to learn from and to judge, and samples that teach and are judged."""
    is_real = np.repeat([True, False], [len(real), len(generated)])
    out = np.array([x in held_out for x in [*real, *generated]])
    judged = out if out.any() else np.ones(len(is_real), dtype=bool)
    return Lessons([*real, *generated], is_real, weights, ~out, judged)


def test_no_sequence_is_judged_by_a_classifier_that_learned_it_as_data():
    real, generated = WORDS[::2], WORDS[1::2]
    ((fitted, logits),) = cross_fit(Remembers(), None, lessons(real, generated), None).values()
    assert len(fitted) == N_FOLDS
    np.testing.assert_array_equal(logits[: len(real)], 0)
    np.testing.assert_array_equal(cross_fitted_logits(fitted, real, average=False), 0)
    assert (cross_fitted_logits(fitted, real, average=True) > 0).all()


def test_every_classifier_learns_all_samples_and_the_data_of_all_other_folds():
    real, generated = WORDS[::2], WORDS[1::2]
    held_out = set(real[:10])
    teach = lessons(real, generated, held_out=held_out)
    ((fitted, logits),) = cross_fit(Remembers(), None, teach, None).values()
    for k, classifier in enumerate(fitted):
        mine = {word for word, fold in zip(real, folds(real), strict=True) if fold == k}
        assert classifier.real_ == set(real) - mine - held_out
        assert classifier.generated_ == set(generated)
    assert (~np.isnan(logits)).sum() == len(held_out)  # what is not judged has no logit


def test_a_fold_is_the_same_in_every_process_and_for_equal_symbols():
    code = f"from likelihood_gan.crossfitting import folds; print(folds({WORDS[:40]!r}).tolist())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(other.stdout) == folds(WORDS[:40]).tolist()
    assert folds([(1, 2)]) == folds([(1.0, 2.0)])
    assert set(folds(WORDS).tolist()) == set(range(N_FOLDS))


def test_features_that_learn_nothing_are_made_once_and_the_others_in_every_fold():
    teach = lessons(WORDS[::2], WORDS[1::2])

    class Counting(NGramHasher):
        n_calls = 0

        def transform(self, X):
            type(self).n_calls += 1
            return super().transform(X)

    once = make_pipeline(Counting((1, 2), 2**10), LogisticRegression())
    ((fitted, logits),) = cross_fit(once, None, teach, None).values()
    assert Counting.n_calls == 1
    np.testing.assert_allclose(
        cross_fitted_logits(fitted, list(teach.sequences), average=False), logits
    )
    learned = make_pipeline(CountVectorizer(analyzer="char"), LogisticRegression())
    ((fitted, _),) = cross_fit(learned, None, teach, None).values()
    vectorizers = [classifier[0] for classifier in fitted]
    assert len(set(map(id, vectorizers))) == N_FOLDS
    assert not hasattr(learned[0], "vocabulary_")


def test_the_number_of_jobs_does_not_change_the_logits():
    teach = lessons(WORDS[::2], WORDS[1::2])
    classifier = make_pipeline(NGramHasher((1, 2), 2**10), LogisticRegression())
    one, two = (cross_fit(classifier, (0.1, 1.0), teach, n_jobs) for n_jobs in (1, 2))
    for C in (0.1, 1.0):
        np.testing.assert_array_equal(one[C][1], two[C][1])


def test_data_of_one_fold_cannot_be_cross_fitted():
    with pytest.raises(ValueError, match=r"too few distinct sequences .* pass at least ten"):
        cross_fit(Remembers(), None, lessons(["a"], WORDS[5:]), None)


class AnyWord(Autoregressive, nn.Module):
    """Symbols that do not depend on what stands before them."""

    def step(self, tokens, state):
        return torch.tensor([0.15, 0.35, 0.25, 0.25]).log().expand(len(tokens), -1), state


@pytest.mark.parametrize("seed", range(3))
def test_known_sequences_get_no_weight_for_being_known(seed):
    # The truth is uniform over a language of 724 words, half of which are known: both halves are
    # alike, so a weight that differs between them is memory.
    language = ["".join(w) for n in range(3, 8) for w in itertools.product("abc", repeat=n)]
    words = [word for word in language if "aa" not in word and "cb" not in word]
    order = np.random.default_rng(seed).permutation(len(words))
    known, unknown = ([words[i] for i in half] for half in np.array_split(order, 2))
    plain = SequenceDistribution(AnyWord(), "abc", max_len=7)
    refined = Refined(plain, n_samples=4000, random_state=seed).fit(known)
    assert refined.beta_ > 0 and not refined.repeating_

    def advantage():
        """Mean log-weight of known less unknown words, in standard errors."""
        halves = [refined.log_weight(half) for half in (known, unknown)]
        error = np.sqrt(sum(x.var() / len(x) for x in halves))
        return (halves[0].mean() - halves[1].mean()) / error

    assert abs(advantage()) < 2.5
    refined.repeating_ = True  # all classifiers judge, four of which have learned a known word
    assert advantage() > 3
