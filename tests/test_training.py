"""The loop: what its records say, what it asks of the models, and how it fails."""

import math
from itertools import islice

import pytest
import torch
from enumeration import Bigram, NoStep, all_rows, seeded

from likelihood_gan import CharLSTM, LSTMDiscriminator
from likelihood_gan.corpus import Corpus
from likelihood_gan.objectives import MLE, ImportanceSampled, Pooled, Reinforce
from likelihood_gan.schedules import Cosine, rate_at
from likelihood_gan.scoring import evaluating, log_probs, logits
from likelihood_gan.training import train


@pytest.fixture
def corpus():
    rows = torch.tensor([[1, 2, 0, 0], [1, 0, 0, 0], [2, 2, 3, 0], [3, 1, 0, 0]])
    return Corpus(rows, torch.tensor([1.0, 1.0, 2.0, 4.0]))


def epochs(n, *args, **kwargs):
    return list(islice(train(*args, **{"rng": seeded(), "batch_size": 16} | kwargs), n))


def test_mle_learns_the_empirical_distribution(corpus):
    model = CharLSTM(4, 16, dropout=0, rng=seeded())
    epochs(120, model, corpus, MLE(), learning_rate=0.02)
    p = log_probs(model, corpus.tokens, seeded()).exp()
    torch.testing.assert_close(p.float(), corpus.log_frequency.exp(), atol=0.03, rtol=0)


def test_discriminator_of_a_fixed_generator_approaches_the_optimum(corpus):
    # D* = p̂ / (p̂ + p): exact likelihoods make the optimum known (Goodfellow et al. 2014).
    model = Bigram(4, seed=2)
    judge = LSTMDiscriminator(4, 16, rng=seeded())
    rates = {1: 0.02, 300: 0.002}
    epochs(
        500,
        model,
        corpus,
        None,
        discriminator=judge,
        discriminator_learning_rate=rates,
        batch_size=256,
    )
    found = logits(judge, corpus.tokens, seeded())
    log_p = log_probs(model, corpus.tokens, seeded())
    optimum = corpus.log_frequency.double() - log_p
    torch.testing.assert_close(found.sigmoid(), optimum.sigmoid(), atol=0.06, rtol=0)


def test_without_objective_the_generator_is_left_alone(corpus):
    model, judge = Bigram(4), LSTMDiscriminator(4, 4, rng=seeded())
    before, judged = model.logits.clone(), judge.output.weight.clone()
    (record,) = epochs(1, model, corpus, None, discriminator=judge)
    assert torch.equal(model.logits, before)
    assert not torch.equal(judge.output.weight, judged)
    assert "generator_loss" not in record


def test_an_objective_that_is_not_adversarial_costs_no_samples(corpus):
    class Silent(Bigram):
        def sample(self, n, max_len):
            raise AssertionError("sampled")

    judge = LSTMDiscriminator(4, 4, rng=seeded())
    before = judge.output.weight.clone()
    (record,) = epochs(1, Silent(4), corpus, MLE(), discriminator=judge)
    assert torch.equal(judge.output.weight, before)
    assert "generator_loss" in record
    assert "discriminator_loss" not in record


class Watched(Corpus):
    """Remembers how long the sequences of every batch are."""

    def rows(self, index):
        vars(self).setdefault("seen", []).append(self.lengths[index].double())
        return super().rows(index)


@pytest.mark.parametrize(
    "objective, similar", [(MLE(), True), (ImportanceSampled(), False), (None, False)]
)
def test_batches_are_of_similar_length_only_where_nothing_is_compared_with_samples(
    objective, similar
):
    # a discriminator that saw batches of one length would learn the length of the batch
    n_symbols = torch.arange(400) % 8 + 1
    rows = (torch.arange(9) < n_symbols[:, None]) * torch.arange(1, 401)[:, None]
    corpus = Watched(rows, torch.ones(400))
    judge = LSTMDiscriminator(401, 4, embedding_size=2, rng=seeded())
    epochs(1, Bigram(401), corpus, objective, discriminator=judge, batch_size=20)
    spread = torch.stack([lengths.std() for lengths in corpus.seen]).mean()
    assert len(corpus.seen) == 20
    overall = n_symbols.double().std()
    assert spread < 0.3 * overall if similar else spread > 0.8 * overall


def test_objectives_see_logits_and_samples_without_dropout(corpus):
    judge = LSTMDiscriminator(4, 8, dropout=0.9, rng=seeded())

    def objective(batch):
        assert judge.training
        for half in (batch.real, batch.generated):
            found = half.logits
            with torch.no_grad(), evaluating(judge):
                torch.testing.assert_close(found, judge(half.tokens))
        return -batch.real.log_prob.mean()

    class Asked(Bigram):
        modes = []

        def sample(self, n, max_len, *, rng=None):
            self.modes.append(self.training)
            return super().sample(n, max_len, rng=rng)

    epochs(1, Asked(4), corpus, objective, discriminator=judge)
    assert Asked.modes == [False]


