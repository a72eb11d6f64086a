"""Sequences survive the way to tokens and back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from likelihood_gan.validation import check_sequences
from likelihood_gan.vocabulary import Vocabulary, stack_rows

texts = st.lists(st.text(max_size=6), min_size=1, max_size=8)
symbols = st.one_of(st.integers(), st.text(max_size=3), st.tuples(st.booleans()))
tuples = st.lists(st.lists(symbols, max_size=5).map(tuple), min_size=1, max_size=8)


@given(st.one_of(texts, tuples))
def test_decoding_inverts_encoding(sequences):
    vocabulary = Vocabulary.from_sequences(sequences)
    tokens = stack_rows([vocabulary.encode(sequence) for sequence in sequences])
    assert vocabulary.decode(tokens) == sequences
    assert (tokens[:, -1] == 0).all()
    assert int(tokens.max()) == vocabulary.n_tokens - 1 or vocabulary.n_tokens == 1


@given(st.one_of(texts, tuples, st.lists(st.text("\0a", max_size=3), min_size=1)))
def test_rows_are_encoded_together_as_one_by_one(sequences):
    vocabulary = Vocabulary.from_sequences(sequences)
    rows = vocabulary.encode_rows(sequences)
    assert (
        rows.tolist()
        == stack_rows([vocabulary.encode(sequence) for sequence in sequences]).tolist()
    )
    assert vocabulary.decode(rows) == sequences


@given(texts, st.randoms())
def test_the_order_of_the_corpus_makes_no_difference(sequences, random):
    shuffled = sequences[:]
    random.shuffle(shuffled)
    symbols = Vocabulary.from_sequences(sequences).symbols
    assert symbols == Vocabulary.from_sequences(shuffled).symbols


def test_symbols_that_cannot_be_compared_still_have_an_order():
    first = Vocabulary.from_sequences([(1, "b"), (None, "a")])
    second = Vocabulary.from_sequences([("a", None), ("b", 1)])
    assert first.symbols == second.symbols == (None, 1, "a", "b")


def test_strings_are_split_into_code_points():
    assert Vocabulary.from_sequences(["né😀"]).symbols == ("n", "é", "😀")


def test_unfinished_rows_decode_whole():
    assert Vocabulary("ab").decode(torch.tensor([[1, 2, 1], [2, 0, 0]])) == ["aba", "b"]


def test_rows_of_an_array_become_tuples_of_python_numbers():
    sequences = check_sequences(torch.tensor([[1, 2], [2, 3]]).numpy())
    assert sequences == [(1, 2), (2, 3)]
    assert type(sequences[0][0]) is int
