"""What people are told when they use it wrongly: the argument, its value and the remedy.

Each row of a table is a call, the type of its error, and words that the message must hold.
"""

import math
import re

import matplotlib
import numpy as np
import pytest
import torch
from conftest import NAMES, assert_refused, learned, tiny
from enumeration import Bigram, NoStep
from sklearn.feature_extraction.text import CountVectorizer
from torch import nn

from likelihood_gan import CharLSTM, LikelihoodGAN, LSTMDiscriminator, SequenceDistribution
from likelihood_gan.displays import LengthDisplay, TrainingDisplay
from likelihood_gan.metrics import (
    coverage,
    hashed_frechet_distance,
    n_gram_divergence,
    nll,
    novelty,
    real_against_real,
    two_sample_auc,
    uniqueness,
)
from likelihood_gan.models import Mixture, NGram, ResidualLSTM
from likelihood_gan.objectives import BalanceHeuristic, ImportanceSampled
from likelihood_gan.vocabulary import Vocabulary

matplotlib.use("Agg")


# Fitting


class Broken(Bigram):
    """A table whose `log_prob` is wrong in a way that the tests choose."""

    def __init__(self, n_tokens, change):
        super().__init__(n_tokens)
        self.change = change

    def log_prob(self, tokens):
        return self.change(super().log_prob(tokens))


class BadSample(Bigram):
    """Returns the rows that `rows(max_len)` gives, whatever they are."""

    def __init__(self, n_tokens, rows):
        super().__init__(n_tokens)
        self.rows = rows

    def sample(self, n, max_len):
        return torch.tensor([self.rows(max_len)] * n)


class Uncopyable(Bigram):
    def __deepcopy__(self, memo):
        raise TypeError("holds a socket")


def custom(generator, **params):
    return {"generator": generator, "generator_params": params or None}


def broken(change):
    return custom(Broken, change=change)


def drawing(rows):
    return custom(BadSample, rows=rows)


def judged_by(discriminator):
    return {"discriminator": discriminator, "discriminator_params": None}


def at_once(objective):
    """No epoch is finished before the objective is asked."""
    return {"objective": objective, "pretrain_epochs": 0, "discriminator_pretrain_epochs": 0}


def pairs(n_tokens):
    return nn.Embedding(n_tokens, 2)


