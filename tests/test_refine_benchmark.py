"""The benchmark of the refined distribution: every setting, paired, resumed and tabulated."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import NAMES

from likelihood_gan import Refiner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import molecules
import refine
import tasks

SETTINGS = dict(
    generator_params={"hidden_size": 8}, discriminator_params={"hidden_size": 8}, pretrain_epochs=2
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One small task; the fits of the whole module are shared."""
    folder = tmp_path_factory.mktemp("refine")
    with pytest.MonkeyPatch.context() as patch:

        def split(seed):
            return tasks.Split(NAMES[seed:50], NAMES[50:], max_len=6, settings=SETTINGS)

        patch.setitem(tasks.TASKS, "small", split)
        patch.setattr(refine, "STARTS", folder / "starts")
        patch.setattr(refine.metrics, "two_sample_auc", lambda *args, **kwargs: 0.5)  # slow
        patch.setattr(refine, "Refiner", lambda **params: Refiner(n_samples=200, **params))
        refine.load_task.cache_clear()
        yield folder
        refine.load_task.cache_clear()


@pytest.mark.filterwarnings("ignore:the effective sample size")
@pytest.mark.parametrize("setting", refine.SETTINGS)
def test_every_setting_is_measured(small, setting):
    row = refine.run_once("small", setting, 0, 200)
    assert row["setting"] == setting
    assert math.isfinite(row["test_nats"]) and 0 <= row["auc_trees"] <= 1
    assert row["parameters"] > 0
    assert ("refined" in setting) == math.isfinite(row["ess"])


def test_the_other_judge_tells_lists_apart():
    names = [*NAMES, *(name[::-1] for name in NAMES)]
    classifier = refine.trees().fit(names, [1] * len(NAMES) + [0] * len(NAMES))
    assert classifier.predict_proba(names).shape == (2 * len(NAMES), 2)


def test_the_generators_of_a_seed_hold_out_the_same_sequences_and_differ(small):
    first, second = refine.member("small", 0), refine.member("small", 0, k=1)
    assert first.held_out_ == second.held_out_
    assert first.score(NAMES) != second.score(NAMES)
    both = refine.mixture("small", 0, 2)
    mean = np.logaddexp(first.score_samples(NAMES), second.score_samples(NAMES)) - math.log(2)
    np.testing.assert_allclose(both.score_samples(NAMES), mean, rtol=1e-5)
    held = refine.refine(first, "small", 0).gan
    assert held.held_out_ == first.held_out_
    np.testing.assert_array_equal(held.score_samples(NAMES), first.score_samples(NAMES))


@pytest.mark.filterwarnings("ignore:the effective sample size")
def test_rows_are_resumed_and_tabulated(small, monkeypatch):
    settings = ["mle", "refined"]
    rows = refine.run("small", settings, 2, 1, 200, results=small)
    monkeypatch.setattr(refine, "run_once", None)  # nothing is measured again
    assert str(refine.run("small", settings, 2, 1, 200, results=small)) == str(rows)
    text = refine.table(rows)
    assert text.count("| refined | 2 |") == 1 and "±" in text and "valid" not in text
    refine.plot({"small": rows}, small / "figure.png")
    assert (small / "figure.png").stat().st_size > 0


def test_the_structure_of_molecules_is_what_their_strings_keep_in_memory():
    benzene = molecules.structure("c1ccccc1")
    assert benzene["6 aromatic, 0 nitrogens in ring"] == 1
    assert not any(benzene.get(key) for key in ("branches open", "rings open", "closes nothing"))
    pyridine = molecules.structure("Cc1ccncc1")
    assert pyridine["6 aromatic, 1 nitrogens in ring"] == 1
    assert pyridine["length"] == 9
    broken = molecules.structure("CC)C(C1CC")
    assert (broken["closes nothing"], broken["branches open"], broken["rings open"]) == (1, 0, 1)
    assert molecules.structure("CcC")["aromatic outside rings"] == 1
    assert molecules.structure("C1CC1")["ring of 3"] == 1
