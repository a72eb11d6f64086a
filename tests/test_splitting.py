"""Symbols of several characters: strings are split, joined again, and mean the same all the way."""

import re

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from copying import WAYS
from enumeration import Bigram, NoStep, all_rows
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.frozen import FrozenEstimator
from test_persistence import refined

from likelihood_gan import LikelihoodGAN, Refined, SequenceDistribution
from likelihood_gan.metrics import length_divergence
from likelihood_gan.vocabulary import UNKNOWN_CHARACTER, Vocabulary, vocabulary_of

ATOMS = r"\[[^\]]+\]|Br|Cl|%\d\d|."
MOLECULES = [
    "CCO",
    "CCl",
    "BrCC",
    "c1cc[nH]c1",
    "C%12CC%12",
    "ClCCl",
    "CBr",
    "OCC[NH3+]",
    "CO",
    "CN",
]
MARKED = "e\N{COMBINING ACUTE ACCENT}"  # one grapheme, two code points
GRAPHEMES = r"[^\u0300-\u036f]?[\u0300-\u036f]+|."
WORDS = r"\w+|\W"


def pairs(text):
    """Split into pairs of characters; the last may be alone."""
    return [text[i : i + 2] for i in range(0, len(text), 2)]


# Splitting


@pytest.mark.parametrize(
    "pattern, text, symbols",
    [
        (ATOMS, "BrC[nH]%12Cl", ["Br", "C", "[nH]", "%12", "Cl"]),
        (GRAPHEMES, f"caf{MARKED}", ["c", "a", "f", MARKED]),
        (WORDS, "one two", ["one", " ", "two"]),
        ("(?i)CL|(.)", "Clc", ["Cl", "c"]),  # a group, unlike CountVectorizer, changes nothing
        ("b*", "abba", ["a", "bb", "a"]),  # a match of nothing is no symbol
        (pairs, "abcde", ["ab", "cd", "e"]),
        (re.compile(ATOMS).findall, "CCl", ["C", "Cl"]),
    ],
)
def test_a_string_is_split_by_the_matches(pattern, text, symbols):
    vocabulary = Vocabulary(dict.fromkeys(symbols), token_pattern=pattern)
    assert vocabulary.split(text) == symbols
    tokens = torch.tensor([[*vocabulary.encode(text), 0]])
    assert vocabulary.decode(tokens) == [text]
    assert vocabulary.splits_again(tokens).all()


@given(st.lists(st.text("aCl[]Br%1�", max_size=8), min_size=1, max_size=6), st.booleans())
def test_symbols_join_to_the_string_again(texts, unknown_token):
    for pattern in (ATOMS, pairs):
        vocabulary = Vocabulary.from_sequences(
            texts, token_pattern=pattern, unknown_token=unknown_token
        )
        assert ["".join(vocabulary.split(text)) for text in texts] == texts
        rows = vocabulary.encode_rows(texts)
        assert vocabulary.decode(rows) == texts
        assert vocabulary.splits_again(rows).all()
        assert vocabulary.unknown(texts) == []


@given(st.text("CclBr", max_size=9), st.integers(0, 6))
def test_a_cut_string_has_the_first_symbols(text, max_len):
    vocabulary = Vocabulary(["C", "Cl", "Br", "c", "l", "B", "r"], token_pattern="Cl|Br|.")
    cut = vocabulary.cut(text, max_len)
    assert vocabulary.split(cut) == vocabulary.split(text)[:max_len]
    assert vocabulary.cut(text, None) == text


def test_a_character_that_no_match_covers_is_an_unknown_symbol():
    vocabulary = Vocabulary(["ab", "c"], token_pattern="ab|c")
    assert vocabulary.split("xabyc") == ["x", "ab", "y", "c"]
    assert vocabulary.unknown(["xabyc"]) == ["x", "y"]


# What it means for a distribution: probabilities are those of the symbols

SYMBOLS = ["C", "l", "Cl"]


def ambiguous(generator=None):
    """A distribution whose rows join to strings that may have other symbols."""
    vocabulary = Vocabulary(SYMBOLS, token_pattern="Cl|.")
    return SequenceDistribution(
        Bigram(4, seed=3) if generator is None else generator, vocabulary, 3
    )


def enumerated(distribution):
    """List the strings of rows that split again, with the probability of each, cut ones included."""
    rows = all_rows(4, distribution.max_len)
    rows = rows[distribution.vocabulary.splits_again(rows)]
    with torch.no_grad():
        log_p = distribution.generator.log_prob(rows)
    return distribution.vocabulary.decode(rows), log_p.exp().double().numpy()


