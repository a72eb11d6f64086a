"""The report's formulas, transcribed literally in float64, against the log-space code."""

from types import SimpleNamespace

import pytest
import torch
from enumeration import Bigram, all_rows

from likelihood_gan.objectives import (
    MLE,
    OBJECTIVES,
    ImportanceSampled,
    get_objective,
    is_adversarial,
    log_softplus,
)


def half(log_prob, logits, log_frequency):
    return SimpleNamespace(log_prob=log_prob, logits=logits, log_frequency=log_frequency)


@pytest.fixture
def real():
    rng = torch.Generator().manual_seed(0)
    log_prob = -5 * torch.rand(9, generator=rng, dtype=torch.float64) - 1
    return half(
        log_prob.requires_grad_(),
        torch.randn(9, generator=rng, dtype=torch.float64),
        torch.rand(9, generator=rng, dtype=torch.float64).log_softmax(0),
    )


def test_importance_sampling_is_equation_4(real):
    total = 0.0
    for log_p, logit, log_f in zip(real.log_prob, real.logits, real.log_frequency, strict=True):
        d = 1 / (1 + torch.exp(-logit))
        total = total + torch.log(1 - d) * torch.exp(log_p) / torch.exp(log_f)
    literal = -torch.log(-total / 9)
    torch.testing.assert_close(ImportanceSampled()(SimpleNamespace(real=real)), literal)


def test_uniform_frequencies_give_equation_5_up_to_a_constant(real):
    uniform = half(real.log_prob, real.logits, torch.full((9,), -3.0, dtype=torch.float64))
    literal = -torch.log((real.log_prob.exp() * -torch.log(1 - torch.sigmoid(real.logits))).mean())
    constant = ImportanceSampled()(SimpleNamespace(real=uniform)) - literal
    assert constant.item() == pytest.approx(-3.0)


def test_gradient_is_weighted_maximum_likelihood(real):
    ImportanceSampled()(SimpleNamespace(real=real)).backward()
    weights = (
        torch.nn.functional.softplus(real.logits) * (real.log_prob - real.log_frequency).exp()
    ).detach()
    torch.testing.assert_close(real.log_prob.grad, -weights / weights.sum())


def test_over_the_whole_space_it_is_the_expectation_under_the_generator():
    # Eq. 4 with any p̂ of full support as the proposal is E_p[-log(1 - D)]: here p̂ is made of
    # counts, and every word comes as often as p̂ says.
    model, rows = Bigram(3).double(), all_rows(3, 5)
    log_p = model.log_prob(rows).detach()
    rng = torch.Generator().manual_seed(0)
    counts = torch.randint(1, 6, (len(rows),), generator=rng)
    log_frequency = (counts.double() / counts.sum()).log()
    logits = torch.randn(len(rows), generator=rng, dtype=torch.float64)
    corpus = [x.repeat_interleave(counts) for x in (log_p, logits, log_frequency)]
    loss = ImportanceSampled()(SimpleNamespace(real=half(*corpus)))
    expectation = (log_p.exp() * torch.nn.functional.softplus(logits)).sum()
    torch.testing.assert_close(loss, -expectation.log())


def test_generator_gradient_changes_when_the_discriminator_changes(real):
    # In the report's published code a broadcast made the discriminator drop out of it.
    other = half(real.log_prob, real.logits.flip(0), real.log_frequency)
    (first,) = torch.autograd.grad(ImportanceSampled()(SimpleNamespace(real=real)), real.log_prob)
    (second,) = torch.autograd.grad(ImportanceSampled()(SimpleNamespace(real=other)), real.log_prob)
    assert (first - second).abs().max() > 0.01


def test_importance_sampling_stays_finite_where_products_of_probabilities_underflow():
    log_prob = torch.full((4,), -400.0, requires_grad=True)
    batch = SimpleNamespace(real=half(log_prob, torch.full((4,), -90.0), torch.full((4,), -9.0)))
    loss = ImportanceSampled()(batch)
    loss.backward()
    assert loss.item() == pytest.approx(400 + 90 - 9)
    torch.testing.assert_close(log_prob.grad, torch.full((4,), -0.25))


@pytest.mark.parametrize("logit", [-100.0, -30.0, -15.1, -14.9, -3.0, 0.0, 5.0, 80.0])
def test_log_softplus_agrees_with_float64(logit):
    exact = torch.tensor(logit, dtype=torch.float64).exp().log1p().log()
    found = log_softplus(torch.tensor(logit))
    assert found.item() == pytest.approx(exact.item(), abs=2e-6, rel=2e-6)


def test_mle_is_the_mean_negative_log_likelihood_and_reads_nothing_else(real):
    only = SimpleNamespace(real=SimpleNamespace(log_prob=real.log_prob))
    assert MLE()(only).item() == pytest.approx(-real.log_prob.mean().item())
    assert not is_adversarial(MLE())


def test_names_resolve_to_objectives_that_are_equal_by_value():
    for name, cls in OBJECTIVES.items():
        assert get_objective(name) == cls()
        assert hash(get_objective(name)) == hash(cls())


def test_any_callable_is_an_objective_and_taken_to_be_adversarial():
    def custom(batch):
        return batch.real.log_prob.sum()

    assert get_objective(custom) is custom
    assert is_adversarial(custom)
