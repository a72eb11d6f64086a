"""The safe file: what it holds, what it refuses, and that nothing hangs on it once it is read.

That copies of every kind draw and score the same is in `test_estimators`.
"""

import dataclasses
import datetime
import enum
import json
import os
import pickle
import struct
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import NAMES, tiny
from copying import WAYS, through_file
from damaging import rewrite
from enumeration import Bigram, NoStep
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from likelihood_gan import (
    CharLSTM,
    GenerativeClassifier,
    LikelihoodGAN,
    Refined,
    SequenceDistribution,
    persistence,
)
from likelihood_gan.callbacks import Checkpoint, PrintEpoch
from likelihood_gan.files import read_file, write_file
from likelihood_gan.huggingface import CausalLM
from likelihood_gan.models import NGram
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.objectives import ImportanceSampled


def linear(**params):
    return make_pipeline(NGramHasher((1, 2), n_features=128), LogisticRegression(**params))


def refined(classifier=None, estimator=None, **params):
    """Refine an estimator that is poor enough to gain from it."""
    params = dict(Cs=(0.7,), betas=(0.2,), n_samples=200, random_state=0) | params
    classifier = linear() if classifier is None else classifier
    estimator = tiny(early_stopping=False) if estimator is None else estimator
    return Refined(estimator, classifier, **params).fit(NAMES)


# What comes back


@pytest.mark.parametrize("way", WAYS)
def test_everything_learned_comes_back(fitted, tmp_path, way):
    again = way(fitted, tmp_path)
    assert vars(again).keys() == vars(fitted).keys()
    assert again.history_ == fitted.history_
    assert again.best_epoch_ == fitted.best_epoch_ and again.n_iter_ == fitted.n_iter_
    assert again.held_out_ == fitted.held_out_
    assert not again.generator_.training and not again.discriminator_.training


@pytest.mark.parametrize("way", WAYS)
def test_everything_that_refines_comes_back(tmp_path, way):
    one = refined()
    other = way(one, tmp_path)
    assert one.beta_ > 0
    assert len(other.classifiers_) == len(one.classifiers_) >= 1
    for left, right in zip(one.classifiers_, other.classifiers_, strict=True):
        np.testing.assert_array_equal(left.decision_function(NAMES), right.decision_function(NAMES))
        np.testing.assert_array_equal(left.predict(NAMES), right.predict(NAMES))
        assert repr(left) == repr(right)
        for name, value in vars(left[-1]).items():
            found = getattr(right[-1], name)
            assert type(found) is type(value)
            np.testing.assert_array_equal(found, value)
            assert getattr(found, "dtype", None) == getattr(value, "dtype", None)
    assert vars(other).keys() == vars(one).keys()
    plain = vars(one).keys() - one.get_params(deep=False) - {"classifiers_", "estimator_"}
    assert len(plain) >= 8
    assert all(getattr(other, name) == getattr(one, name) for name in plain)
    assert other.log_partition_.lower == one.log_partition_.lower
    assert other.estimator_.history_ == one.estimator_.history_


def test_a_refined_distribution_of_default_parts_comes_back_and_fits_alike(tmp_path):
    one = refined(n_samples=50, Cs=(0.1,)).set_params(classifier=None).fit(NAMES)
    again = through_file(one, tmp_path)
    assert again.classifier is None
    assert again.classifiers_[0][-1].coef_.shape == (1, 2**18)
    scores = again.fit(NAMES).score_samples(NAMES)
    np.testing.assert_array_equal(scores, one.score_samples(NAMES))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_one_object_comes_back_as_one(fitted, tmp_path, way):
    again = way(refined(estimator=FrozenEstimator(fitted)), tmp_path)
    assert again.estimator_ is again.estimator.estimator
    assert again.estimator_ is not fitted


@pytest.mark.parametrize("way", WAYS[:3])
def test_an_unfitted_estimator_comes_back_and_fits_alike(fitted, tmp_path, way):
    again = way(tiny(), tmp_path).fit(NAMES)
    np.testing.assert_array_equal(again.score_samples(NAMES), fitted.score_samples(NAMES))


