"""A fit that is resumed comes to the same bits as one that was not interrupted."""

import enum
import json
import os
import random

import killing
import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from enumeration import Bigram
from killing import assert_same_bits

from likelihood_gan import LikelihoodGAN, SequenceDistribution, corpus
from likelihood_gan.callbacks import Checkpoint, EarlyStopping
from likelihood_gan.models import Mixture, NGram
from likelihood_gan.objectives import Pooled

COUNTS = np.repeat([1.0, 40.0], [len(NAMES) // 2, len(NAMES) - len(NAMES) // 2])


class Unlucky(Bigram):
    """Draws from PyTorch's global state, and remembers in a buffer."""

    def __init__(self, n_tokens):
        super().__init__(n_tokens)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def log_prob(self, tokens):
        if self.training:
            self.calls += 1
        return super().log_prob(tokens) - 0.01 * torch.rand(len(tokens))


class Normed(torch.nn.Module):
    """A judge with running means."""

    def __init__(self, n_tokens):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))

    def forward(self, tokens):
        return self.layers((tokens > 0).float().sum(1, keepdim=True))[:, 0]


def mixture(n_tokens):
    return Mixture([NGram(n_tokens, 3), Bigram(n_tokens)])


FITS = {
    "a plain LSTM": dict(),
    "the default": dict(generator=None),
    "what counts alone": dict(generator=NGram, generator_params=None),
    "no early stopping": dict(early_stopping=False),
    "no discriminator": dict(objective="mle"),
    "another objective": dict(objective=Pooled("js"), adversarial_epochs=3),
    "a phase that ends early": dict(
        pretrain_epochs=9, pretrain_learning_rate={1: 0.5}, n_iter_no_change=2
    ),
    "a callback that stops": dict(callbacks=[EarlyStopping(patience=1)], pretrain_epochs=9),
    "no epochs": dict(generator=NGram, generator_params=None, pretrain_epochs=0),
    "low precision": dict(precision="bf16"),
    "dropout": dict(generator_params={"hidden_size": 8, "dropout": 0.5, "n_layers": 2}),
}
CODE = {
    "a plug-in with random numbers": dict(
        generator=Unlucky, generator_params=None, check_plugins=False
    ),
    "running means": dict(discriminator=Normed, discriminator_params=None, check_plugins=False),
    "a mixture": dict(generator=mixture, generator_params=None),
    "a function as a rate": dict(pretrain_learning_rate=lambda epoch: 0.01 / epoch),
}


class Crash(Exception):
    pass


def crash_at(epoch):
    def callback(distribution, history):
        if history[-1]["epoch"] == epoch:
            raise Crash

    return callback


def cut_short(settings, path, epoch, data=NAMES, weights=None):
    """Fit until the callbacks of an epoch, before its checkpoint."""
    settings = dict(settings)
    callbacks = [crash_at(epoch), *settings.pop("callbacks", []), Checkpoint(path)]
    with pytest.raises(Crash):
        tiny(**settings, callbacks=callbacks).fit(data, sample_weight=weights)


