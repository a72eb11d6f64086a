"""The baselines: gradients against enumeration, samples against probabilities, `gan` untouched."""

import copy
from types import SimpleNamespace

import pytest
import torch
from conftest import NAMES, tiny
from enumeration import Bigram, all_rows, frequencies
from torch import nn

from benchmarks.alternatives import ALTERNATIVES, gumbel, seqgan, textkd
from benchmarks.alternatives.__main__ import cost
from benchmarks.alternatives.training import make_corpus, playing
from likelihood_gan import Autoregressive, CharLSTM, LikelihoodGAN, LSTMDiscriminator

pytestmark = pytest.mark.slow

WIDTH = 3  # tokens of a row, END included or cut


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def half_of(generator, discriminator, n, seed):
    tokens = generator.sample(n, WIDTH, rng=rng(seed))
    return SimpleNamespace(tokens=tokens, generator=generator, discriminator=discriminator)


class Opinions(nn.Module):
    """A discriminator with a logit of its own for every row."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(3 * torch.randn(3**WIDTH, generator=rng(1)))

    def forward(self, tokens):
        return self.logits[(tokens * 3 ** torch.arange(tokens.shape[1])).sum(1)]


class Trigram(Autoregressive, nn.Module):
    """A generator whose state matters; it refuses to write in training mode, with dropout, say."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(2 * torch.randn(3, 3, 3, generator=rng(2)))

    def step(self, tokens, state):
        assert not self.training
        before = torch.zeros_like(tokens) if state is None else state
        return self.logits.log_softmax(-1)[before, tokens], tokens


@pytest.fixture(scope="module")
def gan():
    return tiny(objective="mle", pretrain_epochs=3, adversarial_epochs=0).fit(NAMES)


# SeqGAN


def enumerated(generator, judge):
    """Return all rows, their probabilities and their D."""
    rows = all_rows(3, WIDTH)
    return rows, generator.log_prob(rows).exp(), judge(rows).sigmoid().detach()


def test_roll_outs_are_an_unbiased_gradient_of_the_mean_reward():
    generator, judge = Bigram(3), Opinions()
    _, p, rewards = enumerated(generator, judge)
    value = (p * rewards).sum()
    exact = torch.autograd.grad(value, generator.logits)[0]
    objective = seqgan.RollOuts(WIDTH, 2, rng())
    halves = [half_of(generator, judge, 8, seed) for seed in range(500)]
    losses = [objective(SimpleNamespace(generated=half)) for half in halves]
    found = torch.stack([-torch.autograd.grad(loss, generator.logits)[0] for loss in losses])
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - exact).abs() < 4 * error).all()
    assert exact.abs().max() > 15 * error.max()  # the test would see a wrong one
    torch.testing.assert_close(torch.stack(losses).mean(), -value, atol=0.02, rtol=0)


def test_the_value_of_a_prefix_is_the_mean_reward_of_what_begins_with_it():
    generator, judge = Trigram().eval(), Opinions()
    rows, p, rewards = enumerated(generator, judge)
    generator.train()
    tokens = torch.tensor([[1, 2, 1], [2, 0, 0], [2, 1, 0]])
    with playing(generator, judge):
        roll_outs = seqgan.RollOuts(WIDTH, 10_000, rng())
        log_prob, values = roll_outs.read(generator, judge, tokens)
    torch.testing.assert_close(log_prob.sum(1), generator.eval().log_prob(tokens))
    whole = judge(tokens).sigmoid().detach()
    torch.testing.assert_close(values[:, -1], whole)
    torch.testing.assert_close(values[0, 0], whole[1:].mean())
    torch.testing.assert_close(values[1, 1:], torch.stack([values[1, 1], *[whole[1]] * 2]))
    for row, t in [(0, 1), (0, 2), (1, 1), (2, 1), (2, 2)]:
        begins = (rows[:, :t] == tokens[row, :t]).all(1)
        expected = (p[begins] * rewards[begins]).sum() / p[begins].sum()
        torch.testing.assert_close(values[row, t], expected, atol=0.02, rtol=0)


def test_a_roll_out_keeps_its_prefix_and_a_complete_sequence_is_itself():
    generator = CharLSTM(4, 6, dropout=0, rng=rng())
    objective = seqgan.RollOuts(5, 1, rng())
    prefixes = torch.tensor([[1, 2], [3, 3]] * 20)
    with torch.no_grad():
        state = None
        for column in (torch.zeros(40, dtype=torch.int64), *prefixes.unbind(1)):
            log_probs, state = generator.step(column, state)
        completed = objective.complete(generator, prefixes, log_probs, state)
        assert completed.shape == (40, 5)
        assert (completed[:, :2] == prefixes).all()
        ended = (completed == 0).cumsum(1) > 0
        assert (completed[ended] == 0).all() and ended.any() and not ended.all()
        assert (objective.complete(generator, completed, None, None) == completed).all()


# Straight-through Gumbel-softmax


