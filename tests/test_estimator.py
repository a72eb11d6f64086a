"""Fitting: what is learned and kept, what callbacks see, and what is left when a fit is cut short."""

import calendar
import itertools
import math

import numpy as np
import pytest
import torch
from conftest import tiny
from enumeration import Bigram, NoStep
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

from likelihood_gan import CharLSTM, LikelihoodGAN, LSTMDiscriminator, SequenceDistribution
from likelihood_gan.callbacks import PrintSamples
from likelihood_gan.models import ResidualLSTM
from likelihood_gan.objectives import MLE, OBJECTIVES, ImportanceSampled
from likelihood_gan.schedules import Cosine

# What is learned


def test_what_is_learned_is_a_distribution(fitted):
    distribution = fitted.distribution_
    assert isinstance(distribution, SequenceDistribution)
    assert fitted.generator_ is distribution.generator
    assert fitted.vocabulary_ is distribution.vocabulary
    assert fitted.max_len_ == distribution.max_len == 4
    assert fitted.sample(600, random_state=0) == distribution.sample(600, random_state=0)
    for name in ("generator_", "vocabulary_", "max_len_"):
        with pytest.raises(AttributeError):
            setattr(fitted, name, None)


def test_history_has_one_record_per_epoch(fitted):
    assert [r["epoch"] for r in fitted.history_] == [1, 2, 3, 4, 5]
    assert [r["phase"] for r in fitted.history_] == (
        ["pretrain"] * 2 + ["discriminator"] + ["adversarial"] * 2
    )
    last = fitted.history_[-1]
    for key in ("generator_loss", "discriminator_loss", "validation_nll", "seconds"):
        assert math.isfinite(last[key])
    assert 1 <= last["effective_sample_size"] <= 32  # of the data and of its own samples
    assert fitted.n_iter_ == 5


def test_default_modules_are_the_bundled_ones(names):
    gan = tiny(generator=None).fit(names)
    assert isinstance(gan.generator_, ResidualLSTM)
    assert isinstance(gan.discriminator_, LSTMDiscriminator)
    assert not gan.generator_.training and not gan.discriminator_.training


def test_discriminate_gives_probabilities_whatever_the_batch(fitted, names):
    p = fitted.discriminate(names)
    assert p.shape == (len(names),)
    assert ((p > 0) & (p < 1)).all()
    np.testing.assert_allclose(fitted.discriminate(["anna"]), p[names.index("anna")], rtol=1e-5)


def test_unknown_symbols_score_minus_infinity_on_request(names):
    gan = tiny(handle_unknown="neg_inf").fit(names)
    scores = gan.score_samples(["anna", "änna"])
    assert math.isfinite(scores[0])
    assert scores[1] == -math.inf
    assert gan.perplexity(["änna"]) == math.inf
    assert (gan.discriminate(["anna", "änna"]) == 0).tolist() == [False, True]
    judged = gan.discriminate(["anna", "änna"], random=False)
    assert np.isnan(judged).tolist() == [False, True]
    assert gan.score_samples(["ä"]).tolist() == [-math.inf]


def test_a_vocabulary_fixes_the_alphabet_up_front(names):
    gan = tiny(vocabulary="abcdefghijklmnopqrstuvwxyzä").fit(names)
    assert math.isfinite(gan.score(["änna"]))
    assert gan.generator_.symbols.n_tokens == 28


@pytest.mark.parametrize(
    "X, kind",
    [
        ([("C", "G"), ("C", "Am", "G"), ("F",), ()] * 3, tuple),
        ([[1, 2, 3], [2, 3], [3]], tuple),
        (np.array([[1, 2], [2, 1], [1, 1]]), tuple),
        (["", "a", "ab"], str),
        ({"ab", "ba", "aa"}, str),
        (np.array(["ab", "ba"]), str),
        ((word for word in ["ab", "ba"]), str),
        (["né", "日本", "😀"], str),
    ],
)
def test_any_discrete_sequences_are_data(X, kind):
    gan = tiny().fit(X)
    assert {type(sample) for sample in gan.sample(5, random_state=0)} == {kind}


def test_a_module_is_copied_and_never_trained_in_place(names):
    vocabulary = sorted(set("".join(names)))
    model = Bigram(len(vocabulary) + 1)
    before = model.logits.clone()
    gan = tiny(generator=model, generator_params=None).fit(names)
    assert torch.equal(model.logits, before)
    assert not torch.equal(gan.generator_.logits, before)


