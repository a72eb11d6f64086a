"""`NGram` is Kneser-Ney, counted; in training it scores a counted row as if it had not counted it."""

import copy
import math
import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch
from conftest import NAMES
from enumeration import Bigram, all_rows, assert_distribution, seeded

from likelihood_gan import SequenceDistribution
from likelihood_gan.checks import check_generator
from likelihood_gan.models import NGram, Product
from likelihood_gan.prefix_tree import sample_counts
from likelihood_gan.sampling import (
    Autoregressive,
    Constraints,
    log_prob_of,
    next_log_probs,
)
from likelihood_gan.vocabulary import Vocabulary

LETTERS = Vocabulary("abn")
N_TOKENS = LETTERS.n_tokens
ROWS = all_rows(N_TOKENS, 4)
WORDS = ["anana", "", "banana", "nab", "ann", "a", "bb", "abba"]
ORDERS = [1, 2, 3, 5, 8]


def encode(words):
    return LETTERS.encode_rows(words)


def counted(words=WORDS, weights=None, order=3, discounts=None, **settings):
    """Count words; `discounts` replace those that were chosen."""
    model = NGram(N_TOKENS, order, **settings).eval()
    weights = torch.ones(len(words)) if weights is None else torch.as_tensor(weights)
    model.count(encode(words), weights)
    if discounts is not None:
        model.discounts = torch.as_tensor(discounts, dtype=torch.float64)
    return model


def some_discounts(order):
    return torch.rand(order, 3, generator=seeded(order), dtype=torch.float64) * 0.8 + 0.1


class SlowKneserNey:
    """The formula, with dictionaries: counts of (context, symbol) and a recursion."""

    def __init__(self, words, times, order, discounts):
        self.order, self.discounts = order, discounts
        raw = defaultdict(lambda: defaultdict(float))
        for word, n in zip(words, times, strict=True):
            symbols = ["^", *word, "$"]
            for i in range(1, len(symbols)):
                for d in range(min(i, order - 1) + 1):
                    raw[tuple(symbols[i - d : i])][symbols[i]] += n
        self.counts = defaultdict(dict)
        for context, row in raw.items():
            for symbol, n in row.items():
                if len(context) < order - 1 and context[:1] != ("^",):
                    # the number of symbols to the left of both
                    longer = [c for c in raw if len(c) == len(context) + 1 and c[1:] == context]
                    n = sum(symbol in raw[c] for c in longer)
                self.counts[context][symbol] = n

    def next(self, past, symbol):
        """Return the probability of a symbol, given all before it."""
        history, p = ("^", *past), 1 / N_TOKENS
        for d in range(min(len(history), self.order - 1) + 1):
            row = self.counts.get(history[len(history) - d :])
            if row is None:
                continue  # a context that was never seen
            discount = lambda n, d=d: self.discounts[d][min(max(math.ceil(n), 1), 3) - 1]
            cut = lambda n, discount=discount: float(discount(n)) * min(n, 3)
            n = row.get(symbol, 0)
            p = (n - (cut(n) if n else 0) + p * sum(map(cut, row.values()))) / sum(row.values())
        return p

    def log_prob(self, tokens):
        values = []
        for row in tokens.tolist():
            word = ["$abn"[token] for token in row]
            word = word[: word.index("$") + 1] if "$" in word else word
            values.append(sum(math.log(self.next(word[:i], s)) for i, s in enumerate(word)))
        return torch.tensor(values, dtype=torch.float64)


# The distribution


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("min_count", [0, 2, 3])
def test_all_rows_have_mass_one(order, min_count):
    model = counted(["ab", "ba", "abab", ""], [1, 2, 3, 4], order, min_count=min_count)
    for width in (1, 3, 5):  # n is never seen
        mass = model.log_prob(all_rows(N_TOKENS, width)).exp().sum()
        torch.testing.assert_close(mass, torch.ones_like(mass))


