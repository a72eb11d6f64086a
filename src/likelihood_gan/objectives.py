"""Generator losses: each is one function of a batch that returns a scalar to minimise.

An objective says what is optimised, not how: it sees log-probabilities, logits and frequencies,
never models or tokens. Any callable `batch -> scalar tensor` is an objective; those here are frozen
dataclasses, equal by value, so that they can be cloned, compared and saved.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

Objective = Callable[["Batch"], Tensor]


class HalfBatch(Protocol):
    """Half of a batch: n sequences and what the models say of them.

    Everything has shape (n,) and is computed when it is first asked for, so that an objective pays
    only for what it reads.
    """

    @property
    def log_prob(self) -> Tensor:
        """Log-probabilities under the generator in nats; gradients reach the generator."""
        ...

    @property
    def logits(self) -> Tensor:
        """Logits of the discriminator, high is real; constants."""
        ...

    @property
    def log_frequency(self) -> Tensor:
        """Logarithm of the empirical distribution, -inf off the corpus; constants."""
        ...

    @property
    def length(self) -> Tensor:
        """Number of symbols, END counted; constants."""
        ...


class Batch(Protocol):
    """What an objective sees: sequences drawn from the data and sequences of the generator."""

    @property
    def real(self) -> HalfBatch:
        """Sequences drawn from the empirical distribution."""
        ...

    @property
    def generated(self) -> HalfBatch:
        """Equally many sequences drawn from the generator."""
        ...


@dataclass(frozen=True)
class ImportanceSampled:
    """The report's objective: importance sampling with the data as proposal.

    The generator's share of the GAN's value, E_p[log(1 - D)], is estimated on real sequences x_i,
    which are draws from the empirical distribution p̂:

        L = (1/N) Σ log(1 - D(x_i)) p(x_i) / p̂(x_i),   loss = -log(-L),

    Equation 4 of "GAN Training for Discrete Generators" (V. Toth); Equation 5 is the case of a
    uniform p̂. Computed in log space: -log(1 - D) = softplus(logit).

    Parameters
    ----------
    power : float, default=1.0
        Exponent of p / p̂ in the weights. 1 is the report; 0 is maximum likelihood weighted by the
        discriminator alone.
    length_normalised : bool, default=False
        Divide the exponent by the number of symbols, so that short sequences have no advantage.

    Notes
    -----
    The gradient is that of weighted maximum likelihood, with self-normalised weights proportional
    to softplus(logit) p / p̂: what is already likely gains most. In a batch of 128 names a handful
    of sequences carry all the weight (`effective_sample_size` in the history), and generated
    sequences come out short. Use it after maximum-likelihood pretraining and with early stopping.

    With another `power`, or `length_normalised`, the loss is the weighted negative log-likelihood
    with these weights held constant, in nats; it is a remedy, not an estimate of E_p[log(1 - D)].
    """

    power: float = 1.0
    length_normalised: bool = False
    adversarial: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        real = batch.real
        exponent = self.power / real.length if self.length_normalised else self.power
        log_terms = exponent * (real.log_prob - real.log_frequency) + log_softplus(real.logits)
        if self.power == 1 and not self.length_normalised:
            return math.log(len(log_terms)) - log_terms.logsumexp(0)
        return -(log_terms.detach().softmax(0) * real.log_prob).sum()


@dataclass(frozen=True)
class MLE:
    """Maximum likelihood: the mean negative log-likelihood of the data, in nats per sequence.

    The control beside every adversarial objective. It reads no discriminator, so none is trained.
    """

    adversarial: ClassVar[bool] = False

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return -batch.real.log_prob.mean()


Divergence = Literal["kl", "js", "reverse_kl", "hellinger"] | float
"""The name of an f-divergence of the data from the generator, or the a of the alpha family."""


def reward(divergence: Divergence, logits: Tensor) -> Tensor:
    """R(u) = u f'(u) - f(u) at u = exp(logits), up to a constant.

    It is what samples of the generator are worth when D_f(data, p) = E_p[f(u)], u = p_data / p, is
    descended: -∇D_f = E_p[R(u) ∇log p]. "kl" is KL(data, p), that of maximum likelihood, "js" twice
    the Jensen-Shannon divergence (the report's), "hellinger" the squared Hellinger distance; a
    number a has R = (u^a - 1) / a.

    Raises
    ------
    ValueError
        If the divergence is not known.
    """
    return _rewards(divergence)[0](logits)


def pooled_weight(divergence: Divergence, logits: Tensor) -> Tensor:
    """h(D) = (1 - D) R(u), computed so that it does not overflow where it is bounded."""
    return _rewards(divergence)[1](logits)


_Function = Callable[[Tensor], Tensor]


def _alpha(a: float) -> tuple[_Function, _Function]:
    def pooled(logits: Tensor) -> Tensor:
        return ((a * logits - softplus(logits)).exp() - (-logits).sigmoid()) / a

    return (lambda logits: (a * logits).expm1() / a), pooled


_REWARDS: dict[object, tuple[_Function, _Function]] = {
    "kl": (torch.exp, torch.sigmoid),
    "js": (softplus, lambda logits: (-logits).sigmoid() * softplus(logits)),
    "reverse_kl": (lambda logits: logits, lambda logits: (-logits).sigmoid() * logits),
    "hellinger": (
        lambda logits: (logits / 2).expm1(),
        lambda logits: _alpha(0.5)[1](logits) / 2,
    ),
}


def _rewards(divergence: Divergence) -> tuple[_Function, _Function]:
    """R and (1 - D) R."""
    if divergence in _REWARDS:
        return _REWARDS[divergence]
    if isinstance(divergence, (int, float)) and divergence != 0:
        return _alpha(divergence)
    raise ValueError(
        f"divergence must be one of {sorted(map(str, _REWARDS))} or a number other than 0, got "
        f"{divergence!r}"
    )


@dataclass(frozen=True)
class BalanceHeuristic:
    """Importance sampling with data and model together as proposal: unbiased, bounded weights.

    The gradient of a divergence, -E_p[R(u) ∇log p], is estimated on n real and n generated
    sequences with the balance heuristic (Veach and Guibas 1995; Owen and Zhou 2000),

        w(x) = p(x) / (n p̂(x) + n p(x)) <= 1 / n,   p̂ = 0 off the corpus,

    so that it is exact in expectation for any discriminator; u is what the discriminator says.

    Parameters
    ----------
    divergence : {"kl", "js", "reverse_kl", "hellinger"} or float, default="js"
        See `reward`.
    control_variate : bool, default=True
        Subtract the weighted mean of the rewards, since E_p[∇log p] = 0. It lowers the variance
        at the price of a bias of order 1 / n.
    """

    divergence: Divergence = "js"
    control_variate: bool = True
    adversarial: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Tensor:
        """Return a surrogate with the right gradient; its value is the mean reward, negated."""
        log_prob = _both(batch, "log_prob")
        constant = log_prob.detach()
        log_mixture = torch.logaddexp(_both(batch, "log_frequency"), constant)
        weights = (constant - log_mixture).exp() / len(batch.real.log_prob)
        rewards = reward(self.divergence, _both(batch, "logits"))
        value = -(weights * rewards).sum()
        if self.control_variate:
            rewards = rewards + value / weights.sum()
        return _surrogate(weights * rewards, log_prob, value)


@dataclass(frozen=True)
class Pooled:
    """The mixture with the discriminator in place of the densities: no p in the weights at all.

    With D for p̂ / (p̂ + p) the balance heuristic becomes p / ((p + p̂) / 2) = 2 (1 - D), and each
    real and generated sequence weighs h(D) = (1 - D) R(u). It is right where D is the optimum, and
    bounded whatever D is for "kl", h = D, and "js", h = -(1 - D) log(1 - D). Pooled KL is maximum
    likelihood once the discriminator tells everything apart: the safe choice.

    Parameters
    ----------
    divergence : {"kl", "js", "reverse_kl", "hellinger"} or float, default="kl"
        See `reward`.
    mle_weight : float, default=0.0
        Adds this much of the mean negative log-likelihood of the data, which anchors the generator.
    """

    divergence: Divergence = "kl"
    mle_weight: float = 0.0
    adversarial: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Tensor:
        """Return the weighted negative log-likelihood, in nats per real sequence."""
        weights = pooled_weight(self.divergence, _both(batch, "logits"))
        loss = -(weights * _both(batch, "log_prob")).sum() / len(batch.real.log_prob)
        return loss + self.mle_weight * MLE()(batch) if self.mle_weight else loss


@dataclass(frozen=True)
class Reinforce:
    """Policy gradient with the discriminator's probability as the reward of a whole sequence.

    SeqGAN (Yu et al. 2017) without roll-outs: the gradient ascends E_p[D(x)] on generated sequences,
    with the mean reward of the others in the batch as each one's baseline (unbiased; it serves as
    the moving baseline of the papers and needs no memory). E_p[D] is no divergence: a generator
    that writes one convincing sequence is a maximum of it.
    """

    adversarial: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Tensor:
        """Return a surrogate with the right gradient; its value is the mean reward, negated."""
        generated = batch.generated
        rewards = generated.logits.sigmoid()
        n = len(rewards)
        advantages = (rewards - rewards.mean()) * n / max(n - 1, 1)  # leave-one-out
        return _surrogate(advantages / n, generated.log_prob, -rewards.mean())


@dataclass(frozen=True)
class MaliGAN:
    """Maximum-likelihood augmented discrete GAN (Che et al. 2017, Algorithm 1).

    The gradient of KL(data, p) on generated sequences, weighted by u = D / (1 - D): weights
    u_i / Σ u - baseline / n. Self-normalised, so biased by order 1 / n.

    Parameters
    ----------
    baseline : float, default=1.0
        The paper's b; 1 centres the weights, 0 leaves them positive.
    """

    baseline: float = 1.0
    adversarial: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Tensor:
        """Return the weighted negative log-likelihood of generated sequences."""
        generated = batch.generated
        weights = generated.logits.softmax(0) - self.baseline / len(generated.logits)
        return -(weights * generated.log_prob).sum()


OBJECTIVES: dict[str, type] = {
    "balance": BalanceHeuristic,
    "importance": ImportanceSampled,
    "maligan": MaliGAN,
    "mle": MLE,
    "pooled": Pooled,
    "reinforce": Reinforce,
}


def get_objective(objective: str | Objective) -> Objective:
    """Return the objective of a name, or the callable itself.

    Raises
    ------
    ValueError
        If no objective has this name; the message suggests the nearest one.
    TypeError
        If it is neither a name nor callable.
    """
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            near = difflib.get_close_matches(objective.lower(), OBJECTIVES, n=1, cutoff=0.3)
            suggestion = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"objective must be a callable or one of {sorted(OBJECTIVES)}, "
                f"got {objective!r}{suggestion}"
            )
        return OBJECTIVES[objective]()
    if isinstance(objective, type) or not callable(objective):
        raise TypeError(
            f"objective must be a name or a callable of a batch, got {objective!r}; "
            "a class must be instantiated, as in objectives.ImportanceSampled()"
        )
    return objective


def is_adversarial(objective: Objective) -> bool:
    """Tell whether an objective needs a discriminator; a plain function is assumed to."""
    return getattr(objective, "adversarial", True)


def log_softplus(logits: Tensor) -> Tensor:
    """log(log(1 + exp(l))), which for small l is l itself and would underflow in float32."""
    return softplus(logits.clamp(min=-15)).log().where(logits > -15, logits)


def _both(batch: Batch, name: str) -> Tensor:
    """One quantity of the real and then the generated sequences, (2n,)."""
    return torch.cat([getattr(batch.real, name), getattr(batch.generated, name)])


def _surrogate(weights: Tensor, log_prob: Tensor, value: Tensor) -> Tensor:
    """Return a scalar of this value whose gradient is that of -Σ weights log_prob."""
    loss = -(weights * log_prob).sum()
    return loss + (value - loss).detach()