def test_discriminator_loss_is_equation_2(corpus):
    model, judge = Bigram(4), LSTMDiscriminator(4, 4, rng=seeded())
    judge.output.weight.data.zero_()
    judge.output.bias.data.fill_(0.7)
    records = train(
        model, corpus, None, discriminator=judge, discriminator_learning_rate=1e-9, rng=seeded()
    )
    d = 1 / (1 + math.exp(-0.7))
    record = next(records)
    assert record["discriminator_loss"] == pytest.approx(-math.log(d) - math.log(1 - d), rel=1e-4)
    assert record["discriminator_accuracy"] == 0.5


def test_effective_sample_size_is_that_of_the_objectives_weights(corpus):
    model = Bigram(4)

    def weighted(batch):
        weights = torch.arange(1.0, len(batch.real.log_prob) + 1)
        return -(weights * batch.real.log_prob).sum()

    weighted.adversarial = False
    (record,) = epochs(1, model, corpus, weighted, batch_size=4)
    assert record["effective_sample_size"] == pytest.approx(10**2 / 30)
    assert epochs(1, model, corpus, MLE())[0]["effective_sample_size"] == pytest.approx(16)


@pytest.mark.parametrize("objective", [Reinforce(), Pooled("reverse_kl")])
def test_effective_sample_size_counts_the_sequences_that_the_objective_reads(corpus, objective):
    judge = LSTMDiscriminator(4, 4, rng=seeded())
    (record,) = epochs(1, Bigram(4), corpus, objective, discriminator=judge)
    assert 1 <= record["effective_sample_size"] <= (16 if objective == Reinforce() else 32)
    assert ("corpus_mass" in record) == (objective != Reinforce())


def test_weighted_mean_length_follows_the_objectives_weights(corpus):
    def longest(batch):
        return -(batch.real.log_prob * (batch.real.log_frequency > -1)).sum()  # p̂ = 1/2: length 2

    longest.adversarial = False
    (record,) = epochs(1, Bigram(4), corpus, longest)
    assert record["weighted_mean_length"] == pytest.approx(2)
    mean = (corpus.lengths * corpus.log_frequency.exp()).sum()
    assert epochs(1, Bigram(4), corpus, MLE())[0]["weighted_mean_length"] == pytest.approx(mean)


def test_corpus_mass_is_the_probability_of_writing_a_sequence_of_the_corpus(corpus):
    model = Bigram(4)
    exact = log_probs(model, corpus.tokens, seeded()).exp().sum()
    (record,) = epochs(1, model, corpus, MLE(), learning_rate=1e-9)
    assert record["corpus_mass"] == pytest.approx(exact.item(), rel=1e-4)


def test_a_batch_offers_generated_sequences_to_any_objective(corpus):
    seen = {}

    def objective(batch):
        seen["log_frequency"] = batch.generated.log_frequency
        seen["shapes"] = [batch.generated.log_prob.shape, batch.generated.logits.shape]
        seen["constant"] = not batch.generated.logits.requires_grad
        return batch.generated.log_prob.mean()

    epochs(1, Bigram(4), corpus, objective, discriminator=LSTMDiscriminator(4, 4, rng=seeded()))
    assert seen["shapes"] == [(16,), (16,)]
    assert seen["constant"]
    assert (seen["log_frequency"] == -torch.inf).any()


def test_the_length_of_a_sequence_counts_its_end_unless_it_is_cut(corpus):
    seen = {}

    def objective(batch):
        for name in ("real", "generated"):
            half = getattr(batch, name)
            seen[name] = half.tokens, half.length
        return -batch.real.log_prob.mean()

    epochs(1, Bigram(4), corpus, objective, discriminator=LSTMDiscriminator(4, 4, rng=seeded()))
    for tokens, length in seen.values():
        rows = [row.index(0) + 1 if 0 in row else len(row) for row in tokens.tolist()]
        assert length.tolist() == rows


def test_logits_without_a_discriminator_are_refused(corpus):
    def objective(batch):
        return batch.real.logits.mean()

    objective.adversarial = False
    with pytest.raises(ValueError, match="must not say adversarial = False"):
        epochs(1, Bigram(4), corpus, objective)


def test_real_and_generated_rows_end_in_the_same_way(corpus):
    # In the report's published code real words were padded to 15 symbols and generated ones to 10.
    class Judge(LSTMDiscriminator):
        seen = []

        def forward(self, tokens, rng=None):
            self.seen.append(tokens)
            return super().forward(tokens, rng)

    epochs(2, NoStep(4), corpus, None, discriminator=Judge(4, 4, rng=seeded()))
    for tokens in Judge.seen:
        assert tokens.shape[1] <= corpus.width
        assert len(tokens) == 4 + 16  # the data's rows and generated ones, in one padded tensor


def test_same_seed_same_weights_whatever_the_global_state(corpus):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model, judge = NoStep(4), LSTMDiscriminator(4, 4, dropout=0.5, rng=seeded())
        epochs(2, model, corpus, ImportanceSampled(), discriminator=judge)
        results.append((model.logits.detach(), judge.output.weight.detach()))
        assert torch.equal(
            torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(seed))
        )
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_nan_ends_the_loop_with_an_error(corpus):
    model = Bigram(4)
    records = train(model, corpus, MLE(), rng=seeded())
    next(records)
    model.logits.data[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="generator_loss became nan"):
        next(records)


