"""Which epoch is kept, and what is left when a fit is cut short."""

import pytest
import torch
from enumeration import Bigram, seeded

from likelihood_gan import LSTMDiscriminator
from likelihood_gan.corpus import Corpus, Data
from likelihood_gan.fitting import fit_modules
from likelihood_gan.objectives import MLE
from likelihood_gan.phases import Phase

CORPUS = Corpus(torch.tensor([[1, 0], [2, 0]]), torch.tensor([3.0, 1.0]))


def diverge(batch):
    """Descend away from the data: the held-out likelihood falls at every epoch."""
    return batch.real.log_prob.mean()


diverge.adversarial = False


def run(phases, *, validation=CORPUS, patience=3, watchers=(), model=None, judge=None):
    model = Bigram(3) if model is None else model
    result = fit_modules(
        model,
        judge,
        Data(CORPUS, CORPUS, validation),
        phases,
        n_tokens=3,
        patience=patience,
        batch_size=8,
        discriminator_learning_rate=0.01,
        watchers=watchers,
        rng=seeded(),
    )
    return result, model


def nll(model):
    with torch.no_grad():
        return -float((CORPUS.log_frequency.exp() * model.log_prob(CORPUS.tokens)).sum())


def test_the_epoch_of_the_best_held_out_likelihood_is_kept():
    phases = [Phase("up", MLE(), 5, 0.1), Phase("down", diverge, 9, 0.1)]
    result, model = run(phases)
    best = min(result.history, key=lambda record: record["validation_nll"])
    assert result.best_epoch == best["epoch"] == 5
    assert nll(model) == pytest.approx(best["validation_nll"], abs=1e-5)


def test_a_phase_without_progress_ends_after_patience_and_the_next_starts_from_the_best():
    phases = [Phase("down", diverge, 50, 0.1), Phase("up", MLE(), 2, 0.1)]
    result, _ = run(phases, patience=4)
    # the first epoch counts as the best so far, then four without progress
    assert [record["phase"] for record in result.history] == ["down"] * 5 + ["up"] * 2
    first, up = result.history[0], result.history[5]
    assert up["validation_nll"] < first["validation_nll"]


def test_without_validation_the_last_epoch_is_kept():
    result, model = run([Phase("down", diverge, 6, 0.1)], validation=None)
    assert len(result.history) == result.best_epoch == 6
    assert "validation_nll" not in result.history[0]
    assert nll(model) > nll(Bigram(3))


def test_a_discriminator_trained_alone_is_kept_although_the_likelihood_stands_still():
    judge = LSTMDiscriminator(3, 4, rng=seeded())
    before = judge.output.weight.clone()
    phases = [Phase("up", MLE(), 2, 0.1), Phase("discriminator", None, 5, 0.0)]
    result, _ = run(phases, judge=judge, patience=1)
    assert result.best_epoch == 7
    assert not torch.equal(judge.output.weight, before)


def test_any_watcher_stops_the_fit_and_all_are_asked():
    asked = []

    def stop(history):
        asked.append("stop")
        return history[-1]["epoch"] == 2

    def look(history):
        asked.append("look")

    result, _ = run([Phase("up", MLE(), 9, 0.1)], watchers=[stop, look])
    assert len(result.history) == 2
    assert asked == ["stop", "look"] * 2


def test_an_interrupt_keeps_the_best_epoch():
    def interrupt(history):
        if history[-1]["epoch"] == 7:
            raise KeyboardInterrupt

    phases = [Phase("up", MLE(), 4, 0.1), Phase("down", diverge, 9, 0.1)]
    result, model = run(phases, patience=9, watchers=[interrupt])
    assert isinstance(result.stopped_by, KeyboardInterrupt)
    assert result.best_epoch == 4
    assert nll(model) == pytest.approx(result.history[3]["validation_nll"], abs=1e-5)


def test_nan_restores_the_last_good_epoch():
    model = Bigram(3)

    def poison(history):
        if history[-1]["epoch"] == 3:
            model.logits.data.fill_(torch.nan)

    result, _ = run([Phase("up", MLE(), 9, 0.1)], validation=None, watchers=[poison], model=model)
    assert isinstance(result.stopped_by, FloatingPointError)
    assert len(result.history) == result.best_epoch == 3
    assert model.logits.isfinite().all()
