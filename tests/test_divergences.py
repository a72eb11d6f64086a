"""Each objective's expected gradient, by exact enumeration, is that of the divergence it claims."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from enumeration import Bigram, all_rows

from likelihood_gan.objectives import (
    MLE,
    BalanceHeuristic,
    ImportanceSampled,
    MaliGAN,
    Pooled,
    Reinforce,
    reward,
)

ROWS = all_rows(3, 3)  # 15 words over two letters
MODEL = Bigram(3, seed=1).double()
LOG_P = MODEL.log_prob(ROWS).detach()
RNG = torch.Generator().manual_seed(2)
LOG_DATA = torch.randn(len(ROWS), generator=RNG, dtype=torch.float64).log_softmax(0)
OPTIMUM = LOG_DATA - LOG_P  # the logit of p̂ / (p̂ + p)
OTHER = torch.randn(len(ROWS), generator=RNG, dtype=torch.float64)  # a discriminator that is wrong

F = {
    "kl": lambda u: u * u.log(),
    "js": lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    "reverse_kl": lambda u: -u.log(),
    "hellinger": lambda u: (u.sqrt() - 1).square(),
    0.5: lambda u: (u**0.5 / -0.5 + 1) / 0.5,
    -1.0: lambda u: (u**-1 / -2 + 1) / -1,
    2.0: lambda u: (u**2 + 1) / 2,
}


def gradient(scalar):
    return torch.autograd.grad(scalar, MODEL.logits)[0]


def divergence_gradient(f):
    """Differentiate D_f(data, p) = Σ p f(p̂ / p) itself."""
    log_p = MODEL.log_prob(ROWS)
    return gradient((log_p.exp() * f((LOG_DATA - log_p).exp())).sum())


def policy_gradient(rewards):
    """Differentiate -E_p[reward] with constant rewards."""
    return gradient(-(MODEL.log_prob(ROWS).exp() * rewards).sum())


def half(index, logits):
    return SimpleNamespace(
        log_prob=MODEL.log_prob(ROWS[index]),
        logits=logits[index],
        log_frequency=LOG_DATA[index],
        length=((ROWS[index] > 0).sum(1) + 1).clamp(max=3),
    )


def batch(real, generated, logits):
    return SimpleNamespace(
        real=half(torch.as_tensor(real, dtype=torch.int64), logits),
        generated=half(torch.as_tensor(generated, dtype=torch.int64), logits),
    )


def expected_gradient(objective, logits, n_real, n_generated):
    """Average the gradient over all batches, each with its probability."""
    total = torch.zeros_like(MODEL.logits)
    words = range(len(ROWS))
    for real in itertools.product(words, repeat=n_real):
        for generated in itertools.product(words, repeat=n_generated):
            log_weight = LOG_DATA[list(real)].sum() + LOG_P[list(generated)].sum()
            loss = objective(batch(real, generated, logits))
            total += log_weight.exp() * gradient(loss)
    return total


def drawn(n):
    draws = (torch.multinomial(log.exp(), n, True, generator=RNG) for log in (LOG_DATA, LOG_P))
    return tuple(draws)


def test_the_enumerated_distributions_are_distributions():
    assert LOG_P.exp().sum().item() == pytest.approx(1)
    assert LOG_DATA.exp().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("divergence", F)
def test_the_reward_is_that_of_its_divergence(divergence):
    found = policy_gradient(reward(divergence, OPTIMUM))
    torch.testing.assert_close(found, divergence_gradient(F[divergence]))


@pytest.mark.parametrize("divergence", F)
def test_the_balance_heuristic_is_unbiased(divergence):
    objective = BalanceHeuristic(divergence, control_variate=False)
    found = expected_gradient(objective, OPTIMUM, 1, 1)
    torch.testing.assert_close(found, divergence_gradient(F[divergence]))


@pytest.mark.parametrize("divergence", ["js", 0.5])
def test_the_balance_heuristic_is_unbiased_for_any_discriminator(divergence):
    objective = BalanceHeuristic(divergence, control_variate=False)
    found = expected_gradient(objective, OTHER, 1, 1)
    torch.testing.assert_close(found, policy_gradient(reward(divergence, OTHER)))


def test_the_balance_heuristic_counts_equal_weights_whatever_the_batch_size():
    objective = BalanceHeuristic("js", control_variate=False)
    once = objective(batch([1, 2], [3, 4], OTHER))
    twice = objective(batch([1, 2, 1, 2], [3, 4, 3, 4], OTHER))
    torch.testing.assert_close(gradient(once), gradient(twice))


def test_the_value_of_the_balance_heuristic_is_the_mean_reward():
    real, generated = drawn(20_000)
    value = -BalanceHeuristic("js")(batch(real, generated, OTHER))
    exact = (LOG_P.exp() * reward("js", OTHER)).sum()
    assert value.item() == pytest.approx(exact.item(), rel=0.03)


def test_the_control_variate_lowers_the_variance_and_hardly_moves_the_mean():
    gradients = {True: [], False: []}
    for _ in range(300):
        indices = drawn(16)
        for control_variate, found in gradients.items():
            # a constant added to the rewards changes nothing but the variance
            one = batch(*indices, OPTIMUM + 3)
            found.append(gradient(BalanceHeuristic("reverse_kl", control_variate)(one)))
    plain, controlled = (torch.stack(gradients[key]) for key in (False, True))
    assert controlled.var(0).sum() < 0.3 * plain.var(0).sum()
    exact = divergence_gradient(F["reverse_kl"])
    error = (controlled.mean(0) - exact).norm() / exact.norm()
    assert error < 0.25  # of order 1/16 and noise


@pytest.mark.parametrize("divergence", F)
def test_pooled_is_unbiased_at_the_optimal_discriminator(divergence):
    found = expected_gradient(Pooled(divergence), OPTIMUM, 1, 1)
    torch.testing.assert_close(found, divergence_gradient(F[divergence]))


@pytest.mark.parametrize("divergence", ["kl", "js", "reverse_kl", "hellinger", 0.5])
def test_pooled_weights_are_those_of_the_table(divergence):
    d = OTHER.sigmoid()
    table = {
        "kl": d,
        "js": -(1 - d) * (1 - d).log(),
        "reverse_kl": (1 - d) * OTHER,
        "hellinger": (d * (1 - d)).sqrt() - (1 - d),
        0.5: (1 - d) * ((d / (1 - d)).sqrt() - 1) / 0.5,
    }
    index = list(range(len(ROWS)))
    one = batch(index, index, OTHER)
    (found,) = torch.autograd.grad(Pooled(divergence)(one), one.real.log_prob)
    torch.testing.assert_close(found, -table[divergence] / len(ROWS))


def test_pooled_kl_is_maximum_likelihood_once_the_discriminator_is_certain():
    real, generated = drawn(8)
    certain = SimpleNamespace(real=half(real, OPTIMUM), generated=half(generated, OPTIMUM))
    certain.real.logits, certain.generated.logits = torch.full((8,), 90.0), torch.full((8,), -90.0)
    found = gradient(Pooled("kl")(certain))
    torch.testing.assert_close(found, gradient(MLE()(batch(real, generated, OPTIMUM))))


def test_mle_weight_adds_the_negative_log_likelihood():
    one = batch([1, 2], [3, 4], OTHER)
    total = Pooled("js", mle_weight=2.0)(one)
    torch.testing.assert_close(total, Pooled("js")(one) + 2 * MLE()(one))


def test_reinforce_is_unbiased():
    found = expected_gradient(Reinforce(), OTHER, 0, 2)
    torch.testing.assert_close(found, policy_gradient(OTHER.sigmoid()))


def test_mle_is_unbiased_for_kl():
    torch.testing.assert_close(
        expected_gradient(MLE(), OPTIMUM, 1, 0), divergence_gradient(F["kl"])
    )


def test_maligan_approaches_the_gradient_of_kl_as_the_batch_grows():
    exact = divergence_gradient(F["kl"])
    errors = []
    for n in (4, 40_000):
        found = [gradient(MaliGAN()(batch([0], drawn(n)[1], OPTIMUM))) for _ in range(20)]
        errors.append((torch.stack(found).mean(0) - exact).norm() / exact.norm())
    assert errors[1] < 0.03 < errors[0]


@pytest.mark.parametrize("baseline", [0.0, 1.0])
def test_maligan_weights_are_those_of_the_paper(baseline):
    one = batch([0], [1, 2, 5], OTHER)
    d = one.generated.logits.sigmoid()
    u = d / (1 - d)
    (found,) = torch.autograd.grad(MaliGAN(baseline)(one), one.generated.log_prob)
    torch.testing.assert_close(found, -(u / u.sum() - baseline / 3))


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("length_normalised", [False, True])
def test_importance_sampling_weighs_by_a_power_of_the_ratio(power, length_normalised):
    index = [1, 4, 9, 13]
    one = batch(index, [0], OTHER)
    loss = ImportanceSampled(power, length_normalised)(one)
    (found,) = torch.autograd.grad(loss, one.real.log_prob)
    exponent = power / one.real.length if length_normalised else power
    ratio = (LOG_P[index] - LOG_DATA[index]).exp() ** exponent
    weights = torch.nn.functional.softplus(OTHER[index]) * ratio
    torch.testing.assert_close(found, -weights / weights.sum())


@pytest.mark.parametrize(
    "objective",
    [Pooled(d) for d in ("kl", "js", "reverse_kl", "hellinger", 0.5)]
    + [
        BalanceHeuristic("js"),
        BalanceHeuristic("reverse_kl"),
        Reinforce(),
        MaliGAN(),
        ImportanceSampled(),
    ],
)
def test_a_certain_discriminator_does_not_overflow(objective):
    logits = torch.tensor([300.0, -300.0]).repeat(8)[: len(ROWS)]
    loss = objective(batch([0, 1], [2, 3], logits))
    assert math.isfinite(loss.item())
    assert gradient(loss).isfinite().all()


def test_an_unknown_divergence_is_refused():
    for wrong in ("jensen", 0, None):
        with pytest.raises(ValueError, match="divergence must be one of .* or a number"):
            reward(wrong, OTHER)