def test_a_model_that_has_counted_nothing_is_uniform():
    model = NGram(N_TOKENS, 3)
    for mode in (True, False):
        expected = -torch.full((1,), 3 * math.log(N_TOKENS), dtype=torch.float64)
        torch.testing.assert_close(model.train(mode).log_prob(ROWS[-1:, :3]), expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weights", [None, [1, 2, 3, 4, 1, 2, 7, 1], [1.5, 1, 2.5, 3, 1, 2, 1, 1]])
def test_it_is_the_formula(order, weights):
    discounts = some_discounts(order)
    model = counted(WORDS, weights, order, discounts)
    slow = SlowKneserNey(WORDS, weights or [1] * len(WORDS), order, discounts)
    torch.testing.assert_close(model.log_prob(ROWS), slow.log_prob(ROWS))
    words = encode([*WORDS, "nnabbana"])
    torch.testing.assert_close(model.log_prob(words), slow.log_prob(words))


def test_one_symbol_at_a_time_is_calculated_by_hand():
    """Order 1: "aab" and "a", thus a three times, b once, END twice."""
    once, twice, more = 0.2, 0.3, 0.4
    model = counted(["aab", "a"], order=1, discounts=[[once, twice, more]])
    rest = (3 * more + 2 * twice + 1 * once) / 6 / 4
    p = {"a": (3 - 3 * more) / 6, "b": (1 - once) / 6, "n": 0, "$": (2 - 2 * twice) / 6}
    found = model.log_prob(encode(["", "b", "n", "aab"])).exp().tolist()
    p = {symbol: value + rest for symbol, value in p.items()}
    assert sum(p.values()) == pytest.approx(1)
    end = p["$"]
    assert found == pytest.approx([end, p["b"] * end, p["n"] * end, p["a"] ** 2 * p["b"] * end])


def test_two_symbols_at_a_time_are_calculated_by_hand():
    """Order 2: "ab" twice and "b". What is new has been met behind other symbols, not often."""
    once, twice, more = 0.2, 0.3, 0.4
    model = counted(["ab", "b"], [2, 1], order=2, discounts=[[once, twice, more]] * 2)
    # left neighbours: of END {b}, of a {^}, of b {^, a}; 4 pairs, over 4 symbols
    rest = (2 * once * 1 + twice * 2) / 4 / 4
    end = a = (1 - once) / 4 + rest
    b, n = (2 - twice * 2) / 4 + rest, rest
    assert end + a + b + n == pytest.approx(1)
    # after ^: a twice, b once; after a: b twice; after b: END three times
    cut = (2 * twice + once) / 3
    a_first, b_first = (2 - 2 * twice) / 3 + cut * a, (1 - once) / 3 + cut * b
    b_after_a = (2 - 2 * twice) / 2 + twice * b
    end_after_b = (3 - 3 * more) / 3 + more * end
    words = {
        "ab": a_first * b_after_a * end_after_b,
        "b": b_first * end_after_b,
        "aa": a_first * twice * a * twice * end,
        "nn": cut * n * n * end,  # behind n nothing was seen
    }
    found = model.log_prob(encode(list(words))).exp().tolist()
    assert found == pytest.approx(list(words.values()))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("training", [True, False])
def test_rows_tables_and_steps_agree(order, training):
    model = counted(order=order).train(training)
    rows = encode([*WORDS, "bnb"])
    table = next_log_probs(model, rows)
    assert table.shape == (*rows.shape, N_TOKENS)
    torch.testing.assert_close(log_prob_of(table, rows).double(), model.log_prob(rows))
    mass = table.double().logsumexp(2).exp()
    reached = (rows != 0).roll(1, 1)
    reached[:, 0] = True
    torch.testing.assert_close(mass[reached], torch.ones_like(mass[reached]))
    if not training:  # a step cannot know which row it is in
        by_steps = Autoregressive.log_prob(model, rows)
        torch.testing.assert_close(by_steps.double(), model.log_prob(rows), rtol=1e-6, atol=1e-6)


def test_it_is_lawful():
    """It has no parameters, so a factor that changes nothing has one in its place."""
    for order in (1, 2, 4):
        uniform = Bigram(N_TOKENS)
        uniform.logits.data.zero_()
        check_generator(Product([counted(order=order), uniform], [1, 1]), N_TOKENS)


# What is counted


def test_a_weight_of_two_is_a_repetition():
    twice = SlowKneserNey([*WORDS, *WORDS[3:]], [1] * 13, 3, some_discounts(3))
    model = counted(WORDS, [1, 1, 1, 2, 2, 2, 2, 2], 3, some_discounts(3))
    torch.testing.assert_close(model.log_prob(ROWS), twice.log_prob(ROWS))


def test_shares_are_counts_of_which_the_lowest_is_one():
    counts = torch.tensor([1.0, 2, 3, 4, 1, 2, 7, 1])
    expected = counted(weights=counts)
    model = counted(weights=counts / counts.sum())
    for mode in (True, False):
        values = [m.train(mode).log_prob(encode(WORDS)) for m in (model, expected)]
        torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5)


