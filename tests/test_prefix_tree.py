"""Evaluating every distinct prefix once changes nothing but the time."""

import pytest
import torch
from enumeration import Bigram, all_rows, assert_distribution, seeded
from torch import nn

from likelihood_gan import Autoregressive, CharLSTM, prefix_tree
from likelihood_gan.prefix_tree import PrefixTree, sample_counts
from likelihood_gan.sampling import Constraints
from likelihood_gan.vocabulary import Vocabulary

N_TOKENS, WIDTH = 4, 3
MANY = 10**12


class DictState(Autoregressive, nn.Module):
    """Remembers a dict of tensors: what it has read, and how much."""

    def __init__(self, n_tokens):
        super().__init__()
        self.cell = nn.GRUCell(n_tokens + 1, 8)
        self.output = nn.Linear(8, n_tokens)
        for parameter in self.parameters():
            parameter.data.uniform_(-0.5, 0.5, generator=seeded())

    def step(self, tokens, state):
        if state is None:
            state = {"hidden": torch.zeros(len(tokens), 8), "time": torch.zeros(len(tokens), 1)}
        one_hot = nn.functional.one_hot(tokens, N_TOKENS).float()
        hidden = self.cell(torch.cat([one_hot, state["time"]], 1), state["hidden"])
        return self.output(hidden).log_softmax(-1), {"hidden": hidden, "time": state["time"] + 1}


GENERATORS = {
    "one layer": lambda: CharLSTM(N_TOKENS, hidden_size=8, rng=seeded()),
    "two layers": lambda: CharLSTM(N_TOKENS, hidden_size=6, n_layers=2, rng=seeded()),
    "bigram": lambda: Bigram(N_TOKENS),
    "dict": lambda: DictState(N_TOKENS),
}


@pytest.fixture(params=GENERATORS)
def generator(request):
    model = GENERATORS[request.param]().eval()
    for parameter in model.parameters():  # a peaked distribution shows mistakes better
        parameter.data *= 3
    return model


@pytest.fixture
def bigram():
    return Bigram(N_TOKENS, seed=1)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(prefix_tree, "PREFIXES_PER_BLOCK", 5)


def count_reads(model, monkeypatch):
    """Return a list that grows by the number of rows of every step."""
    reads, step = [], model.step
    monkeypatch.setattr(
        model, "step", lambda tokens, state: [reads.append(len(tokens)), step(tokens, state)][1]
    )
    return reads


def n_prefixes(rows):
    """Count the distinct beginnings of rows that are read to write their next symbol."""
    rows = [row[: row.index(0)] if 0 in row else row[:-1] for row in rows.tolist()]
    return len({tuple(row[:i]) for row in rows for i in range(len(row) + 1)})


def sample(generator, n, constraints, rng=None):
    """Draw rows with their log-probabilities, in random order."""
    rng = seeded() if rng is None else rng
    tokens, counts, found = sample_counts(generator, n, constraints, rng=rng)
    row = torch.arange(len(counts), device=rng.device).repeat_interleave(counts)
    row = row[torch.randperm(n, generator=rng, device=rng.device)]
    return tokens[row], found[row]


# Scoring


def mixed_rows():
    rows = torch.cat([all_rows(N_TOKENS, WIDTH)] * 3)  # repeated, finished and cut
    return rows[torch.randperm(len(rows), generator=seeded())]


def test_scores_are_log_prob_in_the_order_of_the_rows(generator):
    rows = mixed_rows()
    found = PrefixTree(rows).log_probs(generator)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    torch.testing.assert_close(found.float(), generator.log_prob(rows).detach())


def test_scores_do_not_depend_on_the_blocks(generator, monkeypatch):
    rows = mixed_rows()
    expected = PrefixTree(rows).log_probs(generator)
    for block in (1, 7, 64):
        monkeypatch.setattr(prefix_tree, "PREFIXES_PER_BLOCK", block)
        torch.testing.assert_close(
            PrefixTree(rows).log_probs(generator), expected, atol=1e-5, rtol=1e-5
        )


def test_scoring_reads_every_distinct_prefix_once(generator, monkeypatch):
    reads = count_reads(generator, monkeypatch)
    rows = mixed_rows()[:40]
    PrefixTree(rows).log_probs(generator)
    assert sum(reads) == n_prefixes(rows)


