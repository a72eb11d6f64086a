"""The comparison of objectives: paired, resumable, and measured against a known truth."""

import io
import math
import tarfile
from gzip import compress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from enumeration import Bigram, all_rows

from benchmarks import compare, measures, objectives, starts, store, tasks
from likelihood_gan import CharLSTM, LikelihoodGAN, SequenceDistribution
from likelihood_gan.objectives import Pooled

pytestmark = pytest.mark.slow

SETTINGS = dict(
    generator_params={"hidden_size": 8}, discriminator_params={"hidden_size": 8}, pretrain_epochs=2
)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """One small task in place of all, and its results in an empty folder."""

    def split(seed):
        return tasks.Split(NAMES[seed:50], NAMES[50:], max_len=6, settings=SETTINGS)

    monkeypatch.setitem(tasks.TASKS, "small", split)
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    monkeypatch.setattr(store, "STARTS", tmp_path / "starts")
    caches = tasks.load_split, measures.load_judge
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def test_a_comparison_is_paired_resumed_and_tabulated(small, monkeypatch):
    settings = ["mle", "pooled-kl", "temperature-0.8", "start"]
    rows = compare.run("small", settings, seeds=2, epochs=1, n_jobs=1, n_samples=200)
    counts = {s: sum(row["setting"] == s for row in rows) for s in settings}
    assert counts == {"mle": 4, "pooled-kl": 4, "temperature-0.8": 2, "start": 2}
    assert all(math.isfinite(row["test_nats"]) and math.isnan(row["valid"]) for row in rows)

    def never(*args):
        raise AssertionError("a finished row was measured again")

    with monkeypatch.context() as patched:
        patched.setattr(compare, "run_once", never)
        assert len(compare.run("small", settings, 2, 1, 1)) == len(rows)

    text = "\n".join(compare.tables(rows))
    assert text.count("| pooled-kl | 2 |") == 2  # the epoch that is kept, and the last one
    assert "±" in text and "kl_truth_model" not in text
    compare.plot(rows, small / "figure.png")
    assert (small / "figure.png").stat().st_size > 0


@pytest.mark.parametrize("setting", ["scratch-likelihood", "mle-ensemble", "mle-tuned", "n-gram"])
def test_every_kind_of_setting_gives_models_that_can_be_measured(small, setting):
    rows = compare.run_once(setting, 0, "small", epochs=1, n_samples=200)
    assert {row["setting"] for row in rows} == {setting}
    assert all(math.isfinite(row["test_nats"]) for row in rows)


def test_a_start_is_trained_once_and_an_objective_goes_on_from_it(small):
    split, start = tasks.load_split("small", 0), starts.load_start("small", 0)
    before = start.score_samples(NAMES)
    models = compare.SETTINGS["pooled-kl"](split, start, 0, 2)
    phases = [record["phase"] for record in models["kept"].history_]
    assert phases == ["discriminator"] * start.discriminator_pretrain_epochs + ["adversarial"] * 2
    assert (models["last"].score_samples(NAMES) != before).any()
    np.testing.assert_array_equal(start.score_samples(NAMES), before)
    again = starts.load_start("small", 0)
    np.testing.assert_array_equal(again.score_samples(NAMES), before)


def test_the_last_epoch_is_watched_and_the_best_one_kept():
    split = tasks.Split(NAMES[:50], NAMES[50:], settings=SETTINGS)
    gan = starts.fit_start(split, 0)
    kept, last = starts.go_on(gan, split.fit, "mle", 3, adversarial_learning_rate={1: 0.01, 2: 3.0})
    held_out = kept.held_out_
    assert kept.best_epoch_ < len(kept.history_)
    assert last.score(held_out) == pytest.approx(-kept.history_[-1]["validation_nll"], rel=1e-5)
    assert kept.score(held_out) > last.score(held_out)


def test_divergences_from_a_known_truth_are_those_of_their_definition(fitted):
    listed = ["ann", "ben", "eva"]
    truth = dict(zip(listed, [0.5, 0.3, 0.2], strict=True))
    p, q = np.exp(fitted.score_samples(listed)), np.array([0.5, 0.3, 0.2])
    found = measures.against_truth(fitted, truth)
    assert found["kl_truth_model"] == pytest.approx((q * np.log(q / p)).sum())
    assert found["listed_mass"] == pytest.approx(p.sum())
    p /= p.sum()
    assert found["kl_model_truth_listed"] == pytest.approx((p * np.log(p / q)).sum())