def test_a_step_that_makes_nan_of_the_weights_is_noticed_although_its_loss_is_good(corpus):
    def cusp(batch):  # 0, with the derivative 0 * inf
        return (batch.real.log_prob - batch.real.log_prob.detach()).abs().sqrt().sum()

    cusp.adversarial = False
    with pytest.raises(FloatingPointError, match="a weight became NaN"):
        next(train(Bigram(4), corpus, cusp, rng=seeded(), batch_size=16))


def test_a_table_may_hold_impossible_symbols(corpus):
    model = Bigram(5)
    model.logits.data[:, 4] = -torch.inf
    records = epochs(3, model, corpus, MLE())
    assert records[2]["generator_loss"] < records[0]["generator_loss"]


def test_equal_rows_of_a_batch_are_evaluated_once_and_count_as_often_as_they_come(corpus):
    read, judged, seen = [], [], []

    class Watched(Bigram):
        def log_prob(self, tokens):
            read.append(len(tokens))
            return super().log_prob(tokens)

    class Judge(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.7))

        def forward(self, tokens):
            judged.append(len(tokens))
            return self.scale * ((tokens > 0).sum(1) - 1.5)

    model, judge = Watched(4), Judge()

    def objective(batch):
        real, generated = batch.real, batch.generated
        seen.append((real.tokens, generated.tokens))
        expected = Bigram(4).log_prob(real.tokens)
        torch.testing.assert_close(real.log_prob, expected)
        torch.testing.assert_close(real.log_frequency, corpus.log_frequency_of(real.tokens))
        torch.testing.assert_close(real.logits, judge(real.tokens))
        torch.testing.assert_close(real.length, (real.tokens > 0).sum(1) + 1)  # END, too
        real.log_prob.mean().backward(retain_graph=True)  # the sum over rows, each with its times
        by_rows, model.logits.grad = model.logits.grad.clone(), None
        plain = Bigram(4)
        plain.log_prob(real.tokens).mean().backward()
        torch.testing.assert_close(by_rows, plain.logits.grad)
        return -real.log_prob.mean()

    rates = dict(learning_rate=1e-9, discriminator_learning_rate=1e-9)
    (record,) = epochs(1, model, corpus, objective, discriminator=judge, **rates)
    ((real, generated),) = seen
    assert len(real) == len(generated) == 16
    assert read == [4]  # the data's four rows
    assert judged[0] == 4 + 16
    with torch.no_grad():
        losses = [
            torch.nn.functional.softplus(sign * judge(tokens)).mean()
            for sign, tokens in ((-1, real), (1, generated))
        ]
    assert record["discriminator_loss"] == pytest.approx(float(sum(losses)), rel=1e-5)


def test_nan_weights_explain_whatever_they_led_to(corpus):
    model = NoStep(4)
    model.logits.data[0] = torch.nan  # torch.multinomial raises RuntimeError
    judge = LSTMDiscriminator(4, 4, rng=seeded())
    with pytest.raises(FloatingPointError, match="weight became NaN"):
        next(train(model, corpus, ImportanceSampled(), discriminator=judge, rng=seeded()))


@pytest.mark.parametrize("schedule", [0.5, {1: 0.5}, {1: 0.5, 4: 0.1}, lambda epoch: 0.5])
def test_schedules_give_the_rate_of_an_epoch(schedule):
    assert rate_at(schedule, 3) == 0.5


def test_a_mapping_holds_a_rate_until_the_next(corpus):
    assert [rate_at({1: 0.02, 6: 0.002}, epoch) for epoch in (1, 5, 6, 200)] == [
        0.02,
        0.02,
        0.002,
        0.002,
    ]


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_a_cosine_falls_from_the_rate_to_nothing(n):
    rates = [rate_at(Cosine(0.5, n), epoch) for epoch in range(1, n + 1)]
    assert rates == sorted(set(rates), reverse=True)
    for first, last in zip(rates, reversed(rates), strict=True):  # half a cosine is point-symmetric
        assert first + last == pytest.approx(0.5)
    # the first and the last epoch lie π / 2n from the ends of half a cosine
    assert rates[-1] == pytest.approx(0.5 * math.sin(math.pi / (4 * n)) ** 2)
    assert rates[0] == pytest.approx(0.5 * math.cos(math.pi / (4 * n)) ** 2)


@pytest.mark.parametrize("build, score", [(CharLSTM, log_probs), (LSTMDiscriminator, logits)])
def test_scores_do_not_depend_on_batches_and_are_without_dropout(build, score):
    model, rows = build(4, 8, dropout=0.9, rng=seeded()).train(), all_rows(4, 4)
    torch.testing.assert_close(score(model, rows, seeded(), 7), score(model, rows, seeded()))
    torch.testing.assert_close(score(model, rows, seeded(1)), score(model, rows, seeded()))
    assert model.training


def test_evaluating_gives_every_part_its_mode_back():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2).eval(), torch.nn.Dropout().train())
    model.training = False
    with evaluating(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == [False, False, True]