def test_what_stands_behind_the_end_does_not_count(bigram):
    rows = torch.tensor([[2, 0, 0, 0], [2, 0, 3, 1], [2, 0, 1, 0], [2, 1, 0, 3]])
    clean = torch.tensor([[2, 0], [2, 0], [2, 0], [2, 1]])
    expected = bigram.log_prob(torch.nn.functional.pad(clean, (0, 1))).detach()
    torch.testing.assert_close(PrefixTree(rows).log_probs(bigram).float(), expected)


def test_no_rows_and_no_columns_are_legal(bigram):
    assert PrefixTree(torch.zeros((0, 3), dtype=torch.int64)).log_probs(bigram).shape == (0,)
    assert PrefixTree(torch.zeros((2, 0), dtype=torch.int64)).log_probs(bigram).tolist() == [0, 0]


def test_impossible_rows_score_minus_infinity(bigram):
    bigram.logits.data[:, 3] = -torch.inf
    assert PrefixTree(torch.tensor([[1, 3, 0], [1, 2, 0]])).log_probs(
        bigram
    ).isneginf().tolist() == [1, 0]


def test_nan_is_refused(bigram):
    bigram.logits.data[1, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        PrefixTree(torch.tensor([[1, 0]])).log_probs(bigram)


# Sampling


def test_frequencies_agree_with_log_prob_where_counts_are_split(generator):
    rows = all_rows(N_TOKENS, WIDTH)
    p = generator.log_prob(rows).detach().exp()
    assert_distribution(sample(generator, 40_000, Constraints(WIDTH))[0], rows, p)


def test_frequencies_agree_with_log_prob_where_each_prefix_has_one_draw(generator):
    rows, rng = all_rows(N_TOKENS, WIDTH), seeded()
    p = generator.log_prob(rows).detach().exp()
    few = [sample(generator, 5, Constraints(WIDTH), rng=rng)[0] for _ in range(600)]
    few = [nn.functional.pad(tokens, (0, WIDTH - tokens.shape[1])) for tokens in few]
    assert_distribution(torch.cat(few), rows, p)


def test_frequencies_do_not_depend_on_the_blocks(generator, small_blocks):
    rows = all_rows(N_TOKENS, WIDTH)
    p = generator.log_prob(rows).detach().exp()
    assert_distribution(sample(generator, 40_000, Constraints(WIDTH))[0], rows, p)


def test_any_number_of_draws_is_split_exactly(generator):
    # the noise of so many draws is below the rounding of the probabilities
    tokens, counts, found = sample_counts(generator, MANY, Constraints(WIDTH), rng=seeded())
    assert int(counts.sum()) == MANY
    assert len(tokens) == len(tokens.unique(dim=0))
    p = found.exp()
    assert ((counts / MANY - p).abs() <= 5 * (p / MANY).sqrt() + 1e-6).all()
    assert p.sum().item() == pytest.approx(1, abs=1e-5)


def test_draws_of_one_call_are_independent(bigram):
    p, rng = bigram.log_prob(torch.arange(N_TOKENS)[:, None]).detach().exp(), seeded()
    pairs = torch.stack([sample(bigram, 2, Constraints(1), rng=rng)[0][:, 0] for _ in range(3000)])
    all_pairs = torch.cartesian_prod(torch.arange(N_TOKENS), torch.arange(N_TOKENS))
    assert_distribution(pairs, all_pairs, p[all_pairs].prod(1))


@pytest.mark.parametrize("n", [1, 50, 5000])
def test_log_probs_belong_to_their_rows(generator, n):
    tokens, found = sample(generator, n, Constraints(6), rng=seeded())
    assert tokens.dtype == torch.int64
    assert found.dtype == torch.float64
    assert tokens.shape[0] == n and tokens.shape[1] <= 6
    assert found.shape == (n,)
    torch.testing.assert_close(found.float(), generator.log_prob(tokens).detach())
    ended = (tokens == 0).cumsum(1) > 0
    assert (tokens[ended] == 0).all()


def test_same_seed_same_sample_and_global_state_untouched(generator):
    state = torch.get_rng_state()
    first, again, other = (
        sample(generator, 300, Constraints(5), rng=seeded(s))[0] for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_sampling_reads_every_distinct_prefix_once(generator, monkeypatch):
    reads = count_reads(generator, monkeypatch)
    tokens, counts, _ = sample_counts(generator, 2000, Constraints(5), rng=seeded())
    assert int(counts.sum()) == 2000
    assert sum(reads) == n_prefixes(torch.nn.functional.pad(tokens, (0, 5 - tokens.shape[1])))


def test_symbols_of_probability_zero_are_never_drawn(bigram):
    bigram.logits.data[:, [1, 3]] = -torch.inf
    tokens, _, found = sample_counts(bigram, MANY, Constraints(WIDTH), rng=seeded())
    assert set(tokens.unique().tolist()) == {0, 2}
    assert found.isfinite().all()


# Constraints


def test_temperature_sharpens_every_step(bigram):
    cold = Bigram(N_TOKENS)
    cold.logits.data = bigram.logits.data / 0.5
    tokens, counts, found = sample_counts(
        bigram, MANY, Constraints(WIDTH, temperature=0.5), rng=seeded()
    )
    torch.testing.assert_close(found.float(), cold.log_prob(tokens).detach())
    torch.testing.assert_close(counts / MANY, found.exp().float(), atol=1e-5, rtol=1e-3)


def test_min_len_forbids_the_end_and_renormalises(bigram):
    tokens, counts, found = sample_counts(bigram, MANY, Constraints(WIDTH, min_len=2), rng=seeded())
    assert (tokens[:, :2] != 0).all()
    log_p, no_end = bigram.logits.log_softmax(-1), bigram.logits[:, 1:].log_softmax(-1)
    a, b, c = tokens.unbind(1)
    expected = no_end[0, a - 1] + no_end[a, b - 1] + log_p[b, c]
    torch.testing.assert_close(found.float(), expected.detach())
    torch.testing.assert_close(counts / MANY, found.exp().float(), atol=1e-5, rtol=1e-3)


def test_prefix_conditions_on_the_beginning(generator):
    tokens, counts, found = sample_counts(
        generator, MANY, Constraints(4, prefix=[2, 1]), rng=seeded()
    )
    assert (tokens[:, :2] == torch.tensor([2, 1])).all()
    given = generator.log_prob(torch.tensor([[2, 1]])).detach()
    expected = generator.log_prob(tokens).detach() - given
    torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(counts / MANY, found.exp().float(), atol=1e-5, rtol=1e-3)


def test_prefix_as_long_as_max_len_leaves_nothing_to_draw(generator):
    tokens, found = sample(generator, 3, Constraints(2, prefix=[2, 1]), rng=seeded())
    assert tokens.tolist() == [[2, 1]] * 3
    assert found.tolist() == [0] * 3


def test_prefix_longer_than_max_len_is_refused(bigram):
    with pytest.raises(ValueError, match="max_len=1 is shorter than the prefix of 2"):
        sample(bigram, 3, Constraints(1, prefix=[2, 1]), rng=seeded())


@pytest.mark.parametrize("n", [1, 100])
def test_unreachable_min_len_is_refused(bigram, n):
    bigram.logits.data[:, 1:] = -torch.inf  # END is the only symbol
    with pytest.raises(ValueError, match="min_len is out of reach"):
        sample(bigram, n, Constraints(3, min_len=1), rng=seeded())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_everything_stays_on_the_device_of_rng_cuda():
    model = CharLSTM(N_TOKENS, 8, rng=seeded()).cuda().eval()
    tokens, found = sample(
        model, 40_000, Constraints(WIDTH), rng=torch.Generator("cuda").manual_seed(0)
    )
    assert tokens.is_cuda and found.is_cuda
    torch.testing.assert_close(PrefixTree(tokens).log_probs(model), found, atol=1e-4, rtol=1e-4)
    rows = all_rows(N_TOKENS, WIDTH)
    assert_distribution(tokens.cpu(), rows, model.log_prob(rows.cuda()).detach().exp().cpu())


def test_sharing_is_the_number_of_symbols_for_each_distinct_prefix():
    words = ["abc", "abd", "ab", "", "b", "abc"]
    rows = Vocabulary("abcd").encode_rows(words)
    prefixes = {word[:i] for word in words for i in range(len(word) + 1)}
    n_symbols = sum(len(word) + 1 for word in words)  # END included
    assert PrefixTree(rows).sharing() == n_symbols / len(prefixes)
    assert PrefixTree(rows[:1]).sharing() == 1
