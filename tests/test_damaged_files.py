"""Files that are damaged, altered, foreign or crafted: refused by name, or a model that works.

``LIKELIHOOD_GAN_DAMAGED_FILES=1000000`` damages that many, other than those of continuous integration.
"""

import copy
import json
import os
import random
import resource
import time

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import NAMES, tiny
from damaging import damage_bytes, mutate, rewrite
from test_persistence import refined

from likelihood_gan import (
    GenerativeClassifier,
    LikelihoodGAN,
    Refined,
    SequenceDistribution,
    files,
    persistence,
)
from likelihood_gan.callbacks import Checkpoint, EarlyStopping
from likelihood_gan.files import read_file, write_file
from likelihood_gan.models import Mixture, NGram, Product, ResidualLSTM

MANY = int(os.environ.get("LIKELIHOOD_GAN_DAMAGED_FILES", "9500"))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """One file of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    watching = [Checkpoint(folder / "checkpoint"), EarlyStopping(patience=3)]
    gan = tiny(callbacks=watching).fit(NAMES)
    gan.save(folder / "gan")
    tiny(generator=ResidualLSTM, token_pattern="a|.").fit(NAMES).save(folder / "residual")
    refined().save(folder / "refined")
    counts, vocabulary = NGram(gan.vocabulary_.n_tokens, 3), gan.vocabulary_
    counts.count(vocabulary.encode_rows(NAMES), torch.ones(len(NAMES)))
    product = Product([Mixture([gan.generator_, counts]), counts])
    SequenceDistribution(product, vocabulary, 12).save(folder / "product")
    labels = ["late" if name > "k" else "early" for name in NAMES]
    GenerativeClassifier(tiny()).fit(NAMES, labels).save(folder / "classifier")
    return folder


def read(path):
    if persistence.kind_of(path) == "checkpoint":
        return LikelihoodGAN.resume(path, NAMES)
    return persistence.load(path)


def assert_lawful(model):
    """What it draws consists of its symbols, and has a log-probability."""
    if isinstance(model, GenerativeClassifier):
        np.testing.assert_allclose(model.predict_proba(NAMES[:2]).sum(1), 1)
        return
    drawn = model.sample(2, random_state=0)
    assert not np.isnan(model.score_samples(drawn)).any()


@pytest.fixture
def without_disk(monkeypatch):
    """Save quickly."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# At random


SEEDS = [pytest.param(0, 500, id="few"), pytest.param(1, MANY, id="many", marks=pytest.mark.slow)]
# one file of ten has a right digest, and is read to where it was changed


