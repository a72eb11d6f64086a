"""Whoever reads logits reads those of evaluation mode, and leaves the discriminator as it was."""

import copy

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from torch import nn

from likelihood_gan import LSTMDiscriminator
from likelihood_gan.scoring import judge_rows


class Drops(nn.Module):
    """Takes no `rng`; a part of it stays in evaluation mode whatever the rest does."""

    def __init__(self, n_tokens):
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, 6)
        self.dropout = nn.Dropout(0.5)
        self.still = nn.Dropout(0.5).eval()
        self.output = nn.Linear(6, 1)

    def train(self, mode=True):
        super().train(mode)
        self.still.eval()
        return self

    def forward(self, tokens):
        total = (self.embedding(tokens) * (tokens != 0)[:, :, None]).sum(1)
        return self.output(self.still(self.dropout(total)))[:, 0]


def lstm(n_tokens):
    torch.manual_seed(0)
    return LSTMDiscriminator(n_tokens, 6, dropout=0.5)


@pytest.fixture(params=[lstm, Drops])
def build(request):
    with torch.random.fork_rng():
        yield request.param


def modes(module):
    return [part.training for part in module.modules()]


def in_evaluation_mode(discriminator, tokens):
    with torch.no_grad():
        return copy.deepcopy(discriminator).eval()(tokens)


def test_an_objective_sees_the_logits_of_evaluation_mode(build):
    seen = []

    def objective(batch):
        discriminator = batch.real.discriminator
        before = modes(discriminator)
        for half in (batch.real, batch.generated):
            found = half.logits
            torch.testing.assert_close(found, in_evaluation_mode(discriminator, half.tokens))
            assert not found.requires_grad
        assert before == modes(discriminator)
        seen.append(discriminator.training)
        return (batch.real.log_prob * batch.real.logits.exp()).mean()

    tiny(discriminator=build, discriminator_params=None, objective=objective).fit(NAMES)
    assert seen and all(seen)  # else dropout would have been off without anyone's doing


@pytest.mark.parametrize("training", [True, False])
def test_discriminate_gives_the_probabilities_of_evaluation_mode(build, training):
    gan = tiny(discriminator=build, discriminator_params=None).fit(NAMES)
    gan.discriminator_.train(training)
    before = modes(gan.discriminator_)
    tokens = gan.vocabulary_.encode_rows(NAMES)
    expected = in_evaluation_mode(gan.discriminator_, tokens).double()
    found = gan.discriminate(NAMES, random=False)
    np.testing.assert_allclose(found, expected.sigmoid().numpy(), rtol=1e-5)
    torch.testing.assert_close(judge_rows(gan.discriminator_, tokens), expected)
    assert modes(gan.discriminator_) == before


def test_a_discriminator_that_fails_gets_its_mode_back(build):
    discriminator = build(5).train()
    before = modes(discriminator)
    with pytest.raises((IndexError, RuntimeError)):
        judge_rows(discriminator, torch.tensor([[9, 0]]))
    assert modes(discriminator) == before


def test_the_discriminator_itself_learns_with_dropout(build):
    trained = []

    class Watched(nn.Module):
        def __init__(self, n_tokens):
            super().__init__()
            self.judge = build(n_tokens)

        def forward(self, tokens):
            if torch.is_grad_enabled():
                trained.append(self.judge.training)
            return self.judge(tokens)

    tiny(discriminator=Watched, discriminator_params=None, objective="reinforce").fit(NAMES)
    assert trained and all(trained)
