"""The figures of one model against sequences that it was not fitted on.

What the model is, and with which others it is compared, is left to the experiments.
"""

import functools
import math

import numpy as np

from benchmarks.starts import fit_ngram
from benchmarks.tasks import load_split
from likelihood_gan import metrics

N_SAMPLES = 10_000
N_JUDGED = 5000  # of them, by a fresh classifier


def fit_judge(split):
    """Fit an n-gram model to all real data: a sample that it finds unlikely is not typical."""
    weights = np.ones(len(split.fit)) if split.weights is None else split.weights
    both = list(split.fit) + split.test
    return fit_ngram(both, np.concatenate([weights, np.ones(len(split.test))]), order=6)


@functools.lru_cache(maxsize=1)
def load_judge(task, seed):
    """Return the judge of a split; the last one is kept in memory."""
    return fit_judge(load_split(task, seed))


def measure(model, split, judge, seed, n_samples=N_SAMPLES, draws=1):
    """Return the figures of something with `sample` and, if it has a likelihood, `score_samples`.

    Nats are per sequence: "test_nats" of the test sequences that are not in the training list,
    "new_nats" the same, given that a sequence is not in the list: exact, whatever mass the list has.
    "auc" is that of a fresh classifier; of several `draws`, each with samples and folds of its own, it
    is the mean, since one draw has a standard deviation of .011 on names.
    """
    samples = model.sample(n_samples, split.max_len, random_state=seed)
    figures = {
        "auc": mean_auc(model, split, seed, samples[:N_JUDGED], draws),
        "bigram_js": metrics.n_gram_divergence(samples, split.test, 2),
        "trigram_js": metrics.n_gram_divergence(samples, split.test, 3),
        "frechet": metrics.hashed_frechet_distance(samples, split.test),
        "length_tv": metrics.length_divergence(samples, split.test),
        "unique": metrics.uniqueness(samples),
        "novel": metrics.novelty(samples, split.fit),
        "coverage": metrics.coverage(samples, split.unseen),
        "typical_nats": metrics.nll(judge, samples),
        "test_nats": math.nan,
        "new_nats": math.nan,
        "kl_truth_model": math.nan,
        "kl_model_truth_listed": math.nan,
        "listed_mass": math.nan,
        "valid": math.nan,
    }
    if hasattr(model, "score_samples"):
        figures["test_nats"] = metrics.nll(model, split.unseen)
        figures["new_nats"] = figures["test_nats"] + log_new_mass(model, split.fit)
        if split.truth is not None:
            figures |= against_truth(model, split.truth)
    if split.valid is not None:
        figures["valid"] = sum(map(split.valid, samples)) / len(samples)
    return figures


def mean_auc(model, split, seed, first, draws):
    """Average the AUC of fresh classifiers over draws; the samples of the first are given."""
    values = []
    for k in range(draws):
        other = seed + 1000 * k
        samples = first if k == 0 else model.sample(len(first), split.max_len, random_state=other)
        values.append(metrics.two_sample_auc(samples, split.test, random_state=other))
    return float(np.mean(values))


def log_new_mass(model, sequences):
    """Return the log-probability of writing none of some sequences, which all differ.

    NaN if their mass is 1 or more: where log Z is estimated, masses have its error.
    """
    mass = float(np.exp(model.score_samples(sequences)).sum())
    return math.log1p(-mass) if mass < 1 else math.nan


def against_truth(model, truth):
    """Kullback-Leibler divergences in nats, both ways, by summing over all that can happen.

    A model gives some probability to sequences off the list, where the truth has none, so
    KL(model, truth) is infinite for every model. What is finite says the same in two numbers: the
    probability of the list, and the divergence of the model given that it stays on the list.
    """
    log_q = np.log(list(truth.values()))
    log_p = model.score_samples(list(truth))
    log_mass = np.logaddexp.reduce(log_p)
    return {
        "kl_truth_model": float((np.exp(log_q) * (log_q - log_p)).sum()),
        "kl_model_truth_listed": float(
            (np.exp(log_p - log_mass) * (log_p - log_mass - log_q)).sum()
        ),
        "listed_mass": float(np.exp(log_mass)),
    }
