"""What `fit` refuses before it trains: the gallery of faulty plug-ins, and what nobody can know."""

import numpy as np
import pytest
import torch
from conftest import NAMES, assert_refused, learned, tiny
from enumeration import Bigram as AnyBigram
from unlawful import (
    BROKEN_CALLBACKS,
    BROKEN_DISCRIMINATORS,
    BROKEN_GENERATORS,
    BROKEN_OBJECTIVES,
    CANNOT_BE_KNOWN,
    N_TOKENS,
    Bigram,
    Counts,
    CountsCalls,
    CountsInPlace,
    Judge,
    TooFewPlaces,
    Words,
    WrongFromTheEighth,
    WrongFromTheTenth,
)

from likelihood_gan import CharLSTM, LSTMDiscriminator, plugins
from likelihood_gan.checks import check_discriminator, check_generator
from likelihood_gan.corpus import Corpus
from likelihood_gan.models import NGram, ResidualLSTM

pytestmark = pytest.mark.filterwarnings("ignore::likelihood_gan.controls.PoorFitWarning")

DATA = ["ab", "ab", "aab", "ba", "b", "", "abab", "aa", "bb", "a", "abb", "aba"]
SHORT = ["a", "b", "", "b", "a", "a"] * 2
LONG = ["abababababab", "aabbaabbaabb"] * 4


def estimator(generator=Bigram, discriminator=Judge, **changes):
    settings = dict(generator_params=None, discriminator_params=None, vocabulary="ab")
    models = dict(
        generator=lambda n_tokens: generator(), discriminator=lambda n_tokens: discriminator()
    )
    return tiny(**settings | models | {"batch_size": 128} | changes)


def data_of(build):
    return SHORT if isinstance(build, type) and issubclass(build, Words) else DATA


# The gallery


@pytest.mark.parametrize("fault", BROKEN_GENERATORS, ids=str)
def test_a_faulty_generator_is_refused_before_it_is_trained_or_the_table_says_it_cannot_be(fault):
    gan, X = estimator(fault.build), data_of(fault.build)
    if fault.in_fit is None:
        gan.set_params(objective="mle").fit(X)
        return
    with pytest.raises((TypeError, ValueError), match=fault.in_fit):
        gan.fit(X)
    assert not learned(gan)


@pytest.mark.parametrize("fault", BROKEN_DISCRIMINATORS, ids=str)
def test_a_faulty_discriminator_is_refused_before_it_is_trained(fault):
    gan = estimator(discriminator=fault.build)
    with pytest.raises((TypeError, ValueError), match=fault.in_fit):
        gan.fit(DATA)
    assert not learned(gan)


@pytest.mark.parametrize(("objective", "words"), BROKEN_OBJECTIVES)
def test_a_faulty_objective_is_refused_before_anything_is_trained(objective, words):
    gan = tiny(objective=objective)
    with pytest.raises((ValueError, RuntimeError), match=words):
        gan.fit(NAMES)
    assert not learned(gan)


@pytest.mark.parametrize(("callbacks", "words"), BROKEN_CALLBACKS)
def test_a_faulty_callback_is_named_by_its_error(callbacks, words):
    with pytest.raises((TypeError, KeyError), match=words):
        tiny(callbacks=callbacks).fit(NAMES)


@pytest.mark.parametrize("build", CANNOT_BE_KNOWN)
def test_what_cannot_be_known_passes_for_lawful(build):
    check_generator(build(), N_TOKENS)
    estimator(build).fit(DATA)


def test_the_gallery_has_kinds_enough():
    kinds = [BROKEN_GENERATORS, BROKEN_DISCRIMINATORS, BROKEN_OBJECTIVES, BROKEN_CALLBACKS]
    assert sum(map(len, kinds)) >= 100


# Length


@pytest.mark.parametrize("build", [WrongFromTheEighth, WrongFromTheTenth, TooFewPlaces])
def test_what_goes_wrong_in_long_rows_is_found_at_the_length_of_the_data(build):
    with pytest.raises(ValueError, match="log_softmax|out of bounds|out of range"):
        estimator(build).fit(LONG)
    with pytest.raises(ValueError, match="log_softmax|out of bounds|out of range"):
        check_generator(build(), N_TOKENS, max_len=12)