# the data, or NAMES with these parameters
FITS = [
    ([], ValueError, "X is empty", "pass at least one sequence"),
    ("anna", TypeError, "X must be an iterable of sequences", "'anna'", "pass [X]"),
    (None, TypeError, "X must be an iterable of sequences, got NoneType"),
    (7, TypeError, "X must be an iterable of sequences, got int"),
    (["a", None], TypeError, "X[1] is None, a NoneType", "expected a str or a sequence"),
    (["a", 3.5], TypeError, "X[1] is 3.5, a float", "expected a str or a sequence"),
    ([b"a"], TypeError, "X[0] is b'a', a bytes", "expected a str or a sequence"),
    ([{"a"}], TypeError, "X[0] is {'a'}, a set", "expected a str or a sequence"),
    ([[["x"]]], TypeError, "X[0] is [['x']], a list", "hashable symbols"),
    (["a", ("b",)], TypeError, "X must hold strings, like the others, got ('b',)"),
    ([("b",), "a"], TypeError, "X must hold sequences of symbols, like the others, got 'a'"),
    (["a"], ValueError, "at least two", "n_samples=1", "early_stopping=False"),
    ({"max_len": 0}, ValueError, "max_len must be None or an integer >= 1, got 0"),
    ({"max_len": 3}, ValueError, "max_len=3", "a sequence of 4 symbols", "raise max_len"),
    ({"vocabulary": "abc"}, ValueError, "not in the vocabulary", "'d', 'e'", "vocabulary="),
    ({"vocabulary": ["ab"]}, ValueError, "single characters, got ['ab']"),
    ({"objective": "importence"}, ValueError, "'importence'", "did you mean 'importance'"),
    ({"objective": "MLE"}, ValueError, "'MLE'", "did you mean 'mle'"),
    ({"objective": ImportanceSampled}, TypeError, "objective must be", "must be instantiated"),
    (at_once(BalanceHeuristic("jensen")), ValueError, "divergence must be one of", "jensen"),
    ({"objective": 3}, TypeError, "objective must be a name or a callable", "3"),
    ({"precision": "fp8"}, ValueError, "precision must be 'float32' or 'bf16', got 'fp8'"),
    (
        {"handle_unknown": "ignore"},
        ValueError,
        "handle_unknown must be 'error', 'neg_inf'",
        "'ignore'",
    ),
    (
        {"pretrain_epochs": 0, "adversarial_epochs": 0},
        *(ValueError, "nothing would be trained", "pass a trained module as generator, or train"),
    ),
    (
        custom(3),
        TypeError,
        "generator must be an object with log_prob and sample, or a callable",
        "3",
    ),
    (custom(lambda n_tokens: {}), TypeError, "log_prob(tokens) and sample(n, max_len), got dict"),
    (
        custom(Bigram(30), width=3),
        ValueError,
        "generator_params={'width': 3}",
        "got a finished Bigram",
    ),
    (custom(nn.Linear, out_features=2), TypeError, "got Linear without log_prob and sample"),
    (custom(Bigram(25).requires_grad_(False)), ValueError, "pretrain_epochs=2", "method count"),
    (custom(Bigram(3)), ValueError, "tokens from 0 to 24", "was it built for n_tokens=25"),
    (custom(Uncopyable(25)), ValueError, "Uncopyable", "holds a socket", "pass a callable"),
    (drawing(lambda n: [1] * (n + 1)), ValueError, "rows of at most 5 tokens, got shape (2, 6)"),
    (drawing(lambda n: [0] * (n - 1) + [1]), ValueError, "after the first 0", "must be 0"),
    (drawing(lambda n: [1, 1]), ValueError, "a row of 2 tokens without END (0)"),
    (drawing(lambda n: [1.0, 0.0]), ValueError, "an int64 tensor (n, length), got torch.float32"),
    (drawing(lambda n: [-1, 0]), ValueError, "must return tokens from 0 to 24, got -1 to 0"),
    (drawing(lambda n: [25, 0]), ValueError, "must return tokens from 0 to 24, got 0 to 25"),
    (broken(lambda v: v.long()), ValueError, "log_prob", "floating-point numbers, got torch.int64"),
    (broken(lambda v: v[:, None]), ValueError, "log_prob", "shape (8,), got (8, 1)"),
    (broken(lambda v: v * math.nan), ValueError, "log_prob(tokens) returned NaN", "-inf"),
    (broken(lambda v: v + 100), ValueError, "a probability is at most 0", "log_softmax"),
    (broken(lambda v: 0.5), ValueError, "shape (8,), got float"),
    (judged_by(pairs), ValueError, "discriminator(tokens)", "shape (8,), got (8, 5, 2)"),
    (judged_by(nn.Identity), ValueError, "discriminator Identity has no parameters to train"),
    ({"objective": lambda batch: batch.real.log_prob}, ValueError, "scalar tensor, got (8,)"),
]


@pytest.mark.parametrize("row", FITS, ids=lambda row: row[2])
def test_fit_refuses_bad_input_and_leaves_what_was_there(fitted, row):
    given, error, *words = row
    X, settings = (NAMES, given) if isinstance(given, dict) else (given, {})
    gan = tiny(**settings)
    assert_refused(lambda: gan.fit(X), error, words)
    assert not learned(gan)
    vars(gan).update(learned(fitted))  # as if it had been fitted before
    assert_refused(lambda: gan.fit(X), error, words)
    assert learned(gan) == learned(fitted)


WEIGHTS = [
    ([1], "one number for each of the 2 sequences, got shape (1,)"),
    ([1, -2], "finite, not negative and not all 0, got -2.0"),
    ([1, math.nan], "got nan"),
    ([0, 0], "got only zeros"),
    ([1e308, 1], "sum to 1e+300 at most, got 1e+308 for one of 2 sequences; divide all weights"),
]