def test_nats_of_new_sequences_leave_out_the_mass_of_the_training_list():
    generator = Bigram(3).eval()
    bigram = SequenceDistribution(generator, "ab", max_len=4)
    listed, new = ["", "a", "b", "ab"], ["aa", "bba"]
    judge = SequenceDistribution(Bigram(3, seed=1).eval(), "ab", max_len=4)
    split = tasks.Split(listed, [*new, *listed] * 3, max_len=4)
    found = measures.measure(bigram, split, judge, seed=0, n_samples=50)
    with torch.no_grad():
        rows = all_rows(3, 4)
        p = generator.log_prob(rows).double().exp()
    words = ["".join(" ab"[t] for t in row if t) for row in rows.tolist()]
    of_listed = sum(float(p[words.index(word)]) for word in listed)
    nats = [-math.log(float(p[words.index(word)]) / (1 - of_listed)) for word in new]
    assert found["new_nats"] == pytest.approx(np.mean(nats), rel=1e-5)
    assert found["test_nats"] > found["new_nats"]
    certain = SimpleNamespace(score_samples=lambda X: np.zeros(len(X)))
    assert math.isnan(measures.log_new_mass(certain, listed))


def test_a_tempered_generator_is_a_distribution_and_at_1_the_same():
    rows = all_rows(4, 3)
    bigram = Bigram(4).eval()
    with torch.no_grad():
        torch.testing.assert_close(starts.Tempered(bigram, 1).log_prob(rows), bigram.log_prob(rows))
        cold = starts.Tempered(bigram, 0.5).log_prob(rows)
    assert cold.exp().sum() == pytest.approx(1, abs=1e-5)


def test_the_blind_objective_is_the_pooled_one_of_a_discriminator_that_knows_nothing():
    halves = [
        type("Half", (), dict(log_prob=-torch.rand(5), logits=torch.zeros(5))) for _ in range(2)
    ]
    batch = type("Batch", (), dict(real=halves[0], generated=halves[1]))
    torch.testing.assert_close(objectives.blind(batch), Pooled("kl")(batch))


def test_no_test_sequence_was_fitted_on_unless_the_truth_is_known():
    split = tasks._split(list(NAMES), seed=0)
    assert not set(split.fit) & set(split.test) and set(split.fit) | set(split.test) == set(NAMES)
    census = tasks.census(0)
    assert census.weights.sum() == 20_000 and set(census.fit) <= set(census.truth)
    assert sum(census.truth.values()) == pytest.approx(1)
    assert not set(census.unseen) & set(census.fit)


def test_words_are_distinct_lower_case_letters():
    split = tasks.words(0)
    assert len(set(split.fit) | set(split.test)) == 50_000
    assert all(word.isalpha() and word == word.lower() for word in split.test)


def test_molecules_come_from_the_published_archive_and_know_validity(tmp_path, monkeypatch):
    molecules = [f"C{'C' * n}O" for n in range(22_000 // 1000)] * 1000
    text = compress("\n".join(["SMILES", *(f"{m}{i}" for i, m in enumerate(molecules))]).encode())
    folder = tmp_path / "likelihood_gan_data"
    folder.mkdir()
    with tarfile.open(folder / "molsets-0.3.1.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("molsets-0.3.1/moses/dataset/data/train.csv.gz")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    monkeypatch.setenv("HOME", str(tmp_path))
    split = tasks.smiles(0)
    assert (len(split.fit), len(split.test)) == (20_000, 2_000)
    assert split.valid("CCO") and not split.valid("C(") and not split.valid("")


def test_alternatives_see_a_weighted_list_as_repeated(monkeypatch):
    seen = []
    monkeypatch.setitem(
        compare.ALTERNATIVES, "seqgan", lambda gan, sequences, **rest: seen.extend(sequences)
    )
    split = tasks.Split(["ann", "eva"], ["ben"], weights=np.array([2.0, 1.0]))
    compare.SETTINGS["seqgan"](split, LikelihoodGAN(), 0, 1)
    assert seen == ["ann", "ann", "eva"]


def test_the_start_is_the_estimators_own_maximum_likelihood():
    split = tasks.Split(NAMES, NAMES, settings=SETTINGS)
    plain = dict(generator=CharLSTM, objective="mle", adversarial_epochs=0, batch_size=128)
    same = tiny(**(SETTINGS | plain)).fit(NAMES)
    np.testing.assert_array_equal(
        starts.fit_start(split, 0).score_samples(NAMES), same.score_samples(NAMES)
    )