@pytest.mark.parametrize("seed, n", SEEDS)
def test_a_damaged_file_is_never_read(kinds, tmp_path, seed, n):
    path, whole = tmp_path / "damaged", [path.read_bytes() for path in sorted(kinds.iterdir())]
    for k in range(n * 9 // 10):
        dice = random.Random(f"{seed} {k}")
        path.write_bytes(damage_bytes(dice.choice(whole), dice))
        with pytest.raises(ValueError) as raised:
            read(path)
        assert str(path) in str(raised.value), f"{seed} {k}"


@pytest.mark.parametrize("seed, n", SEEDS)
def test_a_crafted_file_is_refused_by_name_or_a_model_that_works(
    kinds, tmp_path, seed, n, without_disk
):
    path = tmp_path / "crafted"
    whole = {path.name: read_file(path) for path in sorted(kinds.iterdir())}
    n_refused = 0
    for k in range(n // 10):
        dice = random.Random(f"{seed} {k}")
        kind = dice.choice(list(whole))
        header, tensors = copy.deepcopy(whole[kind][0]), dict(whole[kind][1])
        mutate(header, tensors, dice)
        write_file(path, header, tensors)
        try:
            model = read(path)
        except ValueError as error:
            n_refused += 1
            assert str(path) in str(error) or _is_of_a_parameter(kind, error), f"{seed} {k}"
        except TypeError as error:
            assert _is_of_a_parameter(kind, error), f"{seed} {k}: {error!r}"
        except Exception as error:
            raise AssertionError(f"{seed} {k}: {kind}") from error
        else:
            assert_lawful(model)
    assert n_refused > n / 20


def _is_of_a_parameter(kind, error):
    """The parameters of a checkpoint are those of a fit, which checks them itself."""
    parameters = ("generator", "discriminator", "hidden_size", "random_state")
    return kind == "checkpoint" and str(error).startswith(parameters)


# On purpose


def test_every_byte_of_a_file_counts(tmp_path):
    path = tmp_path / "file"
    write_file(path, {"parts": {}}, {"x": torch.arange(3)})
    whole = path.read_bytes()
    for k in range(len(whole)):
        data = bytearray(whole)
        data[k] ^= 1 << k % 8
        for damaged in (data, whole[:k]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=str(path)):
                read_file(path)


def test_a_file_is_one_of_safetensors(kinds):
    for path in kinds.iterdir():
        _, tensors = read_file(path)
        again = safetensors.torch.load_file(path)
        assert again.keys() == tensors.keys() and len(again) > 3
        assert all(torch.equal(again[name], tensors[name]) for name in again)


def arguments_of(header):
    """Return the pairs of the arguments of the generator of a fitted estimator."""
    distribution = header["object"]["object"][1]["learned"]["distribution_"]
    return distribution["object"][1]["generator"]["object"][1]["arguments"]["dict"]


def set_argument(name, value):
    def change(header):
        pairs = arguments_of(header)
        pairs[:] = [pair for pair in pairs if pair[0] != name] + [[name, value]]

    return change


@pytest.mark.parametrize(
    "name, value",
    [
        *[
            (name, 10**k)
            for name in ("hidden_size", "embedding_size", "n_tokens")
            for k in (5, 9, 30)
        ],
        *[("n_layers", value) for value in (2, 10**3, 10**12)],
        *[("hidden_size", value) for value in (0, -8, 8.0, "8", None, True, [8])],
        ("colour", 3),
    ],
)
def test_no_memory_is_taken_for_a_module_that_does_not_fit_the_weights(
    kinds, tmp_path, name, value
):
    path = tmp_path / "crafted"
    path.write_bytes((kinds / "gan").read_bytes())
    rewrite(path, set_argument(name, value))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=f"{path}.* at distribution_.generator: ") as raised:
        LikelihoodGAN.load(path)
    said = str(raised.value)
    assert any(word in said for word in (name, "must be of shape", "missing [", "overflow")), said
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000, f"{grown} kB"
    assert time.process_time() - start < 2


@pytest.mark.parametrize("order", [10**6, 2])
def test_counts_of_another_order_are_refused(kinds, tmp_path, order):
    path = tmp_path / "crafted"
    path.write_bytes((kinds / "product").read_bytes())

    def change(header):
        text = json.dumps(header).replace('["order", 3]', f'["order", {order}]')
        header |= json.loads(text)

    rewrite(path, change)
    with pytest.raises(
        ValueError, match=f"{path}.*order is {order}, but discounts are for \\[3\\]"
    ):
        SequenceDistribution.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda learned: learned.update(fit=3),
        lambda learned: learned.update(_secret=3),
        lambda learned: learned.update(another_=3),
        lambda learned: learned.pop("history_"),
        lambda learned: learned.update(history_=[{"epoch": "one", "phase": "pretrain"}]),
        lambda learned: learned.update(n_iter_=-1),
        lambda learned: learned.update(best_epoch_=1.5),
        lambda learned: learned.update(held_out_=["ada", 3]),
        lambda learned: learned.update(discriminator_=7),
        lambda learned: learned.update(distribution_=learned["discriminator_"]),
        lambda learned: learned.update(split_={"tuple": [1, 2]}),
    ],
)
def test_only_attributes_that_a_fit_leaves_are_set_and_each_is_checked(kinds, tmp_path, change):
    path = tmp_path / "crafted"
    path.write_bytes((kinds / "gan").read_bytes())
    rewrite(path, lambda header: change(header["object"]["object"][1]["learned"]))
    with pytest.raises(ValueError, match=f"{path}: the header is damaged"):
        LikelihoodGAN.load(path)


def test_json_that_is_nested_too_deeply_is_refused_by_reader_and_writer(tmp_path):
    path = tmp_path / "deep"
    deep = []
    for _ in range(files.DEEPEST + 1):
        deep = [deep]
    with pytest.raises(ValueError, match="nested more than 128 deep"):
        write_file(path, {"object": deep}, {})
    for depth in (files.DEEPEST + 1, 10**5):
        text = '{"digest": "", "format": 1, "object": ' + "[" * depth + "]" * depth + "}"
        path.write_bytes(safetensors.torch.save({}, {"likelihood_gan": text}))
        with pytest.raises(ValueError, match=str(path)):
            persistence.load(path)


def test_a_model_of_models_as_deep_as_a_file_can_hold_comes_back(kinds, tmp_path):
    distribution = SequenceDistribution.load(kinds / "gan")
    model = distribution.generator
    for _ in range(20):
        model = Mixture([model])
    deep = SequenceDistribution(model, distribution.vocabulary, 12)
    with pytest.raises(ValueError, match="nested"):
        deep.save(tmp_path / "deep")
    SequenceDistribution(Mixture([Mixture([Mixture([distribution.generator])])]), "ab", 12)


# What is no file


@pytest.mark.parametrize("cls", [LikelihoodGAN, Refined, SequenceDistribution, persistence])
def test_what_is_no_file_is_refused_by_name(tmp_path, cls):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    for path, error, words in [
        (tmp_path / "fifo", ValueError, "is a FIFO, a socket or a device"),
        ("/dev/zero", ValueError, "is a FIFO, a socket or a device"),
        (tmp_path / "empty", ValueError, "is empty"),
        (tmp_path, IsADirectoryError, "is a folder; pass the name of a file"),
        (tmp_path / "missing", FileNotFoundError, "No such file"),
        ("", IsADirectoryError, "is a folder"),
    ]:
        with pytest.raises(error, match=words) as raised:
            cls.load(path)
        assert str(path) in str(raised.value)
    for path in (3, None, b"model"):
        with pytest.raises(TypeError, match="path must be a str or a pathlib.Path"):
            cls.load(path)
