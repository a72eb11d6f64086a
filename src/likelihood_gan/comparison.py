"""A model beside what it should beat, on sequences that it was not fitted to: one table.

What each figure means, and what fools it, is left to `metrics`; where the sequences come from to the
callers.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from likelihood_gan import metrics
from likelihood_gan.distribution import SequenceDistribution
from likelihood_gan.estimator import LikelihoodGAN
from likelihood_gan.models import NGram, ResidualLSTM
from likelihood_gan.progress import counted
from likelihood_gan.rules import check, integer, random_source
from likelihood_gan.validation import check_lines, check_sequences
from likelihood_gan.vocabulary import vocabulary_of

MODEL, NGRAMS, DATA = "model", "n-grams", "data"
"""The columns of a table."""
FOLDS = 5
"""Of the classifier that tells samples from data: so many distinct sequences each list must have."""
_FIGURES = {
    "nats per sequence": "low",
    "perplexity per symbol": "low",
    "AUC of a classifier": "0.5",
    "2-gram divergence": "low",
    "3-gram divergence": "low",
    "hashed Fréchet distance": "low",
    "length divergence": "low",
    "unique": "as data",
    "novel": "as data",
    "coverage": "high",
}

Figures = dict[str, float]
_Data = Sequence[Sequence[Hashable]]


class Row(NamedTuple):
    """A figure of all columns; NaN where there is none. `best` says what is good."""

    figure: str
    best: str
    values: dict[str, float]


def compare(
    model: Any,
    held_out: _Data,
    *,
    training: _Data | None = None,
    control: Any = None,
    n_samples: int = 10_000,
    random_state: Any = None,
) -> list[Row]:
    """Measure a model, and an n-gram model beside it, against data that neither was fitted to.

    The data are divided into two random halves. Samples of a model are held against the one, as many
    as the other has, or `n_samples` if these are fewer; then so is the other half, which says what
    real data reach. Likelihoods are of all the data.

    Parameters
    ----------
    model : estimator or distribution
        With `sample` and `score_samples`.
    held_out : sequence of sequences
        At least two.
    training : sequence of sequences, optional
        What the model was fitted to, for the share of samples that are new.
    control : estimator or distribution, optional
        What stands beside it, such as `control_of` gives.
    n_samples : int, default=10,000
        Most samples of each.
    random_state : int, RandomState or None, default=None
        Seed of halves, samples and folds.

    Returns
    -------
    list of Row
    """
    held_out = check_sequences(held_out, "held_out")
    check(n_samples, "n_samples", integer(1))
    if len(held_out) < 2:
        raise ValueError(
            f"what is held out must have at least 2 sequences to be halved, got {len(held_out)}"
        )
    check_lines(held_out, "held_out")
    rng = random_source(random_state)
    half = min(len(held_out) // 2, n_samples)
    order = rng.permutation(len(held_out)).tolist()
    real, others = ([held_out[i] for i in part] for part in (order[:half], order[-half:]))
    seed = int(rng.randint(2**31 - 1))
    max_len = getattr(model, "max_len_", getattr(model, "max_len", None))
    columns: dict[str, Figures] = {}
    models = {MODEL: model, NGRAMS: control} if control is not None else {MODEL: model}
    stages = [[(name, distribution)] for name, distribution in models.items()]
    for ((name, distribution),) in counted(stages, len(stages), "measuring models"):
        samples = distribution.sample(half, max_len, random_state=seed)
        columns[name] = {
            "nats per sequence": metrics.nll(distribution, held_out),
            "perplexity per symbol": distribution.perplexity(held_out),
            **_of_samples(samples, real, training, seed),
        }
    columns[DATA] = _of_samples(others, real, training, seed)
    return [
        Row(figure, best, {name: column.get(figure, math.nan) for name, column in columns.items()})
        for figure, best in _FIGURES.items()
    ]


def control_of(model: Any, training: _Data | None = None, weights: ArrayLike | None = None) -> Any:
    """Return the n-gram model to hold a model against, with the same symbols.

    It counts the training data, if they are given. Else it is the one inside the default generator;
    None if there is none, or the model is one itself.
    """
    distribution = _distribution_of(model)
    vocabulary = vocabulary_of(model)
    generator = getattr(distribution, "generator", None)
    if vocabulary is None or isinstance(generator, NGram):
        return None
    if training is None:
        if not isinstance(generator, ResidualLSTM):
            return None
        return SequenceDistribution(generator.ngram.eval(), vocabulary, distribution.max_len)
    gan = LikelihoodGAN(
        NGram,
        vocabulary=vocabulary.symbols,
        token_pattern=vocabulary.token_pattern,
        handle_unknown="token" if vocabulary.unknown_token else "error",
        early_stopping=False,
    )
    return gan.fit(training, sample_weight=weights).distribution_


def _distribution_of(model: Any) -> Any:
    while hasattr(model, "estimator_"):
        model = model.estimator_
    return getattr(model, "distribution_", model)


def _of_samples(samples: _Data, real: _Data, training: _Data | None, seed: int) -> Figures:
    """Return the figures of samples, or of other data in their place."""
    figures = {
        "2-gram divergence": metrics.n_gram_divergence(samples, real, 2),
        "3-gram divergence": metrics.n_gram_divergence(samples, real, 3),
        "hashed Fréchet distance": metrics.hashed_frechet_distance(samples, real),
        "length divergence": metrics.length_divergence(samples, real),
        "unique": metrics.uniqueness(samples),
        "coverage": metrics.coverage(samples, real),
    }
    if min(len(set(samples)), len(set(real))) >= FOLDS:
        auc = metrics.two_sample_auc(samples, real, cv=FOLDS, random_state=seed)
        figures["AUC of a classifier"] = auc
    if training is not None:
        figures["novel"] = metrics.novelty(samples, training)
    return figures
