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
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from likelihood_gan import CharLSTM, LikelihoodGAN, Refiner
from likelihood_gan.callbacks import PrintEpoch
from likelihood_gan.ngrams import NGramHasher
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


def linear(**params):
    return make_pipeline(NGramHasher((1, 2), n_features=128), LogisticRegression(**params))


def refined(classifier=None, **params):
    """Fit and refine, whatever the gain."""
    params = {"Cs": (0.7,), "betas": (0.2,), "n_samples": 200, "n_errors": -99.0} | params
    return tiny(refiner=Refiner(linear() if classifier is None else classifier, **params)).fit(
        NAMES
    )


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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cv", [None, 3])
def test_a_refined_estimator_comes_back_bit_for_bit(tmp_path, way, cv):
    gan = refined(cv=cv)
    again = way(gan, tmp_path)
    one, other = gan.refiner_, again.refiner_
    assert len(other.classifiers_) == (cv or 1)
    assert one.beta_ > 0
    for left, right in zip(one.classifiers_, other.classifiers_, strict=True):
        np.testing.assert_array_equal(left.decision_function(NAMES), right.decision_function(NAMES))
        np.testing.assert_array_equal(left.predict(NAMES), right.predict(NAMES))
        assert repr(left) == repr(right)
        for name, value in vars(left[-1]).items():
            found = getattr(right[-1], name)
            assert type(found) is type(value)
            np.testing.assert_array_equal(found, value)
            assert getattr(found, "dtype", None) == getattr(value, "dtype", None)
    learned = vars(one).keys() - one.get_params() - {"classifiers_"}
    assert vars(other).keys() == vars(one).keys()
    assert all(getattr(other, name) == getattr(one, name) for name in learned)
    assert other.log_partition_.lower == one.log_partition_.lower
    assert repr(again) == repr(gan)
    assert repr(other) == repr(one)
    np.testing.assert_array_equal(
        again.score_samples(NAMES, refined=True), gan.score_samples(NAMES, refined=True)
    )
    assert again.sample(50, refined=True, random_state=1) == gan.sample(
        50, refined=True, random_state=1
    )


def test_the_default_refiner_comes_back(tmp_path):
    again = through_file(tiny(refiner=Refiner(n_samples=50, Cs=(0.1,))).fit(NAMES), tmp_path)
    assert again.refiner.classifier is None
    assert again.refiner_.classifiers_[0][-1].coef_.shape == (1, 2**18)
    assert again.fit(NAMES).refiner_.C_ == 0.1


@pytest.mark.parametrize("way", WAYS[:3])
def test_an_unfitted_estimator_comes_back_and_fits_alike(fitted, tmp_path, way):
    again = way(tiny(), tmp_path).fit(NAMES)
    np.testing.assert_array_equal(again.score_samples(NAMES), fitted.score_samples(NAMES))


