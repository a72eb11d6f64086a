"""What may hold sequences, and what is refused with a remedy: files, tables, columns, counts, weights.

Arrays and tables of libraries that are not installed are stood in for by what they can do; those that
are installed are taken themselves.
"""

import datetime
import importlib.util
import io
import warnings
from collections import Counter
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from sklearn.model_selection import cross_val_score

from likelihood_gan import Refined
from likelihood_gan.metrics import novelty, uniqueness
from likelihood_gan.validation import check_chunks, check_sequences, check_weighed

WORDS = ["ann", "bob", "ann"]


class ArrowArray:
    """Yields scalars of its own, as an array or a chunked array of pyarrow does."""

    def __init__(self, values):
        self.values = values

    def __iter__(self):
        return map(object.__new__, [object] * len(self.values))

    def to_pylist(self):
        return list(self.values)


class Series:
    """A column of polars, which has no kind of dtype as numpy has."""

    dtype = "String"

    def __init__(self, values):
        self.values, self.shape = values, (len(values),)

    def to_list(self):
        return list(self.values)


class Frame:
    """A table of pandas or polars."""

    def __init__(self, **columns):
        self.columns = list(columns)
        self.shape = (3, len(columns))

    def __iter__(self):
        return iter(self.columns)


class ArrowTable:
    """A table of pyarrow: its `columns` are the data."""

    def __init__(self, **columns):
        self.column_names, self.columns = list(columns), list(columns.values())


def installed(name):
    return importlib.util.find_spec(name) is not None


COLUMNS = [
    list,
    tuple,
    iter,
    np.array,
    lambda values: np.array(values, dtype=object),
    lambda values: np.array(values, dtype=np.dtypes.StringDType()),
    ArrowArray,
    Series,
]
FRAMES = [Frame, ArrowTable]
if installed("pandas"):
    import pandas

    COLUMNS += [
        pandas.Series,
        pandas.Index,
        lambda values: pandas.Series(values, dtype="category", index=[7, 8, 9]),
    ]
    FRAMES += [lambda **columns: pandas.DataFrame(columns)]
if installed("polars"):
    import polars

    COLUMNS += [polars.Series]
    FRAMES += [lambda **columns: polars.DataFrame(columns)]
if installed("pyarrow"):
    import pyarrow

    COLUMNS += [pyarrow.array, lambda values: pyarrow.chunked_array([values[:1], values[1:]])]
    FRAMES += [lambda **columns: pyarrow.table(columns)]


@pytest.mark.parametrize("column", COLUMNS)
def test_columns_of_every_kind_are_lists_of_strings(column):
    assert check_sequences(column(WORDS)) == WORDS
    assert all(type(word) is str for word in check_sequences(column(WORDS)))
    assert list(check_chunks(column(WORDS))) == [WORDS]


@pytest.mark.parametrize("column", [list, np.array, torch.tensor, ArrowArray, Series])
def test_rows_of_whole_numbers_are_tuples_of_python_numbers(column):
    rows = check_sequences(column([[1, 2], [3, 4]]))
    assert rows == [(1, 2), (3, 4)]
    assert type(rows[0][0]) is int


def test_an_iterator_is_read_in_chunks(monkeypatch):
    monkeypatch.setattr("likelihood_gan.validation.SEQUENCES_PER_CHUNK", 2)
    assert list(check_chunks(iter(WORDS))) == [["ann", "bob"], ["ann"]]


# What is refused; each message has the remedy


def chosen(X, name="X"):
    """The call that a user makes, for the table."""
    return lambda: check_sequences(X, name)


