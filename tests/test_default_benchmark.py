"""The comparison of the default: every setting is measured, resumed, timed and tabulated."""

import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import NAMES

from benchmarks import default, measures, starts, store, tasks
from likelihood_gan import CharLSTM, LikelihoodGAN, Refined, metrics

pytestmark = pytest.mark.slow

SETTINGS = dict(
    generator_params={"hidden_size": 8}, discriminator_params={"hidden_size": 8}, pretrain_epochs=2
)
SIZES = dict(n_samples=200, n_timed=600, draws=2)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """One small task, small settings, and their results in an empty folder."""

    def split(seed):
        return tasks.Split(NAMES[seed:50], NAMES[50:], max_len=6, settings=SETTINGS)

    few = dict(every=20, patience=1, most=40, n_layers=1, width=8, n_heads=2)
    brief = dict(pretrain_epochs=1, discriminator_pretrain_epochs=1, adversarial_epochs=1)
    monkeypatch.setattr(default, "LikelihoodGAN", functools.partial(LikelihoodGAN, **brief))
    before = functools.partial(default.SETTINGS["default before"], **brief)
    monkeypatch.setitem(default.SETTINGS, "default before", before)
    for setting in ("Transformer", "Transformer, dropout"):
        transformer = functools.partial(default.SETTINGS[setting], **few)
        monkeypatch.setitem(default.SETTINGS, setting, transformer)
    monkeypatch.setattr(default, "Refined", functools.partial(Refined, n_samples=500))
    monkeypatch.setitem(tasks.TASKS, "small", split)
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    caches = tasks.load_split, measures.load_judge
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


@pytest.mark.filterwarnings("ignore:the effective sample size")
@pytest.mark.parametrize("setting", default.SETTINGS)
def test_every_setting_is_measured(small, setting):
    (row,) = default.run_once(setting, 0, "small", **SIZES)
    assert (row["setting"], row["seed"]) == (setting, 0)
    assert 0 < row["new_nats"] <= row["test_nats"] < math.inf
    assert all(row[column] > 0 for column in ("seconds", "samples_per_second", "megabytes"))


def test_finished_rows_are_not_measured_again(small, monkeypatch):
    settings = ["Kneser-Ney", "Transformer"]
    rows = default.run("small", settings, seeds=2, **SIZES)
    assert [(row["setting"], row["seed"]) for row in rows] == [
        (setting, seed) for seed in range(2) for setting in settings
    ]

    def never(*args, **kwargs):
        raise AssertionError("a finished row was measured again")

    monkeypatch.setattr(default, "run_once", never)
    again = default.run("small", settings, seeds=2, **SIZES)
    np.testing.assert_equal(again, rows)


def test_the_default_is_told_nothing_but_symbols_and_seed(monkeypatch):
    monkeypatch.setattr(LikelihoodGAN, "fit", lambda self, X, sample_weight: self)
    split = tasks.Split(NAMES[:50], NAMES[50:], np.arange(1.0, 51), settings=SETTINGS)
    plain = LikelihoodGAN().get_params(deep=False)
    given = default.default(split, 7).get_params(deep=False)
    assert {k for k in plain if plain[k] != given[k]} == {"vocabulary", "random_state"}
    assert default.SETTINGS["default before"](split, 7).generator is CharLSTM


def test_a_product_counts_what_chose_its_exponents_in_the_end():
    split = tasks.Split(NAMES[:50], NAMES[50:], settings=SETTINGS)
    lstm, counts = default.product(split, 0).generator.generators
    assert isinstance(lstm, CharLSTM)
    known = starts.fit_ngram(split.fit, vocabulary=split.symbols, order=counts.order)
    tokens = known.vocabulary.encode_rows(NAMES)
    np.testing.assert_allclose(
        counts.eval().log_prob(tokens), known.generator.log_prob(tokens), rtol=1e-3
    )


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 51)])
def test_what_is_held_out_is_not_trained_on(weights):
    split = tasks.Split(NAMES[:50], NAMES[50:], weights)
    training, held_out = split.hold_out(0)
    np.testing.assert_array_equal(training + held_out, np.ones(50) if weights is None else weights)
    assert 0.05 < held_out.sum() / (training + held_out).sum() < 0.15
    assert weights is not None or not (training * held_out).any()


