"""`FromNumpy`: what a model in NumPy gets, and what becomes of what it returns."""

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from copying import WAYS, through_file
from enumeration import all_rows, assert_distribution, seeded

from likelihood_gan import SequenceDistribution
from likelihood_gan.checks import check_generator
from likelihood_gan.models import FromNumpy, Mixture
from likelihood_gan.protocols import has_count, has_step
from likelihood_gan.sampling import take_rows

ROWS = all_rows(3, 4)


class Geometric:
    """Ends with probability `end` at every place; the symbols between are alike, and learned."""

    def __init__(self, n_tokens=3, end=0.4):
        self.end, self.shares = end, np.full(n_tokens - 1, 1 / (n_tokens - 1))

    def log_prob(self, tokens):
        assert tokens.dtype == np.int64
        lengths = (tokens != 0).sum(1)
        symbols = np.where(tokens == 0, 0, np.log(self.shares)[tokens - 1]).sum(1)
        ended = np.log(self.end) * (lengths < tokens.shape[1])
        return lengths * np.log(1 - self.end) + symbols + ended

    def sample(self, n, max_len, rng):
        assert isinstance(rng, np.random.Generator)
        symbols = 1 + rng.choice(len(self.shares), (n, max_len), p=self.shares)
        return symbols * (rng.random((n, max_len)) >= self.end).cumprod(1)


class Counting(Geometric):
    def count(self, tokens, weights):
        times = np.bincount(tokens.ravel(), weights=np.repeat(weights, tokens.shape[1]))[1:]
        self.shares = times / times.sum()


class Pairs:
    """The next symbol depends on the last two, which are the state, in an array of a dict."""

    def step(self, tokens, state):
        before = np.zeros_like(tokens) if state is None else state["last"][:, 0]
        scores = np.stack([1.0 + before, 3.0 - before + tokens, 1.0 + 2 * tokens], 1)
        scores = scores.astype(np.float32)  # a model may compute in single precision
        return np.log(scores / scores.sum(1, keepdims=True)), {"last": tokens[:, None]}


MODELS = {"log_prob and sample": Geometric, "count": Counting, "step alone": Pairs}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_it_is_lawful_in_float64(model):
    generator = FromNumpy(model())
    assert check_generator(generator, 3) is None
    assert generator.log_prob(ROWS).dtype == torch.float64
    assert float(generator.log_prob(ROWS).exp().sum()) == pytest.approx(1, abs=1e-6)


def test_it_offers_what_the_model_does_and_log_prob_and_sample_by_step():
    found = {kind: FromNumpy(model()) for kind, model in MODELS.items()}
    assert [has_step(generator) for generator in found.values()] == [False, False, True]
    assert [has_count(generator) for generator in found.values()] == [False, True, False]
    drawn = found["step alone"].sample(4000, 4, rng=seeded())
    assert_distribution(drawn, ROWS, found["step alone"].log_prob(ROWS).exp())


