"""Read symbol by symbol, an n-gram model is where a search of the whole past would lead."""

import itertools

import pytest
import torch
from enumeration import seeded

from likelihood_gan.models import NGram, automaton
from likelihood_gan.models.contexts import Tree
from likelihood_gan.vocabulary import Vocabulary

LETTERS = Vocabulary("abn")
WORDS = ["anana", "", "banana", "nab", "ann", "a", "bb", "abba"]


def counted(order=4, min_count=0.0):
    model = NGram(LETTERS.n_tokens, order, min_count).eval()
    model.count(LETTERS.encode_rows(WORDS), torch.ones(len(WORDS)))
    return model


def contexts(model):
    """Return the symbols of each context, by its number."""
    found = [()]
    for edge in model.edges.tolist():
        above, symbol = divmod(edge, LETTERS.n_tokens)
        found.append((symbol, *found[above]))
    return found


@pytest.mark.parametrize("order", [1, 2, 4, 8])
@pytest.mark.parametrize("min_count", [0, 2, 3])
def test_after_each_symbol_it_is_in_the_longest_known_context(order, min_count):
    model = counted(order, min_count)
    number = {context: i for i, context in enumerate(contexts(model))}
    for past in itertools.product(range(LETTERS.n_tokens), repeat=5):
        state, read = None, [0, *past]  # also past an END, where the next sequence begins
        for t, symbol in enumerate(read):
            _, state = model.step(torch.tensor([symbol]), state)
            ends = (tuple(read[i : t + 1]) for i in range(t + 2))
            assert int(state) == next(number[end] for end in ends if end in number)


@pytest.mark.parametrize("kept", [1, 30, 2**20])
def test_what_is_kept_does_not_change_the_probabilities(kept, monkeypatch):
    monkeypatch.setattr(automaton, "NUMBERS_WORTH_KEEPING", kept)
    model = counted()
    context = torch.randint(0, len(model.edges) + 1, (20, 50), generator=seeded())
    reader = automaton.Automaton(model._grown(), model.discounts, LETTERS.n_tokens)
    found = torch.stack([reader.next(some) for some in context])
    assert len(reader._table) == min(max(kept // LETTERS.n_tokens, 1), len(model.edges) + 1)
    monkeypatch.setattr(automaton, "NUMBERS_WORTH_KEEPING", 0)
    fresh = automaton.Automaton(model._grown(), model.discounts, LETTERS.n_tokens)
    for some, p in zip(context, found, strict=True):
        assert torch.equal(fresh.next(some), p)
        torch.testing.assert_close(p.sum(1), torch.ones(50, dtype=torch.float64))


def test_other_counts_and_other_discounts_are_read_at_once():
    model, empty = counted(), torch.zeros(1, dtype=torch.int64)
    before, _ = model.step(empty, None)
    model.discounts = model.discounts / 2
    half, _ = model.step(empty, None)
    model.count(LETTERS.encode_rows(["bb"]), torch.ones(1))
    after, _ = model.step(empty, None)
    assert not torch.equal(before, half) and not torch.equal(half, after)
    other = counted()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.step(empty, None)[0], after)


def changed(name, change):
    tree = {name: getattr(counted(), name).clone() for name in ("edges", "pairs", "counts")}
    tree[name] = change(tree[name])
    return Tree.of(*tree.values(), LETTERS.n_tokens, 4)


@pytest.mark.parametrize(
    "name, change",
    [
        ("edges", lambda x: x.flip(0)),
        ("edges", lambda x: x + 1000),
        ("edges", lambda x: x - 1000),
        ("edges", lambda x: torch.arange(len(x)) * LETTERS.n_tokens),  # each below the one before
        ("pairs", lambda x: x[:-5]),
        ("pairs", lambda x: x[3:]),
        ("pairs", lambda x: x + 1000),
        ("counts", lambda x: x[1:]),
        ("counts", lambda x: x * 0),
        ("counts", lambda x: x / 0),
    ],
)
def test_what_is_no_tree_is_refused(name, change):
    with pytest.raises(ValueError, match="not those of a tree of contexts"):
        changed(name, change)
    changed(name, lambda x: x)
