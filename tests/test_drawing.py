"""What one can ask of samples: each condition changes the distribution exactly as it says."""

import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from enumeration import Bigram, NoStep, all_rows, assert_distribution, seeded

from likelihood_gan import SequenceDistribution, rejection
from likelihood_gan.prefix_tree import sample_counts
from likelihood_gan.sampling import Constraints, sample_by_steps
from likelihood_gan.vocabulary import Vocabulary

N = 40_000
N_TOKENS, WIDTH = 4, 3
ABC = Vocabulary("abc")
ROWS = all_rows(N_TOKENS, WIDTH)
WORDS = ABC.decode(ROWS)
IS_CUT = (ROWS != 0).all(1)  # those of full length, finished or not


@pytest.fixture(params=[Bigram, NoStep], ids=lambda generator: generator.__name__)
def distribution(request):
    generator = request.param(N_TOKENS)
    with torch.no_grad():
        generator.logits += torch.tensor([0.5, -0.3, 0.2, 0.0])  # NoStep is uniform otherwise
    return SequenceDistribution(generator, ABC, WIDTH)


@pytest.fixture
def bigram():
    return SequenceDistribution(Bigram(N_TOKENS, seed=1), ABC, WIDTH)


def law(distribution):
    """Probability of every word of at most three letters; longer ones are cut."""
    return distribution.generator.log_prob(ROWS).detach().double().exp()


def assert_law(sequences, weights):
    """Test the frequencies of sequences against probabilities in any unit."""
    assert_distribution(ABC.encode_rows(sequences)[:, :WIDTH], ROWS, weights / weights.sum())


# Constraints of every step


def next_symbols(p, t, c):
    """Constrain a list of probabilities by the definition, one thing after the other."""
    p = dict(enumerate(p))
    forbidden = set(c.banned) | ({0} if t < c.min_len else set())
    if c.allowed is not None:
        forbidden |= set(p) - {0, *c.allowed}
    p = {symbol: q ** (1 / c.temperature) for symbol, q in p.items() if symbol not in forbidden}
    likeliest = sorted(p, key=lambda symbol: -p[symbol])[: c.top_k]
    total, mass, kept = sum(p[s] for s in likeliest), 0.0, []
    for symbol in likeliest:
        if mass < c.top_p:
            kept.append(symbol)
        mass += p[symbol] / total
    return {symbol: p[symbol] / sum(p[s] for s in kept) for symbol in kept}


def constrained_law(bigram, c):
    table = bigram.generator.logits.detach().double().softmax(-1).tolist()
    law = []
    for row in ROWS.tolist():
        p = float(row[: len(c.prefix)] == list(c.prefix))
        for t in range(len(c.prefix), WIDTH):
            before = row[t - 1] if t else 0
            p *= next_symbols(table[before], t, c).get(row[t], 0.0)
            if row[t] == 0:
                break
        law.append(p)
    return torch.tensor(law)