def test_rows_that_join_to_other_symbols_are_found():
    vocabulary = Vocabulary(SYMBOLS, token_pattern="Cl|.")
    rows = torch.tensor([[1, 2, 0], [3, 0, 0], [2, 1, 0], [1, 1, 2], [0, 0, 0]])
    assert vocabulary.decode(rows) == ["Cl", "Cl", "lC", "CCl", ""]
    assert vocabulary.splits_again(rows).tolist() == [False, True, True, False, True]


def test_atoms_of_molecules_join_to_no_others():
    # "l", "r", "[" and "%" are no symbols of their own, so nothing is drawn anew
    vocabulary = Vocabulary.from_sequences(MOLECULES, token_pattern=ATOMS)
    assert vocabulary.splits_again(all_rows(vocabulary.n_tokens, 3)).all()


def test_a_string_is_scored_by_its_own_symbols():
    distribution = ambiguous()
    with torch.no_grad():
        expected = distribution.generator.log_prob(torch.tensor([[3, 1, 0], [2, 2, 0]]))
    np.testing.assert_allclose(distribution.score_samples(["ClC", "ll"]), expected, rtol=1e-5)


@pytest.mark.parametrize("generator", [Bigram(4, seed=3), NoStep(4)])
@pytest.mark.parametrize("n", [400, 4000])  # row by row, and by the prefix tree
def test_samples_have_the_probabilities_that_they_are_scored_with(generator, n):
    # in proportion: rows that join to other symbols are drawn anew
    distribution = ambiguous(generator)
    strings, p = enumerated(distribution)
    assert len(strings) == len(set(strings)) and 0.3 < p.sum() < 0.99
    rng = np.random.RandomState(1)
    for sample in (
        [s for _ in range(4000 // n) for s in distribution.sample(n, random_state=rng)],
        np.repeat(*distribution.sample_counts(4000, random_state=0)).tolist(),
    ):
        assert len(sample) == 4000
        observed = np.array([sample.count(string) for string in strings])
        assert observed.sum() == 4000  # and nothing else is drawn
        expected = p / p.sum() * 4000
        rare = expected < 5
        observed, expected = (
            np.append(x[~rare], x[rare].sum() + 1e-9) for x in (observed, expected)
        )
        assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


def test_the_likeliest_are_strings_with_the_probability_of_their_own_symbols():
    distribution = ambiguous()
    strings, log_probs = distribution.most_probable(20, max_len=2)
    scores = distribution.score_samples(strings)
    np.testing.assert_allclose(log_probs, scores, rtol=1e-5)
    assert len(set(strings)) == len(strings) == 1 + 3 + 9 - 1  # C and l join to Cl
    assert list(scores) == sorted(scores, reverse=True)


def test_symbols_of_several_characters_can_be_banned_and_excluded():
    distribution = ambiguous()
    for sample in (
        distribution.sample(300, banned=["Cl"], random_state=0),
        distribution.sample(300, allowed=["C", "l"], cut="redraw", random_state=0),
        distribution.sample(300, where=lambda s: "Cl" not in s, random_state=0),
    ):
        assert len(sample) == 300
        assert not any("Cl" in string for string in sample)
    assert all(s.startswith("Cl") for s in distribution.sample(50, prefix="Cl", random_state=0))


def test_a_generator_that_writes_nothing_that_splits_again_is_an_error():
    generator = Bigram(4)
    with torch.no_grad():
        generator.logits.fill_(-200)
        generator.logits[0, 1] = generator.logits[1, 2] = generator.logits[2, 0] = 200  # C, l, END
    with pytest.raises(ValueError, match=r"only 0 of \d+ draws split again .* token_pattern='Cl"):
        ambiguous(generator).sample(3, random_state=0)


def test_perplexity_is_per_symbol_not_per_character():
    distribution = ambiguous()
    texts = ["ClC", "Cl", "l", ""]
    n_symbols = (2 + 1) + (1 + 1) + (1 + 1) + 1
    expected = np.exp(-distribution.score_samples(texts).sum() / n_symbols)
    assert distribution.perplexity(texts) == pytest.approx(expected, rel=1e-9)


def test_a_prefix_is_of_symbols():
    distribution = ambiguous()
    assert all(s.startswith("Cl") for s in distribution.sample(20, prefix="Cl", random_state=0))
    starts = {
        tuple(distribution.vocabulary.split(s))[:1] for s in distribution.sample(90, prefix="C")
    }
    assert starts == {("C",)}


def test_metrics_read_symbols_once_they_are_split():
    split = Vocabulary(SYMBOLS, token_pattern="Cl|.").split
    assert length_divergence(["Cl"], ["C"]) == 1
    assert length_divergence(map(split, ["Cl"]), map(split, ["C"])) == 0


# The estimator


@pytest.fixture(scope="module")
def molecules():
    return tiny(token_pattern=ATOMS, generator=None, generator_params={"hidden_size": 8}).fit(
        MOLECULES * 3
    )


def test_an_estimator_learns_symbols_of_several_characters(molecules):
    assert {"Br", "Cl", "[nH]", "[NH3+]", "%12"} <= set(molecules.vocabulary_.symbols)
    assert molecules.max_len_ == max(len(molecules.vocabulary_.split(m)) for m in MOLECULES) == 7
    samples = molecules.sample(50, random_state=0)
    assert all(isinstance(sample, str) for sample in samples)
    assert np.isfinite(molecules.score_samples(samples)).all()


def test_max_len_counts_symbols():
    tiny(token_pattern=ATOMS, max_len=7).fit(MOLECULES)
    with pytest.raises(ValueError, match="max_len=6, but X holds a sequence of 7 symbols"):
        tiny(token_pattern=ATOMS, max_len=6).fit(MOLECULES)


@pytest.mark.parametrize("way", WAYS)
def test_the_pattern_survives_a_copy(molecules, tmp_path, way):
    again = way(molecules, tmp_path)
    assert again.vocabulary_.split("CCl") == ["C", "Cl"]
    assert again.sample(9, random_state=0) == molecules.sample(9, random_state=0)
    np.testing.assert_array_equal(
        again.score_samples(MOLECULES), molecules.score_samples(MOLECULES)
    )


def test_a_callable_is_given_to_load_again(tmp_path):
    gan = tiny(token_pattern=pairs).fit(NAMES)
    gan.save(tmp_path / "gan")
    Refined(FrozenEstimator(gan), n_samples=50).fit(NAMES).save(tmp_path / "refined")
    for cls, file in ((LikelihoodGAN, "gan"), (SequenceDistribution, "gan"), (Refined, "refined")):
        with pytest.raises(ValueError, match=r"pass token_pattern= \(pairs\) to load"):
            cls.load(tmp_path / file)
        again = cls.load(tmp_path / file, token_pattern=pairs)
        assert vocabulary_of(again).split("anna") == ["an", "na"]
    again = LikelihoodGAN.load(tmp_path / "gan", token_pattern=pairs)
    np.testing.assert_array_equal(again.score_samples(NAMES), gan.score_samples(NAMES))


def test_what_is_refined_is_cut_after_symbols():
    # sequences longer than any sample are judged by their first max_len_ symbols
    model = refined(estimator=tiny(token_pattern=pairs, early_stopping=False))
    assert model.beta_ > 0 and model.max_len_ == 2
    assert model.log_weight(["anna", "annabe"]).tolist() == model.log_weight(["anna"] * 2).tolist()
    assert model.log_weight(["an"]) != model.log_weight(["anna"])


# What is refused


def fit(X=("ab", "c"), **settings):
    return tiny(**settings).fit(list(X))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: fit(token_pattern=3), TypeError, "token_pattern must be a regular .*, got 3"),
        (lambda: fit(token_pattern=re.compile("a")), TypeError, "pass its attribute pattern"),
        (
            lambda: fit(token_pattern="(a"),
            ValueError,
            r"token_pattern='\(a' is no regular expression",
        ),
        (
            lambda: fit(token_pattern="ab"),
            ValueError,
            r"does not cover all of X\[1\]='c': 'c' is left; add .*\|\.",
        ),
        (
            lambda: fit(["a b", "c"], token_pattern=str.split),
            ValueError,
            r"got \['a', 'b'\] of 'a b'",
        ),
        (
            lambda: fit(token_pattern=len),
            ValueError,
            "must return a list of non-empty str .* got 2",
        ),
        (lambda: fit(token_pattern=lambda s: [*s, ""]), ValueError, "non-empty str"),
        (
            lambda: fit([("a",), ("b",)], token_pattern="."),
            TypeError,
            "token_pattern splits strings",
        ),
        (lambda: fit(vocabulary=["ab", "c"]), ValueError, r"\['ab'\]; .* pass token_pattern="),
        (
            lambda: fit(vocabulary=["ab", 3], token_pattern="ab|."),
            ValueError,
            r"non-empty str, got \[3\]",
        ),
        (lambda: fit(vocabulary=["ab"], token_pattern="ab|."), ValueError, r"vocabulary: \['c'\]"),
        (
            lambda: fit(warm_start=True).set_params(token_pattern="ab|.").fit(["ab"] * 3),
            ValueError,
            r"warm_start goes on .* token_pattern=None, and now it is 'ab\|\.'",
        ),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_stand_in_of_unseen_symbols_needs_no_match():
    gan = tiny(token_pattern="ab|c", handle_unknown="token").fit(["ab", "c", "cab"] * 3)
    assert gan.vocabulary_.split(f"ab{UNKNOWN_CHARACTER}c") == ["ab", UNKNOWN_CHARACTER, "c"]
    assert np.isfinite(gan.score_samples([UNKNOWN_CHARACTER, "abxc"])).all()
