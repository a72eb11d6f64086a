"""Text files as lists of sequences: any line end, compressed or not, and errors that name the line."""

import bz2
import functools
import gzip
import io
import lzma

import numpy as np
import pytest
from conftest import NAMES, tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likelihood_gan.datasets import iter_sequences, read_sequences

COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=5)
TEXT = LINE.filter(lambda line: not line.startswith("\ufeff"))  # a mark at the beginning is none


@pytest.fixture
def write(tmp_path):
    def write(content, name="words.txt"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@given(
    st.lists(TEXT, max_size=6), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from([*COMPRESS])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_written_is_read(tmp_path, lines, end, suffix):
    lines = [*lines, "ann"]  # a file whose every line ends in a tab and a number is refused
    path = tmp_path / f"words.txt{suffix}"
    path.write_bytes(COMPRESS[suffix]("".join(line + end for line in lines).encode()))
    assert read_sequences(path, keep_empty=True) == lines
    assert read_sequences(str(path)) == [line for line in lines if line]
    assert list(iter_sequences(path, keep_empty=True)) == lines


def test_line_ends_may_differ_and_the_last_may_be_missing(write):
    path = write("ann\r\nbob\rzoe\n\nida")
    assert read_sequences(path) == ["ann", "bob", "zoe", "ida"]
    assert read_sequences(path, keep_empty=True) == ["ann", "bob", "zoe", "", "ida"]


def test_nothing_but_the_line_end_is_stripped(write):
    text = " ann \n\tbob\u2028\x0b\x85\n"  # what str.splitlines would split
    assert read_sequences(write(text)) == [" ann ", "\tbob\u2028\x0b\x85"]


def test_a_byte_order_mark_is_no_symbol(write):
    assert read_sequences(write("\ufeffann\nbob\n")) == ["ann", "bob"]
    assert read_sequences(write("ann\nbob\n".encode("utf-16")), encoding="utf-16") == ["ann", "bob"]


def test_an_open_file_is_read_to_its_end_and_stays_open(write):
    path = write("ann\r\nbob\r\n")
    for open_it in (
        path.open,
        functools.partial(path.open, newline=""),
        functools.partial(path.open, "rb"),
        functools.partial(gzip.open, write(gzip.compress(b"ann\nbob\n"), "words.gz")),
        lambda: io.StringIO("ann\nbob\n"),
        lambda: io.BytesIO(b"ann\nbob"),
    ):
        with open_it() as file:
            assert read_sequences(file) == ["ann", "bob"]
            assert not file.closed
            assert read_sequences(file) == []


def test_a_stream_is_read_line_by_line():
    class Endless(io.TextIOBase):
        def readline(self, size=-1):
            return "ann\n"

        __next__ = readline

    lines = iter_sequences(Endless())
    assert [next(lines) for _ in range(3)] == ["ann"] * 3


# Counts


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_counts_follow_a_tab(write, end):
    sequences, counts = read_sequences(
        write(f"ann\t3{end}\tbob\t0.5{end}{end}\t2{end}"), counts=True
    )
    assert sequences == ["ann", "\tbob", ""]
    assert counts.dtype == np.float64 and counts.tolist() == [3, 0.5, 2]


def test_counts_are_weights(write):
    sequences, counts = read_sequences(
        write("".join(f"{name}\t2\n" for name in NAMES)), counts=True
    )
    gan = tiny().fit(sequences, sample_weight=counts)
    other = tiny().fit(NAMES * 2)
    np.testing.assert_array_equal(gan.score_samples(NAMES), other.score_samples(NAMES))


@pytest.mark.parametrize("line", ["bob", "bob\t", "bob\tx", "bob\t-1", "bob\tnan", "bob\tinf", "3"])
def test_a_line_without_a_count_is_named(write, line):
    with pytest.raises(ValueError, match=r"words.txt, line 2: with counts=True .*, got ") as raised:
        read_sequences(write(f"ann\t3\n{line}\n"), counts=True)
    assert repr(line) in str(raised.value)


def test_counts_that_were_not_asked_for_are_not_read_as_text(write):
    with pytest.raises(
        ValueError, match=r"every line ends in a tab and a number.*pass counts=True"
    ):
        read_sequences(write("ann\t3\nbob\t1.5\n"))
    assert read_sequences(write("ann\t3\nbob\n")) == ["ann\t3", "bob"]


# Errors name the file, the line and the remedy


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", b"ann\r\ncaf\xe9 noir\n", r"a.txt, line 2: the byte 0xe9 behind 'caf' is no UTF-8; pass enc"),
        ("a.txt", b"ann\n" * 9000 + b"\xff", r"a.txt, line 9001: the byte 0xff"),
        ("a.txt", "ann\n".encode("utf-16"), r"line 1: the byte 0xff .* such as 'latin-1' or 'utf-16'"),
        ("a.txt", "ann\n".encode("utf-16-le"), r"line 1: holds a NUL.*pass encoding='utf-16'"),
        ("a.txt", gzip.compress(b"ann\n", mtime=0), r"a compressed file has to end in .gz, .bz2 or .xz"),
        ("a.gz", b"ann\n", r"a.gz, after line 0: cannot be decompressed, .* no .gz file"),
        ("a.bz2", b"ann\n", r"no .bz2 file"),
        ("a.xz", b"ann\n", r"no .xz file"),
        ("a.gz", gzip.compress(b"ann\n" * 99, mtime=0)[:-9], r"cannot be decompressed, the file is damaged"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_text_is_refused(write, name, content, message):
    path = write(content, name)
    for read in (read_sequences, lambda path: list(iter_sequences(path))):
        with pytest.raises(ValueError, match=message):
            read(path)


def test_another_encoding_is_read(write):
    assert read_sequences(write(b"caf\xe9\n"), encoding="latin-1") == ["café"]


def test_a_file_that_was_opened_with_the_wrong_encoding_is_named(write):
    message = "words.txt, after line 0: .*open the file with the encoding"
    path = write(b"ann\ncaf\xe9\n")
    with path.open(encoding="utf-8") as file, pytest.raises(ValueError, match=message):
        read_sequences(file)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.txt"):
        read_sequences(tmp_path / "nothing.txt")
    with pytest.raises(IsADirectoryError):
        read_sequences(tmp_path)
    with pytest.raises(TypeError, match="path must be a path or an open file, got 3"):
        read_sequences(3)


def test_an_empty_file_has_no_sequences(write):
    assert read_sequences(write("")) == []
    assert read_sequences(write(""), counts=True)[1].shape == (0,)
    with pytest.raises(ValueError, match="X is empty"):
        tiny().fit(read_sequences(write("\n\n")))