@pytest.mark.parametrize("X", [["", ""], ["a"] * 4, ["ab" * 30, "b" * 40] * 2])
@pytest.mark.parametrize("build", [Bigram, Counts])
def test_lawful_models_pass_whatever_the_length_of_the_data(build, X):
    estimator(build, early_stopping=False, objective="mle").fit(X)


@pytest.mark.parametrize("build", [Bigram, Words, Counts, Judge])
@pytest.mark.parametrize("max_len", [1, 2, 3, 30])
def test_lawful_models_pass_at_every_length(build, max_len):
    if build is Judge:
        check_discriminator(build(), N_TOKENS, max_len=max_len)
    else:
        check_generator(build(), N_TOKENS, max_len=max_len, n_samples=2000)


def test_a_lawful_plugin_of_any_weights_and_alphabet_is_never_refused():
    for seed in range(40):
        n_tokens = 2 + 2 * seed
        model = AnyBigram(n_tokens, seed)
        model.logits.data *= 3 * torch.rand((), generator=torch.Generator().manual_seed(seed))
        rows = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 1, 1, 0]])
        corpus = Corpus(rows, torch.ones(2, dtype=torch.float64))
        plugins.check_plugins(model, None, corpus, n_tokens, batch_size=64)


# What the checks leave behind: nothing


def bits(gan):
    weights = [p.detach().numpy() for p in gan.generator_.parameters()]
    return [*weights, gan.score_samples(DATA), gan.sample(20, random_state=0)]


@pytest.mark.parametrize("objective", ["pooled", "mle"])
@pytest.mark.parametrize("build", [Bigram, Counts])
def test_a_fit_gives_the_same_bits_with_and_without_checks(build, objective):
    before = torch.random.get_rng_state()
    fits = [
        estimator(build, check_plugins=check, objective=objective).fit(DATA)
        for check in (True, False)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*map(bits, fits), strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_checks_can_be_turned_off_and_the_error_says_how():
    gan = estimator(CountsCalls)
    assert_refused(lambda: gan.fit(DATA), ValueError, ["CountsCalls", "check_plugins=False"])
    assert learned(gan.set_params(check_plugins=False).fit(DATA))


def test_the_data_are_not_touched_by_what_counts_in_place():
    rows = torch.tensor([[1, 2, 0], [2, 1, 0], [1, 1, 0], [2, 0, 0]])
    corpus = Corpus(rows.clone(), torch.ones(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="in place"):
        plugins.check_plugins(CountsInPlace(), None, corpus, N_TOKENS, batch_size=8)
    assert torch.equal(corpus.tokens, rows)


# The package's own models are not tried again


@pytest.mark.parametrize("build", [CharLSTM, NGram, ResidualLSTM])
def test_models_of_the_package_are_lawful_by_the_laws_of_fit(build, monkeypatch):
    assert build in plugins._LAWFUL
    rows = torch.tensor([[1, 2, 0], [2, 1, 0], [1, 1, 0], [2, 0, 0]])
    corpus = Corpus(rows, torch.ones(4, dtype=torch.float64))
    monkeypatch.setattr(plugins, "_LAWFUL", ())
    judge = LSTMDiscriminator(N_TOKENS, hidden_size=8)
    plugins.check_plugins(build(N_TOKENS), judge, corpus, N_TOKENS, batch_size=8)


def test_a_subclass_is_a_plugin():
    class Mine(CharLSTM):
        def sample(self, n, max_len, *, rng=None):
            return super().sample(n, max_len)

    with pytest.raises(ValueError, match="Mine breaks a law, an rng repeats"):
        tiny(generator=Mine).fit(NAMES)


# A callback that leaves something behind


def test_a_callback_that_leaves_another_mode_or_empties_its_history_changes_nothing():
    def untidy(distribution, history):
        distribution.generator.eval()
        history.clear()

    settings = dict(generator_params={"hidden_size": 8, "dropout": 0.5})
    tidy, other = (tiny(callbacks=c, **settings).fit(NAMES) for c in (None, [untidy]))
    assert np.array_equal(tidy.score_samples(NAMES), other.score_samples(NAMES))
    assert [r["epoch"] for r in other.history_] == [r["epoch"] for r in tidy.history_]
