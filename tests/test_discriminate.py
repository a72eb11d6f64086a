"""`discriminate` is Bayes' rule among data, samples and random symbols."""

import string

import numpy as np
import pytest
import torch
from conftest import NAMES
from enumeration import Bigram, NoStep, all_rows, seeded
from sklearn.metrics import roc_auc_score
from torch import nn

from likelihood_gan import CharLSTM, LikelihoodGAN
from likelihood_gan.datasets import load_first_names

ABC = ["a", "b", "c", "cab"]


class LogRatio(nn.Module):
    """The best discriminator: log p_data / p of two known distributions."""

    def __init__(self, data, generator):
        super().__init__()
        self.data, self.generator = data, generator

    def forward(self, tokens):
        return self.data.log_prob(tokens) - self.generator.log_prob(tokens)


class Same(nn.Module):
    """Says the same of every sequence."""

    def __init__(self, logit):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(float(logit)))

    def forward(self, tokens):
        return self.logit.expand(len(tokens))


def untrained(generator, discriminator, **settings):
    """Fit nothing: both stay as they are."""
    none = dict.fromkeys(
        ["pretrain_epochs", "discriminator_pretrain_epochs", "adversarial_epochs"], 0
    )
    return LikelihoodGAN(
        generator, discriminator=discriminator, early_stopping=False, **none, **settings
    ).fit(ABC)


def every_sequence(longest):
    rows = all_rows(4, longest + 1)
    return ["".join("_abc"[t] for t in row if t) for row in rows[(rows == 0).any(1)].tolist()]


def test_with_the_best_discriminator_it_is_bayes_rule_among_three():
    data, generator = Bigram(4, seed=1), Bigram(4, seed=2)
    gan = untrained(generator, LogRatio(data, generator))
    sequences = every_sequence(5)
    rows = gan.vocabulary_.encode_rows(sequences)
    p_data, p = (
        model.log_prob(rows).detach().double().exp().numpy() for model in (data, generator)
    )
    q = 4.0 ** -np.array([len(s) + 1 for s in sequences])
    np.testing.assert_allclose(gan.discriminate(sequences), p_data / (p_data + p + q), rtol=1e-4)
    halves = gan.discriminate(sequences, random=False)
    np.testing.assert_allclose(halves, p_data / (p_data + p), rtol=1e-4)


def test_a_generator_that_knows_nothing_leaves_a_third_to_each():
    """Its distribution is that of random symbols, at every length: so that is the one they have."""
    gan = untrained(NoStep(4), Same(0))
    np.testing.assert_allclose(gan.discriminate(every_sequence(4)), 1 / 3, rtol=1e-5)


def test_it_is_never_above_the_discriminator(fitted):
    rng = np.random.default_rng(0)
    nonsense = ["".join(rng.choice(list("adehilnrst"), rng.integers(0, 12))) for _ in range(200)]
    both, alone = (fitted.discriminate([*NAMES, *nonsense], random=r) for r in (True, False))
    assert ((both > 0) & (both < alone)).all()


def test_what_the_generator_cannot_write_is_not_real():
    generator = Bigram(4)
    generator.logits.data[:, 3] = -torch.inf
    gan = untrained(generator, Same(5), handle_unknown="neg_inf")
    known, impossible, unknown = gan.discriminate(["ab", "ac", "aä"])
    assert known > 0
    assert (impossible, unknown) == (0, 0)


def test_a_likely_sequence_is_judged_by_the_discriminator():
    generator = Bigram(4)
    generator.logits.data[:] = torch.tensor([0.0, 30.0, -30.0, -30.0])  # it writes a, a, a, ...
    gan = untrained(generator, Same(1))
    assert gan.discriminate(["a" * 30])[0] == pytest.approx(
        torch.tensor(1.0).sigmoid().item(), rel=1e-4
    )


@pytest.fixture(scope="module")
def some_names():
    names = load_first_names()
    order = torch.randperm(len(names), generator=seeded()).tolist()
    return [names[i] for i in order]


@pytest.fixture(scope="module")
def of_names(some_names):
    gan = LikelihoodGAN(
        CharLSTM,
        generator_params={"hidden_size": 48, "dropout": 0.0},
        discriminator_params={"hidden_size": 32},
        pretrain_epochs=12,
        discriminator_pretrain_epochs=3,
        adversarial_epochs=1,
        pretrain_learning_rate=0.01,
        early_stopping=False,
        random_state=0,
    )
    return gan.fit(some_names[:2000])


def test_nonsense_is_not_called_more_real_than_names(of_names, some_names):
    """Random letters, and shuffled ones, in as many letters as names have."""
    names = some_names[3000:4000]  # not fitted
    rng = np.random.default_rng(0)
    letters = list(string.ascii_lowercase)
    uniform = ["".join(rng.choice(letters, len(name))) for name in names]
    shuffled = ["".join(rng.permutation(list(name))) for name in names]
    real = of_names.discriminate(names)
    assert np.median(real) == pytest.approx(0.5, abs=0.05)
    for nonsense, least in ((uniform, 0.95), (shuffled, 0.65)):
        fake = of_names.discriminate(nonsense)
        y = np.repeat([1, 0], len(names))
        assert roc_auc_score(y, np.concatenate([real, fake])) > least
    assert of_names.discriminate(uniform).mean() < 0.1


def test_the_discriminator_alone_knows_nothing_of_nonsense(of_names, some_names):
    """Why `discriminate` reads the likelihood: this is what the discriminator says without it."""
    mary, xqzvk = of_names.discriminate(["mary", "xqzvk"], random=False)
    assert xqzvk > mary / 2
    mary, xqzvk = of_names.discriminate(["mary", "xqzvk"])
    assert xqzvk < 1e-3 < mary