@pytest.mark.parametrize("weights, words", WEIGHTS)
def test_bad_weights_are_refused_by_name(fitted, weights, words):
    for call in (tiny().fit, fitted.score):
        told = ("sample_weight must", *words.split("; "))
        assert_refused(lambda call=call: call(["a", "b"], sample_weight=weights), ValueError, told)


def test_warm_start_refuses_symbols_it_has_no_token_for():
    gan = tiny(warm_start=True).fit(NAMES)
    told = ("not in the vocabulary: ['7']", "pass vocabulary=")
    assert_refused(lambda: gan.fit(["ann7", "a"]), ValueError, told)
    told = ("X must hold strings, like the data of the previous fit", "('a',)")
    assert_refused(lambda: gan.fit([("a",), ("n",)]), TypeError, told)


class OneSymbol(Bigram):
    """Gives every longer sequence probability 0."""

    def log_prob(self, tokens):
        return super().log_prob(tokens).where((tokens != 0).sum(1) < 4, -math.inf)


@pytest.mark.parametrize("objective", ["mle", "pooled"])
def test_data_that_the_generator_cannot_write_are_named_and_no_lower_rate_is_advised(objective):
    settings = custom(OneSymbol) | {"objective": objective, "check_plugins": False}
    with pytest.raises(FloatingPointError, match="at any learning rate") as raised:
        tiny(**settings).fit(NAMES)
    named = re.search(
        r"X holds '(\w+)', which the generator gives probability 0", str(raised.value)
    )
    assert len(named[1]) == 4
    assert "lower learning rate" not in str(raised.value)


# Drawing and scoring

SAMPLES = [
    (dict(n_samples=0), ValueError, "n_samples must be an integer >= 1, got 0"),
    (dict(n_samples=2.5), TypeError, "n_samples must be an integer >= 1, got 2.5"),
    (
        dict(n_samples=10**19),
        *(ValueError, "n_samples must be", "at most 9223372036854775807", str(10**19)),
    ),
    (dict(n_samples=True), TypeError, "n_samples must be an integer >= 1, got True"),
    (dict(max_len=0), ValueError, "max_len must be an integer >= 1, got 0"),
    (dict(max_len=3, min_len=4), ValueError, "max_len must be at least min_len=4, got 3"),
    (dict(min_len=-1), ValueError, "min_len must be an integer >= 0, got -1"),
    (dict(max_len=3, prefix="anna"), ValueError, "max_len=3 is shorter than the prefix of 4"),
    (dict(prefix="É"), ValueError, "prefix='É' holds symbols", "['É']; choose among ['a', 'b',"),
    (dict(prefix=["a"]), TypeError, "prefix must be a str, like the data of fit, got ['a']"),
    *(
        (dict(temperature=value), ValueError, f"must be a positive, finite number, got {value}")
        for value in (0, math.nan, math.inf)
    ),
    (
        dict(temperature=1e-320, min_len=2),
        *(ValueError, "temperature must be at least 1e-30, got 1e-320", "top_k=1"),
    ),
    (
        dict(temperature="hot"),
        TypeError,
        "temperature must be a positive, finite number, got 'hot'",
    ),
    (dict(random_state="x"), ValueError, "random_state must be None, an integer from 0", "'x'"),
    (dict(top_k=0), ValueError, "top_k must be None or an integer >= 1, got 0"),
    (dict(top_k=2.5), TypeError, "top_k must be None or an integer >= 1, got 2.5"),
    *(
        (
            dict(top_p=value),
            ValueError,
            f"top_p must be a number above 0 and at most 1, got {value}",
        )
        for value in (0, 1.1, math.nan)
    ),
    (dict(top_p="most"), TypeError, "top_p must be a number above 0 and at most 1, got 'most'"),
    (dict(banned="aä"), ValueError, "banned holds symbols", "['ä']"),
    (dict(allowed=["ö"]), ValueError, "allowed holds symbols", "['ö']"),
    (dict(banned=3), TypeError, "banned[0] is 3", "hashable symbols"),
    (dict(allowed="", min_len=1), ValueError, "min_len with allowed is out of reach", "ban less"),
    (dict(cut="off"), ValueError, "cut must be 'keep', 'redraw' or 'error', got 'off'"),
    (
        dict(max_len=1, min_len=1, cut="error", n_samples=99),
        *(ValueError, "longer than max_len=1", "raise max_len", "cut='redraw'"),
    ),
    (dict(exclude="anna"), TypeError, "exclude must be an iterable", "'anna'", "[exclude]"),
    (dict(exclude=7), TypeError, "exclude must be an iterable of sequences, got int"),
    (dict(exclude=[("a",)]), TypeError, "exclude must hold strings, like the samples, got ('a',)"),
    (dict(where="a$"), TypeError, "where must be a function of a sequence, got 'a$'"),
    (dict(colour="red"), TypeError, "no constraint ['colour']", "prefix", "temperature"),
]


