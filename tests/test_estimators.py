"""One table of all estimators and distributions, one loop of laws that each of them keeps."""

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from copying import WAYS
from enumeration import Bigram, seeded
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from likelihood_gan import (
    CharLSTM,
    Ensemble,
    GenerativeClassifier,
    Refined,
    SequenceDistribution,
)
from likelihood_gan.models import Mixture, NGram
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.vocabulary import Vocabulary

SYMBOLS = sorted(set("".join(NAMES)))
N_TOKENS = len(SYMBOLS) + 1


def distribution():
    return SequenceDistribution(Bigram(N_TOKENS), SYMBOLS, max_len=4)


def ngrams():
    model = NGram(N_TOKENS, order=3)
    tokens = Vocabulary(SYMBOLS).encode_rows(NAMES)
    model.count(tokens, torch.ones(len(tokens)))
    return SequenceDistribution(model.eval(), SYMBOLS, max_len=4)


def mixture():
    members = [CharLSTM(N_TOKENS, 4, rng=seeded(seed)) for seed in (1, 2)]
    return SequenceDistribution(Mixture(members, [1, 2]), SYMBOLS, max_len=4)


@functools.cache
def frozen():
    return FrozenEstimator(tiny().fit(NAMES))


@functools.cache
def classifier():
    return GenerativeClassifier(tiny()).fit(NAMES, [name[-1] in "aeiouy" for name in NAMES])


def refined(estimator):
    """Refine by a small classifier."""
    classifier = make_pipeline(NGramHasher((1, 2), 256), LogisticRegression())
    settings = dict(Cs=(1.0,), betas=(0.25,), n_samples=400, random_state=0)
    return Refined(estimator, classifier, **settings)


@dataclass
class Row:
    """How to make one, and code that is not in its file."""

    make: Any
    code: dict[str, Any] = field(default_factory=dict)

    @property
    def learns(self):
        return hasattr(self.make(), "fit")


TABLE = {
    "gan": Row(tiny),
    "mle": Row(lambda: tiny(objective="mle")),
    "counting": Row(lambda: tiny(generator=None)),
    "custom generator": Row(
        lambda: tiny(generator=Bigram, generator_params=None), {"generator": Bigram}
    ),
    "distribution": Row(distribution, {"generator": Bigram}),
    "distribution of a mixture": Row(mixture),
    "n-grams": Row(ngrams),
    "distribution of a class": Row(lambda: classifier().distributions_[0]),
    "ensemble": Row(lambda: Ensemble(tiny(), random_state=0)),
    "refined": Row(lambda: refined(tiny(early_stopping=False))),
    "refined with what is held out": Row(lambda: refined(tiny(validation_fraction=0.5))),
    "refined frozen": Row(lambda: refined(frozen())),
    "refined distribution": Row(lambda: refined(distribution()), {"generator": Bigram}),
}

WORDS = [*NAMES, "", "z", "nnnn"]
TWICE = NAMES[1:20:3]


def same(one, other):
    """Compare scores and samples, to the bit."""
    np.testing.assert_array_equal(one.score_samples(WORDS), other.score_samples(WORDS))
    assert one.sample(700, random_state=1) == other.sample(700, random_state=1)
    assert one.sample(20, random_state=1) == other.sample(20, random_state=1)
    if getattr(one, "discriminator_", None) is not None:
        np.testing.assert_array_equal(one.discriminate(WORDS), other.discriminate(WORDS))


def made(row, X=NAMES, weights=None):
    model = row.make()
    return model.fit(X, sample_weight=weights) if row.learns else model


@pytest.fixture(params=TABLE, scope="session")
def row(request):
    return TABLE[request.param]


@pytest.fixture(scope="session")
def model(row):
    """Fit once; no test may change it."""
    return made(row)


@pytest.fixture(params=[name for name, row in TABLE.items() if row.learns], scope="session")
def learner(request):
    return TABLE[request.param]


@pytest.fixture(scope="session")
def learned(learner):
    return made(learner)


def test_the_refined_ones_are_refined(model):
    # else their laws would be those of what they refine
    assert getattr(model, "beta_", 0.25) == 0.25


# Fitting


def test_the_same_seed_gives_the_same_model_and_another_seed_another(learner, learned):
    same(made(learner), learned)
    other = learner.make().set_params(random_state=1).fit(NAMES)
    assert (other.score_samples(NAMES) != learned.score_samples(NAMES)).any()


@pytest.mark.parametrize(
    "change",
    [lambda X: X[::-1], lambda X: np.random.default_rng(0).permutation(X), iter],
    ids=["reversed", "shuffled array", "iterator"],
)
def test_order_and_container_of_the_data_make_no_difference(learner, learned, change):
    same(made(learner, change(NAMES)), learned)


def test_a_weight_of_two_is_a_repetition(learner, learned):
    twice = made(learner, [*NAMES, *TWICE])
    same(made(learner, NAMES, [1 + (name in TWICE) for name in NAMES]), twice)
    assert (twice.score_samples(NAMES) != learned.score_samples(NAMES)).any()


def test_a_weight_of_zero_leaves_a_sequence_out(learner):
    kept = [name for name in NAMES if name not in TWICE]
    same(made(learner, NAMES, [float(name in kept) for name in NAMES]), made(learner, kept))


def test_shares_have_no_unit(learner, learned):
    same(made(learner, NAMES, np.full(len(NAMES), 1 / 8)), learned)
    shares = np.arange(1, len(NAMES) + 1) / 64
    same(made(learner, NAMES, shares), made(learner, NAMES, shares / 8))