ASKED = [
    dict(top_k=2),
    dict(top_k=9),
    dict(top_p=0.75),
    dict(top_p=1e-9),
    dict(banned=[2]),
    dict(banned=[1, 3]),
    dict(allowed=[2, 3]),
    dict(allowed=[]),
    dict(allowed=[1, 2], banned=[2], prefix=[2]),
    dict(banned=[1], top_k=2, temperature=1.7, min_len=1),
    dict(top_k=3, top_p=0.8, temperature=0.5),
    dict(top_p=0.5, temperature=3.0, min_len=2),
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_constraints_give_the_distribution_of_their_definition(bigram, asked):
    c = Constraints(WIDTH, **asked)
    p = constrained_law(bigram, c)
    assert p.sum().item() == pytest.approx(1)
    assert_distribution(sample_by_steps(bigram.generator, N, c, rng=seeded()), ROWS, p)
    tokens, counts, log_probs = sample_counts(bigram.generator, N, c, rng=seeded(1))
    assert_distribution(tokens.repeat_interleave(counts, 0), ROWS, p)
    index = {tuple(row): i for i, row in enumerate(ROWS.tolist())}
    rows = torch.nn.functional.pad(tokens, (0, WIDTH - tokens.shape[1])).tolist()
    expected = [p[index[tuple(row)]] for row in rows]
    np.testing.assert_allclose(log_probs.exp(), expected, rtol=1e-5)


def test_the_laws_of_constraints_differ(bigram):
    # else some of the tests above would pass for the wrong reason
    laws = [constrained_law(bigram, Constraints(WIDTH, **asked)) for asked in [{}, *ASKED]]
    pairs = itertools.combinations(range(len(laws)), 2)
    alike = [(i, j) for i, j in pairs if (laws[i] - laws[j]).abs().sum() < 0.01]
    assert alike == [(0, 2)]  # the nine likeliest of four are all


def test_symbols_as_likely_as_the_last_one_stay():
    p = torch.tensor([[0.1, 0.3, 0.3, 0.3], [0.4, 0.2, 0.2, 0.2]]).log()
    for asked, kept in [
        ({"top_k": 2}, [[1, 2, 3], [0, 1, 2, 3]]),
        ({"top_p": 0.3}, [[1, 2, 3], [0]]),
    ]:
        found = Constraints(3, **asked).apply(p.clone(), 0)
        assert [row.isfinite().nonzero()[:, 0].tolist() for row in found] == kept
        torch.testing.assert_close(found.exp().sum(1), torch.ones(2))


def test_symbols_are_banned_behind_the_prefix_only(bigram):
    samples = bigram.sample(300, prefix="b", banned="b", random_state=0)
    assert all(sample[0] == "b" and "b" not in sample[1:] for sample in samples)
    assert {"a", "c"} < set("".join(samples))


def test_banned_and_allowed_take_symbols(bigram):
    some = bigram.sample(50, banned="ab", random_state=0)
    assert set("".join(some)) == {"c"}
    for same in ({"allowed": "c"}, {"allowed": ["c"]}, {"banned": ("a", "b")}):
        assert bigram.sample(50, **same, random_state=0) == some
    words = SequenceDistribution(bigram.generator, ["red", "green", "blue"], WIDTH)
    assert {s for sample in words.sample(99, allowed=["red"]) for s in sample} == {"red"}


def test_what_is_not_constrained_is_drawn_as_ever(bigram):
    for n in (50, 1000):
        plain = bigram.sample(n, random_state=3)
        same = dict(top_k=None, top_p=1.0, banned="", allowed=None, exclude=None, where=None)
        assert bigram.sample(n, random_state=3, cut="keep", **same) == plain


# Conditions on whole sequences


def short_of_a(word):
    return word.count("a") < 2


KNOWN = ["", "ab", "c", "caa"]


@pytest.mark.parametrize("n", [3, N])
@pytest.mark.parametrize("verb", ["sample", "sample_counts"])
def test_where_and_exclude_give_the_conditional_distribution(distribution, verb, n, monkeypatch):
    monkeypatch.setattr(rejection, "DRAWS_PER_BLOCK", 16)
    p = law(distribution)
    p[[not short_of_a(word) or word in KNOWN for word in WORDS]] = 0
    random_state, samples = np.random.RandomState(1), []
    asked = dict(where=short_of_a, exclude=KNOWN, random_state=random_state)
    for _ in range(1 if n == N else 1500):  # few at a time: blocks are broken off
        if verb == "sample":
            found = distribution.sample(n, **asked)
        else:
            sequences, counts = distribution.sample_counts(n, **asked)
            found = [s for s, k in zip(sequences, counts, strict=True) for _ in range(k)]
        assert len(found) == n
        samples += found
    assert_law(samples, p)


@pytest.mark.parametrize("verb", ["sample", "sample_counts"])
def test_redrawing_what_is_cut_gives_the_distribution_given_the_length(distribution, verb):
    p = law(distribution)
    complete = torch.nn.functional.pad(ROWS[IS_CUT], (0, 1))
    p[IS_CUT] = distribution.generator.log_prob(complete).detach().double().exp()
    asked = dict(cut="redraw", random_state=0)
    if verb == "sample":
        samples = distribution.sample(N, **asked)
    else:
        sequences, counts = distribution.sample_counts(N, **asked)
        samples = [s for s, k in zip(sequences, counts, strict=True) for _ in range(k)]
    assert len(samples) == N
    assert_law(samples, p)
    few = [distribution.sample(2, cut="redraw", random_state=seed) for seed in range(1000)]
    assert_law([s for pair in few for s in pair], p)


def test_what_is_cut_can_be_an_error(distribution):
    for n in (9, 1000):
        for verb in (distribution.sample, distribution.sample_counts):
            with pytest.raises(ValueError, match=r"longer than max_len=2; raise max_len"):
                verb(n, 2, cut="error", random_state=0)
            assert verb(n, 60, cut="error", random_state=0)


def test_redrawing_works_with_a_forced_length(bigram):
    samples = bigram.sample(200, 2, min_len=2, cut="redraw", random_state=0)
    assert {len(sample) for sample in samples} == {2}


def test_distinct_samples_come_in_the_order_of_their_first_appearance(distribution):
    # of two, the second is drawn from what the first has left
    p = distribution.generator.log_prob(torch.arange(N_TOKENS)[:, None]).detach().double().exp()
    pairs = list(itertools.permutations(range(N_TOKENS), 2))
    expected = torch.tensor([p[a] * p[b] / (1 - p[a]) for a, b in pairs])
    random_state = np.random.RandomState(0)
    drawn = [
        distribution.sample(2, 1, distinct=True, random_state=random_state) for _ in range(2000)
    ]
    tokens = torch.tensor([[ABC.encode(word)[0] if word else 0 for word in pair] for pair in drawn])
    assert_distribution(tokens, torch.tensor(pairs), expected)


def test_conditions_may_be_combined(bigram):
    asked = dict(distinct=True, exclude=["b", "bab"], where=re.compile("b$").search)
    samples = bigram.sample(3, prefix="b", cut="redraw", random_state=0, **asked)
    assert sorted(samples) == ["bb", "bbb", "bcb"]  # all that there are
    with pytest.raises(ValueError, match="found 3 different") as raised:
        bigram.sample(4, prefix="b", cut="redraw", random_state=0, **asked)
    told = str(raised.value)
    assert all(reason in told for reason in ("cut by", "in exclude", "by where", "repeated"))


class Odd:
    """Knows every word of an odd length, without a list of them."""

    def __contains__(self, word):
        return len(word) % 2 == 1


CONTAINERS = {
    "list": list,
    "set": set,
    "array": np.array,
    "iterator": iter,
    "dict": dict.fromkeys,
    "counter": Counter,
    "anything": lambda words: Odd(),
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_any_container_can_be_excluded(bigram, container):
    odd = [word for word in WORDS if len(word) % 2 == 1]
    samples = bigram.sample(500, exclude=container(odd), random_state=0)
    assert {len(sample) for sample in samples} == {0, 2}


def test_lists_of_symbols_exclude_tuples():
    numbers = SequenceDistribution(Bigram(3), [7, 8], 2)
    assert set(numbers.sample(300, exclude=[[7], [8], []])) == set(
        itertools.product([7, 8], repeat=2)
    )


def test_a_predicate_is_asked_once_for_each_sequence_of_a_block(bigram):
    asked = Counter()

    def watch(word):
        asked[word] += 1
        return True

    bigram.sample(5000, where=watch, random_state=0)
    assert set(asked.values()) == {1}


def test_blocks_grow_only_as_far_as_they_may():
    sizes = []

    def draw(n):
        sizes.append(n)
        return list(range(n)) if sum(sizes) > 500 else []

    assert rejection.Conditions(where=lambda x: True).draw(3, draw) == [0, 1, 2]
    assert sizes == [3 * 2**k for k in range(8)]


def test_blocks_are_as_large_as_the_accepted_share_asks_for():
    sizes = []

    def draw(n):
        sizes.append(n)
        return list(range(n))

    rejection.Conditions(where=lambda i: i % 4 == 0).draw(1000, draw)
    assert sizes == [1000, 3600]  # a quarter is accepted, and a fifth is drawn in reserve
    sizes.clear()
    rejection.Conditions(where=lambda i: i % 100).draw(1000, draw)
    assert sizes[1] < 20


def test_rare_sequences_are_found_and_impossible_ones_are_given_up():
    generator = Bigram(3)
    with torch.no_grad():
        generator.logits[0] = torch.tensor([0.0, 0.0, math.log(1e-3)])
    rare = SequenceDistribution(generator, "ab", 2)
    assert all(s[0] == "b" for s in rare.sample(7, where=lambda s: s[:1] == "b", random_state=0))
    for verb in (rare.sample, rare.sample_counts):
        with pytest.raises(ValueError, match=r"a share of 0, not n_samples=2: .* refused by where"):
            verb(2, where=lambda s: False, random_state=0)


# Log-probabilities of samples


@pytest.mark.parametrize("n", [20, 2000])
def test_log_probs_are_the_scores_whatever_is_asked(distribution, n):
    hot = {} if isinstance(distribution.generator, NoStep) else dict(temperature=2.0, prefix="a")
    for asked in ({}, dict(exclude=KNOWN, cut="redraw"), hot):
        samples, log_probs = distribution.sample(n, return_log_prob=True, random_state=0, **asked)
        assert samples == distribution.sample(n, random_state=0, **asked)
        assert log_probs.dtype == np.float64
        np.testing.assert_array_equal(log_probs, distribution.score_samples(samples))


def test_log_probs_of_complete_samples_give_the_entropy(bigram):
    _, log_probs = bigram.sample(N, 200, cut="error", return_log_prob=True, random_state=0)
    # the chain rule: entropies of the rows of the table, by how often each is read
    table = bigram.generator.logits.detach().double().softmax(-1)
    reads = torch.linalg.solve(torch.eye(3) - table[1:, 1:].T, table[0, 1:])
    entropy = -(table * table.log()).sum(1)
    expected = float(entropy[0] + reads @ entropy[1:])
    assert -log_probs.mean() == pytest.approx(expected, abs=4 * log_probs.std() / math.sqrt(N))
