"""`SequenceDistribution`: what it draws and scores, and that it cannot be changed."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from enumeration import Bigram, NoStep, seeded

from likelihood_gan import CharLSTM, SequenceDistribution, validation
from likelihood_gan.distribution import DistributionMixin
from likelihood_gan.prefix_tree import PrefixTree
from likelihood_gan.sampling import Autoregressive
from likelihood_gan.vocabulary import Vocabulary


@pytest.fixture(params=[Bigram, NoStep], ids=lambda generator: generator.__name__)
def distribution(request):
    return SequenceDistribution(request.param(4), "abc", 5)


@pytest.fixture
def bigram():
    return SequenceDistribution(Bigram(4), "abc", 5)


class Uniform:
    """No module: all symbols and END are equally likely at every place."""

    def __init__(self, n_tokens):
        self.n_tokens = n_tokens

    def log_prob(self, tokens):
        read = torch.nn.functional.pad((tokens == 0).cumsum(1)[:, :-1], (1, 0))
        return -math.log(self.n_tokens) * (read == 0).sum(1).float()

    def sample(self, n, max_len):
        tokens = torch.randint(self.n_tokens, (n, max_len))
        return tokens * ((tokens == 0).cumsum(1) == 0)


# What it is


@pytest.mark.parametrize("name", ["generator", "vocabulary", "max_len", "anything"])
def test_it_is_frozen(bigram, name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(bigram, name, getattr(bigram, name, 1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(bigram, "generator")


def test_the_generator_is_not_copied():
    generator = Bigram(4)
    assert SequenceDistribution(generator, "abc", 5).generator is generator


@pytest.mark.parametrize(
    "vocabulary, sequence",
    [
        ("abc", "cab"),
        (["a", "b", "c"], "cab"),
        (Vocabulary("abc", text=False), ("c", "a", "b")),
        (["ab", "c", "d"], ("d", "ab", "c")),
        ((1, None, "c"), ("c", 1, None)),
    ],
)
def test_symbols_say_of_which_type_sequences_are(vocabulary, sequence):
    distribution = SequenceDistribution(Bigram(4), vocabulary, 5)
    expected = Bigram(4).log_prob(torch.tensor([[3, 1, 2, 0]])).item()
    assert distribution.score_samples([sequence])[0] == pytest.approx(expected, rel=1e-6)
    assert {type(sample) for sample in distribution.sample(9)} == {type(sequence)}


def test_a_generator_without_parameters_is_legal():
    distribution = SequenceDistribution(Uniform(4), "abc", 5)
    assert distribution.perplexity(["", "abc", "ba"]) == pytest.approx(4)
    sequences, counts = distribution.sample_counts(4000, random_state=0)
    assert counts[sequences.index("")] == pytest.approx(1000, abs=5 * math.sqrt(750))


# What it draws


def test_constraints_hold(fitted):
    assert all(s.startswith("ma") for s in fitted.sample(30, prefix="ma", random_state=0))
    assert all(len(s) >= 3 for s in fitted.sample(30, min_len=3, random_state=0))
    assert "" in fitted.sample(3000, random_state=0)
    assert "" not in fitted.sample(3000, min_len=1, random_state=0)
    assert {len(s) for s in fitted.sample(30, 7, min_len=7, random_state=0)} == {7}
    assert max(len(s) for s in fitted.sample(99, max_len=2, random_state=0)) == 2
    assert max(map(len, fitted.sample(99, random_state=0))) == fitted.max_len_ == 4


def test_low_temperature_draws_the_likelier_words(fitted):
    cold, hot = (fitted.sample(300, temperature=t, random_state=0) for t in (0.3, 3.0))
    assert fitted.score(cold) > fitted.score(hot)


def assert_frequencies(distribution, sequences, counts):
    short = [i for i, sequence in enumerate(sequences) if len(sequence) < distribution.max_len]
    p = np.exp(distribution.score_samples([sequences[i] for i in short]))
    noise = np.sqrt(p * (1 - p) / counts.sum())
    expected_often = p * counts.sum() > 5
    assert (np.abs(counts[short] / counts.sum() - p) < 5 * noise + 1e-9)[expected_often].all()
    assert expected_often.sum() > 20


def test_counts_follow_the_distribution(distribution):
    sequences, counts = distribution.sample_counts(30_000, random_state=0)
    assert counts.dtype == np.int64
    assert_frequencies(distribution, sequences, counts)


def test_many_samples_follow_the_distribution_in_random_order(distribution):
    sample = distribution.sample(40_000, random_state=1)
    for part in (sample[::2], sample[:20_000], sample[20_000:]):
        sequences, counts = zip(*Counter(part).items(), strict=True)
        assert_frequencies(distribution, sequences, np.array(counts))


def test_billions_of_draws_are_counted(bigram):
    sequences, counts = bigram.sample_counts(5_000_000_000, min_len=2, prefix="a", random_state=0)
    assert counts.sum() == 5_000_000_000
    assert all(sequence[0] == "a" and len(sequence) >= 2 for sequence in sequences)


def test_distinct_leaves_repetitions_out(distribution):
    sample = distribution.sample(60, distinct=True, random_state=0)
    assert len(sample) == len(set(sample)) == 60
    assert len(set(distribution.sample(60, random_state=0))) < 60


# What it scores


def test_scores_are_the_generators_log_prob_without_dropout():
    generator = CharLSTM(4, 8, dropout=0.9, rng=seeded())
    words = ["abca", "", "cb", "a"]
    rows = torch.tensor([[1, 2, 3, 1, 0], [0] * 5, [3, 2, 0, 0, 0], [1, 0, 0, 0, 0]])
    scores = SequenceDistribution(generator, "abc", 5).score_samples(words)
    assert scores.dtype == np.float64
    assert generator.training  # it is put back as it was
    with torch.no_grad():
        expected = generator.eval().log_prob(rows).double().numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_scores_do_not_depend_on_the_other_sequences(fitted, names):
    together = fitted.score_samples(names)
    alone = [fitted.score_samples([name])[0] for name in names]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    np.testing.assert_allclose(fitted.score_samples(names[::-1]), together[::-1], rtol=1e-5)


def test_many_sequences_are_scored_by_their_prefix_tree_and_equally(fitted, monkeypatch):
    X = fitted.sample(2000, random_state=0)
    found = []

    def watch(tree, generator):
        scores = log_probs(tree, generator)
        found.append(len(scores))
        return scores

    log_probs = PrefixTree.log_probs
    monkeypatch.setattr(PrefixTree, "log_probs", watch)
    scores = fitted.score_samples(X)
    assert found == [2000]
    alone = [fitted.score_samples([sequence])[0] for sequence in X[:50]]
    np.testing.assert_allclose(scores[:50], alone, rtol=1e-5)
    fitted.score_samples(X[:100])
    assert found == [2000]  # too few to look for what they share


class Whole(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens) - 1


class OwnLSTM(CharLSTM):
    def log_prob(self, tokens):
        return super().log_prob(tokens) - 1


class Marked(Bigram):
    log_prob = Autoregressive.log_prob


@pytest.mark.parametrize(
    "generator, own",
    [(Whole(4), True), (OwnLSTM(4, 4), True), (Bigram(4), False), (Marked(4), False)],
)
def test_a_generator_that_scores_in_its_own_way_is_asked_for_it(generator, own):
    X = ["ab", "abc"] * 500
    scores = SequenceDistribution(generator, "abc", 5).score_samples(X)
    rows = torch.tensor([[1, 2, 0, 0], [1, 2, 3, 0]] * 500)
    with torch.no_grad():
        by_steps = PrefixTree(rows).log_probs(generator.eval()).numpy()
    np.testing.assert_allclose(scores, by_steps - own, rtol=1e-5)


def test_a_corpus_that_does_not_fit_into_memory_is_scored(fitted, names, monkeypatch):
    expected, judged = fitted.score_samples(names), fitted.discriminate(names)
    monkeypatch.setattr(validation, "SEQUENCES_PER_CHUNK", 7)
    np.testing.assert_allclose(fitted.score_samples(iter(names)), expected, rtol=1e-6)
    np.testing.assert_allclose(fitted.discriminate(iter(names)), judged, rtol=1e-5)
    with pytest.raises(TypeError, match=r"X\[9\] is b'x'"):
        fitted.score_samples([*names[:9], b"x"])


def test_unknown_symbols_score_minus_infinity_on_request(bigram):
    scores = bigram.score_samples(["ab", "az", "b"], handle_unknown="neg_inf")
    assert np.isneginf(scores).tolist() == [False, True, False]
    np.testing.assert_allclose(scores[[0, 2]], bigram.score_samples(["ab", "b"]), rtol=1e-6)
    assert bigram.score_samples(["z"], handle_unknown="neg_inf").tolist() == [-math.inf]


# What all distributions have in common


class UniformScores(DistributionMixin):
    """All of k symbols and END equally likely at every place, but for "no"."""

    def __init__(self, k):
        self.k = k

    def score_samples(self, X):
        return np.array(
            [-math.inf if s == "no" else -(len(s) + 1) * math.log(self.k + 1) for s in X]
        )


def test_uniform_symbols_have_the_perplexity_of_their_number_with_end():
    assert UniformScores(9).perplexity(["", "abc", "de"]) == pytest.approx(10)
    assert UniformScores(9).score(["", "abc"]) == pytest.approx(-2.5 * math.log(10))


def test_one_impossible_sequence_makes_the_perplexity_infinite():
    assert UniformScores(2).perplexity(["a", "no"]) == math.inf
    assert UniformScores(10**400).perplexity(["a"]) == math.inf  # beyond float64


def test_what_weighs_nothing_may_be_impossible():
    uniform = UniformScores(2)
    assert uniform.score(["a", "no"], sample_weight=[1, 0]) == uniform.score(["a"])