def test_a_fit_leaves_the_parameters_and_the_global_random_state_alone(learner):
    model = learner.make()
    params = repr(sorted(model.get_params().items()))
    states = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    model.fit(NAMES).sample(5, random_state=0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert repr(np.random.get_state()) == states[1]  # noqa: NPY002
    assert repr(sorted(model.get_params().items())) == params


# Parameters


def test_a_clone_has_equal_parameters_and_is_not_fitted(learner, learned):
    copied = clone(learned)
    assert repr(copied) == repr(learned)
    assert copied.get_params(deep=False).keys() == learned.get_params(deep=False).keys()
    with pytest.raises(NotFittedError):
        copied.score_samples(NAMES)
    same(copied.fit(NAMES), learned)


def test_get_params_and_set_params_are_inverse(learner):
    model = learner.make()
    again = type(model)().set_params(**model.get_params(deep=False))
    assert all(getattr(again, k) is v for k, v in model.get_params(deep=False).items())
    assert again.get_params().keys() == model.get_params().keys()
    assert repr(again) == repr(model)


VERBS = {
    "sample": [],
    "sample_counts": [],
    "probability": [str.isalpha],
    "divergence": [None],
    "most_probable": [],
    "score_samples": [NAMES],
    "score": [NAMES],
    "perplexity": [NAMES],
    "discriminate": [NAMES],
    "save": ["nowhere"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_works_before_fit(learner, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = learner.make()
    if not hasattr(model, verb):
        missing = {Refined: ("discriminate", "most_probable"), Ensemble: ("discriminate",)}
        assert verb in missing[type(model)]
        return
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(model, verb)(*VERBS[verb])
    assert not list(tmp_path.iterdir())


# Copies


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_draws_and_scores_the_same(row, model, way, tmp_path):
    again = way(model, tmp_path, **row.code)
    assert type(again) is type(model)
    assert repr(again) == repr(model)
    same(again, model)


# Drawing and scoring


def test_an_int_repeats_a_draw_and_none_draws_anew(model):
    for n in (20, 700):
        assert model.sample(n, random_state=7) == model.sample(n, random_state=7)
        assert model.sample(n) != model.sample(n)


def test_samples_are_of_the_type_and_symbols_of_the_data(model):
    samples = model.sample(50, random_state=0)
    assert len(samples) == 50
    assert {type(sample) for sample in samples} == {str}
    assert set("".join(samples)) <= set(SYMBOLS)
    assert max(map(len, samples)) <= 4


def test_constraints_hold_for_every_sample(model):
    samples = model.sample(40, 3, prefix="ma", min_len=3, temperature=0.5, random_state=0)
    assert len(samples) == 40
    assert all(sample.startswith("ma") and len(sample) == 3 for sample in samples)


def test_distinct_samples_are_distinct(model):
    samples = model.sample(40, distinct=True, random_state=0)
    assert len(set(samples)) == len(samples) == 40


def test_constraints_on_symbols_hold_for_every_sample(model):
    for n in (40, 700):
        samples = model.sample(n, prefix="ma", banned="m", top_k=6, top_p=0.9, random_state=0)
        assert all(sample.startswith("ma") and "m" not in sample[1:] for sample in samples)
        assert set("".join(model.sample(n, allowed="an", random_state=0))) <= set("an")


@pytest.mark.parametrize("verb", ["sample", "sample_counts"])
def test_conditions_hold_for_every_sample(model, verb):
    asked = dict(exclude=NAMES, where=lambda name: name[-1:] == "a", cut="redraw", random_state=0)
    for n in (40, 700):
        found = getattr(model, verb)(n, **asked)
        samples, total = found if verb == "sample_counts" else (found, len(found))
        assert np.sum(total) == n
        assert not set(samples) & set(NAMES)
        assert all(sample[-1] == "a" and len(sample) <= 4 for sample in samples)


def test_samples_are_scored_on_demand(model):
    samples, log_probs = model.sample(30, return_log_prob=True, random_state=0)
    assert samples == model.sample(30, random_state=0)
    np.testing.assert_array_equal(log_probs, model.score_samples(samples))


def test_the_probability_of_a_sequence_is_that_of_its_score(model):
    name = model.sample_counts(3000, random_state=0)[0][0]
    low, high = model.probability(name.__eq__, 4000, random_state=0)[1:]
    assert low / 1.3 <= np.exp(model.score_samples([name])[0]) <= high * 1.3


def test_nothing_diverges_from_itself(model):
    assert model.divergence(model, 300, random_state=0) == (0, 0, 0, 0, 0, 0)


def test_counts_sum_to_the_number_of_samples(model):
    sequences, counts = model.sample_counts(2000, random_state=0)
    assert counts.sum() == 2000 and (counts > 0).all() and counts.dtype == np.int64
    assert len(set(sequences)) == len(sequences) == len(counts)
    again = model.sample_counts(2000, random_state=0)
    assert sequences == again[0] and counts.tolist() == again[1].tolist()


def test_score_is_the_weighted_mean_of_score_samples(model):
    scores = model.score_samples(WORDS)
    assert scores.dtype == np.float64 and scores.shape == (len(WORDS),)
    assert model.score(WORDS) == pytest.approx(scores.mean())
    weights = np.arange(len(WORDS))
    expected = (weights * scores).sum() / weights.sum()
    assert model.score(WORDS, sample_weight=weights) == pytest.approx(expected)


def test_perplexity_counts_every_end(model):
    n_symbols = sum(len(word) + 1 for word in WORDS)
    expected = np.exp(-model.score_samples(WORDS).sum() / n_symbols)
    assert model.perplexity(WORDS) == pytest.approx(expected)