def test_a_callable_is_given_the_number_of_tokens_and_the_params(names):
    seen = []

    def build(n_tokens, width):
        seen.append((n_tokens, width))
        return Bigram(n_tokens)

    tiny(generator=build, generator_params={"width": 3}).fit(names)
    assert seen == [(len(set("".join(names))) + 1, 3)]


def test_a_generator_without_step_fits_samples_and_scores(names):
    gan = tiny(generator=NoStep, generator_params=None).fit(names)
    assert gan.sample(9, random_state=0) == gan.sample(9, random_state=0)
    assert math.isfinite(gan.score(names))


def test_the_model_learns_the_weights():
    gan = tiny(
        objective="mle", early_stopping=False, pretrain_epochs=300, pretrain_learning_rate=0.02
    ).fit(["a", "b", "c"], sample_weight=[6, 3, 1])
    np.testing.assert_allclose(
        np.exp(gan.score_samples(["a", "b", "c"])), [0.6, 0.3, 0.1], atol=0.03
    )


@pytest.mark.filterwarnings("error::likelihood_gan.controls.PoorFitWarning")
def test_the_default_learns_few_sequences_and_their_frequencies(real_epochs):
    months = [month.lower() for month in calendar.month_name if month]
    gan = LikelihoodGAN(random_state=0).fit(months * 1000)
    p = np.exp(gan.score_samples(months))
    assert p.sum() > 0.99
    assert (np.abs(p - 1 / 12).sum() + 1 - p.sum()) / 2 < 0.03  # total variation
    drawn = gan.sample(10_000, random_state=0)
    assert sum(word in months for word in drawn) > 9900


def test_early_stopping_keeps_the_best_epoch(names):
    gan = tiny(adversarial_epochs=10, adversarial_learning_rate=0.2).fit(names)
    best = min(gan.history_, key=lambda r: (r["validation_nll"], -r["epoch"]))
    assert gan.best_epoch_ == best["epoch"]


def test_without_early_stopping_nothing_is_held_out(names):
    gan = tiny(early_stopping=False).fit(names)
    assert "validation_nll" not in gan.history_[0]
    assert gan.best_epoch_ == gan.n_iter_ == 5
    tiny(early_stopping=False).fit(["one"])


def test_what_early_stopping_holds_out_is_kept_and_not_learned(names):
    gan = tiny(validation_fraction=0.2).fit([*names, "anna", "anna"])
    assert len(gan.held_out_) == len(set(gan.held_out_)) == round(0.2 * len(names))
    assert set(gan.held_out_) < set(names)
    rest = [name for name in names if name not in gan.held_out_]
    gan = tiny(validation_fraction=0.2, pretrain_epochs=60, pretrain_learning_rate=0.02).fit(names)
    assert gan.score(gan.held_out_) < gan.score(rest) - 0.5


