"""A fit warns if what takes no time explains the held-out data better."""

import calendar
import contextlib
import re
import warnings

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from enumeration import Bigram
from torch import nn

from likelihood_gan.controls import (
    Diverged,
    PoorFitWarning,
    check_progress,
    poor_discriminator,
    poor_fit,
)
from likelihood_gan.corpus import Corpus
from likelihood_gan.datasets import load_first_names
from likelihood_gan.models import NGram

MONTHS = [month.lower() for month in calendar.month_name if month]


@pytest.fixture(scope="module")
def first_names():
    return load_first_names()[::6]


def warnings_of(gan, X):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PoorFitWarning)
        gan.fit(X)
    return [str(w.message) for w in caught if w.category is PoorFitWarning]


# In a fit


@pytest.mark.parametrize("objective", ["pooled", "mle"])
def test_an_lstm_that_has_hardly_learned_is_worse_than_an_n_gram_model(first_names, objective):
    with pytest.warns(
        PoorFitWarning, match=r"by an n-gram model \(generator=likelihood_gan.models.NGram\)"
    ):
        tiny(pretrain_epochs=1, adversarial_epochs=1, objective=objective).fit(first_names)


def test_the_default_is_no_worse_than_an_n_gram_model_however_little_it_has_learned(first_names):
    settings = dict(pretrain_epochs=1, adversarial_epochs=0)
    assert not warnings_of(tiny(generator=None, **settings), first_names)
    assert not warnings_of(tiny(generator=NGram, generator_params=None), first_names)


def test_frequencies_are_better_than_a_bad_model_of_data_that_repeat_themselves():
    (said,) = warnings_of(tiny(), MONTHS * 50)
    assert "by the frequencies of the data" in said
    said = warnings_of(tiny(validation_fraction=0.5), MONTHS)
    assert "frequencies" not in "".join(said)  # of new sequences they know nothing


def test_where_nothing_is_held_out_nothing_is_compared(first_names):
    assert not warnings_of(tiny(pretrain_epochs=1, early_stopping=False), first_names)


def test_the_warning_leaves_a_fitted_estimator_and_can_be_made_an_error(first_names):
    gan = tiny(pretrain_epochs=1, adversarial_epochs=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PoorFitWarning)
        with pytest.raises(PoorFitWarning):
            gan.fit(first_names)
    assert len(gan.sample(3, random_state=0)) == 3


# Training that made everything worse


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_rate_that_makes_all_worse_than_random_symbols_ends_in_an_error(early_stopping):
    settings = dict(pretrain_learning_rate=1e6, early_stopping=early_stopping)
    fitted, gan = tiny().fit(NAMES), tiny(**settings)
    for estimator in (gan, fitted.set_params(**settings)):
        before = {key: value for key, value in vars(estimator).items() if key.endswith("_")}
        with pytest.raises(
            FloatingPointError, match="pretrain_learning_rate=1000000.0 .*unchanged"
        ):
            estimator.fit(NAMES)
        after = {key: value for key, value in vars(estimator).items() if key.endswith("_")}
        assert after == before


@pytest.mark.parametrize("rate", [1e38, 1e308])
@pytest.mark.parametrize("phase", ["pretrain", "adversarial", "discriminator"])
def test_a_rate_that_is_no_step_ends_in_an_error(phase, rate):
    with pytest.raises(FloatingPointError, match="diverged in epoch .* lower learning rate"):
        tiny(**{f"{phase}_learning_rate": rate}).fit(NAMES)


def test_a_discriminator_that_has_learned_nothing_is_told():
    said = warnings_of(tiny(discriminator_learning_rate=1e6), NAMES)
    assert "where guessing has 1.386" in said[0]  # beside what an n-gram model does better
    assert "lower discriminator_learning_rate" in said[0]
    assert not any("discriminator" in words for words in warnings_of(tiny(), NAMES))


def test_the_bound_of_a_discriminator_is_twice_the_loss_of_a_guess():
    bound = 4 * np.log(2)
    for lowest, tells in ((bound - 1e-6, False), (bound + 1e-6, True)):
        losses = [{"discriminator_loss": 9.0}, {"generator_loss": 1.0}]
        said = poor_discriminator([*losses, {"discriminator_loss": lowest}])
        assert (said is not None) == tells
    assert poor_discriminator([{"generator_loss": 9.0}]) is None


def test_what_was_counted_before_the_rate_made_it_worse_is_kept():
    gan = tiny(generator=None, pretrain_learning_rate=1e6)
    with pytest.raises(FloatingPointError, match="holds the model of epoch 0"):
        gan.fit(NAMES)
    assert gan.best_epoch_ == 0
    known = [name for name in NAMES if name not in gan.held_out_]  # the others were not counted
    counted = tiny(generator=NGram, generator_params=None, early_stopping=False).fit(known)
    np.testing.assert_allclose(gan.score_samples(NAMES), counted.score_samples(NAMES), rtol=1e-5)