def test_samples_come_from_rng_alone():
    generator, state = FromNumpy(Geometric()), torch.get_rng_state()
    first, again, other = (generator.sample(50, 4, rng=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_a_model_sees_copies_and_may_keep_what_it_returns():
    class Writes(Geometric):
        def log_prob(self, tokens):
            self.kept = super().log_prob(tokens)
            tokens[:] = 0
            return self.kept

    generator, rows = FromNumpy(Writes()), ROWS.clone()
    scores = generator.log_prob(rows)
    assert torch.equal(rows, ROWS)
    generator.model.kept[:] = 1
    assert (scores < 0).all()


def test_rows_of_a_state_can_be_selected():
    generator = FromNumpy(Pairs())
    _, state = generator.step(torch.tensor([1, 2]), None)
    found, _ = generator.step(torch.tensor([2]), take_rows(state, torch.tensor([1])))
    scores = torch.tensor([1.0 + 2, 3.0 - 2 + 2, 1.0 + 4])  # 2 before, 2 now
    torch.testing.assert_close(found[0].exp(), (scores / scores.sum()).double())


def test_count_learns_in_a_fit_which_copies_the_model():
    model = Counting(3)
    gan = tiny(generator=FromNumpy(model), generator_params=None, vocabulary="ab")
    gan.fit({"aab": 3, "a": 1})
    np.testing.assert_allclose(gan.generator_.model.shares, [7 / 10, 3 / 10])
    np.testing.assert_allclose(model.shares, [0.5, 0.5])
    expected = 2 * np.log(0.6) + np.log(0.7) + np.log(0.3) + np.log(0.4)
    np.testing.assert_allclose(gan.score_samples(["ab"]), expected)


def test_members_of_a_mixture_are_averaged_in_float64():
    mixed = Mixture([FromNumpy(Geometric()), FromNumpy(Pairs())])
    expected = sum(FromNumpy(model()).log_prob(ROWS).exp() for model in (Geometric, Pairs)) / 2
    torch.testing.assert_close(mixed.log_prob(ROWS).exp(), expected, rtol=1e-6, atol=0)
    assert not has_step(mixed)


@pytest.mark.parametrize("way", [way for way in WAYS if way is not through_file])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_copies_score_and_draw_the_same(model, way, tmp_path):
    distribution = SequenceDistribution(FromNumpy(model()), "ab", max_len=4)
    again = way(distribution, tmp_path)
    assert again.generator.model is not distribution.generator.model
    np.testing.assert_array_equal(again.score_samples(["ab"]), distribution.score_samples(["ab"]))
    assert again.sample(50, random_state=1) == distribution.sample(50, random_state=1)


def test_the_adapter_is_copied_with_its_model():
    generator = FromNumpy(Counting())
    for again in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        again.model.shares = np.array([0.9, 0.1])
        assert generator.model.shares[0] == 0.5


# What is wrong is named


def returning(**results):
    """Build a model whose methods return what they are told."""
    methods = {name: lambda self, *a, _r=result, **k: _r for name, result in results.items()}
    return FromNumpy(type("Odd", (Geometric,), methods)())


@pytest.mark.parametrize(
    ("generator", "words"),
    [
        (returning(log_prob=np.zeros((1, 1))), r"log_prob\(tokens\) must return .* got \(1, 1\)"),
        (returning(log_prob=np.full(1, np.nan)), r"log_prob\(tokens\) returned NaN"),
        (returning(log_prob=np.ones(1)), "a probability is at most 0"),
        (returning(log_prob=np.zeros(1, int)), "floating-point numbers, got torch.int64"),
        (returning(log_prob=["low"]), "Odd.log_prob must return an array of numbers"),
        (returning(log_prob=None), "Odd.log_prob must return .* got NoneType of object"),
    ],
)
def test_an_odd_score_is_refused_by_name(generator, words):
    distribution = SequenceDistribution(generator, "ab", max_len=4)
    with pytest.raises((TypeError, ValueError), match=words):
        distribution.score_samples(["a"])


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        (np.zeros(2, int), r"int64 tensor \(n, length\), got torch.int64 \(2,\)"),
        (np.zeros((2, 1)), "got torch.float64"),
        (np.array([[0, 1], [0, 0]]), "after the first 0"),
        (np.full((2, 4), 3, np.uint8), "tokens from 0 to 2, got 3 to 3"),
        (["a", "b"], "Odd.sample must return an array of numbers, got list"),
    ],
)
def test_an_odd_sample_is_refused_by_name(drawn, words):
    distribution = SequenceDistribution(returning(sample=drawn), "ab", max_len=4)
    with pytest.raises((TypeError, ValueError), match=words):
        distribution.sample(2)


class NoRng(Geometric):
    def sample(self, n, max_len):
        return np.zeros((n, 1), int)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (NoRng(), "NoRng.sample must take n, max_len and rng, a numpy.random.Generator"),
        (Geometric, "FromNumpy needs an object .* got <class"),
        ({}, r"or with step\(tokens, state\), got {}"),
    ],
)
def test_what_is_no_model_is_refused(model, words):
    with pytest.raises(TypeError, match=words):
        FromNumpy(model)


def test_it_needs_no_fit_and_says_so_if_there_is_nothing_to_train():
    gan = tiny(generator=FromNumpy(Geometric()), generator_params=None)
    with pytest.raises(ValueError, match="FromNumpy has nothing to train, but .* both epochs to 0"):
        gan.fit(NAMES)