@pytest.mark.parametrize("weights", [None, COUNTS], ids=["distinct", "repeated"])
@pytest.mark.parametrize("name", FITS | CODE)
def test_a_fit_that_is_resumed_is_the_one_that_was_not_interrupted(name, weights, tmp_path):
    settings, given = (FITS | CODE)[name], CODE.get(name, {})
    given = {k: v for k, v in given.items() if k != "generator_params"}
    callbacks = settings.get("callbacks", [])
    whole = tiny(**settings).fit(NAMES, sample_weight=weights)
    path = tmp_path / "fit"
    for epoch in {1, whole.n_iter_ // 2, whole.n_iter_} & {*range(1, whole.n_iter_ + 1)}:
        path.unlink(missing_ok=True)
        cut_short(settings, path, epoch, weights=weights)
        again = LikelihoodGAN.resume(path, NAMES, weights, callbacks=callbacks, **given)
        assert_same_bits(again, whole)
    tiny(**settings | {"callbacks": [*callbacks, Checkpoint(path)]}).fit(NAMES, None, weights)
    again = LikelihoodGAN.resume(path, NAMES, weights, callbacks=[crash_at(1)], **given)
    assert_same_bits(again, whole)  # there is nothing left to do


def test_a_random_state_goes_on_where_the_fit_has_left_it(tmp_path):
    """`random_state` is used again by the next fit."""
    whole = tiny(random_state=np.random.RandomState(5)).fit(NAMES)
    cut_short(dict(random_state=np.random.RandomState(5)), tmp_path / "fit", 3)
    again = LikelihoodGAN.resume(tmp_path / "fit", NAMES)
    assert again.random_state.randint(2**31) == whole.random_state.randint(2**31)


def test_the_checkpoint_of_a_finished_fit_gives_the_fitted_estimator_at_once(tmp_path):
    for every in (1, 4):  # after the last epoch it is written, whenever that is
        path = tmp_path / "fit"
        whole = tiny(generator=None, callbacks=[Checkpoint(path, every=every)]).fit(NAMES)
        assert_same_bits(LikelihoodGAN.resume(path, NAMES, callbacks=[crash_at(5)]), whole)


def test_an_interrupted_fit_that_is_resumed_can_be_interrupted_again(tmp_path):
    whole = tiny(generator=None).fit(NAMES)
    cut_short(dict(generator=None), tmp_path / "fit", 2)
    for epoch in (3, 5):
        with pytest.raises(Crash):
            callbacks = [crash_at(epoch), Checkpoint(tmp_path / "fit")]
            LikelihoodGAN.resume(tmp_path / "fit", NAMES, callbacks=callbacks)
    assert_same_bits(LikelihoodGAN.resume(tmp_path / "fit", NAMES), whole)


def test_a_file_that_is_written_less_often_goes_on_from_an_earlier_epoch(tmp_path):
    whole = tiny().fit(NAMES)
    seen = []

    def watch(distribution, history):
        seen.append(history[-1]["epoch"])
        if seen == [1, 2, 3, 4, 5]:
            raise Crash

    with pytest.raises(Crash):
        tiny(callbacks=[watch, Checkpoint(tmp_path / "fit", every=3)]).fit(NAMES)
    assert_same_bits(LikelihoodGAN.resume(tmp_path / "fit", NAMES, callbacks=[watch]), whole)
    assert seen == [1, 2, 3, 4, 5, 4, 5]


@pytest.mark.parametrize("generator", [None, "plain"])
def test_a_warm_start_is_resumed_like_any_fit(generator, tmp_path):
    settings = dict(warm_start=True) | (dict(generator=None) if generator is None else {})
    whole = tiny(**settings).fit(NAMES).fit(NAMES)
    gan = tiny(**settings).fit(NAMES)
    with pytest.raises(Crash):
        gan.set_params(callbacks=[crash_at(8), Checkpoint(tmp_path / "fit")]).fit(NAMES)
    assert_same_bits(LikelihoodGAN.resume(tmp_path / "fit", NAMES), whole)


def test_the_order_of_the_data_does_not_matter(tmp_path):
    cut_short({}, tmp_path / "fit", 3)
    mixed = random.Random(0).sample(NAMES, len(NAMES))
    gan = LikelihoodGAN.resume(tmp_path / "fit", iter(mixed))
    assert gan.sample(50, random_state=0) == tiny().fit(NAMES).sample(50, random_state=0)


# What is refused


@pytest.mark.parametrize(
    "data, weights, message",
    [
        (
            NAMES[:-1],
            None,
            r"X is not what .*fit was written with: 55 .* now, 56 then; pass the same",
        ),
        ([*NAMES[:-1], "zoo"], None, "X is not what"),
        ([*NAMES, "žofie"], None, "X is not what"),
        (NAMES, np.arange(len(NAMES)) + 1, "sample_weight is not what"),
        (NAMES + NAMES[:1], None, "sample_weight is not what"),
        ([], None, "X is empty"),
    ],
)
def test_other_data_are_refused(tmp_path, data, weights, message):
    cut_short({}, tmp_path / "fit", 3)
    with pytest.raises(ValueError, match=message):
        LikelihoodGAN.resume(tmp_path / "fit", data, weights)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"pretrain_epochs": 9}, "pretrain_epochs is not what .*: 9 now, 2 then; leave it out"),
        ({"n_iter_no_change": 3}, "n_iter_no_change is not what .*: 3 now, the default then"),
        ({"objective": "mle"}, "objective is not what"),
        ({"generator_params": {"hidden_size": 9}}, "generator_params is not what"),
        ({"generator": Bigram}, "generator is not what"),
        ({"random_state": 1}, "random_state is not what"),
    ],
)
def test_other_parameters_are_refused_by_name(tmp_path, given, message):
    cut_short({}, tmp_path / "fit", 3)
    with pytest.raises(ValueError, match=message):
        LikelihoodGAN.resume(tmp_path / "fit", NAMES, **given)
    with pytest.raises(TypeError, match="hidden"):
        LikelihoodGAN.resume(tmp_path / "fit", NAMES, hidden=9)
    same = {"pretrain_epochs": 2, "n_iter_no_change": 10, "generator_params": {"hidden_size": 8}}
    gan = LikelihoodGAN.resume(tmp_path / "fit", NAMES, **same, verbose=0)
    assert gan.n_iter_ == 5