def test_bf16_trains_as_well(names):
    settings = dict(pretrain_epochs=30, adversarial_epochs=2, pretrain_learning_rate=0.02)
    plain, fast = (tiny(**settings, precision=p).fit(names) for p in ("float32", "bf16"))
    assert fast.score(names) != plain.score(names)
    assert fast.score(names) == pytest.approx(plain.score(names), abs=0.3)
    assert {p.dtype for p in fast.generator_.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_fits_by_its_name_and_repeats(names, name):
    first, second = (tiny(objective=name, early_stopping=False).fit(names) for _ in range(2))
    assert math.isfinite(first.score(names))
    np.testing.assert_array_equal(first.score_samples(names), second.score_samples(names))
    mle = tiny(objective="mle", early_stopping=False).fit(names)
    assert name == "mle" or first.score(names) != mle.score(names)


@pytest.mark.parametrize(
    "objective", [ImportanceSampled(), MLE(), lambda batch: -batch.real.log_prob.sum()]
)
def test_an_objective_is_a_name_or_a_callable(names, objective):
    assert tiny(objective=objective).fit(names).n_iter_ >= 4


def test_the_discriminator_reaches_the_generators_gradient(names):
    # The published code's second defect made it drop out.
    def judged_by(sign):
        class Judge(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.tensor(5.0 * sign))

            def forward(self, tokens):
                return self.scale * ((tokens > 0).sum(1) - 3.5)  # likes long words, or short ones

        settings = dict(
            discriminator=Judge(),
            discriminator_params=None,
            early_stopping=False,
            adversarial_epochs=40,
            adversarial_learning_rate=0.03,
            discriminator_learning_rate=1e-6,
        )
        gan = tiny(**settings, discriminator_pretrain_epochs=0).fit(names)
        return np.mean([len(s) for s in gan.sample(500, 20, random_state=0)])

    assert judged_by(1) > judged_by(-1) + 0.5


def test_warm_start_continues_from_the_weights_of_the_last_fit(names):
    gan = tiny(pretrain_epochs=20, adversarial_epochs=0).fit(names)
    before = gan.score(names)
    gan.set_params(warm_start=True, pretrain_epochs=1, pretrain_learning_rate=1e-6).fit(names)
    assert gan.score(names) == pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize("generator", [CharLSTM, None])
def test_a_warm_start_holds_the_same_sequences_out_and_continues_the_history(names, generator):
    gan = tiny(generator=generator, warm_start=True, random_state=None).fit(names)
    split, records, n = gan.split_, list(gan.history_), gan.n_iter_
    more = [*names, "zara", "zeno", "zack"]
    gan.set_params(vocabulary=None).fit(names)
    for before, after in zip(split, gan.split_, strict=True):
        np.testing.assert_array_equal(before, after)
    assert gan.history_[: len(records)] == records
    epochs = [r["epoch"] for r in gan.history_ if r["phase"] != "count"]
    assert epochs == [*range(1, 2 * n + 1)]
    assert gan.n_iter_ == 2 * n
    assert {r.get("fit") for r in gan.history_[len(records) :]} == {2}
    gan.fit(more)  # what is new is trained on
    np.testing.assert_array_equal(gan.split_.keys, split.keys)
    assert gan.history_[-1]["fit"] == 3


def test_a_warm_start_on_other_data_holds_some_of_them_out(names):
    gan = tiny(warm_start=True, vocabulary=set("".join(names))).fit(names[:30])
    first = gan.held_out_
    gan.fit(names[30:])
    assert gan.held_out_ and not set(gan.held_out_) & set(first)
    gan.fit(first + names[:2])  # of what was held out, all that is there
    assert gan.held_out_ != first


def test_a_warm_start_of_occurrences_holds_the_same_share_of_each_out(names):
    weights = np.arange(1, len(names) + 1) ** 2.0
    gan = tiny(warm_start=True, random_state=None).fit(names, sample_weight=weights)
    split = gan.split_
    assert 0 < len(split.keys) and (split.shares < 1).any()
    gan.fit(names, sample_weight=weights)
    np.testing.assert_array_equal(split.keys, gan.split_.keys)
    np.testing.assert_allclose(split.shares, gan.split_.shares)


@pytest.mark.parametrize("generator, rate", [(CharLSTM, 2.0), (None, 0.5)])
def test_a_warm_start_is_never_worse_on_what_is_held_out_than_it_began(names, generator, rate):
    gan = tiny(generator=generator, warm_start=True).fit(names)

    def best():
        record = next(r for r in gan.history_ if r["epoch"] == gan.best_epoch_)
        return record["validation_nll"]

    before, epoch = best(), gan.best_epoch_
    gan.set_params(pretrain_learning_rate={1: rate}, adversarial_epochs=0, objective="mle").fit(
        names
    )
    assert gan.best_epoch_ == epoch  # whatever was tried has made it worse
    assert gan.history_[-1]["validation_nll"] > before
    assert best() == before


def test_a_warm_start_does_not_begin_with_the_full_step(names):
    def steps(gan):
        weights = [gan.generator_.output.weight.detach().clone()] if hasattr(gan, "n_iter_") else []

        def watch(distribution, history):
            weights.append(distribution.generator.output.weight.detach().clone())

        gan.set_params(callbacks=[watch]).fit(names)
        return [float((b - a).abs().mean()) for a, b in itertools.pairwise(weights)]

    settings = dict(pretrain_epochs=8, early_stopping=False, objective="mle")
    gan = tiny(**settings, adversarial_epochs=0, warm_start=True)
    cold, warm = steps(gan), steps(gan)
    assert warm[0] < 0.6 * cold[0]
    assert warm[-1] < 0.1 * warm[0]


# Learning rates


def epochs(gan, phase):
    """Return the losses of the epochs of a phase."""
    return [
        {key: value for key, value in record.items() if key != "seconds"}
        for record in gan.history_
        if record["phase"] == phase
    ]


RATES = {
    "pretrain_learning_rate": "pretrain",
    "adversarial_learning_rate": "adversarial",
    "discriminator_learning_rate": "adversarial",
}


@pytest.mark.parametrize("name, phase", RATES.items())
@pytest.mark.parametrize(
    "schedule",
    [
        lambda first, later: {1: first, 3: later},
        lambda first, later: lambda epoch: first if epoch < 3 else later,
    ],
    ids=["mapping", "callable"],
)
def test_a_mapping_and_a_callable_give_the_rate_of_every_epoch(names, name, phase, schedule):
    def fit(rate):
        settings = dict(pretrain_epochs=3, adversarial_epochs=3, early_stopping=False)
        return tiny(**settings, **{name: rate}).fit(names)

    constant = fit({1: 0.01})
    same = fit(schedule(0.01, 0.01))
    assert epochs(same, phase) == epochs(constant, phase)
    np.testing.assert_array_equal(same.score_samples(names), constant.score_samples(names))
    later, earlier = fit(schedule(0.01, 0.001)), fit(schedule(0.005, 0.01))
    assert epochs(later, phase)[:2] == epochs(constant, phase)[:2]
    assert epochs(later, phase)[2] != epochs(constant, phase)[2]
    assert epochs(earlier, phase)[0] != epochs(constant, phase)[0]
    assert (later.score_samples(names) != constant.score_samples(names)).any()


def test_a_number_as_pretraining_rate_falls_along_a_cosine(names):
    def steps(rate):
        """Return how far the weights move in each epoch but the first."""
        weights = []

        def watch(distribution, history):
            weights.append(distribution.generator.output.weight.detach().clone())

        settings = dict(pretrain_epochs=8, early_stopping=False, objective="mle", callbacks=[watch])
        tiny(**settings, adversarial_epochs=0, pretrain_learning_rate=rate).fit(names)
        return [float((b - a).abs().mean()) for a, b in itertools.pairwise(weights)]

    falling, level = steps(0.01), steps({1: 0.01})
    assert falling == steps(Cosine(0.01, 8)) != level
    assert falling[-1] < 0.1 * level[-1] and falling[0] > 0.5 * level[0]


# Callbacks


def test_callbacks_get_the_live_distribution_and_the_history_so_far(names, tmp_path):
    seen = []

    def callback(distribution, history):
        distribution.save(tmp_path / str(len(history)))
        seen.append((distribution, [record["epoch"] for record in history]))
        scores.append(distribution.score_samples(names))
        return len(history) == 4

    scores = []
    gan = tiny(callbacks=[callback], early_stopping=False).fit(names)
    assert [epochs for _, epochs in seen] == [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]
    assert gan.n_iter_ == len(gan.history_) == 4
    assert all(distribution is gan.distribution_ for distribution, _ in seen)
    assert (scores[0] != scores[1]).any() and (scores[2] != scores[3]).any()
    for epoch, expected in enumerate(scores, start=1):  # loads without the callbacks
        saved = SequenceDistribution.load(tmp_path / str(epoch))
        np.testing.assert_array_equal(saved.score_samples(names), expected)


def test_every_callback_is_asked_although_one_has_stopped_the_fit(names):
    asked = []
    callbacks = [lambda distribution, history: True, lambda *arguments: asked.append(1)]
    assert tiny(callbacks=callbacks).fit(names).n_iter_ == len(asked) == 1


def test_verbose_prints_a_line_per_epoch(names, capsys):
    tiny(verbose=2).fit(names)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "50 distinct sequences to train on, 6 held out, epoch 0 of 5"
    assert [line.split()[1:4] for line in lines] == [[n, "of", "5"] for n in "245"]
    assert "held-out nats" in lines[0]


def test_print_samples_shows_what_the_model_writes(names, capsys):
    tiny(callbacks=[PrintSamples(3, every=2)]).fit(names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["2", "4"]


def test_watching_does_not_change_the_fit(names, fitted):
    watched = tiny(callbacks=[PrintSamples(2)], verbose=1).fit(names)
    np.testing.assert_array_equal(watched.score_samples(names), fitted.score_samples(names))


# When a fit is cut short


def raise_at(epoch, error):
    def callback(distribution, history):
        if len(history) == epoch:
            raise error

    return callback


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError, SystemExit])
def test_whatever_ends_a_fit_leaves_the_best_epoch_and_is_raised_with_a_note(names, error):
    gan = tiny(callbacks=[raise_at(2, error)])
    expected = "fit ended after 2 of 5 epochs; the estimator holds the model of epoch 2, .* nats$"
    with pytest.raises(error, match=expected):
        gan.fit(names)
    assert gan.n_iter_ == gan.best_epoch_ == len(gan.history_) == 2
    kept = tiny(callbacks=[lambda distribution, history: len(history) == 2]).fit(names)
    np.testing.assert_array_equal(gan.score_samples(names), kept.score_samples(names))
    assert not gan.generator_.training


