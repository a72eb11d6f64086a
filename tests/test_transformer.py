"""The character Transformer: a lawful generator, trained to the best held-out score."""

import numpy as np
import pytest
import torch
from conftest import NAMES
from enumeration import all_rows

from benchmarks import tasks
from benchmarks.transformer import CharTransformer, fit_transformer
from likelihood_gan.checks import check_generator

SMALL = dict(n_layers=2, n_heads=2, width=8)
QUICK = dict(**SMALL, batch_size=16, every=20)
SPLIT = tasks.Split(NAMES[:50], NAMES[50:], max_len=6)


def test_it_is_a_lawful_generator():
    check_generator(CharTransformer(3, 12, **SMALL), n_tokens=3)


def test_dropout_is_for_training_alone_and_repeats_with_the_seed():
    rows, model = all_rows(3, 4), CharTransformer(3, 12, **SMALL, dropout=0.3)
    check_generator(model, n_tokens=3)
    assert (model.log_prob(rows) != model.log_prob(rows)).all()
    fits = [fit_transformer(SPLIT, 0, most=40, dropout=0.3, **QUICK) for _ in range(2)]
    assert fits[0].score(NAMES) == fits[1].score(NAMES)
    assert fits[0].score(NAMES) != fit_transformer(SPLIT, 0, most=40, **QUICK).score(NAMES)


def test_it_has_the_usual_size():
    n = sum(parameter.numel() for parameter in CharTransformer(27, 30).parameters())
    assert 195_000 < n < 210_000


def test_a_symbol_depends_on_all_before_it_and_on_none_behind_it():
    model = CharTransformer(3, 5, **SMALL).eval()
    rows = all_rows(3, 5)[-32:]
    table = model.next_log_probs(rows)
    for t in range(5):
        changed = rows.clone()
        changed[:, t] = 3 - changed[:, t]
        differs = (model.next_log_probs(changed) - table).abs().amax((0, 2)) > 1e-6
        assert differs.tolist() == [place > t for place in range(5)]


def test_longer_rows_than_it_was_built_for_are_refused():
    model = CharTransformer(3, 4, **SMALL)
    assert model.log_prob(torch.tensor([[1, 1, 1, 1, 0]])).isfinite().all()
    with pytest.raises(ValueError, match="max_len=4"):
        model.log_prob(torch.tensor([[1, 1, 1, 1, 1, 0]]))


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 51)])
def test_the_best_score_of_what_was_held_out_is_kept(weights):
    split, histories = tasks.Split(SPLIT.fit, SPLIT.test, weights, max_len=6), []

    def watch(distribution, history):
        histories[:] = history

    how = dict(n_layers=1, n_heads=2, width=48, batch_size=16, every=20, patience=3, most=600)
    model = fit_transformer(split, 0, watch, **how)
    _, held_out = split.hold_out(0)
    scores = [record["validation_nll"] for record in histories]
    if weights is None:
        assert np.argmin(scores) == len(scores) - 4  # the last three were no better
    nats = -model.score(split.fit, sample_weight=held_out)
    assert nats == pytest.approx(min(scores), rel=1e-6)
    assert nats < scores[0] - 1
    again = fit_transformer(split, 0, None, **how)
    np.testing.assert_array_equal(again.score_samples(NAMES), model.score_samples(NAMES))


def test_training_learns_how_frequent_sequences_are():
    split = tasks.Split(["ab", "ba"], ["ab"], np.array([3000.0, 1000.0]), max_len=3)
    model = fit_transformer(split, 0, most=400, every=200, n_layers=1, n_heads=2, width=48)
    p = np.exp(model.score_samples(["ab", "ba"]))
    assert p == pytest.approx([0.75, 0.25], abs=0.05)


def test_a_watcher_ends_the_training():
    steps = []
    fit_transformer(SPLIT, 0, lambda _, history: steps.append(history[-1]["step"]) or True, **QUICK)
    assert steps == [20]