@pytest.mark.parametrize("embedding_size", [None, 5])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_symbol_weights_are_judged_as_tokens_where_they_are_one_hot(bidirectional, embedding_size):
    sizes = dict(n_layers=2, embedding_size=embedding_size, bidirectional=bidirectional)
    judge = LSTMDiscriminator(3, 6, **sizes, rng=rng())
    rows = all_rows(3, WIDTH)
    weights = nn.functional.one_hot(rows, 3).float()
    torch.testing.assert_close(gumbel.judge(judge, weights), judge(rows))


@pytest.mark.parametrize("embedding_size", [None, 5])
def test_straight_through_rows_are_draws_of_the_generator(embedding_size):
    generator = CharLSTM(3, 6, dropout=0, embedding_size=embedding_size, rng=rng())
    rows = all_rows(3, WIDTH)
    n = 20_000
    with torch.no_grad():
        weights = gumbel.GumbelSoftmax(WIDTH, 0.7, rng()).write(generator, n)
        p = generator.log_prob(rows).exp()
    assert ((weights == 0) | (weights == 1)).all() and (weights.sum(2) == 1).all()
    tokens = weights.argmax(2)
    assert (tokens[(tokens == 0).cumsum(1) > 0] == 0).all()
    chi2 = n * ((frequencies(tokens, rows) - p).square() / p).sum()
    assert chi2 < 2.5 * len(rows)


def test_straight_through_ascends_what_the_discriminator_likes():
    generator = CharLSTM(3, 6, rng=rng())
    judge = LSTMDiscriminator(3, 6, rng=rng(1))
    rows = all_rows(3, WIDTH)
    likes = (rows == 2).any(1).float()
    descend(judge, lambda: nn.functional.binary_cross_entropy_with_logits(judge(rows), likes))
    judge.zero_grad(set_to_none=True)
    objective = gumbel.GumbelSoftmax(WIDTH, 1.0, rng())
    batch = SimpleNamespace(real=half_of(generator, judge, 64, 0))
    with torch.no_grad():
        before = generator.eval().log_prob(rows).exp() @ likes
    descend(generator.train(), lambda: objective(batch))
    with torch.no_grad():
        after = generator.eval().log_prob(rows).exp() @ likes
    assert before < 0.7 and after > 0.9
    assert all(p.grad is None and p.requires_grad for p in judge.parameters())


def descend(module, loss, steps=100):
    adam = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(steps):
        adam.zero_grad()
        loss().backward()
        adam.step()


# All of them


OPTIONS = {"seqgan": {"n_rollouts": 2}, "gumbel": {}, "textkd": {"size": 8, "batch_size": 16}}


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_a_baseline_repeats_with_its_seed_and_leaves_the_estimator_alone(gan, name):
    before = copy.deepcopy(gan)

    def train():
        method = ALTERNATIVES[name]
        return method(gan, NAMES, epochs=3, random_state=1, **OPTIONS[name])

    state = torch.random.get_rng_state()
    one, other = train(), train()
    assert (torch.random.get_rng_state() == state).all()
    samples = one.sample(50, random_state=3)
    assert samples == other.sample(50, random_state=3)
    assert len(samples) == 50 and all(isinstance(sample, str) for sample in samples)
    assert max(map(len, samples)) <= max(map(len, NAMES))
    assert set("".join(samples)) <= set("".join(NAMES))
    assert max(map(len, one.sample(50, 3, random_state=3))) <= 3

    assert gan.discriminator_ is None and gan.objective == "mle"
    assert gan.get_params() == before.get_params() and gan.history_ == before.history_
    for key, value in gan.generator_.state_dict().items():
        assert torch.equal(value, before.generator_.state_dict()[key])
    if isinstance(one, LikelihoodGAN):
        assert (one.score_samples(NAMES) != gan.score_samples(NAMES)).all()
        assert one.n_iter_ == 1 + 3


def test_the_autoencoder_learns_and_the_critic_tells_it_from_the_generator(gan):
    model = textkd.train(gan, NAMES, epochs=0, random_state=0, size=32)
    tokens = make_corpus(gan, NAMES).tokens
    rows = nn.functional.one_hot(tokens, gan.vocabulary_.n_tokens).float()
    model.adams[0].param_groups[0]["lr"] = 0.02
    for _ in range(100):
        model.judge_step(tokens)
    with torch.no_grad():
        soft = model.autoencoder(rows)
        real, generated = model.critic(soft.mT), model.critic(model.write(len(rows), rng()))
    torch.testing.assert_close(soft.sum(2), torch.ones(rows.shape[:2]))
    assert (rows - soft).square().mean() < 0.8 * (rows - rows.mean(0)).square().mean()
    assert real.mean() > generated.mean() + 0.1


def test_costs_are_relative_to_maximum_likelihood_and_count_passes(gan):
    rows = {name: values for name, *values in cost(gan, NAMES, 16, 1)}
    assert rows["mle"][1:] == [1, 1, 0]
    assert rows["importance"][2:] == [1, 1]
    assert rows["seqgan, 16 roll-outs"][3] > 16
    assert rows["gumbel"][2] <= 1.5