def test_the_auc_is_the_mean_of_draws(fitted):
    split = tasks.Split(NAMES[:50], NAMES[30:], max_len=6)
    first = fitted.sample(100, 6, random_state=3)
    by_hand = [
        metrics.two_sample_auc(
            fitted.sample(100, 6, random_state=seed), split.test, random_state=seed
        )
        for seed in (3, 1003, 2003)
    ]
    assert measures.mean_auc(fitted, split, 3, first, 1) == by_hand[0]
    assert measures.mean_auc(fitted, split, 3, first, 3) == pytest.approx(np.mean(by_hand))


def test_a_stopwatch_leaves_its_own_time_out_and_stops_at_the_level():
    now = [0.0]

    class Slow(SimpleNamespace):
        def score_samples(self, sequences):
            now[0] += 100  # to score takes long
            return np.full(len(sequences), -self.nats)

    watch = default.Stopwatch(["a", "b"], 10, clock=lambda: now[0])
    for nats in (12, 11):
        now[0] += 5
        assert not watch(Slow(nats=nats), [])
    assert math.isnan(watch.seconds)
    now[0] += 5
    assert watch(Slow(nats=9.5), [])
    now[0] += 5
    assert watch(Slow(nats=11), [])  # the finished model; the level has been reached before
    assert (watch.seconds, watch.nats) == (15, 9.5)


def test_seconds_to_a_level_are_measured_for_models_of_epochs_and_others(small):
    settings = ["default before", "mixture of two", "Transformer"]
    rows = default.measure_time("small", settings, seeds=1, level=1000.0)
    assert all(row["seconds"] > 0 for row in rows)
    assert rows[0]["lowest_nats"] < 1000
    assert default.measure_time("small", settings, seeds=1, level=1000.0) == rows
    with pytest.raises(ValueError, match="levels"):
        default.measure_time("small", settings, seeds=1, level=1.0)
    (row,) = default.time_once("Kneser-Ney", 0, "small", level=1.0)
    assert math.isnan(row["seconds"]) and row["lowest_nats"] > 1


def test_a_level_that_no_seed_reached_is_never():
    nan = math.nan
    found = [("default", 0, 2.0), ("default", 1, 4.0), ("Kneser-Ney", 0, nan), ("Kneser-Ney", 1, 1)]
    rows = [dict(setting=s, seed=seed, level=13.73, seconds=x) for s, seed, x in found]
    rows.append(dict(setting="mle, tuned", seed=0, level=13.73, seconds=nan))
    assert default.time_table(rows)[1:] == [
        "| setting | seconds to 13.73 nats | reached by |",
        "|---|---|---|",
        "| default | 3.0 | 2 of 2 |",
        "| Kneser-Ney | 1.0 | 1 of 2 |",
        "| mle, tuned | never | 0 of 1 |",
    ]
    assert default.time_table([]) == []


def test_a_table_compares_with_the_default_and_a_picture_is_drawn(small):
    rng = np.random.default_rng(0)
    rows = [
        dict(setting=setting, seed=seed, test_nats=12 + i + rng.random(), seconds=10.0 + i, auc=0.5)
        for i, setting in enumerate(default.SETTINGS)
        for seed in range(2)
    ]
    lines = default.table(rows)
    assert lines[0] == "| setting | seeds | test_nats | auc | seconds |"
    assert [line.split(" | ")[0][2:] for line in lines[2:]] == list(default.SETTINGS)
    assert "±" not in lines[2] and all("±" in line for line in lines[3:])
    default.plot(rows, small / "figure.png")
    assert (small / "figure.png").stat().st_size > 0


def test_the_new_lists_are_disjoint():
    words = tasks.words100k(0)
    assert (len(set(words.fit)), len(set(words.test))) == (100_000, 5000)
    names = tasks.first_names(0)
    assert len(set(names.fit) | set(names.test)) == 5163
    for split in (words, names):
        assert not set(split.fit) & set(split.test)
