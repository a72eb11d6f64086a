"""What is hashed in whole arrays is what other libraries hash one by one."""

import random
import zlib

import numpy as np
import pytest
from sklearn.feature_extraction import FeatureHasher
from sklearn.utils import murmurhash3_32

import likelihood_gan.ngrams
from likelihood_gan.hashing import Written, blocks, murmur3, symbol_name
from likelihood_gan.ngrams import NGramHasher, n_grams

SYMBOLS = {
    "text": "abé日\n'\"\0\ud800\U0001f600",
    "tuples": [1, 2.0, "x", "a long name", (1, 2), None],
}


def sequences(kind, n=300):
    rng = random.Random(0)
    rows = [rng.choices(SYMBOLS[kind], k=rng.randrange(9)) for _ in range(n)]
    rows.append(100 * [SYMBOLS[kind][0]])
    return ["".join(row) for row in rows] if kind == "text" else [tuple(row) for row in rows]


@pytest.fixture(params=SYMBOLS)
def X(request):
    return sequences(request.param)


@pytest.mark.parametrize("ngram_range", [(1, 5), (2, 2), (4, 7), (12, 13)])
@pytest.mark.parametrize("n_features", [2**18, 7, 2**31 - 1])
def test_features_are_those_of_scikit_learn_to_the_bit(X, ngram_range, n_features, monkeypatch):
    lines = (
        map("\n".join, n_grams(map(symbol_name, s), *ngram_range, marks=("START", "END")))
        for s in X
    )
    expected = FeatureHasher(n_features, input_type="string").transform(lines)
    monkeypatch.setattr(likelihood_gan.ngrams, "CELLS_PER_BLOCK", 500)  # several blocks
    found = NGramHasher(ngram_range, n_features).transform(X)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_features_that_are_not_collected_have_the_same_sums(X):
    hasher = NGramHasher(n_features=100)
    weights = np.random.default_rng(0).normal(size=100)
    found, expected = (matrix @ weights for matrix in (hasher.uncollected(X), hasher.transform(X)))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_hashes_of_bytes_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    text = rng.integers(0, 256, 60, dtype=np.uint8)
    begin = np.arange(40)
    lengths = [rng.integers(0, 20, 40) for _ in range(3)]
    expected = [
        [murmurhash3_32(text[i : i + n[i]].tobytes(), positive=True) for n in lengths]
        for i in begin
    ]
    np.testing.assert_array_equal(murmur3(text, begin, lengths), expected)


def test_checksums_are_those_of_the_names(X):
    expected = [zlib.crc32("\n".join(map(symbol_name, s)).encode()) for s in X]
    np.testing.assert_array_equal(Written.of(X).checksums(), expected)


def test_blocks_are_all_sequences_in_their_order_and_of_about_the_size(X):
    parts = list(blocks(X, 50))
    assert [s for part in parts for s in part] == X
    assert all(sum(len(s) + 2 for s in part[1:]) < 50 for part in parts)
    assert len(list(blocks(X, 10**6))) == 1