def test_an_error_of_a_plug_in_leaves_the_best_epoch(names):
    calls = []

    def objective(batch):
        calls.append(batch)
        if len(calls) == 1:  # it is tried out before training
            return batch.real.log_prob.mean()
        raise RuntimeError("no more")

    gan = tiny(objective=objective)
    with pytest.raises(RuntimeError, match="no more\n.* after 3 of 5 epochs; .* of epoch 3"):
        gan.fit(names)
    assert math.isfinite(gan.score(names))


def test_ctrl_c_in_the_first_epoch_leaves_the_estimator_as_it_was(names):
    class Interrupting(Bigram):
        calls = 0

        def step(self, tokens, state):
            type(self).calls += 1
            if type(self).calls > 15:
                raise KeyboardInterrupt
            return super().step(tokens, state)

    gan = tiny().fit(names)
    before = gan.score_samples(names)
    with pytest.raises(KeyboardInterrupt, match="after 0 of 5 epochs; the estimator is unchanged"):
        gan.set_params(generator=Interrupting, generator_params=None, check_plugins=False)
        gan.fit(names)
    np.testing.assert_array_equal(gan.score_samples(names), before)
    Interrupting.calls = 0
    gan = tiny(generator=Interrupting, generator_params=None)
    with pytest.raises(KeyboardInterrupt):
        gan.fit(names)
    with pytest.raises(NotFittedError):
        gan.sample(3)


