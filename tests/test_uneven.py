"""Sequences of very uneven lengths: what is scored is about as large as what there is to score."""

import numpy as np
import pytest
import torch

from likelihood_gan import CharLSTM, SequenceDistribution, models
from likelihood_gan.rows import PADDED, by_length
from likelihood_gan.scoring import log_probs, score_rows

LETTERS = "abc"


def words(n, longest=9, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(LETTERS), rng.integers(longest + 1))) for _ in range(n)]


def lstm():
    return CharLSTM(4, hidden_size=4, rng=torch.Generator().manual_seed(0))


class Uniform:
    """Every next symbol as probable as the others; remembers the matrices that it was given."""

    def __init__(self):
        self.shapes = []

    def log_prob(self, tokens):
        self.shapes.append(tuple(tokens.shape))
        return -((tokens != 0).sum(1) + 1) * np.log(4.0)

    def sample(self, n, max_len):
        return torch.zeros((n, 1), dtype=torch.int64)


@pytest.mark.parametrize("generator", [lstm(), models.NGram(4)])
@pytest.mark.parametrize("place", [0, 300, 600])
def test_a_long_sequence_changes_no_score_beside_it_wherever_it_stands(generator, place):
    distribution = SequenceDistribution(generator, LETTERS, 9)
    short, long = words(600), "abcab" * 400  # 600: with a prefix tree
    alone = distribution.score_samples(short)
    among = distribution.score_samples([*short[:place], long, *short[place:]])
    np.testing.assert_allclose(np.delete(among, place), alone, rtol=1e-5)
    np.testing.assert_allclose(among[place], distribution.score_samples([long])[0], rtol=1e-5)
    order = np.random.default_rng(1).permutation(600)
    again = distribution.score_samples([*(short[i] for i in order), long])
    np.testing.assert_allclose(again[:-1], alone[order], rtol=1e-5)


def test_the_matrices_that_are_scored_are_about_as_large_as_the_sequences():
    rng = np.random.default_rng(0)
    generator = Uniform()
    data = [*words(3000), "a" * 30_000, *("b" * n for n in rng.zipf(1.3, 300).clip(max=20_000))]
    scores = SequenceDistribution(generator, LETTERS, 9).score_samples(data)
    symbols = np.array([len(s) + 1 for s in data])
    np.testing.assert_allclose(scores, -symbols * np.log(4.0))
    assert sum(rows for rows, _ in generator.shapes) == len(data)
    assert sum(rows * width for rows, width in generator.shapes) <= PADDED * symbols.sum()


def test_a_long_sequence_of_unknown_symbols_is_impossible_and_the_others_are_not():
    distribution = SequenceDistribution(Uniform(), LETTERS, 9)
    short = words(50)
    data = [*short, "?" * 5000, "a" * 400 + "?"]
    scores = distribution.score_samples(data, handle_unknown="neg_inf")
    np.testing.assert_allclose(scores[:50], distribution.score_samples(short))
    assert (scores[50:] == -np.inf).all()
    with pytest.raises(ValueError, match=r"\['!', '\?'\]"):
        distribution.score_samples(["!", *data])


@pytest.mark.parametrize("max_rows", [None, 7])
@pytest.mark.parametrize("max_numbers", [50, 10**9])
def test_groups_hold_every_row_once_and_keep_their_bounds(max_rows, max_numbers):
    widths = np.random.default_rng(0).zipf(1.4, 500).clip(max=10**6)
    groups = list(by_length(widths, max_numbers, max_rows))
    assert sorted(np.concatenate(groups)) == list(range(500))
    for group in groups:
        numbers = len(group) * widths[group].max()
        assert numbers <= PADDED * widths[group].sum()
        assert len(group) == 1 or numbers <= max_numbers
        assert max_rows is None or len(group) <= max_rows
    if max_rows is None and max_numbers == 10**9:
        assert len(groups) <= 1 + np.log(widths.max()) / np.log(PADDED)


def test_rows_of_similar_length_are_one_group():
    assert [len(group) for group in by_length(np.array([3, 9, 5, 7]), 10**9)] == [4]
    assert list(by_length(np.empty(0, dtype=np.int64), 10)) == []


@pytest.mark.parametrize(("symbols", "width"), [(3, 4000), (40_000, 20)])
def test_a_batch_is_smaller_the_longer_its_rows_and_the_larger_the_vocabulary(symbols, width):
    generator = Uniform()
    tokens = torch.randint(1, symbols + 1, (300, width), generator=torch.Generator().manual_seed(0))
    log_probs(generator, tokens, torch.Generator())
    assert max(rows * width * symbols for rows, width in generator.shapes) <= 2**24
    assert max(rows * width for rows, width in generator.shapes) <= 2**16
    assert sum(rows for rows, _ in generator.shapes) == 300


def test_no_rows_have_no_scores():
    assert score_rows(lstm(), torch.empty((0, 5), dtype=torch.int64)).shape == (0,)
