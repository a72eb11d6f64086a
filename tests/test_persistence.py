"""A trained estimator survives pickle, joblib, deepcopy and the safe file, bit for bit."""

import copy
import json
import os
import pickle
import struct
import subprocess
import sys

import joblib
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import NAMES, tiny
from enumeration import Bigram, NoStep

from likelihood_gan import CharLSTM, LikelihoodGAN
from likelihood_gan.callbacks import PrintEpoch
from likelihood_gan.objectives import Likelihood


def through_pickle(gan, folder):
    return pickle.loads(pickle.dumps(gan))


def through_joblib(gan, folder):
    joblib.dump(gan, folder / "gan.joblib")
    return joblib.load(folder / "gan.joblib")


def through_deepcopy(gan, folder):
    return copy.deepcopy(gan)


def through_file(gan, folder):
    gan.save(folder / "gan.safetensors")
    return LikelihoodGAN.load(folder / "gan.safetensors")


WAYS = [through_pickle, through_joblib, through_deepcopy, through_file]


@pytest.mark.parametrize("way", WAYS)
def test_a_fitted_estimator_comes_back_bit_for_bit(fitted, tmp_path, way):
    again = way(fitted, tmp_path)
    np.testing.assert_array_equal(again.score_samples(NAMES), fitted.score_samples(NAMES))
    np.testing.assert_array_equal(again.discriminate(NAMES), fitted.discriminate(NAMES))
    assert again.sample(50, random_state=1) == fitted.sample(50, random_state=1)
    assert again.history_ == fitted.history_
    assert again.best_epoch_ == fitted.best_epoch_
    assert repr(again) == repr(fitted)
    assert not again.generator_.training


@pytest.mark.parametrize("way", WAYS[:3])
def test_an_unfitted_estimator_comes_back_and_fits_alike(fitted, tmp_path, way):
    again = way(tiny(), tmp_path).fit(NAMES)
    np.testing.assert_array_equal(again.score_samples(NAMES), fitted.score_samples(NAMES))


@pytest.mark.parametrize("way", ["pickle", "safetensors"])
def test_another_process_gets_the_same_numbers(fitted, tmp_path, way):
    if way == "pickle":
        (tmp_path / "gan").write_bytes(pickle.dumps(fitted))
        load = "import pickle; gan = pickle.load(open('gan', 'rb'))"
    else:
        fitted.save(tmp_path / "gan")
        load = "from likelihood_gan import LikelihoodGAN; gan = LikelihoodGAN.load('gan')"
    script = (
        f"import json, torch; torch.set_num_threads(1); {load}\n"
        f"print(json.dumps([gan.score_samples({NAMES!r}).tolist(), gan.sample(9, random_state=5)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    scores, samples = json.loads(done.stdout)
    assert scores == fitted.score_samples(NAMES).tolist()
    assert samples == fitted.sample(9, random_state=5)


def test_the_same_estimator_gives_the_same_bytes(fitted, tmp_path):
    for name in ("first", "second"):
        fitted.save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_header_is_one_key_of_json_and_nothing_is_executable(fitted, tmp_path):
    fitted.save(tmp_path / "gan")
    data = (tmp_path / "gan").read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert list(header["__metadata__"]) == ["likelihood_gan"]
    assert json.loads(header["__metadata__"]["likelihood_gan"])["format"] == 1
    assert b"pickle" not in data


@pytest.mark.parametrize(
    "settings, X",
    [
        ({"objective": "mle"}, NAMES),
        ({"objective": Likelihood(), "learning_rate": {1: 0.1, 2: 0.01}}, NAMES),
        ({"generator": CharLSTM, "vocabulary": set("abcdefghijklmnopqrstuvwxyz")}, NAMES),
        ({"batch_size": np.int64(16), "validation_fraction": np.float64(0.2)}, NAMES),
        (
            {"device": torch.device("cpu"), "vocabulary": [1, "a", None, (2, "b")]},
            [(1, "a"), ((2, "b"),)],
        ),
    ],
)
def test_parameters_of_many_types_come_back(tmp_path, settings, X):
    gan = tiny(**settings).fit(X)
    again = through_file(gan, tmp_path)
    for name, value in gan.get_params().items():
        found = again.get_params()[name]
        assert str(found) == "cpu" if name == "device" and value else found == value
    assert again.sample(20, random_state=0) == gan.sample(20, random_state=0)


def test_custom_code_must_be_passed_again(tmp_path):
    gan = tiny(generator=NoStep, generator_params=None, callbacks=[PrintEpoch(10**6)]).fit(NAMES)
    gan.save(tmp_path / "gan")
    message = r"pass callbacks= \(list\), generator= \(NoStep\) to load"
    with pytest.raises(ValueError, match=message):
        LikelihoodGAN.load(tmp_path / "gan")
    again = LikelihoodGAN.load(tmp_path / "gan", generator=NoStep, callbacks=None)
    np.testing.assert_array_equal(again.score_samples(NAMES), gan.score_samples(NAMES))


def test_a_module_may_be_passed_in_place_of_a_builder(tmp_path):
    model = Bigram(len(set("".join(NAMES))) + 1)
    gan = tiny(generator=model, generator_params=None).fit(NAMES)
    gan.save(tmp_path / "gan")
    again = LikelihoodGAN.load(tmp_path / "gan", generator=model)
    np.testing.assert_array_equal(again.score_samples(NAMES), gan.score_samples(NAMES))


def test_a_generator_of_another_size_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "gan")
    with pytest.raises(ValueError, match="generator does not fit the weights in the file"):
        LikelihoodGAN.load(tmp_path / "gan", generator_params={"hidden_size": 9})