def test_verbose_and_callbacks_are_not_in_the_file(tmp_path, capsys):
    cut_short(dict(verbose=1), tmp_path / "fit", 3)
    capsys.readouterr()
    gan = LikelihoodGAN.resume(tmp_path / "fit", NAMES)
    assert (gan.verbose, gan.callbacks) == (0, None)
    assert capsys.readouterr().out == ""
    LikelihoodGAN.resume(tmp_path / "fit", NAMES, verbose=1)
    assert "epoch   5 of 5" in capsys.readouterr().out


def test_code_must_be_passed_again(tmp_path):
    cut_short(CODE["a plug-in with random numbers"], tmp_path / "fit", 3)
    code = tmp_path / "fit"
    with pytest.raises(ValueError, match=r"pass generator= \(.*Unlucky\) to resume"):
        LikelihoodGAN.resume(code, NAMES)
    with pytest.raises(ValueError, match=r"generator is not what .* then"):
        LikelihoodGAN.resume(code, NAMES, generator=Bigram)


def pairs(text):
    return [text[i : i + 2] for i in range(0, len(text), 2)]


class Light(enum.Enum):
    RED = 1
    GREEN = 2


LIGHTS = [(Light.RED, Light.GREEN), (Light.GREEN,), (Light.RED, Light.RED)] * 5


@pytest.mark.parametrize(
    "settings, data, code, missing",
    [
        ({"token_pattern": "ch|."}, NAMES, {}, None),
        ({"handle_unknown": "token"}, NAMES, {}, None),
        ({"token_pattern": pairs}, NAMES, {"token_pattern": pairs}, r"token_pattern= \(pairs\)"),
        ({}, LIGHTS, {"vocabulary": Light}, r"vocabulary= \(Light\)"),
        ({"vocabulary": [*Light]}, LIGHTS, {"vocabulary": [*Light]}, r"vocabulary= \(Light\)"),
    ],
)
def test_a_fit_goes_on_with_any_symbols(settings, data, code, missing, tmp_path):
    whole = tiny(**settings).fit(data)
    cut_short(settings, tmp_path / "fit", 3, data)
    again = LikelihoodGAN.resume(tmp_path / "fit", data, **code)
    assert_same_bits(again, whole)
    assert again.get_params()["vocabulary"] == whole.get_params()["vocabulary"]
    if missing is not None:
        with pytest.raises(ValueError, match=f"pass {missing} to resume"):
            LikelihoodGAN.resume(tmp_path / "fit", data)


def test_a_generator_of_another_shape_is_refused(tmp_path):
    sizes = iter([3, 4])

    def build(n_tokens):
        return Mixture([NGram(n_tokens, next(sizes)), Bigram(n_tokens)])

    cut_short(dict(generator=build, generator_params=None), tmp_path / "fit", 3)
    with pytest.raises(ValueError, match="generator is another one than that of the checkpoint"):
        LikelihoodGAN.resume(tmp_path / "fit", NAMES, generator=build)