REFUSED = [
    ("words.txt", "the bare string 'words.txt'; for one .*read_sequences('words.txt')"),
    ("data/words.csv.gz", "read_sequences('data/words.csv.gz')"),
    (b"words.txt", "the bare string b'words.txt'; .*read_sequences"),
    (Path("words"), "the path .*'words'.*; pass likelihood_gan.datasets.read_sequences(X)"),
    (io.StringIO("a\nb\n"), "the open file .*read_sequences(X), which strips"),
    (Counter("ab"), "X is a Counter, a mapping; fit, score and perplexity .* counts; .* list(X)"),
    (np.array([["ann"], ["bob"]]), "array of shape (2, 1), a column; pass X[:, 0]"),
    (np.array([["ann"], ["bob"]], dtype=object), "array of shape (2, 1), a column; pass X[:, 0]"),
    (np.array([[1], [2]]), "list(map(tuple, X.tolist()))"),
    (torch.tensor([[1], [2]]), "array of shape (2, 1)"),
    (np.array([[1.0, 2.5]]), "an array of float64, .* discrete; .*astype(int), .*numpy.digitize"),
    (np.array([1.0, 2.5]), "an array of float64"),
    (torch.tensor([[1.0, 2.5]]), "an array of torch.float32"),
    (np.array("ann"), "array without dimensions"),
    (np.array([b"ann"]), "X[0] is b'ann', a bytes; .*decode()"),
    (np.array([1, 2]), "X[0] is 1, a int; expected a str or a sequence"),
    (
        [[["a"], ["b"]]],
        "X[0] is [['a'], ['b']], a list; .* a symbol is a list; make it a tuple, or flat",
    ),
    (np.zeros((2, 2, 2), dtype=int), "a symbol is a list"),
    (["ann", None], "X[1] is None, a NoneType; .* leave out what is missing, as by dropna()"),
    (["ann", np.nan], "X[1] is nan, a float; .* leave out what is missing"),
    ([datetime.date(2020, 1, 1)], "X[0] is datetime.date(2020, 1, 1), a date; expected"),
    ([{"a": 1}], "X[0] is {'a': 1}, a dict; expected"),
    ([["a" * 99, {}]], "X[0] is ['a*..., a list; .* a symbol is a dict"),
]


def pattern(message):
    """Return a message as a regular expression: ``.*`` and ``*`` mean what they mean there."""
    quoted = message.translate({ord(c): f"\\{c}" for c in "()[]{}|?+^$"})
    return "(?s)" + quoted.replace("...", r"\.\.\.")