def test_ctrl_c_ends_a_cross_validation_and_a_grid_search(names):
    asked = []

    def callback(distribution, history):
        asked.append(len(history))
        raise KeyboardInterrupt

    gan = tiny(callbacks=[callback], vocabulary=set("".join(names)))
    with pytest.raises(KeyboardInterrupt):
        cross_val_score(gan, names, cv=3)
    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(gan, {"batch_size": [8, 16]}, cv=3).fit(names)
    assert asked == [1, 1]


def exploding(after):
    calls = -1  # it is tried out once

    def objective(batch):
        nonlocal calls
        calls += 1
        return batch.real.log_prob.mean() * (math.nan if calls > after else -1)

    return objective


def test_nan_stops_the_fit_says_when_and_leaves_the_last_good_state(names):
    gan = tiny(objective=exploding(3), early_stopping=False)
    with pytest.raises(
        FloatingPointError, match=r"diverged in epoch 4: .*nan; try a lower learning rate.*epoch 3"
    ):
        gan.fit(names)
    assert math.isfinite(gan.score(names))


def test_nan_in_the_first_epoch_leaves_the_estimator_as_it_was(names):
    gan = tiny(objective=exploding(0), pretrain_epochs=0, discriminator_pretrain_epochs=0)
    with pytest.raises(FloatingPointError, match="epoch 1: .* the estimator is unchanged"):
        gan.fit(names)
    with pytest.raises(NotFittedError):
        gan.sample()


def test_a_failed_fit_keeps_the_previous_model(names):
    gan = tiny().fit(names)
    before = gan.score_samples(names)
    with pytest.raises(ValueError, match="X is empty"):
        gan.fit([])
    gan.set_params(objective=lambda batch: batch.real.log_prob)  # no scalar
    with pytest.raises(ValueError, match=r"scalar tensor, got \(8,\)"):
        gan.fit(names)
    np.testing.assert_array_equal(gan.score_samples(names), before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_a_missing_device_falls_back_to_the_cpu_without_cuda(names):
    with pytest.warns(UserWarning, match="device='cuda' is not available here; using the CPU"):
        gan = tiny(device="cuda").fit(names)
    assert gan.generator_.output.weight.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_fits_on_cuda_and_pickles_to_the_cpu(names):
    gan = tiny(device="cuda").fit(names)
    assert gan.generator_.output.weight.is_cuda
    assert gan.sample(5, random_state=0) == gan.sample(5, random_state=0)
    assert not gan.__getstate__()["distribution_"].__getstate__()["generator"].output.weight.is_cuda
    np.testing.assert_allclose(tiny().fit(names).score(names), gan.score(names), atol=0.5)
