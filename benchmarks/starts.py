"""What experiments begin with: maximum-likelihood fits of a split, kept in files, and n-gram models.

What is made of them is left to the experiments.
"""

import copy
import math

import joblib
import torch
from torch import nn
from tqdm import tqdm

from benchmarks import store
from benchmarks.tasks import load_split
from likelihood_gan import (
    Autoregressive,
    CharLSTM,
    LikelihoodGAN,
    LSTMDiscriminator,
    SequenceDistribution,
)
from likelihood_gan.models import NGram
from likelihood_gan.rows import count_distinct
from likelihood_gan.validation import check_weighed
from likelihood_gan.vocabulary import Vocabulary, is_text, sort_symbols

ORDERS = 1, 2, 3, 4, 5, 6, 8, 11, 16  # of n-gram models

REPORT = dict(  # the report's estimator
    generator=CharLSTM,
    generator_params={"hidden_size": 8, "dropout": 0.0},
    discriminator=LSTMDiscriminator,
    discriminator_params={"hidden_size": 8},
    objective="importance",
    pretrain_epochs=0,
    discriminator_pretrain_epochs=0,
    batch_size=128,
    adversarial_learning_rate={1: 0.02, 6: 0.002},
    discriminator_learning_rate={1: 0.02, 6: 0.002},
    early_stopping=False,
)


class Tempered(Autoregressive, nn.Module):
    """A generator whose next-symbol log-probabilities are divided by a temperature."""

    def __init__(self, generator, temperature):
        super().__init__()
        self.generator, self.temperature = generator, temperature

    def step(self, tokens, state):
        log_probs, state = self.generator.step(tokens, state)
        return (log_probs / self.temperature).log_softmax(-1), state


def make_start(split, seed, **parameters):
    """Return an estimator of a `CharLSTM` that will be fitted to a split by maximum likelihood."""
    gan = LikelihoodGAN(CharLSTM, objective="mle", adversarial_epochs=0, random_state=seed)
    # for what goes on from it: as in the rows that are kept
    gan.set_params(discriminator_pretrain_epochs=5)
    gan.set_params(vocabulary=split.symbols, **split.settings)
    return gan.set_params(**parameters)


def fit_start(split, seed, weights=None, **parameters):
    """Fit to a split, with its weights or others."""
    gan = make_start(split, seed, **parameters)
    return gan.fit(split.fit, sample_weight=split.weights if weights is None else weights)


def load_start(task, seed, k=0, **sizes):
    """Return the k-th fit of a seed, from a file if there is one.

    All are fitted to the same sequences in the same batches and hold out the same ones; they differ
    by their initial weights. `sizes` are arguments of the generator.
    """
    torch.set_num_threads(1)
    parts = task, seed, *([k] if k else []), *sizes.values()
    path = store.STARTS / f"{'-'.join(map(str, parts))}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fit_kth(load_split(task, seed), seed, k, sizes).save(path)
    return LikelihoodGAN.load(path)


def fit_kth(split, seed, k, sizes):
    """Fit the k-th start of a seed; see `load_start`."""
    sizes = {f"generator__{name}": size for name, size in sizes.items()}
    if k == 0:
        return fit_start(split, seed, **sizes)
    gan = make_start(split, seed, **sizes)
    arguments = gan.generator_params
    rng = torch.Generator().manual_seed(1000 * k + seed)
    generator = CharLSTM(len(split.symbols) + 1, rng=rng, **(arguments or {}))
    gan.set_params(generator=generator, generator_params=None)
    gan.fit(split.fit, sample_weight=split.weights)
    return gan.set_params(generator=CharLSTM, generator_params=arguments)


def prepare(task, seeds, n_jobs):
    """Fit the first start of each seed that has none, so that no two processes do the same."""
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    jobs = [joblib.delayed(load_start)(task, seed) for seed in seeds]
    for _ in tqdm(parallel(jobs), total=len(jobs), desc="starts", disable=not jobs):
        pass


def fit_ngram(sequences, weights=None, *, vocabulary=None, order=None, watch=None):
    """Count sequences with the package's n-gram model.

    Without `order`, longer contexts are tried until the likelihood of each sequence under the counts
    of the others is no better: that needs no held-out part. (`NGram` itself begins at 6, and wants one
    per cent; as a control it shall be as good as it can.) `watch` is called with each model, as a
    callback of `LikelihoodGAN` is.

    Returns
    -------
    SequenceDistribution
    """
    sequences, weights = check_weighed(sequences, weights)
    symbols = set().union(*sequences) if vocabulary is None else vocabulary
    known = Vocabulary(sort_symbols(symbols), is_text(sequences))
    tokens = known.encode_rows(sequences)
    first, weights = count_distinct(tokens, weights)
    tokens, weights = tokens[first], torch.from_numpy(weights)
    best, lowest = None, math.inf
    for n in ORDERS if order is None else [order]:
        model = NGram(known.n_tokens, n)
        model.count(tokens, weights)
        distribution = SequenceDistribution(model, known, tokens.shape[1] - 1)
        with torch.no_grad():  # a new module is in training mode, and leaves the row itself out
            nats = -float(weights @ model.log_prob(tokens) / weights.sum())
        model.eval()
        if nats >= lowest:
            break
        best, lowest = distribution, nats
        if watch is not None and watch(distribution, []):
            break
    return best


def with_generator(gan, generator):
    """Return a fitted estimator with another generator over the same symbols.

    It keeps what was held out from it, so that it can be refined.
    """
    other = copy.copy(gan)
    other.distribution_ = SequenceDistribution(generator.eval(), gan.vocabulary_, gan.max_len_)
    return other


def go_on(gan, sequences, objective, epochs, weights=None, **parameters):
    """Train a copy of a fitted estimator for more epochs, with another objective.

    Returns
    -------
    gan : LikelihoodGAN
        The copy; with early stopping it is of the best epoch, which may be the start itself.
    last : SequenceDistribution
        That of the last epoch.
    """
    copied = copy.deepcopy(gan).set_params(
        objective=objective,
        warm_start=True,
        pretrain_epochs=0,
        adversarial_epochs=epochs,
        n_iter_no_change=max(epochs, 1),
    )
    # its history is its own, and the same seed draws what the start has held out
    copied.history_, copied.best_epoch_, copied.split_ = [], 0, None
    return fit_and_watch(copied.set_params(**parameters), sequences, weights)


def fit_and_watch(gan, sequences, weights=None):
    """Fit; return the estimator and a distribution, that of the last epoch."""
    last = [gan.distribution_] if hasattr(gan, "distribution_") else []

    def watch(distribution, history):
        last[:] = [copy.deepcopy(distribution)]

    gan.set_params(callbacks=[watch]).fit(sequences, sample_weight=weights)
    return gan.set_params(callbacks=None), last[0]