@pytest.mark.parametrize("way", ["pickle", "safetensors"])
def test_another_process_gets_the_same_numbers(tmp_path, way):
    gan = refined()
    if way == "pickle":
        (tmp_path / "gan").write_bytes(pickle.dumps(gan))
        load = "import pickle; gan = pickle.load(open('gan', 'rb'))"
    else:
        gan.save(tmp_path / "gan")
        load = "from likelihood_gan import LikelihoodGAN; gan = LikelihoodGAN.load('gan')"
    script = (
        f"import json, torch; torch.set_num_threads(1); {load}\n"
        f"print(json.dumps([f({NAMES!r}, refined=r).tolist() if f == gan.score_samples else "
        "f(9, refined=r, random_state=5) for f in (gan.score_samples, gan.sample) for r in (0, 1)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    plain, refined_scores, samples, refined_samples = json.loads(done.stdout)
    assert plain == gan.score_samples(NAMES).tolist()
    assert refined_scores == gan.score_samples(NAMES, refined=True).tolist()
    assert samples == gan.sample(9, random_state=5)
    assert refined_samples == gan.sample(9, refined=True, random_state=5)


def test_the_same_estimator_gives_the_same_bytes(tmp_path):
    gan = refined()
    for name in ("first", "second"):
        gan.save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_header_is_one_key_of_json_and_nothing_is_executable(tmp_path):
    refined().save(tmp_path / "gan")
    data = (tmp_path / "gan").read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert list(header["__metadata__"]) == ["likelihood_gan"]
    assert json.loads(header["__metadata__"]["likelihood_gan"])["format"] == 1
    assert b"pickle" not in data


def rewritten(data, change):
    """Change the JSON of a file."""
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    ours = json.loads(header["__metadata__"]["likelihood_gan"])
    change(ours)
    return safetensors.torch.save(
        safetensors.torch.load(data), {"likelihood_gan": json.dumps(ours, sort_keys=True)}
    )


def test_a_file_from_before_there_were_refiners_is_read(fitted, tmp_path):
    def forget(header):
        del header["refiner"], header["parameters"]["refiner"]

    fitted.save(tmp_path / "gan")
    (tmp_path / "old").write_bytes(rewritten((tmp_path / "gan").read_bytes(), forget))
    old = LikelihoodGAN.load(tmp_path / "old")
    assert old.refiner is old.refiner_ is None
    np.testing.assert_array_equal(old.score_samples(NAMES), fitted.score_samples(NAMES))


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["refiner"].pop("learned"),
        lambda header: header["refiner"].update(parameters=3),
        lambda header: header["refiner"].update(classifiers=[{"pipeline": []}]),
        lambda header: header["refiner"]["classifiers"].append(header["refiner"]["classifiers"][0]),
        lambda header: header["refiner"].update(parameters={"object": ["Popen", {"dict": []}]}),
    ],
)
def test_a_damaged_refiner_is_refused(tmp_path, change):
    refined().save(tmp_path / "gan")
    (tmp_path / "gan").write_bytes(rewritten((tmp_path / "gan").read_bytes(), change))
    with pytest.raises(ValueError, match="the header is damaged"):
        LikelihoodGAN.load(tmp_path / "gan")


def test_what_is_at_its_default_is_not_written(tmp_path):
    # so that what scikit-learn deprecates one day is in no file
    refined(linear(max_iter=500), Cs=None).save(tmp_path / "gan")
    with safetensors.safe_open(tmp_path / "gan", "pt") as file:
        header = json.loads(file.metadata()["likelihood_gan"])
        assert "refiner.0.coef_" in list(file.keys())
    (classifier,) = header["refiner"]["classifiers"]
    name, last = classifier["pipeline"][1]["tuple"]
    assert name == "logisticregression"
    kind, parameters = last["object"]
    assert kind == "LogisticRegression"
    assert {key for key, _ in parameters["dict"]} == {"max_iter", "random_state"}  # it was seeded


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


def test_a_refiner_with_other_code_must_be_passed_again(tmp_path):
    gan = refined(BernoulliLengths())
    gan.refiner_ = None
    gan.save(tmp_path / "gan")
    with pytest.raises(ValueError, match=r"pass refiner= \(Refiner\) to load"):
        LikelihoodGAN.load(tmp_path / "gan")
    again = LikelihoodGAN.load(tmp_path / "gan", refiner=gan.refiner)
    assert again.refiner is gan.refiner
    assert again.refiner_ is None


class BernoulliLengths(BernoulliNB):
    """Sees the length of a sequence."""

    def fit(self, X, y, sample_weight=None):
        return super().fit([[len(x)] for x in X], y, sample_weight)

    def predict_proba(self, X):
        return super().predict_proba([[len(x)] for x in X])


@pytest.mark.parametrize(
    "change",
    [
        lambda refiner: refiner.classifiers_.append(BernoulliLengths()),
        lambda refiner: refiner.classifiers_.append(make_pipeline(NGramHasher(), BernoulliNB())),
        lambda refiner: refiner.classifiers_.append(LogisticRegression()),
        lambda refiner: refiner.classifiers_[0].set_params(memory="cache"),
        lambda refiner: refiner.set_params(classifier=BernoulliLengths()),
    ],
)
def test_a_fitted_refiner_with_other_code_is_refused_and_the_old_file_stays(tmp_path, change):
    gan = refined()
    gan.save(tmp_path / "gan")
    before = (tmp_path / "gan").read_bytes()
    change(gan.refiner_)
    with pytest.raises(ValueError, match="(?s)refiner_ holds .* use pickle or joblib") as raised:
        gan.save(tmp_path / "gan")
    assert "refiner_ = None" in str(raised.value)
    assert (tmp_path / "gan").read_bytes() == before
    assert os.listdir(tmp_path) == ["gan"]


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