@pytest.mark.parametrize("arguments, error, words", [(a, e, w) for a, e, *w in SAMPLES])
def test_sampling_refuses_bad_arguments(fitted, arguments, error, words):
    for model in (fitted, fitted.distribution_):
        assert_refused(lambda model=model: model.sample(**arguments), error, words)
        assert_refused(lambda model=model: model.sample_counts(**arguments), error, words)


def test_flags_of_a_call_must_be_booleans(fitted):
    for name in ("distinct", "return_log_prob"):
        told = (f"{name} must be True or False, got 'no'",)
        assert_refused(lambda name=name: fitted.sample(**{name: "no"}), TypeError, told)
    told = ("random must be True or False, got 1",)
    assert_refused(lambda: fitted.discriminate(NAMES, random=1), TypeError, told)


def test_a_prefix_of_tuples_is_no_bare_string():
    model = SequenceDistribution(Bigram(3), ["ATG", "GCC"], 5)
    told = ("prefix must be a list of symbols, ['ATG'] or list('ATG'), like the data", "got 'ATG'")
    assert_refused(lambda: model.sample(prefix="ATG"), TypeError, told)
    assert model.sample(prefix=["ATG"])[0][0] == "ATG"


STEERED = dict(prefix="a", temperature=0.5, min_len=1, top_k=2, top_p=0.5, banned="a", allowed="a")


@pytest.mark.parametrize("arguments", [{name: value} for name, value in STEERED.items()])
def test_constraints_on_a_generator_without_step_name_what_is_missing(arguments):
    model = SequenceDistribution(NoStep(4), "abc", 5)
    ((name, value),) = arguments.items()
    words = (f"{name}={value!r} needs", "NoStep", "step(tokens, state)", "Autoregressive")
    assert_refused(lambda: model.sample(**arguments), ValueError, words)


def test_too_few_distinct_sequences_say_how_many_there_are():
    model = SequenceDistribution(Bigram(2), "a", 2)
    words = ("distinct=True", "found 3", "n_samples=9", "ask for fewer", "temperature")
    assert_refused(lambda: model.sample(9, distinct=True, random_state=0), ValueError, words)


SCORES = [
    (["ann4"], ValueError, "['4']", "pass vocabulary=", "handle_unknown='token'", "'neg_inf'"),
    ("anna", TypeError, "got the bare string 'anna'", "pass [X]"),
    ([], ValueError, "X is empty", "pass at least one"),
    ([None], TypeError, "X[0] is None"),
    ([("a", "n")], TypeError, "X must hold strings, like the data of fit, got ('a', 'n')"),
]


@pytest.mark.parametrize("method", ["score_samples", "score", "perplexity", "discriminate"])
@pytest.mark.parametrize("X, error, words", [(X, e, w) for X, e, *w in SCORES])
def test_scores_refuse_bad_sequences(fitted, method, X, error, words):
    assert_refused(lambda: getattr(fitted, method)(X), error, words)


