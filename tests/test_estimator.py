"""The estimator: what people use, and what it says when they use it wrongly."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import tiny
from enumeration import Bigram, NoStep
from sklearn.exceptions import NotFittedError

from likelihood_gan import CharLSTM, LikelihoodGAN, LSTMDiscriminator, prefix_tree, validation
from likelihood_gan.objectives import MLE, OBJECTIVES, Likelihood, Mixture

# Using a fitted estimator


def test_samples_have_the_type_and_symbols_of_the_data(fitted, names):
    samples = fitted.sample(50, random_state=0)
    assert len(samples) == 50
    assert all(type(sample) is str for sample in samples)
    assert set("".join(samples)) <= set("".join(names))
    assert max(map(len, samples)) <= fitted.max_len_ == 4


def test_an_int_repeats_a_draw_and_none_draws_anew(fitted):
    assert fitted.sample(20, random_state=7) == fitted.sample(20, random_state=7)
    assert fitted.sample(20) != fitted.sample(20)


def test_constraints_hold(fitted):
    assert all(s.startswith("ma") for s in fitted.sample(30, prefix="ma", random_state=0))
    assert all(len(s) >= 3 for s in fitted.sample(30, min_len=3, random_state=0))
    assert "" in fitted.sample(3000, random_state=0)
    assert "" not in fitted.sample(3000, min_len=1, random_state=0)
    assert {len(s) for s in fitted.sample(30, 7, min_len=7, random_state=0)} == {7}
    assert max(len(s) for s in fitted.sample(99, max_len=2, random_state=0)) == 2


def test_low_temperature_draws_the_likelier_words(fitted):
    cold, hot = (fitted.sample(300, temperature=t, random_state=0) for t in (0.3, 3.0))
    assert fitted.score(cold) > fitted.score(hot)


def test_score_samples_is_the_generators_log_prob(fitted):
    words = ["anna", "", "tom", "a"]
    rows = torch.tensor(
        [fitted.vocabulary_.encode(w.ljust(5, "a"))[: len(w)] + [0] * (5 - len(w)) for w in words]
    )
    with torch.no_grad():
        expected = fitted.generator_.log_prob(rows).double().numpy()
    scores = fitted.score_samples(words)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_scores_do_not_depend_on_the_other_sequences(fitted, names):
    together = fitted.score_samples(names)
    alone = [fitted.score_samples([name])[0] for name in names]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.fixture(params=[Bigram, NoStep], ids=lambda generator: generator.__name__)
def held(request):
    """A generator of words over a, b and c that is held as it is."""
    nothing = dict(pretrain_epochs=0, max_epochs=0, objective="mle", early_stopping=False)
    gan = LikelihoodGAN(request.param(4), vocabulary="abc", max_len=5, **nothing)
    return gan.fit(["abc"])


def assert_frequencies(gan, sequences, counts):
    short = [i for i, sequence in enumerate(sequences) if len(sequence) < gan.max_len_]
    p = np.exp(gan.score_samples([sequences[i] for i in short]))
    noise = np.sqrt(p * (1 - p) / counts.sum())
    assert (np.abs(counts[short] / counts.sum() - p) < 5 * noise + 1e-9)[p * counts.sum() > 5].all()


def test_counts_and_many_samples_follow_the_distribution(held):
    sequences, counts = held.sample_counts(30_000, random_state=0)
    assert counts.sum() == 30_000 and counts.dtype == np.int64
    assert len(set(sequences)) == len(sequences)
    assert_frequencies(held, sequences, counts)
    sample = held.sample(30_000, random_state=1)
    assert sample == held.sample(30_000, random_state=1)
    assert sample[:100] != sorted(sample[:100])
    assert_frequencies(held, *map(np.array, zip(*Counter(sample).items(), strict=True)))


def test_billions_of_draws_are_counted():
    nothing = dict(pretrain_epochs=0, max_epochs=0, objective="mle", early_stopping=False)
    gan = LikelihoodGAN(Bigram(4), vocabulary="abc", max_len=5, **nothing).fit(["abc"])
    sequences, counts = gan.sample_counts(5_000_000_000, min_len=2, prefix="a", random_state=0)
    assert counts.sum() == 5_000_000_000
    assert all(sequence[0] == "a" and len(sequence) >= 2 for sequence in sequences)


def test_many_sequences_are_scored_by_their_prefix_tree_and_equally(fitted, monkeypatch):
    X = fitted.sample(2000, random_state=0)
    found = []

    def watch(generator, tokens):
        found.append(len(tokens))
        return log_probs(generator, tokens)

    log_probs = prefix_tree.log_probs
    monkeypatch.setattr(prefix_tree, "log_probs", watch)
    scores = fitted.score_samples(X)
    assert found == [2000]
    alone = [fitted.score_samples([sequence])[0] for sequence in X[:50]]
    np.testing.assert_allclose(scores[:50], alone, rtol=1e-5)
    fitted.score_samples(X[:100])
    assert found == [2000]  # too few to look for what they share


def test_a_generator_that_scores_in_its_own_way_is_asked_for_it(monkeypatch):
    class Whole(Bigram):
        def log_prob(self, tokens):
            return super().log_prob(tokens)

    class OwnLSTM(CharLSTM):
        def log_prob(self, tokens):
            return super().log_prob(tokens)

    monkeypatch.setattr(prefix_tree, "log_probs", None)
    nothing = dict(pretrain_epochs=0, max_epochs=0, objective="mle", early_stopping=False)
    for own in (Whole(4), OwnLSTM(4, hidden_size=4)):
        gan = LikelihoodGAN(own, vocabulary="abc", max_len=5, **nothing).fit(["abc"])
        assert np.isfinite(gan.score_samples(["ab", "abc"] * 500)).all()
    gan = LikelihoodGAN(Bigram(4), vocabulary="abc", max_len=5, **nothing).fit(["abc"])
    with pytest.raises(TypeError):  # this one goes by steps either way
        gan.score_samples(["ab", "abc"] * 500)


def test_a_corpus_that_does_not_fit_into_memory_is_scored(fitted, names, monkeypatch):
    expected = fitted.score_samples(names)
    monkeypatch.setattr(validation, "CHUNK", 7)
    np.testing.assert_allclose(fitted.score_samples(iter(names)), expected, rtol=1e-6)
    np.testing.assert_allclose(fitted.discriminate(iter(names)).shape, expected.shape)
    with pytest.raises(TypeError, match=r"X\[9\] is b'x'"):
        fitted.score_samples([*names[:9], b"x"])


def test_score_is_the_weighted_mean(fitted):
    scores = fitted.score_samples(["anna", "ben"])
    assert fitted.score(["anna", "ben"]) == pytest.approx(scores.mean())
    assert fitted.score(["anna", "ben"], sample_weight=[3, 1]) == pytest.approx(
        (3 * scores[0] + scores[1]) / 4
    )


def test_perplexity_counts_every_end(fitted):
    total = fitted.score_samples(["anna", ""]).sum()
    assert fitted.perplexity(["anna", ""]) == pytest.approx(math.exp(-total / 6))


def test_discriminate_gives_probabilities_whatever_the_batch(fitted, names):
    p = fitted.discriminate(names)
    assert p.shape == (len(names),)
    assert ((p > 0) & (p < 1)).all()
    np.testing.assert_allclose(fitted.discriminate(["anna"]), p[names.index("anna")], rtol=1e-5)


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


def test_unknown_symbols_score_minus_infinity_on_request(names):
    gan = tiny(handle_unknown="neg_inf").fit(names)
    scores = gan.score_samples(["anna", "änna"])
    assert math.isfinite(scores[0])
    assert scores[1] == -math.inf
    assert gan.perplexity(["änna"]) == math.inf
    assert np.isnan(gan.discriminate(["anna", "änna"])).tolist() == [False, True]
    assert gan.score_samples(["ä"]).tolist() == [-math.inf]


def test_a_vocabulary_fixes_the_alphabet_up_front(names):
    gan = tiny(vocabulary="abcdefghijklmnopqrstuvwxyzä").fit(names)
    assert math.isfinite(gan.score(["änna"]))
    assert gan.generator_.symbols.n_tokens == 28


# Fitting


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


def test_default_modules_are_the_bundled_ones(fitted):
    assert isinstance(fitted.generator_, CharLSTM)
    assert isinstance(fitted.discriminator_, LSTMDiscriminator)
    assert not fitted.generator_.training


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


def test_fit_leaves_the_global_random_state_alone(names):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    tiny(generator=NoStep, generator_params=None).fit(names).sample(5, random_state=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("objective", ["likelihood", "mle"])
def test_same_seed_same_model(names, objective):
    first, second = (tiny(objective=objective).fit(names) for _ in range(2))
    np.testing.assert_array_equal(first.score_samples(names), second.score_samples(names))
    other = tiny(objective=objective, random_state=1).fit(names)
    assert (other.score_samples(names) != first.score_samples(names)).any()


def test_the_order_of_the_data_makes_no_difference(names):
    forwards, backwards = tiny().fit(names), tiny().fit(names[::-1])
    np.testing.assert_array_equal(forwards.score_samples(names), backwards.score_samples(names))


def test_repeating_a_sequence_is_the_same_as_weighing_it(names):
    repeated = tiny().fit([*names, "anna", "anna"])
    weighed = tiny().fit(names, sample_weight=[3.0 if n == "anna" else 1.0 for n in names])
    np.testing.assert_array_equal(repeated.score_samples(names), weighed.score_samples(names))


def test_weights_have_no_unit_and_zero_leaves_a_sequence_out(names):
    one, ten = (tiny().fit(names, sample_weight=np.full(len(names), w)) for w in (1, 10))
    np.testing.assert_array_equal(one.score_samples(names), ten.score_samples(names))
    without = tiny().fit(names, sample_weight=[0.0 if "z" in n else 1.0 for n in names])
    absent = tiny().fit([n for n in names if "z" not in n])
    assert without.vocabulary_.symbols == absent.vocabulary_.symbols
    np.testing.assert_array_equal(without.score_samples(["ada"]), absent.score_samples(["ada"]))


def test_the_model_learns_the_weights():
    gan = tiny(
        objective="mle", early_stopping=False, pretrain_epochs=300, pretrain_learning_rate=0.02
    ).fit(["a", "b", "c"], sample_weight=[6, 3, 1])
    np.testing.assert_allclose(
        np.exp(gan.score_samples(["a", "b", "c"])), [0.6, 0.3, 0.1], atol=0.03
    )


def test_early_stopping_keeps_the_best_epoch(names):
    gan = tiny(max_epochs=10, learning_rate=0.2).fit(names)
    best = min(gan.history_, key=lambda r: (r["validation_nll"], -r["epoch"]))
    assert gan.best_epoch_ == best["epoch"]


def test_without_early_stopping_nothing_is_held_out(names):
    gan = tiny(early_stopping=False).fit(names)
    assert "validation_nll" not in gan.history_[0]
    assert gan.best_epoch_ == gan.n_iter_ == 5
    tiny(early_stopping=False).fit(["one"])


def test_bf16_and_length_buckets_train_as_well(names):
    settings = dict(pretrain_epochs=30, max_epochs=2, pretrain_learning_rate=0.02)
    plain = tiny(**settings).fit(names)
    for fast in (dict(precision="bf16"), dict(length_buckets=True)):
        gan = tiny(**settings, **fast).fit(names)
        assert gan.score(names) != plain.score(names)
        assert gan.score(names) == pytest.approx(plain.score(names), abs=0.3)
        assert {p.dtype for p in gan.generator_.parameters()} == {torch.float32}


def test_mle_trains_no_discriminator(names):
    gan = tiny(objective="mle").fit(names)
    assert gan.discriminator_ is None
    with pytest.raises(ValueError, match="objective='mle' trains no discriminator"):
        gan.discriminate(names)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_fits_by_its_name_and_repeats(names, name):
    first, second = (tiny(objective=name, early_stopping=False).fit(names) for _ in range(2))
    assert math.isfinite(first.score(names))
    np.testing.assert_array_equal(first.score_samples(names), second.score_samples(names))
    mle = tiny(objective="mle", early_stopping=False).fit(names)
    assert name == "mle" or first.score(names) != mle.score(names)


@pytest.mark.parametrize(
    "objective", [Likelihood(), MLE(), lambda batch: -batch.real.log_prob.sum()]
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
            max_epochs=40,
            learning_rate=0.03,
            discriminator_learning_rate=1e-6,
        )
        gan = tiny(**settings, discriminator_pretrain_epochs=0).fit(names)
        return np.mean([len(s) for s in gan.sample(500, 20, random_state=0)])

    assert judged_by(1) > judged_by(-1) + 0.5


def test_warm_start_continues_from_the_weights_of_the_last_fit(names):
    gan = tiny(pretrain_epochs=20, max_epochs=0).fit(names)
    before = gan.score(names)
    gan.set_params(warm_start=True, pretrain_epochs=1, pretrain_learning_rate=1e-6).fit(names)
    assert gan.score(names) == pytest.approx(before, abs=1e-3)
    assert gan.n_iter_ == 2


def test_callbacks_see_a_fitted_estimator_and_can_stop(names):
    seen = []

    def callback(estimator, record):
        seen.append((record["epoch"], len(estimator.sample(2, random_state=0))))
        estimator.score(["anna"])
        return record["epoch"] == 3

    gan = tiny(callbacks=[callback]).fit(names)
    assert seen == [(1, 2), (2, 2), (3, 2)]
    assert gan.n_iter_ == 3


def test_verbose_prints_a_line_per_epoch(names, capsys):
    tiny(verbose=2).fit(names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["2", "4"]
    assert "held-out nats" in lines[0]


def test_print_samples_shows_what_the_model_writes(names, capsys):
    from likelihood_gan.callbacks import PrintSamples

    tiny(callbacks=[PrintSamples(3, every=2)]).fit(names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["2", "4"]


# When a fit is cut short


def interrupt_at(epoch):
    def callback(estimator, record):
        if record["epoch"] == epoch:
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
    calls = 0

    def objective(batch):
        nonlocal calls
        calls += 1
        return batch.real.log_prob.mean() * (math.nan if calls > after else -1)

    return objective


def test_nan_stops_the_fit_says_when_and_leaves_the_last_good_state(names):
    gan = tiny(objective=exploding(3), early_stopping=False)
    with pytest.raises(
        FloatingPointError, match=r"diverged in epoch 4: .*nan; try a lower learning_rate.*epoch 3"
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
    with pytest.raises(ValueError, match=r"scalar tensor, got \(16,\)"):
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
    assert not gan.__getstate__()["generator_"].output.weight.is_cuda
    np.testing.assert_allclose(tiny().fit(names).score(names), gan.score(names), atol=0.5)


# Bad input: each with the message that names the argument, the value and the remedy


class Broken(Bigram):
    """A table whose `log_prob` is wrong in a way that the tests choose."""

    def __init__(self, n_tokens, change):
        super().__init__(n_tokens)
        self.change = change

    def log_prob(self, tokens):
        return self.change(super().log_prob(tokens))


class BadSample(Bigram):
    def sample(self, n, max_len):
        return torch.ones((n, max_len + 1), dtype=torch.int64)


class AfterEnd(Bigram):
    def sample(self, n, max_len):
        return torch.tensor([[0] * (max_len - 1) + [1]] * n)


class TokenOff(Bigram):
    def __init__(self, n_tokens, token):
        super().__init__(n_tokens)
        self.token = token

    def sample(self, n, max_len):
        return torch.tensor([[self.token, 0]] * n)


class Unended(Bigram):
    def sample(self, n, max_len):
        return torch.ones((n, 2), dtype=torch.int64)


class Uncopyable(Bigram):
    def __deepcopy__(self, memo):
        raise TypeError("holds a socket")


def broken(change):
    return dict(generator=Broken, generator_params={"change": change})


BAD_FITS = [
    ({}, [], None, ValueError, "X is empty; pass at least one sequence"),
    ({}, "anna", None, TypeError, r"got the bare string 'anna'; for one sequence pass \[X\]"),
    ({}, None, None, TypeError, "X must be an iterable of sequences, got NoneType"),
    ({}, 7, None, TypeError, "X must be an iterable of sequences, got int"),
    ({}, ["a", None], None, TypeError, r"X\[1\] is None, a NoneType; expected a str or a sequence"),
    ({}, ["a", 3.5], None, TypeError, r"X\[1\] is 3.5, a float"),
    ({}, [b"a"], None, TypeError, r"X\[0\] is b'a', a bytes"),
    ({}, [[["x"]]], None, TypeError, r"X\[0\] is \[\['x'\]\], a list; .* hashable symbols"),
    ({}, ["a", ("b",)], None, TypeError, "X mixes strings with other sequences"),
    ({}, ["a"], None, ValueError, "two distinct ones, got n_samples=1; .*early_stopping=False"),
    ({}, ["a", "a"], None, ValueError, "two distinct ones, got n_samples=1"),
    ({}, ["a", "b"], [1], ValueError, r"one number for each of the 2 sequences, got shape \(1,\)"),
    ({}, ["a", "b"], [1, -2], ValueError, "sample_weight must be finite, not negative.* got -2.0"),
    ({}, ["a", "b"], [1, math.nan], ValueError, "sample_weight must be finite.* got nan"),
    ({}, ["a", "b"], [0, 0], ValueError, "sample_weight must be .*not all 0, got only zeros"),
    ({"max_len": 0}, None, None, ValueError, "max_len == 0, must be >= 1"),
    ({"max_len": 3}, None, None, ValueError, "max_len=3, but X holds a sequence of 4 symbols"),
    ({"vocabulary": "abc"}, None, None, ValueError, r"not in the vocabulary: \['d', 'e'"),
    ({"vocabulary": ["ab"]}, None, None, ValueError, r"single characters, got \['ab'\]"),
    ({"objective": "likelyhood"}, None, None, ValueError, "did you mean 'likelihood'"),
    ({"objective": "MLE"}, None, None, ValueError, "did you mean 'mle'"),
    ({"objective": Likelihood}, None, None, TypeError, "a class must be instantiated"),
    ({"objective": Mixture("jensen")}, None, None, ValueError, "divergence must be one of"),
    ({"objective": 3}, None, None, TypeError, "objective must be a name or a callable"),
    ({"precision": "fp8"}, None, None, ValueError, "precision must be 'float32' or 'bf16', got"),
    ({"handle_unknown": "ignore"}, None, None, ValueError, "handle_unknown must be 'error' or"),
    ({"batch_size": 0}, None, None, ValueError, "batch_size == 0, must be >= 1"),
    ({"max_epochs": -1}, None, None, ValueError, "max_epochs == -1, must be >= 0"),
    ({"pretrain_epochs": 0, "max_epochs": 0}, None, None, ValueError, "nothing would be trained"),
    ({"validation_fraction": 1.0}, None, None, ValueError, "validation_fraction == 1.0, must be"),
    ({"learning_rate": 0}, None, None, ValueError, r"learning_rate == 0.*, must be > 0"),
    (
        {"learning_rate": {2: 0.1}},
        None,
        None,
        ValueError,
        "learning_rate must say the rate of epoch 1",
    ),
    ({"learning_rate": "fast"}, None, None, TypeError, "learning_rate must be"),
    ({"callbacks": ["print"]}, None, None, TypeError, "callbacks must be callables, got 'print'"),
    (
        {"generator": 3},
        None,
        None,
        TypeError,
        "generator must be a torch.nn.Module or a callable, got 3",
    ),
    (
        {"generator": lambda n_tokens: {}, "generator_params": None},
        None,
        None,
        TypeError,
        "generator must build",
    ),
    ({"generator": Bigram(30)}, None, None, ValueError, "generator_params=.*got a module"),
    (
        {"generator": torch.nn.Linear, "generator_params": {"out_features": 2}},
        None,
        None,
        TypeError,
        "generator Linear has no method log_prob",
    ),
    (
        {"generator": Bigram(3), "generator_params": None},
        None,
        None,
        ValueError,
        "was it built for n_tokens=25",
    ),
    (
        {"generator": Uncopyable(25), "generator_params": None},
        None,
        None,
        ValueError,
        "Uncopyable cannot be deep-copied .holds a socket.; pass a callable",
    ),
    (
        {"generator": BadSample, "generator_params": None},
        None,
        None,
        ValueError,
        "rows of at most 5 tokens, got shape",
    ),
    (
        {"generator": AfterEnd, "generator_params": None},
        None,
        None,
        ValueError,
        "symbols after the first 0",
    ),
    (
        {"generator": Unended, "generator_params": None},
        None,
        None,
        ValueError,
        r"a row of 2 tokens without END \(0\)",
    ),
    (
        {"generator": TokenOff, "generator_params": {"token": -1}},
        None,
        None,
        ValueError,
        "must return tokens from 0 to 24, got -1 to 0",
    ),
    (
        {"generator": TokenOff, "generator_params": {"token": 25}},
        None,
        None,
        ValueError,
        "must return tokens from 0 to 24, got 0 to 25",
    ),
    (broken(lambda v: v.long()), None, None, ValueError, "floating-point numbers, got torch.int64"),
    (
        broken(lambda v: v[:, None]),
        None,
        None,
        ValueError,
        r"log_prob\(tokens\) must return a tensor of shape \(8,\), got \(8, 1\)",
    ),
    (broken(lambda v: v * math.nan), None, None, ValueError, "log_prob.tokens. returned NaN"),
    (broken(lambda v: v + 100), None, None, ValueError, "logarithm of a probability is at most 0"),
    (broken(lambda v: 0.5), None, None, ValueError, r"shape \(8,\), got float"),
    (
        {
            "discriminator": lambda n_tokens: torch.nn.Embedding(n_tokens, 2),
            "discriminator_params": None,
        },
        None,
        None,
        ValueError,
        r"discriminator\(tokens\) must return a tensor of shape \(8,\), got \(8, 5, 2\)",
    ),
    (
        {"discriminator": torch.nn.Identity, "discriminator_params": None},
        None,
        None,
        ValueError,
        "discriminator Identity has no parameters to train",
    ),
]


@pytest.mark.parametrize("settings, X, weights, error, message", BAD_FITS)
def test_fit_refuses_bad_input_and_stays_unfitted(names, settings, X, weights, error, message):
    X = names if X is None and "NoneType" not in message else X
    gan = tiny(**settings)
    with pytest.raises(error, match=message):
        gan.fit(X, sample_weight=weights)
    assert not [key for key in vars(gan) if key.endswith("_")]


BAD_SAMPLES = [
    (dict(n_samples=0), ValueError, "n_samples == 0, must be >= 1"),
    (dict(n_samples=2.5), TypeError, "n_samples must be an instance of int"),
    (dict(max_len=0), ValueError, "max_len == 0, must be >= 1"),
    (dict(max_len=3, min_len=4), ValueError, "max_len must be at least min_len=4, got 3"),
    (dict(min_len=-1), ValueError, "min_len == -1, must be >= 0"),
    (dict(max_len=3, prefix="anna"), ValueError, "max_len=3 is shorter than the prefix of 4"),
    (dict(prefix="ä"), ValueError, r"prefix holds symbols .* \['ä'\]"),
    (dict(prefix=["a"]), TypeError, r"prefix must be a str, like the data of fit, got \['a'\]"),
    (dict(temperature=0), ValueError, "temperature == 0, must be > 0"),
    (dict(random_state="x"), ValueError, "'x' cannot be used to seed"),
]


@pytest.mark.parametrize("arguments, error, message", BAD_SAMPLES)
def test_sample_refuses_bad_arguments(fitted, arguments, error, message):
    with pytest.raises(error, match=message):
        fitted.sample(**arguments)


@pytest.mark.parametrize("arguments", [{"prefix": "a"}, {"temperature": 0.5}, {"min_len": 1}])
def test_constraints_on_a_generator_without_step_name_what_is_missing(names, arguments):
    gan = tiny(generator=NoStep, generator_params=None).fit(names)
    with pytest.raises(
        ValueError, match=rf"{next(iter(arguments))}=.* needs .*step\(tokens, state"
    ):
        gan.sample(**arguments)


@pytest.mark.parametrize("method", ["score_samples", "score", "perplexity", "discriminate"])
@pytest.mark.parametrize(
    "X, error, message",
    [
        (["ann4"], ValueError, r"\['4'\]; pass vocabulary= .* handle_unknown='neg_inf'"),
        ("anna", TypeError, "got the bare string 'anna'"),
        ([], ValueError, "X is empty"),
        ([None], TypeError, r"X\[0\] is None"),
        ([("a", "n")], TypeError, "X must hold strings, like the data of fit"),
    ],
)
def test_scores_refuse_bad_sequences(fitted, method, X, error, message):
    with pytest.raises(error, match=message):
        getattr(fitted, method)(X)


@pytest.mark.parametrize(
    "method", ["sample", "score_samples", "score", "perplexity", "discriminate"]
)
def test_nothing_works_before_fit(method):
    arguments = [] if method == "sample" else [["anna"]]
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(LikelihoodGAN(), method)(*arguments)


def test_warm_start_refuses_symbols_it_has_no_token_for(names):
    gan = tiny(warm_start=True).fit(names)
    with pytest.raises(ValueError, match=r"not in the vocabulary: \['7'\]"):
        gan.fit(["ann7", "a"])
    with pytest.raises(TypeError, match="X must hold strings"):
        gan.fit([("a",), ("n",)])