@pytest.mark.parametrize("X, message", REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_no_list_of_sequences_is_refused_with_a_remedy(fitted, X, message):
    for call in (chosen(X), lambda: list(check_chunks(X))):
        with pytest.raises(TypeError, match=pattern(message)):
            call()
    if not isinstance(X, Counter):
        gan = tiny()
        with pytest.raises(TypeError, match=pattern(message)):
            gan.fit(X)
        assert not hasattr(gan, "distribution_")


def test_a_string_that_is_the_name_of_a_file_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("names").touch()
    with pytest.raises(TypeError, match=r"read_sequences\('names'\)"):
        check_sequences("names")
    with pytest.raises(TypeError, match=r"for one sequence pass \[X\]$"):
        check_sequences("anna")


@pytest.mark.parametrize("frame", FRAMES)
def test_a_table_says_which_column_to_pass(frame):
    with pytest.raises(TypeError, match=r"of one column; pass the column itself, X\['name'\]"):
        tiny().fit(frame(name=WORDS))
    with pytest.raises(TypeError, match=r"columns \['name', 'n'\]; .* such as X\['name'\]"):
        tiny().fit(frame(name=WORDS, n=[1, 2, 3]))


# Counts and weights


@pytest.mark.parametrize(
    "mapping", [Counter, lambda X: dict(Counter(X)), lambda X: MappingProxyType(Counter(X))]
)
def test_a_mapping_is_counts(mapping):
    counted = mapping(NAMES + NAMES[:9])
    gan = tiny().fit(counted)
    weights = list(counted.values())
    other = tiny().fit(list(counted), sample_weight=weights)
    np.testing.assert_array_equal(gan.score_samples(NAMES), other.score_samples(NAMES))
    assert gan.score(counted) == other.score(list(counted), sample_weight=weights)
    assert gan.score(counted) == pytest.approx(gan.score(NAMES + NAMES[:9]), rel=1e-12)
    assert gan.perplexity(counted) == pytest.approx(gan.perplexity(NAMES + NAMES[:9]), rel=1e-12)
    one, two = (Refined(gan.distribution_, n_samples=200, random_state=0) for _ in range(2))
    one.fit(counted), two.fit(list(counted), sample_weight=weights)
    np.testing.assert_array_equal(one.score_samples(NAMES), two.score_samples(NAMES))


def test_an_estimator_that_is_refined_gets_the_counts():
    counted = Counter(NAMES * 2 + NAMES[:9])
    one = Refined(tiny(), n_samples=200, random_state=0).fit(counted).estimator_
    two = tiny().fit(list(counted), sample_weight=list(counted.values()))
    np.testing.assert_array_equal(one.score_samples(NAMES), two.score_samples(NAMES))


@pytest.mark.parametrize(
    "X, error, message",
    [
        ({"ann": -1}, ValueError, r"X\['ann'\] is -1; counts must be finite and not negative"),
        ({"ann": np.inf}, ValueError, r"X\['ann'\] is inf"),
        (
            {"name": ["ann", "bob"]},
            ValueError,
            r"its values are counts, and X\['name'\] is \['ann'",
        ),
        ({"ann": "3"}, ValueError, r"X\['ann'\] is '3'"),
        ({}, ValueError, "X is empty"),
        ({"ann": 0}, ValueError, "not all 0, got only zeros"),
        ({3: 1}, TypeError, r"X\[0\] is 3, a int"),
    ],
)
def test_a_mapping_of_anything_else_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        check_weighed(X, None)


def test_counts_and_weights_together_are_refused(fitted):
    for call in (tiny().fit, fitted.score):
        with pytest.raises(
            TypeError, match="mapping of counts, and sample_weight is given, too; pass"
        ):
            call(Counter(NAMES), sample_weight=[1] * 56)


def test_counts_are_no_samples(fitted):
    for call in (fitted.score_samples, uniqueness, lambda X: novelty(NAMES, X)):
        with pytest.raises(TypeError, match="is a Counter, a mapping; .* pass list"):
            call(Counter(NAMES))


@pytest.mark.parametrize("weights", [[3, 1, 1], [0.5, 0.25, 0.25], [0.0, 0.4, 0.6], np.ones(3)])
@pytest.mark.parametrize("estimator", [tiny(), Refined(tiny())])
def test_weights_by_position_are_refused(estimator, weights):
    with pytest.raises(TypeError, match="y holds positive numbers, .* by name, as sample_weight="):
        estimator.fit(WORDS, weights)


@pytest.mark.parametrize(
    "labels", [["f", "m"] * 28, [0, 1] * 28, [-1, 1] * 28, [True, True] * 28, [[1], [2, 3]] * 28]
)
def test_labels_are_taken_no_account_of(fitted, labels):
    gan = tiny().fit(NAMES, labels)
    np.testing.assert_array_equal(gan.score_samples(NAMES), fitted.score_samples(NAMES))


# Lines of files


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_with_their_ends_are_refused(end):
    lines = [word + end for word in WORDS]
    for X in (lines, [*lines, "zoe"], lines[:1]):  # the last line of a file may have none
        with pytest.raises(ValueError, match=r"every sequence of X ends in a line end.*rstrip"):
            tiny().fit(X)
    assert check_weighed(["ann\n", "bob", "zoe\n"], None)[0] == ["ann\n", "bob", "zoe\n"]


def test_scores_of_lines_say_what_to_strip(fitted):
    with pytest.raises(ValueError, match=r"\['\\n'\].*; strip the line ends"):
        fitted.score_samples(["ann\n", "bob\n"])


def test_samples_are_not_compared_with_lines():
    with pytest.raises(ValueError, match="every sequence of training ends in a line end"):
        novelty(WORDS, ["ann\n", "bob\n", "zoe\n"])


def test_an_empty_last_line_is_warned_of():
    text = "ann\nbob\nzoe\n"
    with pytest.warns(UserWarning, match="the last sequence of X is the only empty one"):
        check_weighed(text.split("\n"), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_weighed(["ann", "", "zoe", ""], None)
        check_weighed(["", "zoe", "ann"], None)


# Missing and unseen symbols

NAN = float("nan")


@pytest.mark.parametrize("symbol", [NAN, (NAN, 1.0), np.datetime64("NaT"), frozenset([NAN])])
def test_a_symbol_that_is_not_equal_to_itself_is_refused(symbol):
    gan = tiny()
    with pytest.raises(ValueError, match="NaN equals nothing.* such as None, or leave such"):
        gan.fit([(symbol, 1), (symbol, 2)])
    with pytest.raises(ValueError, match="a symbol of .* the vocabulary is"):
        tiny(vocabulary=[symbol, 1]).fit([(1,), (1, 1)])
    assert not hasattr(gan, "distribution_")


def test_cross_validation_with_a_rare_symbol_says_what_to_pass():
    gan = tiny(adversarial_epochs=0, pretrain_epochs=1)
    names = [*["ann", "nan", "anna", "na", "an", "nana"] * 2, "quan"]  # the last fold has q and u
    with pytest.warns(
        UserWarning, match=r"(?s)\['q', 'u'\]; pass vocabulary= .*handle_unknown='token'"
    ):
        scores = cross_val_score(gan, names, cv=3)
    assert np.isnan(scores).tolist() == [False, False, True]
    assert np.isfinite(cross_val_score(gan.set_params(handle_unknown="token"), names, cv=3)).all()