def test_without_a_discriminator_nothing_is_discriminated():
    gan = tiny(objective="mle").fit(NAMES)
    words = ("trained no discriminator", "'mle'", "'pooled'")
    assert_refused(lambda: gan.discriminate(NAMES), ValueError, words)


# Everything else

PAIR = (["a", "b"], ["a", "c"])
AB = ["a", "b"] * 9


def no_figure():
    """One axis too many."""
    axes = np.empty(2, dtype=object)
    return TrainingDisplay(curves={"a": np.ones((1, 2))}).plot(axes)


CALLS = [
    (
        lambda: SequenceDistribution(nn.Linear(2, 2), "a", 5),
        TypeError,
        "got Linear without log_prob",
    ),
    (lambda: SequenceDistribution(Bigram, "a", 5), TypeError, "generator must be", "class Bigram"),
    (lambda: SequenceDistribution(Bigram(3), "aa", 5), ValueError, "the same symbol twice"),
    (
        lambda: SequenceDistribution(Bigram(3), "ab", 0),
        ValueError,
        "max_len must be an integer >= 1",
    ),
    (lambda: Vocabulary("aba"), ValueError, "same symbol twice", "give every symbol once"),
    (lambda: Vocabulary(["a", "bc"]), ValueError, "single characters, got ['bc']"),
    (lambda: Mixture([]), ValueError, "at least one model", "got 0 generators"),
    (lambda: Mixture([Bigram(3)] * 2, [1, 2, 3]), ValueError, "got 2 generators", "[1, 2, 3]"),
    (lambda: Mixture([Bigram(3)] * 2, 0.5), ValueError, "one number for each", "weights=0.5"),
    (lambda: Mixture([Bigram(3)] * 2, [2, -1]), ValueError, "weights must", "[2, -1]", "pass None"),
    (lambda: Mixture([Bigram(3)] * 2, [0, 0]), ValueError, "weights must be", "not all 0"),
    (lambda: Mixture([Bigram(3)] * 2, [1, math.nan]), ValueError, "weights must be finite", "nan"),
    (lambda: Mixture([Bigram(3)] * 2, [1, math.inf]), ValueError, "weights must be finite", "inf"),
    (lambda: Mixture([Bigram(3)], ["a"]), TypeError, "weights must be a sequence of", "['a']"),
    (lambda: Mixture([nn.Linear(2, 2)]), TypeError, "generators[0] must have", "got Linear"),
    (
        lambda: Mixture([LSTMDiscriminator(3)]),
        TypeError,
        "got LSTMDiscriminator without log_prob and sample",
    ),
    (lambda: Mixture([Bigram]), TypeError, "generators[0] must be an object, got the class Bigram"),
    (lambda: Mixture([LikelihoodGAN()]), TypeError, "got LikelihoodGAN without log_prob; pass its"),
    (lambda: NGram(3, order=2.0), TypeError, "order must be None or an integer >= 1, got 2.0"),
    (lambda: NGram(3, min_count=math.nan), ValueError, "min_count must be a finite number >= 0"),
    (
        lambda: ResidualLSTM(3, order="x"),
        TypeError,
        "order must be None or an integer >= 1, got 'x'",
    ),
    (lambda: ResidualLSTM(True), TypeError, "n_tokens must be an integer >= 1, got True"),
    (lambda: CharLSTM(3, dropout=None), TypeError, "dropout must be a number from 0", "None"),
    (
        lambda: tiny().set_params(generator_params__hidden_size=8),
        *(
            ValueError,
            "generator_params__hidden_size is no parameter; write generator__hidden_size",
        ),
    ),
    (lambda: uniqueness("abc"), TypeError, "generated", "pass [generated]"),
    (lambda: novelty(["a"], [1]), TypeError, "training[0] is 1"),
    (lambda: coverage(["a"], [("a",)]), TypeError, "held_out must hold strings, like generated"),
    (lambda: n_gram_divergence([], ["a"]), ValueError, "generated is empty", "pass at least one"),
    (lambda: hashed_frechet_distance(["a"], []), ValueError, "real is empty"),
    (lambda: nll(None, []), ValueError, "sequences is empty"),
    (lambda: nll(3, ["a"]), AttributeError, "score_samples"),
    (lambda: real_against_real(novelty, []), ValueError, "real is empty"),
    (lambda: n_gram_divergence(*PAIR, n=0), ValueError, "n must be an integer >= 1, got 0"),
    (lambda: n_gram_divergence(*PAIR, n=2.0), TypeError, "n must be an integer >= 1, got 2.0"),
    (lambda: hashed_frechet_distance(*PAIR, n_features=0), ValueError, "n_features must", "0"),
    (
        lambda: hashed_frechet_distance(*PAIR, ngram_range=(3, 2)),
        *(ValueError, "ngram_range must be (shortest, longest)", "got (3, 2)"),
    ),
    (
        lambda: hashed_frechet_distance(*PAIR, ngram_range=3),
        *(TypeError, "ngram_range must be (shortest, longest) with 1 <= shortest", "got 3"),
    ),
    (lambda: two_sample_auc(*PAIR, cv=1), ValueError, "cv must be an integer >= 2, got 1"),
    (
        lambda: two_sample_auc(["a"] * 9, AB, cv=2),
        *(ValueError, "generated must hold at least cv=2 distinct sequences, got 1", "lower cv"),
    ),
    (
        lambda: two_sample_auc(AB, AB, cv=2, classifier=CountVectorizer()),
        *(TypeError, "classifier must be", "predict_proba, got CountVectorizer"),
    ),
    (lambda: real_against_real(novelty, ["a"]), ValueError, "real must hold at least 2", "got 1"),
    (lambda: real_against_real(novelty, AB, n_repeats=0), ValueError, "n_repeats must", "0"),
    (
        lambda: TrainingDisplay.from_histories([]),
        ValueError,
        "holds no epochs",
        "fit the estimator",
    ),
    (
        lambda: TrainingDisplay.from_histories([[{"a": 1}]], keys=["b"]),
        *(ValueError, "columns of the history ['a'], got 'b'"),
    ),
    (
        lambda: TrainingDisplay.from_histories([[{"a": 1}]]),
        *(ValueError, "none of validation_nll, generator_loss, discriminator_loss, only ['a']"),
    ),
    (lambda: LengthDisplay.from_samples([], ["a"]), ValueError, "generated is empty"),
    (no_figure, ValueError, "axes must hold 1 matplotlib axes, got 2"),
]


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row[2])
def test_bad_arguments_are_refused_by_name(row):
    call, error, *words = row
    assert_refused(call, error, words)