def test_another_process_gets_the_same_numbers(tmp_path):
    model = refined()
    (tmp_path / "pickle").write_bytes(pickle.dumps(model))
    model.save(tmp_path / "safe")
    script = f"""
import json, pickle, torch
from likelihood_gan import Refined
torch.set_num_threads(1)
found = []
for model in (pickle.load(open("pickle", "rb")), Refined.load("safe")):
    for m in (model, model.estimator_):
        found.append([m.score_samples({NAMES!r}).tolist(), m.sample(9, random_state=5)])
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    expected = [
        [m.score_samples(NAMES).tolist(), m.sample(9, random_state=5)]
        for m in (model, model.estimator_)
    ]
    assert json.loads(done.stdout) == expected * 2


# A distribution of its own


@pytest.mark.parametrize("objective", ["pooled", "mle", ImportanceSampled()])
def test_the_distribution_is_read_from_the_file_of_its_estimator(tmp_path, objective):
    gan = tiny(objective=objective, callbacks=[lambda *arguments: None]).fit(NAMES)
    gan.save(tmp_path / "gan")
    with pytest.raises(ValueError, match="pass callbacks="):
        LikelihoodGAN.load(tmp_path / "gan")
    distribution = SequenceDistribution.load(tmp_path / "gan")  # does not need the callbacks
    assert type(distribution) is SequenceDistribution
    for n in (20, 700):
        assert distribution.sample(n, random_state=1) == gan.sample(n, random_state=1)
    np.testing.assert_array_equal(distribution.score_samples(NAMES), gan.score_samples(NAMES))
    assert distribution.max_len == gan.max_len_
    with pytest.raises(dataclasses.FrozenInstanceError):
        distribution.max_len = 9
    distribution.save(tmp_path / "alone")
    assert os.path.getsize(tmp_path / "alone") < os.path.getsize(tmp_path / "gan")
    alone = SequenceDistribution.load(tmp_path / "alone")
    np.testing.assert_array_equal(alone.score_samples(NAMES), gan.score_samples(NAMES))


def test_the_distribution_of_a_custom_generator_asks_for_it(tmp_path):
    gan = tiny(generator=NoStep, generator_params=None, discriminator=Judge).fit(NAMES)
    gan.save(tmp_path / "gan")
    with pytest.raises(ValueError, match=r"pass generator= \(NoStep\) to load"):
        SequenceDistribution.load(tmp_path / "gan")
    for generator in (NoStep, NoStep(gan.vocabulary_.n_tokens)):
        again = SequenceDistribution.load(tmp_path / "gan", generator=generator)
        np.testing.assert_array_equal(again.score_samples(NAMES), gan.score_samples(NAMES))
    with pytest.raises(ValueError, match=r"pass discriminator= \(Judge\) to load"):
        LikelihoodGAN.load(tmp_path / "gan", generator=NoStep)
    again = LikelihoodGAN.load(tmp_path / "gan", generator=NoStep, discriminator=Judge)
    np.testing.assert_array_equal(again.discriminate(NAMES), gan.discriminate(NAMES))
    assert (again.discriminate(NAMES) != 0.5).all()


def test_a_module_whose_state_is_more_than_tensors_is_refused(tmp_path):
    class Counting(Bigram):
        def get_extra_state(self):
            return {"seen": 3}

        def set_extra_state(self, state):
            pass

    gan = tiny(generator=Counting, generator_params=None).fit(NAMES)
    with pytest.raises(ValueError, match=r"extra state '_extra_state', no tensor; use pickle"):
        gan.save(tmp_path / "gan")


class Judge(torch.nn.Module):
    """A discriminator of one weight."""

    def __init__(self, n_tokens, hidden_size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(hidden_size))

    def forward(self, tokens):
        return self.weight.mean() * (tokens > 0).sum(1)


def test_a_file_is_read_by_the_class_that_it_holds(fitted, tmp_path):
    fitted.distribution_.save(tmp_path / "distribution")
    refined(estimator=fitted.distribution_).save(tmp_path / "refined")
    for cls in (LikelihoodGAN, Refined):
        with pytest.raises(ValueError, match=r"read it with SequenceDistribution\.load"):
            cls.load(tmp_path / "distribution")
    for cls in (LikelihoodGAN, SequenceDistribution):
        with pytest.raises(ValueError, match=r"holds a Refined; read it with Refined\.load"):
            cls.load(tmp_path / "refined")


def test_whatever_was_saved_is_read_as_what_it_is(fitted, tmp_path):
    for model in (fitted, fitted.distribution_, refined(estimator=fitted.distribution_)):
        model.save(tmp_path / "model")
        assert persistence.kind_of(tmp_path / "model") == type(model).__name__
        again = persistence.load(tmp_path / "model")
        assert type(again) is type(model)
        np.testing.assert_array_equal(again.score_samples(NAMES), model.score_samples(NAMES))
    persistence.write_parts(tmp_path / "state", {}, {})
    assert persistence.kind_of(tmp_path / "state") == "checkpoint"
    with pytest.raises(ValueError, match="checkpoint of a fit"):
        persistence.load(tmp_path / "state")


@pytest.mark.parametrize("kind", ["LogisticRegression", "Popen", 3])
def test_what_is_not_saved_alone_is_not_read(fitted, tmp_path, kind):
    fitted.save(tmp_path / "model")
    new = {"object": [kind, {"parameters": {}, "learned": {}}]}
    rewrite(tmp_path / "model", lambda header: header.update(object=new))
    with pytest.raises(ValueError, match="nothing that is saved alone|damaged"):
        persistence.load(tmp_path / "model")


def read_state(path):
    """Read a checkpoint, and score with its tensors: they are fit.generator.* of a CharLSTM."""
    parts = persistence.Parts(path)
    generator = CharLSTM(parts.decode("vocabulary").n_tokens, hidden_size=8)
    weights = {key.removeprefix("fit.generator."): value for key, value in parts.tensors.items()}
    for name, parameter in generator.named_parameters():
        parameter.data = weights[name]  # no copy
    return SequenceDistribution(generator, parts.decode("vocabulary"), 12)


def counted(vocabulary):
    counts = NGram(vocabulary.n_tokens)
    counts.count(vocabulary.encode_rows(NAMES), torch.ones(len(NAMES)))
    return SequenceDistribution(counts, vocabulary, 12)


def pretrained(vocabulary):
    config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}
    return SequenceDistribution(CausalLM(vocabulary.n_tokens, config=config), vocabulary, 12)


KINDS = {
    "LikelihoodGAN": lambda gan, path: gan.save(path),
    "SequenceDistribution": lambda gan, path: gan.distribution_.save(path),
    "Refined": lambda gan, path: refined(estimator=FrozenEstimator(gan)).save(path),
    "GenerativeClassifier": lambda gan, path: (
        GenerativeClassifier(tiny()).fit(NAMES, [name < "k" for name in NAMES]).save(path)
    ),
    "NGram": lambda gan, path: counted(gan.vocabulary_).save(path),
    "CausalLM": lambda gan, path: pretrained(gan.vocabulary_).save(path),
    "checkpoint": lambda gan, path: tiny(callbacks=[Checkpoint(path)]).fit(NAMES),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_does_not_hang_on_the_file(fitted, tmp_path, kind):
    path = tmp_path / "model"
    KINDS[kind](fitted, path)
    again = read_state(path) if kind == "checkpoint" else persistence.load(path)

    def numbers():
        return [again.score_samples(NAMES), again.sample(5, random_state=0)]

    before = numbers()
    with open(path, "r+b") as file:  # in place: the same inode, as another process may do
        file.write(b"\xff" * os.path.getsize(path))
    np.testing.assert_equal(numbers(), before)
    os.truncate(path, 0)
    np.testing.assert_equal(numbers(), before)


# What is held out


def written(path):
    """Return the JSON of a file."""
    header, _ = read_file(path)
    return json.dumps(header)


@pytest.mark.parametrize("kind", [LikelihoodGAN, Refined])
def test_what_was_held_out_is_in_the_file_unless_it_is_left_out(tmp_path, kind):
    gan = tiny(validation_fraction=0.3, callbacks=None).fit(NAMES)
    assert len(gan.held_out_) > 5
    model = gan if kind is LikelihoodGAN else refined(estimator=FrozenEstimator(gan))
    model.save(tmp_path / "all")
    model.save(tmp_path / "less", held_out=False)
    text, less = written(tmp_path / "all"), written(tmp_path / "less")
    assert all(name in text and name not in less for name in map(json.dumps, gan.held_out_))
    again = kind.load(tmp_path / "less")
    np.testing.assert_array_equal(again.score_samples(NAMES), model.score_samples(NAMES))
    bare = again if kind is LikelihoodGAN else again.estimator_
    assert bare.held_out_ == [] and len(gan.held_out_) > 5
    assert np.isfinite(refined(estimator=FrozenEstimator(bare)).score_samples(NAMES)).all()
    with pytest.raises(TypeError, match="held_out must be True or False, got 'no'"):
        model.save(tmp_path / "less", held_out="no")


# What is in the file


def test_the_same_estimator_gives_the_same_bytes(tmp_path):
    model = refined()
    for name in ("first", "second"):
        model.save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_header_is_one_key_of_json_and_nothing_is_executable(tmp_path):
    refined().save(tmp_path / "gan")
    data = (tmp_path / "gan").read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert list(header["__metadata__"]) == ["likelihood_gan"]
    assert json.loads(header["__metadata__"]["likelihood_gan"])["format"] == 1
    assert b"pickle" not in data


def content(header):
    return header["object"]["object"][1]


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["object"]["object"].pop(),
        lambda header: content(header).pop("learned"),
        lambda header: content(header).update(parameters=3),
        lambda header: content(header)["learned"].update(log_partition_={"object": ["Popen", {}]}),
        lambda header: content(header)["learned"].update(fit=3),
        lambda header: content(header)["learned"].update(estimator_={"same": "nowhere"}),
    ],
)
def test_a_damaged_header_is_refused(tmp_path, change):
    refined().save(tmp_path / "model")
    rewrite(tmp_path / "model", change)
    with pytest.raises(ValueError, match="the header is damaged"):
        persistence.load(tmp_path / "model")
    with pytest.raises(ValueError, match="the header is damaged"):
        Refined.load(tmp_path / "model")


def test_what_is_at_its_default_is_not_written(tmp_path):
    # so that what scikit-learn deprecates one day is in no file
    refined(linear(max_iter=500), Cs=None).save(tmp_path / "model")
    text = (tmp_path / "model").read_bytes()
    assert b"max_iter" in text
    assert b"fit_intercept" not in text and b"adversarial_learning_rate" not in text
    with safetensors.safe_open(tmp_path / "model", "pt") as file:
        assert any(key.endswith("coef_") for key in file.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    "settings, X",
    [
        ({"objective": "mle", "callbacks": [PrintEpoch(10**6)]}, NAMES),
        ({"objective": ImportanceSampled(), "pretrain_learning_rate": {1: 0.1, 2: 0.01}}, NAMES),
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
    gan = tiny(generator=NoStep, generator_params=None, callbacks=[lambda *arguments: None])
    gan.fit(NAMES)
    gan.save(tmp_path / "gan")
    message = r"pass callbacks= \(list\), generator= \(NoStep\) to load"
    with pytest.raises(ValueError, match=message):
        LikelihoodGAN.load(tmp_path / "gan")
    again = LikelihoodGAN.load(tmp_path / "gan", generator=NoStep, callbacks=None)
    np.testing.assert_array_equal(again.score_samples(NAMES), gan.score_samples(NAMES))


class BernoulliLengths(BernoulliNB):
    """Sees the length of a sequence."""

    def fit(self, X, y, sample_weight=None):
        return super().fit([[len(x)] for x in X], y, sample_weight)

    def predict_proba(self, X):
        return super().predict_proba([[len(x)] for x in X])


@pytest.mark.parametrize(
    "change, part",
    [
        (lambda model: model.classifiers_.append(BernoulliLengths()), "classifiers_"),
        (
            lambda model: model.classifiers_.append(make_pipeline(NGramHasher(), BernoulliNB())),
            "classifiers_",
        ),
        (lambda model: model.classifiers_[0].set_params(memory="cache"), "classifiers_.0"),
        (lambda model: vars(model).update(estimator_=object()), "estimator_"),
    ],
)
def test_what_holds_other_code_is_refused_by_name_and_the_old_file_stays(tmp_path, change, part):
    model = refined()
    model.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    change(model)
    with pytest.raises(ValueError, match="(?s)holds .* use pickle or joblib") as raised:
        model.save(tmp_path / "model")
    assert str(raised.value).startswith(part)
    assert (tmp_path / "model").read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_a_classifier_that_is_only_a_parameter_is_given_again(tmp_path):
    classifier = BernoulliLengths()
    model = refined().set_params(classifier=classifier)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"pass classifier= \(BernoulliLengths\) to load"):
        Refined.load(tmp_path / "model")
    again = Refined.load(tmp_path / "model", classifier=classifier)
    assert again.classifier is classifier
    np.testing.assert_array_equal(again.score_samples(NAMES), model.score_samples(NAMES))


def test_a_module_may_be_passed_in_place_of_a_builder(tmp_path):
    model = Bigram(len(set("".join(NAMES))) + 1)
    gan = tiny(generator=model, generator_params=None).fit(NAMES)
    gan.save(tmp_path / "gan")
    again = LikelihoodGAN.load(tmp_path / "gan", generator=model)
    np.testing.assert_array_equal(again.score_samples(NAMES), gan.score_samples(NAMES))


@pytest.mark.parametrize("kind", [LikelihoodGAN, SequenceDistribution])
def test_a_generator_of_another_size_is_refused(tmp_path, kind):
    tiny(generator=Bigram, generator_params=None).fit(NAMES).save(tmp_path / "gan")
    with pytest.raises(ValueError, match="generator does not fit the weights in the file"):
        kind.load(tmp_path / "gan", generator=Bigram(9))


def test_other_parameters_change_the_next_fit_and_not_what_is_learned(fitted, tmp_path):
    fitted.save(tmp_path / "gan")
    again = LikelihoodGAN.load(tmp_path / "gan", generator_params={"hidden_size": 9})
    np.testing.assert_array_equal(again.score_samples(NAMES), fitted.score_samples(NAMES))
    assert again.fit(NAMES).generator_.arguments["hidden_size"] == 9


def test_an_unknown_parameter_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "gan")
    with pytest.raises(ValueError, match="parameter is unknown: .*colour"):
        LikelihoodGAN.load(tmp_path / "gan", colour="red")


class Point(NamedTuple):
    x: int
    y: int


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Summer(datetime.tzinfo):
    """A time zone with rules of its own."""

    def utcoffset(self, moment):
        return datetime.timedelta(hours=2)

    def dst(self, moment):
        return datetime.timedelta(hours=1)


IN_SUMMER = datetime.datetime(2020, 7, 1, tzinfo=Summer())


def test_a_symbol_that_is_no_json_is_refused_and_the_old_file_stays(fitted, tmp_path):
    fitted.save(tmp_path / "gan")
    before = (tmp_path / "gan").read_bytes()
    for symbol in (range(3), Point(1, 2), Access.READ | Access.WRITE, IN_SUMMER):
        odd = tiny().fit([(symbol, "a"), ("a", symbol)])
        with pytest.raises(ValueError, match="symbols.* holds .* use pickle or joblib instead"):
            odd.save(tmp_path / "gan")
        assert (tmp_path / "gan").read_bytes() == before
        assert os.listdir(tmp_path) == ["gan"]


def test_arrays_of_one_mapping_do_not_take_each_other_s_place(tmp_path):
    arrays = {"a": np.arange(3), "b": {"c": np.ones(2), "d": np.zeros(2)}}
    persistence.write_parts(tmp_path / "parts", {"arrays": arrays}, {})
    np.testing.assert_equal(persistence.Parts(tmp_path / "parts").decode("arrays"), arrays)


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


def header_of(folder, **header):
    """Write a file of ours with some header."""
    write_file(folder / "other", header, {"x": torch.ones(1)})
    return (folder / "other").read_bytes()


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data, folder: data[: len(data) // 2], "gan is damaged: it was altered or cut"),
        (lambda data, folder: data[:5], "is damaged or no safetensors file"),
        (lambda data, folder: b"", "gan is empty"),
        (lambda data, folder: b"PK not a model at all, but long", "is damaged or no safetensors"),
        (lambda data, folder: safetensors.torch.save({"x": torch.ones(2)}), "not one of likelihood-gan"),
        (lambda data, folder: header_of(folder, format=99), "has format 99, .* up to 1; install a newer"),
        (lambda data, folder: header_of(folder, format="1"), "header is damaged: format is '1'"),
        (lambda data, folder: header_of(folder), "header is damaged"),
        (lambda data, folder: header_of(folder, object=3), "header is damaged"),
        (lambda data, folder: data.replace(b"pretrain_epochs", b"pretrain_epachs"), "it was altered"),
        (lambda data, folder: data.replace(b'generator.output.bias', b'generator.output.bies'),
         "it was altered"),
    ],
)  # fmt: skip
def test_files_that_are_none_of_ours_are_refused(fitted, tmp_path, damage, message):
    fitted.save(tmp_path / "gan")
    (tmp_path / "gan").write_bytes(damage((tmp_path / "gan").read_bytes(), tmp_path))
    with pytest.raises(ValueError, match=message):
        LikelihoodGAN.load(tmp_path / "gan")


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        LikelihoodGAN.load(tmp_path / "nothing")
