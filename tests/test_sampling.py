"""Constraints on sampling change the distribution exactly as they say."""

import pytest
import torch
from enumeration import Bigram, all_rows, assert_distribution, seeded

from likelihood_gan import CharLSTM, sampling
from likelihood_gan.sampling import ROWS_PER_BLOCK, Constraints, draw, sample_by_steps, take_rows

N = 40_000


@pytest.fixture(scope="module")
def bigram():
    return Bigram(4, seed=1)


def test_temperature_sharpens_every_step(bigram):
    with torch.no_grad():
        cold = Bigram(4)
        cold.logits.data = bigram.logits / 0.5
        p = cold.log_prob(all_rows(4, 3)).exp()
    assert_distribution(
        sample_by_steps(bigram, N, Constraints(3, temperature=0.5), rng=seeded()), all_rows(4, 3), p
    )


def test_min_len_forbids_the_end_and_renormalises(bigram):
    rows = all_rows(4, 3)
    with torch.no_grad():
        log_p = bigram.logits.log_softmax(-1)
        no_end = bigram.logits[:, 1:].log_softmax(-1)
    p = torch.zeros(len(rows))
    for i, (a, b, c) in enumerate(rows.tolist()):
        if a and b:
            p[i] = (no_end[0, a - 1] + no_end[a, b - 1] + log_p[b, c]).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    assert_distribution(
        sample_by_steps(bigram, N, Constraints(3, min_len=2), rng=seeded()), rows, p
    )


def test_prefix_conditions_on_the_beginning(bigram):
    rows = all_rows(4, 3)
    with torch.no_grad():
        p = torch.where(rows[:, 0] == 2, bigram.log_prob(rows).exp(), 0)
    p = p / p.sum()
    assert_distribution(
        sample_by_steps(bigram, N, Constraints(3, prefix=[2]), rng=seeded()), rows, p
    )


def test_prefix_as_long_as_max_len_leaves_nothing_to_draw(bigram):
    assert sample_by_steps(bigram, 3, Constraints(2, prefix=[2, 1])).tolist() == [[2, 1]] * 3


def test_min_len_equal_to_max_len_forces_the_length():
    sample = sample_by_steps(
        CharLSTM(5, 4, rng=seeded()), 200, Constraints(6, min_len=6), rng=seeded()
    )
    assert sample.shape == (200, 6)
    assert (sample != 0).all()


def test_same_seed_same_sample_across_blocks(bigram):
    n = 2 * ROWS_PER_BLOCK + 7
    first, second = (sample_by_steps(bigram, n, Constraints(4), rng=seeded(3)) for _ in range(2))
    assert first.shape[0] == n
    assert torch.equal(first, second)
    assert not torch.equal(first[:ROWS_PER_BLOCK], first[ROWS_PER_BLOCK : 2 * ROWS_PER_BLOCK])


def test_sample_ends_with_zeros_only():
    sample = sample_by_steps(CharLSTM(5, 4, rng=seeded()), 500, Constraints(9), rng=seeded())
    ended = (sample == 0).cumsum(1) > 0
    assert (sample[ended] == 0).all()
    assert sample.dtype == torch.int64


def test_no_rows_are_a_legal_sample(bigram):
    assert sample_by_steps(bigram, 0, Constraints(5)).shape[0] == 0


def test_unreachable_min_len_is_refused():
    table = Bigram(3)
    table.logits.data[:, 1:] = -torch.inf  # END is the only symbol
    with pytest.raises(ValueError, match="min_len is out of reach"):
        sample_by_steps(table, 4, Constraints(3, min_len=1))


def test_symbols_of_probability_zero_are_never_drawn():
    log_probs = torch.tensor([[-torch.inf, 0.5, -torch.inf, 0.5]]).log_softmax(-1)
    drawn = draw(log_probs.expand(20_000, 4), seeded())
    assert set(drawn.tolist()) == {1, 3}


def test_take_rows_reaches_every_tensor_of_a_state():
    state = {"a": torch.arange(3), "b": [(torch.arange(3), None)]}
    taken = take_rows(state, torch.tensor([2, 0]))
    assert taken["a"].tolist() == [2, 0]
    assert taken["b"][0][0].tolist() == [2, 0]
    assert taken["b"][0][1] is None


def test_rows_that_nobody_watches_follow_the_same_distribution(bigram, monkeypatch):
    # what a GPU runs, here on the CPU
    monkeypatch.setattr(sampling, "_sample_shrinking", sampling._sample_unwatched)
    rows = all_rows(4, 3)
    p = bigram.log_prob(rows).exp()
    assert_distribution(sample_by_steps(bigram, N, Constraints(3), rng=seeded()), rows, p)
    forced = sample_by_steps(bigram, 200, Constraints(6, min_len=4, prefix=[2]), rng=seeded())
    assert ((forced[:, :4] != 0).all() and (forced[:, 0] == 2).all()).item()
    ended = (forced == 0).cumsum(1) > 0
    assert (forced[ended] == 0).all()
