"""The benchmark of the refined distribution: every setting, paired, resumed and tabulated."""

import functools
import math

import numpy as np
import pytest
from conftest import NAMES

from benchmarks import measures, molecules, refine, starts, store, tasks

pytestmark = pytest.mark.slow

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
        patch.setattr(store, "RESULTS", folder)
        patch.setattr(store, "STARTS", folder / "starts")
        patch.setattr(refine.metrics, "two_sample_auc", lambda *args, **kwargs: 0.5)  # slow
        patch.setattr(refine, "refine", functools.partial(refine.refine, n_samples=200))
        caches = tasks.load_split, measures.load_judge
        for cache in caches:
            cache.cache_clear()
        yield
        for cache in caches:
            cache.cache_clear()


@pytest.mark.filterwarnings("ignore:the effective sample size")
@pytest.mark.parametrize("setting", refine.SETTINGS)
def test_every_setting_is_measured(small, setting):
    (row,) = refine.run_once(setting, 0, "small", 200)
    assert row["setting"] == setting
    assert math.isfinite(row["test_nats"]) and 0 <= row["auc_trees"] <= 1
    assert row["new_nats"] <= row["test_nats"]
    assert row["parameters"] > 0
    assert ("refined" in setting) == math.isfinite(row["ess"])


def test_the_other_judge_tells_lists_apart():
    names = [*NAMES, *(name[::-1] for name in NAMES)]
    classifier = refine.trees().fit(names, [1] * len(NAMES) + [0] * len(NAMES))
    assert classifier.predict_proba(names).shape == (2 * len(NAMES), 2)


def test_the_generators_of_a_seed_hold_out_the_same_sequences_and_differ(small):
    first, second = starts.load_start("small", 0), starts.load_start("small", 0, 1)
    assert first.held_out_ == second.held_out_
    assert first.score(NAMES) != second.score(NAMES)
    both = refine.mixture("small", 0, 2)
    mean = np.logaddexp(first.score_samples(NAMES), second.score_samples(NAMES)) - math.log(2)
    np.testing.assert_allclose(both.score_samples(NAMES), mean, rtol=1e-5)
    assert both.held_out_ == first.held_out_
    refined = refine.refine(both, "small", 0)
    assert refined.estimator_ is both
    assert refined.coef_ != refine.refine(both.distribution_, "small", 0).coef_  # holds nothing out


def test_a_start_is_fitted_once_and_sizes_are_its_name(small):
    fits = [starts.load_start("small", 0, hidden_size=size) for size in (6, 7, 6)]
    assert [fit.generator_.output.in_features for fit in fits] == [6, 7, 6]
    np.testing.assert_array_equal(fits[0].score_samples(NAMES), fits[2].score_samples(NAMES))
    assert {path.name for path in store.STARTS.iterdir()} >= {
        "small-0-6.safetensors",
        "small-0-7.safetensors",
    }


@pytest.mark.filterwarnings("ignore:the effective sample size")
def test_rows_are_resumed_and_tabulated(small, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    settings = ["mle", "refined"]
    rows = refine.run("small", settings, 2, 1, 200)
    monkeypatch.setattr(refine, "load_judge", None)  # nothing is measured again
    assert str(refine.run("small", settings, 2, 1, 200)) == str(rows)
    text = refine.table(rows)
    assert text.count("| refined | 2 |") == 1 and "±" in text and "valid" not in text
    refine.plot({"small": rows}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 0


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