def test_the_order_of_rows_does_not_matter():
    order = torch.randperm(len(WORDS), generator=seeded())
    weights = torch.arange(1.0, 9)
    model = counted([WORDS[i] for i in order], weights[order])
    expected = counted(WORDS, weights)
    for mode in (True, False):
        values = [m.train(mode).log_prob(encode(WORDS)) for m in (model, expected)]
        torch.testing.assert_close(*values, rtol=1e-6, atol=1e-6)


def test_to_count_again_forgets_what_was_counted():
    model = counted(["bbb", "nnn", "nbnb", "nn"], [3, 1, 1, 4])
    model.count(encode(WORDS), torch.ones(len(WORDS)))
    fresh = counted(WORDS)
    for name, value in fresh.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    assert torch.equal(model.train().log_prob(encode(["bbb"])), fresh.log_prob(encode(["bbb"])))


def test_counting_leaves_the_mode_and_the_arguments_alone():
    rows, weights = encode(WORDS), torch.ones(len(WORDS))
    before = rows.clone(), weights.clone()
    for mode in (True, False):
        model = NGram(N_TOKENS).train(mode)
        model.count(rows, weights)
        assert model.training is mode
        assert torch.equal(rows, before[0]) and torch.equal(weights, before[1])
        assert not any(value.requires_grad for value in model.state_dict().values())


def test_rare_contexts_are_left_out():
    sizes, contexts = [], []
    for min_count in (0, 1, 2, 3, 100):
        model = counted(order=4, min_count=min_count)
        sizes.append(len(model.pairs))
        contexts.append(1 + len(model.edges))
    assert sizes[0] == sizes[1] > sizes[2] > sizes[3] > sizes[4]
    met = defaultdict(int)
    for word in WORDS:
        symbols = "^" + word
        for i in range(len(symbols)):
            for d in range(1, min(i + 1, 3) + 1):
                met[symbols[i + 1 - d : i + 1]] += 1
    expected = [1 + sum(n >= least for n in met.values()) for least in (0, 1, 2, 3, 100)]
    assert contexts == expected  # and the empty one, which always stays


def test_without_contexts_to_leave_out_pruning_changes_nothing():
    unpruned, pruned = counted(order=4), counted(order=4, min_count=1)
    torch.testing.assert_close(pruned.log_prob(ROWS), unpruned.log_prob(ROWS))


def test_contexts_are_as_long_as_it_pays():
    draw = np.random.default_rng(0)
    free = ["".join(word) for word in draw.choice(list("abn"), (300, 20))]
    # what comes next was said 9 symbols ago: contexts of 8 symbols do not reach it, 11 do
    bound = [word[:9] * 3 for word in free]
    short = sorted({word[:4] for word in free})
    for words, order in ((short, 6), (bound, 12)):
        model = counted(words, order=None)
        assert model.order == order
        fixed = counted(words, order=order)
        new = encode([word[1:] for word in words])
        torch.testing.assert_close(model.log_prob(new), fixed.log_prob(new), rtol=1e-3, atol=0.01)
        again = NGram(N_TOKENS)
        again.load_state_dict(model.state_dict())
        assert again.order == order
        assert torch.equal(again.eval().log_prob(new), model.log_prob(new))
    model.count(encode(short), torch.ones(len(short)))
    assert model.order == 6  # it is chosen anew


@pytest.mark.parametrize(
    "settings, words", [((3, 0), "order must"), ((3, 2, -1), "min_count must")]
)
def test_bad_arguments_are_refused_by_name(settings, words):
    with pytest.raises(ValueError, match=words):
        NGram(*settings)


