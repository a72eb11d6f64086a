"""The comparison of classifiers of names: folds share no name, and every setting is measured."""

import functools

import numpy as np
import pytest
from conftest import NAMES

from benchmarks import labels, store
from likelihood_gan import LikelihoodGAN

pytestmark = pytest.mark.slow


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A few names, one of both sexes, short fits, and their results in an empty folder."""
    pairs = [*NAMES, "kim"], ["female" if n[-1] in "aeiouy" else "male" for n in NAMES] + ["female"]
    monkeypatch.setitem(labels.TASKS, "small", lambda: pairs)
    brief = dict(pretrain_epochs=1, discriminator_pretrain_epochs=1, adversarial_epochs=1)
    monkeypatch.setattr(labels, "LikelihoodGAN", functools.partial(LikelihoodGAN, **brief))
    monkeypatch.setattr(store, "RESULTS", tmp_path)


@pytest.mark.parametrize("setting", labels.SETTINGS)
def test_every_setting_is_measured(small, setting):
    (row,) = labels.run_once(setting, 0, "small")
    assert 0 <= row["accuracy"] <= 1 and row["log_loss"] > 0
    assert row.get("nats", 1) > 0
    assert ("nats" in row) == ("logistic" not in setting)


def test_a_name_with_both_sexes_is_left_out_and_every_other_is_there_once(small):
    names, sexes = labels.load("small")
    assert names.tolist() == sorted(set(NAMES) - {"kim"})
    assert set(np.unique(sexes)) == {"female", "male"}


def test_the_table_pairs_folds(small, tmp_path):
    settings = [labels.CONTROL, "NGram"]
    once = functools.partial(labels.run_once, task="small")
    path = tmp_path / "labels-small.csv"
    rows = store.append_rows(path, once, store.missing(path, settings, 2))
    assert labels.table(rows)[0].startswith("| setting | folds | accuracy | log_loss")
    assert not store.missing(path, settings, 2)
