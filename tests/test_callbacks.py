"""What the bundled callbacks show, write and decide."""

import copy
import csv
import pickle

import numpy as np
import pytest
from conftest import NAMES, tiny
from sklearn.base import clone

from likelihood_gan import LikelihoodGAN
from likelihood_gan.callbacks import (
    Checkpoint,
    EarlyStopping,
    PrintEpoch,
    PrintSamples,
    WriteCSV,
    WriteScalars,
)


def stops(values, name="generator_loss", **settings):
    """Return after how many epochs a fit with these values is stopped."""
    callback = EarlyStopping(name, **settings)
    history = []
    for epoch, value in enumerate(values, start=1):
        record = {"epoch": epoch, "phase": "pretrain"}
        history.append(record if value is None else record | {name: value})
        if callback(None, history):
            return epoch
    return None


@pytest.mark.parametrize(
    "values, settings, expected",
    [
        ([5, 4, 3, 3, 3], dict(patience=2), 5),
        ([5, 4, 3, 3, 2, 2], dict(patience=2), None),
        ([5, 4, 3, 3, 2, 2, 2], dict(patience=2), 7),
        ([1, 2, 3, 3], dict(patience=1, maximise=True), 4),
        ([1, 2, 3], dict(patience=1), 2),
        ([5, 4.9, 4.8, 4.7], dict(patience=3, min_delta=0.5), 4),
        ([5, None, None, None, 5], dict(patience=1), 5),
        ([float("nan")] * 3, dict(patience=3), 3),
    ],
)
def test_early_stopping_waits_for_progress(values, settings, expected):
    assert stops(values, **settings) == expected


def test_early_stopping_of_a_warm_start_counts_its_own_epochs():
    history = [{"epoch": e, "phase": "pretrain", "a": 0.0} for e in range(1, 9)]
    callback = EarlyStopping("a", patience=2)
    votes = []
    for epoch in range(9, 13):
        history.append({"epoch": epoch, "phase": "pretrain", "fit": 2, "a": 1.0})
        votes.append(callback(None, history))
    assert votes == [False, False, True, True]


def test_a_metric_of_the_distribution_is_in_the_history():
    def share_of_a(distribution):
        return np.mean([s.startswith("a") for s in distribution.sample(20, random_state=0)])

    gan = tiny(callbacks=[EarlyStopping(share_of_a, patience=1, maximise=True)], pretrain_epochs=30)
    gan.fit(NAMES)
    values = [record["share_of_a"] for record in gan.history_]
    assert gan.n_iter_ == len(values) < 30
    assert values[-1] <= max(values[:-1])


def test_a_metric_that_does_not_exist_ends_the_fit():
    for name, settings in (("typo", {}), ("validation_nll", dict(early_stopping=False))):
        with pytest.raises(ValueError, match=rf"metric must be a column .*, got '{name}'"):
            tiny(callbacks=[EarlyStopping(name)], **settings).fit(NAMES)
    later = tiny(callbacks=[EarlyStopping("discriminator_loss", patience=9)])
    assert later.fit(NAMES).n_iter_ == 5


@pytest.mark.parametrize("settings", [{"metric": 3}, {"patience": 0}, {"min_delta": -1.0}])
def test_early_stopping_refuses_odd_settings(settings):
    with pytest.raises((TypeError, ValueError), match=next(iter(settings))):
        EarlyStopping(**settings)


def test_print_samples_marks_what_is_new(capsys):
    known = NAMES[:10]
    gan = tiny(callbacks=[PrintSamples(30, every=2, known=iter(known))], pretrain_epochs=8)
    gan.fit(NAMES)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", str(e)] for e in (2, 4, 6, 8, 10)]
    words = [word for line in lines for word in line.split()[2:]]
    assert {word for word in words if not word.startswith("+")} <= set(known)
    assert not {word[1:] for word in words if word.startswith("+")} & set(known)


def test_print_samples_knows_tuples():
    known = PrintSamples(known=[["a", "b"], ("c",)]).known
    assert known == {("a", "b"), ("c",)}


def test_a_csv_file_holds_the_history_with_all_columns(tmp_path):
    path = tmp_path / "history.csv"
    seen = []

    def read(distribution, history):
        with open(path, newline="") as file:
            seen.append(len(list(csv.DictReader(file))))

    gan = tiny(generator=None, callbacks=[WriteCSV(path), read]).fit(NAMES)
    assert seen == [2, 3, 4, 5, 6]  # flushed after every epoch, the counting included
    with open(path, newline="") as file:
        records = list(csv.DictReader(file))
    for found, expected in zip(records, gan.history_, strict=True):
        assert {key: value for key, value in found.items() if value} == {
            key: str(value) for key, value in expected.items()
        }


class Writer:
    """Like TensorBoard's; it can be neither copied nor pickled."""

    def __init__(self):
        self.scalars = []

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def __reduce__(self):
        raise TypeError("cannot pickle a lock")


def test_scalars_go_to_the_writer_also_from_a_clone():
    writer = Writer()
    gan = clone(tiny(generator=None, callbacks=[WriteScalars(writer, "names/")])).fit(NAMES)
    expected = [
        (f"names/{key}", value, record["epoch"])
        for record in gan.history_
        for key, value in record.items()
        if key not in ("epoch", "phase")
    ]
    assert writer.scalars == expected
    with pytest.raises(TypeError, match="writer must have add_scalar"):
        WriteScalars(print)


CALLBACKS = [
    Checkpoint("fit", every=2),
    EarlyStopping("generator_loss", patience=3),
    PrintEpoch(2),
    PrintSamples(3, every=9),
    WriteCSV("history.csv"),
]


@pytest.mark.parametrize("callback", CALLBACKS, ids=lambda callback: type(callback).__name__)
def test_callbacks_are_copied_pickled_and_saved(callback, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert copy.deepcopy(callback) == pickle.loads(pickle.dumps(callback)) == callback
    tiny(callbacks=[callback]).fit(NAMES).save("gan")
    assert LikelihoodGAN.load("gan").callbacks == [callback]


def test_the_training_data_of_print_samples_are_not_saved(tmp_path):
    gan = tiny(callbacks=[PrintSamples(known=NAMES)], early_stopping=False).fit(NAMES)
    gan.save(tmp_path / "gan")
    assert b"alma" not in (tmp_path / "gan").read_bytes()
    assert LikelihoodGAN.load(tmp_path / "gan").callbacks == [PrintSamples()]


def test_watching_is_no_part_of_what_is_saved(tmp_path):
    for verbose in (0, 1):
        tiny(verbose=verbose).fit(NAMES).save(tmp_path / str(verbose))
    gan = LikelihoodGAN.load(tmp_path / "1")
    assert gan.verbose == 0
    assert LikelihoodGAN.load(tmp_path / "1", verbose=2).verbose == 2


@pytest.mark.parametrize("callback", [PrintEpoch, PrintSamples])
@pytest.mark.parametrize("every", [0, -1, 1.5, True, "often"])
def test_an_odd_number_of_epochs_is_refused(callback, every):
    with pytest.raises((TypeError, ValueError), match="every must be an integer >= 1, got"):
        callback(every=every)