def test_without_held_out_data_a_model_worse_than_random_symbols_is_said_to_be():
    gan = tiny(adversarial_learning_rate=1e6, early_stopping=False)
    with pytest.warns(PoorFitWarning, match="as random symbols .*lower learning rate"):
        gan.fit(NAMES)
    random = np.mean([len(name) + 1 for name in NAMES]) * np.log(gan.vocabulary_.n_tokens)
    assert gan.score(NAMES) < -random


def test_a_module_that_begins_worse_than_random_symbols_may_stay_so():
    wrong = Bigram(25)
    with torch.no_grad():
        wrong.logits[:, 0] += 200
    gan = tiny(generator=wrong, generator_params=None, early_stopping=False)
    with pytest.warns(PoorFitWarning, match="random symbols"):
        gan.fit(NAMES)
    assert gan.best_epoch_ == gan.n_iter_


@pytest.mark.parametrize("before", [0.0, 100.0])
def test_the_bound_is_twice_the_nats_of_random_symbols_or_of_the_beginning(before):
    corpus = Corpus(torch.tensor([[1, 0, 0], [1, 1, 0]]), torch.tensor([3.0, 1.0]))
    random = (0.75 * 2 + 0.25 * 3) * np.log(4)
    bound = 2 * max(random, before)
    for losses, fails in (([bound + 1, bound - 1e-3], False), ([bound + 1, bound + 1e-3], True)):
        history = [{"phase": "count", "epoch": 0}]
        history += [{"phase": "pretrain", "generator_loss": loss} for loss in losses]
        history += [{"phase": "adversarial", "generator_loss": 1e9}]
        with pytest.raises(Diverged) if fails else contextlib.nullcontext():
            check_progress(history, corpus, 4, before, 0.1)


# By how much


ROWS = torch.arange(1, 41)[:, None] * torch.tensor([[1, 0]])
SHARES = torch.arange(1, 41).double()


class Listed(nn.Module):
    """Gives each row a known log-probability; it counts, so that frequencies alone are compared."""

    def __init__(self, log_prob):
        super().__init__()
        self.values = log_prob

    def log_prob(self, tokens):
        return self.values[tokens[:, 0] - 1]

    def sample(self, n, max_len):
        raise NotImplementedError

    def count(self, tokens, weights):
        raise NotImplementedError


def worse_by(differences, shares):
    """Compare a generator that is worse than the frequencies by given differences."""
    corpus, held_out = Corpus(ROWS, SHARES), Corpus(ROWS, shares)
    own = corpus.log_frequency.double() - torch.as_tensor(differences)
    return poor_fit(Listed(own), corpus, held_out, n_tokens=41)


def test_the_mean_difference_and_its_standard_error_are_said():
    differences = np.random.default_rng(0).normal(2, 1, len(ROWS))
    said = worse_by(differences, torch.ones(len(ROWS)))
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    numbers = [float(number) for number in re.findall(r"\d+\.\d+", said)]
    assert numbers == pytest.approx([differences.mean(), error], abs=0.006)


def test_the_standard_error_is_that_of_the_number_of_occurrences():
    differences = np.random.default_rng(0).normal(2, 1, len(ROWS))
    errors = [
        float(re.search(r"error (.*)", worse_by(differences, times * torch.ones(len(ROWS))))[1])
        for times in (1, 4)
    ]
    assert errors[0] == pytest.approx(2 * errors[1], abs=0.02)


def test_one_held_out_sequence_proves_nothing_and_an_impossible_one_everything():
    one = torch.zeros(len(ROWS))
    corpus, held_out = Corpus(ROWS, SHARES), Corpus(ROWS[:1], torch.ones(1))
    own = corpus.log_frequency.double() - 5
    assert poor_fit(Listed(own), corpus, held_out, n_tokens=41) is None
    impossible = corpus.log_frequency.double().where(one.bool().logical_not(), 0)
    impossible[3] = -torch.inf
    assert "inf nats" in poor_fit(Listed(impossible), corpus, corpus, n_tokens=41)


def test_nothing_is_said_within_two_standard_errors():
    noise = np.random.default_rng(0).normal(size=len(ROWS))
    noise *= 0.1 / noise.std(ddof=1) * np.sqrt(len(noise))  # a standard error of 0.1
    noise, ones = noise - noise.mean(), torch.ones(len(ROWS))
    for mean in (-1, 0, 0.19):
        assert worse_by(noise + mean, ones) is None
    assert "by 0.21 nats per sequence, standard error 0.10" in worse_by(noise + 0.21, ones)


def test_a_generator_is_not_worse_than_itself():
    corpus = Corpus(ROWS, torch.ones(len(ROWS)))
    model = NGram(41)
    model.count(ROWS, torch.ones(len(ROWS)))

    class Finished(nn.Module):
        log_prob, sample = model.eval().log_prob, model.sample

    new = Corpus(torch.tensor([[1, 2, 0], [3, 3, 0], [5, 40, 0]]), torch.ones(3))
    assert poor_fit(Finished(), corpus, new, n_tokens=41) is None
    assert "an n-gram model" in poor_fit(Bigram(41), corpus, new, n_tokens=41)
