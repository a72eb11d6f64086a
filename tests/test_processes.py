"""Several processes that train one model learn what one process learns, and end together."""

import os
import socket
import time
import warnings

import joblib
import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from enumeration import Bigram
from forked import CONTEXT
from killing import without_seconds
from sklearn.model_selection import cross_val_score

from likelihood_gan import Ensemble, LikelihoodGAN, corpus
from likelihood_gan.callbacks import Checkpoint
from likelihood_gan.objectives import MLE
from likelihood_gan.processes import several_processes


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def together(work, *arguments, n=2):
    """Do some work in `n` processes as torchrun starts them; give what each returned, None if it died."""
    group = {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ends, processes = [], []
    for rank in range(n):
        end, other = CONTEXT.Pipe(duplex=False)
        variables = group | {"RANK": str(rank)}
        process = CONTEXT.Process(target=_work, args=(other, variables, work, *arguments))
        process.start()
        other.close()
        ends.append(end)
        processes.append(process)
    results = []
    for end, process in zip(ends, processes, strict=True):
        assert end.poll(60), "a process hangs"
        try:
            results.append(end.recv())
        except EOFError:
            results.append(None)
        process.join()
    return results


def _work(end, variables, work, *arguments):
    os.environ.update(variables)
    torch.set_num_threads(1)
    corpus.STEPS_PER_EPOCH = (1, 1000)
    warnings.simplefilter("ignore")
    end.send(work(*arguments))


def weights(gan):
    modules = [m for m in (gan.generator_, gan.discriminator_) if m is not None]
    return [p.detach().numpy() for m in modules for p in m.parameters()]


def decayed(batch):
    """Read weights beside log-probabilities: the first are no rows that could be divided."""
    size = sum(p.square().sum() for p in batch.real.generator.parameters())
    return MLE()(batch) + 0.1 * size


# An odd batch; dropout in the default generator and in both networks; rows that come more than once
# in a batch, which are evaluated once; fewer rows than processes.
FITS = {
    "mle": dict(generator=None, objective="mle"),
    "pooled": dict(generator=None, discriminator_params={"hidden_size": 8, "dropout": 0.3}),
    "importance": dict(generator=None, objective="importance"),
    "reads weights": dict(objective=decayed),
    "large batch": dict(batch_size=60),
    "one row a batch": dict(batch_size=1, early_stopping=False),
    "draws nothing": dict(generator=Bigram, generator_params=None),
    "no seed": dict(random_state=None),
}


def fit_one(name):
    brief = {"batch_size": 15, "pretrain_epochs": 1, "adversarial_epochs": 1}
    return tiny(**(brief | FITS[name])).fit(NAMES)


def fit_all():
    results = {}
    with several_processes():
        for name in FITS:
            gan = fit_one(name)
            results[name] = weights(gan), [without_seconds(record) for record in gan.history_]
    return results


@pytest.fixture(scope="module")
def fitted_by_two():
    return together(fit_all)


@pytest.mark.parametrize("name", [name for name in FITS if name != "no seed"])
def test_two_processes_learn_what_one_learns(name, fitted_by_two):
    alone = fit_one(name)
    found, history = fitted_by_two[0][name]
    for mine, other in zip(found, weights(alone), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    assert len(history) == len(alone.history_)
    for mine, other in zip(history, alone.history_, strict=True):
        assert mine.keys() == without_seconds(other).keys()
        for key, value in mine.items():
            assert value == (other[key] if key == "phase" else pytest.approx(other[key], rel=1e-4))


@pytest.mark.parametrize("name", FITS)
def test_all_processes_have_the_same_model(name, fitted_by_two):
    (first, history), (second, other) = (results[name] for results in fitted_by_two)
    for mine, others in zip(first, second, strict=True):
        np.testing.assert_array_equal(mine, others)
    assert history == other


def test_without_torchrun_a_fit_is_what_it_always_is(fitted):
    with several_processes() as rank:
        again = tiny().fit(NAMES)
    assert rank == 0
    for mine, other in zip(weights(again), weights(fitted), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_timeout_is_a_positive_number():
    with pytest.raises(ValueError, match="timeout must be a positive, finite number, got 0"):
        several_processes(timeout=0).__enter__()


# One writes, and one decides


def brief(**changes):
    """Build an estimator that makes one step an epoch: on a busy machine a step takes long."""
    settings = dict(objective="mle", batch_size=60, pretrain_epochs=0, adversarial_epochs=4)
    return tiny(**(settings | changes))


class Stop:
    """Remember how often it was asked, and stop in epoch 2."""

    def __init__(self):
        self.epochs = []

    def __call__(self, distribution, history):
        self.epochs.append(history[-1]["epoch"])
        return len(self.epochs) == 2


def fit_until_the_callback_stops():
    stop = Stop()
    with several_processes():
        gan = brief(callbacks=[stop]).fit(NAMES)
    return stop.epochs, gan.n_iter_


def test_the_first_process_alone_calls_callbacks_and_its_word_counts():
    assert together(fit_until_the_callback_stops) == [([1, 2], 2), ([], 2)]


class Break:
    def __call__(self, distribution, history):
        if len(history) == 3:
            raise OSError("disk full")


def break_off(path):
    try:
        with several_processes():
            brief(callbacks=[Checkpoint(path), Break()]).fit(NAMES)
    except OSError as error:
        return type(error).__name__, str(error)


def go_on(path):
    with several_processes():
        return weights(LikelihoodGAN.resume(path, NAMES))


def test_an_error_of_one_ends_all_and_they_go_on_from_the_checkpoint(tmp_path):
    path = str(tmp_path / "fit")
    first, second = together(break_off, path)
    assert first == ("OSError", "disk full")
    assert second[0] == "ConnectionError"
    assert len(os.listdir(tmp_path)) == 1
    for found in together(go_on, path):
        for mine, other in zip(found, weights(brief().fit(NAMES)), strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-5)


# What goes wrong


def fit_another_part():
    try:
        with several_processes() as rank:
            brief().fit(NAMES[rank::2])
    except ValueError as error:
        return str(error)


def test_data_that_were_divided_by_hand_are_refused_in_all_processes():
    for message in together(fit_another_part):
        assert "X, sample_weight and symbols must be the same in all 2 processes" in message
        assert "fit itself divides" in message


class Ill:
    """An objective that fails in one process, after some steps."""

    adversarial = False

    def __init__(self, how):
        self.how, self.n_calls = how, 0

    def __call__(self, batch):
        self.n_calls += 1
        if self.n_calls == 4 and os.environ["RANK"] == "1":
            self.how()
        return MLE()(batch)


def die():
    os._exit(1)


def fall_silent():
    time.sleep(6)


def fit_beside(how, timeout):
    gan = brief(objective=Ill(how))
    try:
        with several_processes(timeout=timeout):
            gan.fit(NAMES)
    except ConnectionError as error:
        return str(error), error.__notes__, gan.n_iter_


@pytest.mark.parametrize(
    ("how", "timeout"), [(die, 60), pytest.param(fall_silent, 3, marks=pytest.mark.slow)]
)
def test_a_process_that_dies_or_falls_silent_ends_the_fit_of_the_others(how, timeout):
    message, notes, n_iter = together(fit_beside, how, timeout)[0]
    assert "process 0 (of 2, from 0) hears nothing of another one" in message
    assert "LikelihoodGAN.resume" in message
    assert n_iter == 2
    assert f"fit ended after {n_iter} of 4 epochs; the estimator holds the model" in notes[0]


# Independent fits


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_folds_and_members_are_the_same_numbers_wherever_they_are_fitted(backend, real_epochs):
    gan = tiny(vocabulary="abcdefghijklmnopqrstuvwxyz", objective="mle")
    with joblib.parallel_config(backend):
        folds = cross_val_score(gan, NAMES, cv=2, n_jobs=2)
        ensemble = Ensemble(gan, n_jobs=2, random_state=0).fit(NAMES)
    np.testing.assert_array_equal(folds, cross_val_score(gan, NAMES, cv=2))
    alone = Ensemble(gan, random_state=0).fit(NAMES)
    np.testing.assert_array_equal(ensemble.score_samples(NAMES), alone.score_samples(NAMES))
