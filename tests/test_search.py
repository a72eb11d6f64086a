"""The likeliest sequences are those of an enumeration, in the same order."""

import numpy as np
import pytest
import torch
from enumeration import Bigram, NoStep, all_rows, seeded, stirred
from torch.nn.functional import pad

from likelihood_gan import CharLSTM, SequenceDistribution, search
from likelihood_gan.models import Mixture, NGram, ResidualLSTM
from likelihood_gan.vocabulary import Vocabulary

N_TOKENS, WIDTH = 4, 5
ABC = Vocabulary("abc")
ROWS = pad(
    all_rows(N_TOKENS, WIDTH), (0, 1)
)  # 364 sequences of at most five letters, each with END
WORDS = ABC.decode(ROWS)


def counted(model):
    words = ["abc", "ab", "ccc", "a", "bca", "abcab", "cab", ""]
    model.count(ABC.encode_rows(words), torch.ones(len(words)))
    return model.eval()


GENERATORS = {
    "bigram": lambda: Bigram(N_TOKENS, seed=1),
    "lstm": lambda: stirred(CharLSTM(N_TOKENS, 8, rng=seeded())),
    "two layers with dropout": lambda: stirred(CharLSTM(N_TOKENS, 6, 2, dropout=0.9, rng=seeded())),
    "n-grams": lambda: counted(NGram(N_TOKENS, order=3)),
    "residual": lambda: stirred(counted(ResidualLSTM(N_TOKENS, 8, order=3, rng=seeded()))),
    "mixture": lambda: Mixture([Bigram(N_TOKENS, seed=seed) for seed in (1, 2)]),
}


@pytest.fixture(params=GENERATORS)
def distribution(request):
    return SequenceDistribution(GENERATORS[request.param](), ABC, WIDTH)


@pytest.fixture
def bigram():
    return SequenceDistribution(Bigram(N_TOKENS, seed=1), ABC, WIDTH)


def enumerated(distribution, n, keep=lambda word: True):
    scores = distribution.score_samples(WORDS)
    order = [i for i in np.argsort(-scores, kind="stable") if keep(WORDS[i])][:n]
    return [WORDS[i] for i in order], scores[order]


def assert_same(found, expected, distribution):
    """Compare in order; words whose scores differ by less than rounding may change places."""
    words, log_probs = found
    np.testing.assert_allclose(log_probs, expected[1], rtol=1e-5, atol=1e-5)
    assert (np.diff(log_probs) <= 0).all()
    assert len(set(words)) == len(words)
    np.testing.assert_allclose(distribution.score_samples(words), log_probs, rtol=1e-5, atol=1e-5)
    if np.diff(expected[1]).max(initial=-np.inf) < -1e-5:
        assert words == expected[0]


@pytest.mark.parametrize("block", [1, 3, 256])
def test_the_hundred_likeliest_are_those_of_the_enumeration(distribution, block, monkeypatch):
    monkeypatch.setattr(search, "PREFIXES_PER_BLOCK", block)
    found = distribution.most_probable(100)
    assert found[1].dtype == np.float64
    assert_same(found, enumerated(distribution, 100), distribution)


def test_where_there_are_no_ties_the_order_is_exact():
    lstm = SequenceDistribution(GENERATORS["lstm"](), ABC, WIDTH)
    words, scores = enumerated(lstm, 100)
    assert np.diff(scores).max() < -4e-6
    for n in (1, 2, 7, 100):
        assert lstm.most_probable(n)[0] == words[:n]


def test_all_sequences_are_found_if_as_many_are_wanted(distribution):
    found = distribution.most_probable(1000)
    assert len(found[0]) == len(WORDS)
    assert_same(found, enumerated(distribution, 1000), distribution)


def test_with_a_prefix_or_a_length_they_are_the_likeliest_of_these(distribution):
    found = distribution.most_probable(20, "ca")
    expected = enumerated(distribution, 20, lambda word: word.startswith("ca"))
    assert_same(found, expected, distribution)
    found = distribution.most_probable(15, max_len=2)
    assert_same(found, enumerated(distribution, 15, lambda word: len(word) <= 2), distribution)
    assert distribution.most_probable(3, "ab", 2)[0] == ["ab"]