def test_a_checkpoint_and_a_model_are_not_taken_for_each_other(tmp_path):
    gan = tiny(callbacks=[Checkpoint(tmp_path / "fit")]).fit(NAMES)
    gan.save(tmp_path / "model")
    for cls in (LikelihoodGAN, SequenceDistribution):
        with pytest.raises(ValueError, match="is a checkpoint of a fit; read it with resume"):
            cls.load(tmp_path / "fit")
    with pytest.raises(ValueError, match="is no checkpoint; read it with load"):
        LikelihoodGAN.resume(tmp_path / "model", NAMES)
    with pytest.raises(FileNotFoundError):
        LikelihoodGAN.resume(tmp_path / "nothing", NAMES)
    data = (tmp_path / "fit").read_bytes()
    (tmp_path / "fit").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        LikelihoodGAN.resume(tmp_path / "fit", NAMES)


@pytest.mark.parametrize("every", [0, 1.5, "often"])
def test_an_odd_number_of_epochs_is_refused(every):
    with pytest.raises((TypeError, ValueError), match="every"):
        Checkpoint("fit", every=every)


def test_a_file_that_cannot_be_written_is_an_error_before_the_first_epoch(tmp_path):
    asked = []
    callbacks = [Checkpoint(tmp_path / "missing" / "fit"), lambda *arguments: asked.append(1)]
    with pytest.raises(FileNotFoundError, match="missing"):
        tiny(callbacks=callbacks).fit(NAMES)
    assert not asked


def test_the_file_is_numbers_and_json_and_comes_with_the_estimator_s_own_file(tmp_path):
    gan = tiny(callbacks=[Checkpoint(tmp_path / "fit", every=2)]).fit(NAMES)
    data = (tmp_path / "fit").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == ["likelihood_gan"]
    assert b"pickle" not in data and not any(name.encode() in data for name in ("alma", "zoe"))
    gan.save(tmp_path / "model")
    again = LikelihoodGAN.load(tmp_path / "model")
    assert again.callbacks == [Checkpoint(tmp_path / "fit", every=2)]


# Killed


def check_a_kill(whole, path, wait):
    """Kill a fit, go on in this process, and compare; leave nothing behind."""
    path.unlink(missing_ok=True)
    killed = killing.kill_after(wait, str(path))
    assert_same_bits(LikelihoodGAN.resume(path, NAMES), whole)
    assert os.listdir(path.parent) == [path.name]
    return killed


@pytest.fixture
def whole(monkeypatch):
    monkeypatch.setattr(corpus, "STEPS_PER_EPOCH", killing.STEPS)
    return tiny(**killing.SETTINGS).fit(NAMES)


def test_a_fit_that_was_killed_at_some_moments_is_resumed_to_the_same_bits(whole, tmp_path):
    path = tmp_path / "fit"
    duration = killing.seconds(str(path))
    assert sum(check_a_kill(whole, path, share * duration) for share in (0.1, 0.6)) >= 1


@pytest.mark.slow
def test_a_fit_that_was_killed_at_20_random_moments_is_resumed_to_the_same_bits(whole, tmp_path):
    path = tmp_path / "fit"
    duration = killing.seconds(str(path))
    dice = random.Random(0)
    n_killed = 0
    while n_killed < 20:
        n_killed += check_a_kill(whole, path, dice.uniform(0, duration))


@pytest.mark.slow
def test_a_fit_that_is_killed_again_and_again_comes_to_the_same_bits(whole, tmp_path):
    path = tmp_path / "fit"
    duration = killing.seconds(str(path))
    path.unlink()
    dice = random.Random(1)
    n_killed = int(killing.kill_after(duration / 8, str(path)))
    while n_killed < 8:  # a later one would come too late
        n_killed += killing.kill_after(dice.uniform(0, duration / 4), str(path), going_on=True)
    assert_same_bits(LikelihoodGAN.resume(path, NAMES), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_fit_on_cuda_goes_on_there(tmp_path):
    whole = tiny(device="cuda").fit(NAMES)
    cut_short(dict(device="cuda"), tmp_path / "fit", 4)
    again = LikelihoodGAN.resume(tmp_path / "fit", NAMES)
    assert again.generator_.output.weight.is_cuda
    np.testing.assert_allclose(again.score_samples(NAMES), whole.score_samples(NAMES), atol=1e-3)