# Leaving a row out


def assert_left_out(words, weights, order, left=None):
    """In training each word is scored as by the formula, counted without it (or without 1 of it)."""
    discounts = some_discounts(order)
    model = counted(words, weights, order, discounts).train()
    rows = encode(words)
    found, table = model.log_prob(rows), model.next_log_probs(rows)
    for i, word in enumerate(words):
        rest = list(weights)
        rest[i] = 0 if left is None else rest[i] - left
        kept = [j for j, n in enumerate(rest) if n > 0]
        slow = SlowKneserNey([words[j] for j in kept], [rest[j] for j in kept], order, discounts)
        expected = slow.log_prob(rows[i : i + 1])[0]
        assert found[i].item() == pytest.approx(expected.item(), abs=1e-5), word
        for t in range(len(word) + 1):
            p = [slow.next(word[:t], symbol) for symbol in "$abn"]
            assert table[i, t].exp().tolist() == pytest.approx(p, abs=1e-5), (word, t)


@pytest.mark.parametrize("order", ORDERS)
def test_in_training_a_row_is_scored_as_if_it_had_not_been_counted(order):
    """Also if it is empty, or repeats an n-gram within itself, as "anana" does."""
    assert_left_out(WORDS, [1] * len(WORDS), order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(4))
def test_the_same_holds_for_random_words(order, seed):
    rng = np.random.default_rng(seed)
    drawn = {"".join(rng.choice(list("abn"), rng.integers(9))) for _ in range(15)}
    assert_left_out(sorted(drawn), [1] * len(drawn), order)


@pytest.mark.parametrize("words", [["anana"], [""], ["a", ""]])
def test_the_same_holds_where_next_to_nothing_is_left(words):
    for order in ORDERS:
        assert_left_out(words, [1] * len(words), order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weights", [[1, 1, 3, 1, 1, 2, 1, 1], [1, 1, 1.7, 1, 1.2, 1, 2.5, 1]])
def test_of_weighted_rows_that_are_mostly_new_the_whole_weight_is_left_out(order, weights):
    assert_left_out(WORDS, weights, order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weights", [[5, 2, 3, 1, 9, 2, 4, 1], [5, 2.5, 3, 1, 9.2, 2, 4, 1.5]])
def test_where_the_data_repeat_themselves_one_occurrence_is_left_out(order, weights):
    assert_left_out(WORDS, weights, order, left=1)


def test_a_row_that_was_not_counted_is_scored_alike_in_both_modes():
    model = counted(order=4)
    new = [i for i, row in enumerate(ROWS.tolist()) if row not in _padded(WORDS, 4)]
    expected = model.eval().log_prob(ROWS[new])
    torch.testing.assert_close(model.train().log_prob(ROWS[new]), expected)
    assert len(new) >= len(ROWS) - len(WORDS)


def _padded(words, width):
    return [[*row[:width]] for row in encode(words).tolist() if not any(row[width:])]


def test_what_is_left_out_depends_on_neither_padding_nor_the_other_rows():
    model = counted(order=4).train()
    rows = encode(WORDS)
    expected = model.log_prob(rows)
    wide = torch.nn.functional.pad(rows, (0, 20))
    torch.testing.assert_close(model.log_prob(wide), expected)
    alone = torch.cat(
        [model.log_prob(row[None, : len(word) + 1]) for row, word in zip(rows, WORDS, strict=True)]
    )
    torch.testing.assert_close(alone, expected)
    torch.testing.assert_close(
        model.log_prob(torch.cat([rows, rows]).flip(0))[:8].flip(0), expected
    )


def test_a_cut_row_is_not_the_row_that_ends_there():
    """What begins with a counted row was not counted as such."""
    model = counted(["ab", "ba", "nab"], order=3)
    cut = torch.tensor([[1, 2]])
    expected = model.eval().log_prob(cut)
    torch.testing.assert_close(model.train().log_prob(cut), expected)


# Discounts


def leave_one_out(model, tokens, weights):
    was = model.training
    value = float((model.train().log_prob(tokens) * weights).sum() / weights.sum())
    model.train(was)
    return value


@pytest.mark.parametrize("order", [1, 3, 6])
@pytest.mark.parametrize("kind", ["distinct", "weighted", "repeating"])
def test_discounts_maximise_the_leave_one_out_likelihood(order, kind):
    known = Vocabulary.from_sequences(NAMES)
    tokens = known.encode_rows(NAMES)
    place = torch.arange(len(tokens)).double()
    weights = {
        "distinct": place * 0 + 1,
        "weighted": 1 + (place % 7 == 0),
        "repeating": 1 + place % 5,
    }
    weights = weights[kind]
    model = NGram(known.n_tokens, order)
    model.count(tokens, weights)
    chosen = model.discounts.clone()
    assert ((chosen > 0) & (chosen < 1)).all()
    best = leave_one_out(model, tokens, weights)
    model.discounts = torch.tensor([0.75, 0.5, 0.45], dtype=torch.float64).repeat(order, 1)
    assert best >= leave_one_out(model, tokens, weights) - 1e-3
    for place in np.ndindex(order, 3):  # no single one can be changed for the better
        for factor in (0.8, 1.25):
            model.discounts = chosen.clone()
            model.discounts[place] = (chosen[place].logit() + math.log(factor)).sigmoid()
            assert best >= leave_one_out(model, tokens, weights) - 1e-3


# Copies


def through_state(model):
    again = NGram(N_TOKENS, 3)
    again.load_state_dict(model.state_dict())
    return again


@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), through_state]
)
def test_a_copy_has_the_same_counts_and_its_own(way):
    model = counted(weights=[1, 2, 1, 1, 3, 1, 1, 1])
    again = way(model)
    for mode in (True, False):
        expected = model.train(mode).log_prob(ROWS)
        assert torch.equal(again.train(mode).log_prob(ROWS), expected)
    again.count(encode(["bb", "nn"]), torch.ones(2))
    assert torch.equal(model.log_prob(ROWS), expected)
    assert not torch.equal(again.eval().log_prob(ROWS), expected)