def test_what_is_excluded_or_refused_is_passed_over(distribution):
    best = distribution.most_probable(10)[0]
    found = distribution.most_probable(10, exclude=best, where=lambda word: "b" in word)
    expected = enumerated(distribution, 10, lambda word: word not in best and "b" in word)
    assert_same(found, expected, distribution)


def test_impossible_sequences_are_not_found():
    generator = Bigram(N_TOKENS)
    with torch.no_grad():
        generator.logits[:, 3] = -torch.inf
        generator.logits[1, 1:] = -torch.inf
    distribution = SequenceDistribution(generator, ABC, WIDTH)
    words, log_probs = distribution.most_probable(1000)
    assert sorted(words) == sorted(["b" * i + end for i in range(6) for end in ("", "a")][:-1])
    assert np.isfinite(log_probs).all()
    assert distribution.most_probable(3, "c")[0] == []


def test_no_beginning_is_read_that_is_less_likely_than_the_last_one_found(bigram, monkeypatch):
    monkeypatch.setattr(search, "PREFIXES_PER_BLOCK", 1)
    read, step = [], bigram.generator.step
    monkeypatch.setattr(bigram.generator, "step", lambda t, s: [read.append(len(t)), step(t, s)][1])
    log_probs = bigram.most_probable(30)[1]
    n_read = sum(read)
    begun = {word[:i] for word in WORDS for i in range(len(word) + 1)}
    rows = [torch.tensor([ABC.encode(word)], dtype=torch.int64) for word in begun if word]
    with torch.no_grad():
        p = [0.0] + [float(bigram.generator.log_prob(row)) for row in rows]  # of all that begins so
    assert n_read == sum(value > log_probs[-1] for value in p)
    assert set(read) == {1}


def test_a_search_that_would_fill_the_memory_ends_with_a_remedy(bigram, monkeypatch):
    monkeypatch.setattr(search, "MAX_OPEN_PREFIXES", 20)
    with pytest.raises(ValueError, match=r"more than 20 beginnings .* n=300 .* ask for fewer"):
        bigram.most_probable(300)
    assert len(bigram.most_probable(3)[0]) == 3


def test_beginnings_that_no_longer_matter_do_not_count_as_memory(bigram, monkeypatch):
    monkeypatch.setattr(search, "PREFIXES_PER_BLOCK", 1)
    expected = bigram.most_probable(40)[0]
    monkeypatch.setattr(search, "MAX_OPEN_PREFIXES", 85)  # with those there would be 87
    assert bigram.most_probable(40)[0] == expected


def test_bad_arguments_are_refused(bigram):
    with pytest.raises(ValueError, match="most_probable needs a generator with a method step"):
        SequenceDistribution(NoStep(N_TOKENS), ABC, WIDTH).most_probable(3)
    with pytest.raises(ValueError, match="n must be an integer >= 1"):
        bigram.most_probable(0)
    with pytest.raises(ValueError, match="prefix=.x. holds symbols"):
        bigram.most_probable(3, "x")
    with torch.no_grad():
        bigram.generator.logits[1, 2] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        bigram.most_probable(300)


def test_an_estimator_finds_what_its_distribution_finds(fitted):
    words, log_probs = fitted.most_probable(100)
    assert (words, log_probs.tolist()) == (
        fitted.distribution_.most_probable(100)[0],
        fitted.distribution_.most_probable(100)[1].tolist(),
    )
    often = fitted.sample_counts(200_000, random_state=0)[0]
    scores = fitted.score_samples([word for word in often if word not in words])
    assert scores.max() <= log_probs[-1] + 1e-5


def test_sequences_of_symbols_come_back_as_tuples():
    numbers = SequenceDistribution(Bigram(3), [7, 8], 2)
    assert {type(s) for s in numbers.most_probable(7)[0]} == {tuple}
    assert numbers.most_probable(2, (8,))[0][0][0] == 8
