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

from likelihood_gan import LikelihoodGAN, LSTMDiscriminator, SequenceDistribution
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
    assert gan.n_iter_ == 2


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
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["2", "4"]
    assert "held-out nats" in lines[0]


def test_print_samples_shows_what_the_model_writes(names, capsys):
    tiny(callbacks=[PrintSamples(3, every=2)]).fit(names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["2", "4"]


def test_watching_does_not_change_the_fit(names, fitted):
    watched = tiny(callbacks=[PrintSamples(2)], verbose=1).fit(names)
    np.testing.assert_array_equal(watched.score_samples(names), fitted.score_samples(names))


# When a fit is cut short


def interrupt_at(epoch):
    def callback(distribution, history):
        if len(history) == epoch:
            raise KeyboardInterrupt

    return callback


def test_ctrl_c_leaves_a_usable_model_and_warns(names):
    gan = tiny(callbacks=[interrupt_at(2)])
    with pytest.warns(UserWarning, match="interrupted after 2 epochs; .* model of epoch 2"):
        gan.fit(names)
    assert gan.n_iter_ == 2
    assert len(gan.sample(3, random_state=0)) == 3


def test_ctrl_c_in_the_first_epoch_leaves_a_usable_model(names):
    class Interrupting(Bigram):
        calls = 0

        def step(self, tokens, state):
            type(self).calls += 1
            if type(self).calls > 15:
                type(self).calls = -(10**9)
                raise KeyboardInterrupt
            return super().step(tokens, state)

    gan = tiny(generator=Interrupting, generator_params=None)
    with pytest.warns(UserWarning, match="interrupted after 0 epochs"):
        gan.fit(names)
    assert len(gan.sample(3, random_state=0)) == 3


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