def test_weights_go_both_ways_whatever_was_counted():
    model, state = counted(), counted(["ab", "n"]).state_dict()
    model.load_state_dict(state)
    assert torch.equal(model.log_prob(ROWS), counted(["ab", "n"]).log_prob(ROWS))
    model.load_state_dict(NGram(N_TOKENS, 3).state_dict())
    torch.testing.assert_close(model.log_prob(ROWS), NGram(N_TOKENS, 3).log_prob(ROWS))


@pytest.mark.parametrize("min_count", [0, 2])
def test_a_file_holds_the_counts(tmp_path, min_count):
    model = counted(order=4, min_count=min_count)
    saved = SequenceDistribution(model, "abn", max_len=9)
    saved.save(tmp_path / "model")
    again = SequenceDistribution.load(tmp_path / "model")
    assert not again.generator.training
    np.testing.assert_array_equal(again.score_samples(WORDS), saved.score_samples(WORDS))
    assert again.sample(50, random_state=0) == saved.sample(50, random_state=0)
    left_out = [m.generator.train().log_prob(encode(WORDS)) for m in (again, saved)]
    assert torch.equal(*left_out)
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


# Sampling


@pytest.mark.parametrize("order", [1, 2, 4])
def test_samples_are_as_frequent_as_the_model_says(order):
    model = counted(order=order)
    expected = model.log_prob(ROWS).exp()
    assert_distribution(model.sample(20_000, 4, rng=seeded()), ROWS, expected)
    rows, counts, log_probs = sample_counts(model, 200_000, Constraints(4), rng=seeded())
    assert_distribution(rows.repeat_interleave(counts, 0), ROWS, expected)
    torch.testing.assert_close(log_probs, model.log_prob(rows), rtol=1e-5, atol=1e-5)


def test_a_distribution_takes_constraints():
    distribution = SequenceDistribution(counted(order=4), "abn", max_len=8)
    drawn = distribution.sample(500, prefix="ba", min_len=4, temperature=0.7, random_state=0)
    assert all(word.startswith("ba") and 4 <= len(word) <= 8 for word in drawn)