@pytest.mark.parametrize("build", [CharLSTM, LSTMDiscriminator])
@pytest.mark.parametrize(
    "argument, value",
    [("hidden_size", 0), ("n_layers", 0), ("dropout", 1.0), ("embedding_size", 0)],
)
def test_impossible_sizes_are_refused_by_name(build, argument, value):
    words = (f"{argument} must be", f"got {value}")
    assert_refused(lambda: build(5, **{argument: value}), ValueError, words)


# Files


def test_a_file_needs_a_folder_and_a_name(fitted, tmp_path):
    folder, missing = str(tmp_path), str(tmp_path / "no")
    rows = [
        (folder, IsADirectoryError, (f"path={folder!r} is a folder; pass the name of a file",)),
        ("", IsADirectoryError, ("path='' is a folder", "'model.safetensors'")),
        (3, TypeError, ("path must be a str or a pathlib.Path, got 3",)),
    ]
    for path, error, words in rows:
        for use in (fitted.save, fitted.distribution_.save, LikelihoodGAN.load):
            assert_refused(lambda use=use, path=path: use(path), error, words)
    told = (f"there is no folder {missing!r}; make it first",)
    assert_refused(lambda: fitted.save(missing + "/model"), FileNotFoundError, told)
    assert not list(tmp_path.iterdir())