def test_an_unknown_parameter_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "gan")
    with pytest.raises(ValueError, match="parameter is unknown: .*colour"):
        LikelihoodGAN.load(tmp_path / "gan", colour="red")


def test_a_symbol_that_is_no_json_is_refused_and_the_old_file_stays(fitted, tmp_path):
    fitted.save(tmp_path / "gan")
    before = (tmp_path / "gan").read_bytes()
    odd = tiny().fit([(frozenset("a"), 1j), (1j,)])
    with pytest.raises(ValueError, match="vocabulary holds .* use pickle or joblib instead"):
        odd.save(tmp_path / "gan")
    assert (tmp_path / "gan").read_bytes() == before
    assert os.listdir(tmp_path) == ["gan"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path / "gan")
    before = (tmp_path / "gan").read_bytes()

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        fitted.save(tmp_path / "gan")
    assert (tmp_path / "gan").read_bytes() == before
    assert os.listdir(tmp_path) == ["gan"]


def header_of(**changes):
    header = {"format": 1} | changes
    return safetensors.torch.save({"x": torch.ones(1)}, {"likelihood_gan": json.dumps(header)})


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: data[: len(data) // 2], "is damaged or no safetensors file"),
        (lambda data: data[:5], "is damaged or no safetensors file"),
        (lambda data: b"", "is damaged or no safetensors file"),
        (lambda data: b"PK not a model at all, but long enough", "is damaged or no safetensors"),
        (lambda data: safetensors.torch.save({"x": torch.ones(2)}), "not of LikelihoodGAN.save"),
        (lambda data: header_of(format=99), "has format 99, this version .* reads up to 1; install"),
        (lambda data: header_of(), "header is damaged"),
        (lambda data: header_of(parameters=3), "header is damaged"),
        (lambda data: data.replace(b"pretrain_epochs", b"pretrain_epachs"), "is unknown"),
        (lambda data: data.replace(b'generator.output.bias', b'generator.output.bies'),
         "does not fit the weights"),
    ],
)  # fmt: skip
def test_files_that_are_none_of_ours_are_refused(fitted, tmp_path, damage, message):
    fitted.save(tmp_path / "gan")
    (tmp_path / "gan").write_bytes(damage((tmp_path / "gan").read_bytes()))
    with pytest.raises(ValueError, match=message):
        LikelihoodGAN.load(tmp_path / "gan")


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        LikelihoodGAN.load(tmp_path / "nothing")
