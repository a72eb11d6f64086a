"""Generator losses: each is one function of a batch that returns a scalar to minimise.

An objective says what is optimised, not how: it sees log-probabilities, logits and frequencies,
never models or tokens. Any callable `batch -> scalar tensor` is an objective; those here are frozen
dataclasses, equal by value, so that they can be cloned, compared and saved.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor
from torch.nn.functional import softplus

Objective = Callable[["Batch"], Tensor]


class Sequences(Protocol):
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


class Batch(Protocol):
    """What an objective sees: sequences drawn from the data and sequences of the generator."""

    @property
    def real(self) -> Sequences:
        """Sequences drawn from the empirical distribution."""
        ...

    @property
    def generated(self) -> Sequences:
        """Equally many sequences drawn from the generator."""
        ...


@dataclass(frozen=True)
class Likelihood:
    """The report's objective: importance sampling with the data as proposal.

    The generator's share of the GAN's value, E_p[log(1 - D)], is estimated on real sequences x_i,
    which are draws from the empirical distribution p̂:

        L = (1/N) Σ log(1 - D(x_i)) p(x_i) / p̂(x_i),   loss = -log(-L),

    Equation 4 of "GAN Training for Discrete Generators" (V. Toth); Equation 5 is the case of a
    uniform p̂. Computed in log space: -log(1 - D) = softplus(logit).

    Notes
    -----
    The gradient is that of weighted maximum likelihood, with self-normalised weights proportional
    to softplus(logit) p / p̂: what is already likely gains most. In a batch of 128 names a handful
    of sequences carry all the weight (`effective_sample_size` in the history), and generated
    sequences come out short. Use it after maximum-likelihood pretraining and with early stopping.
    """

    adversarial: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        real = batch.real
        log_terms = real.log_prob - real.log_frequency + log_softplus(real.logits)
        return math.log(len(log_terms)) - log_terms.logsumexp(0)


@dataclass(frozen=True)
class MLE:
    """Maximum likelihood: the mean negative log-likelihood of the data, in nats per sequence.

    The control beside every adversarial objective. It reads no discriminator, so none is trained.
    """

    adversarial: ClassVar[bool] = False

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return -batch.real.log_prob.mean()


OBJECTIVES: dict[str, type] = {"likelihood": Likelihood, "mle": MLE}


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
            "a class must be instantiated, as in objectives.Likelihood()"
        )
    return objective


def is_adversarial(objective: Objective) -> bool:
    """Tell whether an objective needs a discriminator; a plain function is assumed to."""
    return getattr(objective, "adversarial", True)


def log_softplus(logits: Tensor) -> Tensor:
    """log(log(1 + exp(l))), which for small l is l itself and would underflow in float32."""
    return softplus(logits.clamp(min=-15)).log().where(logits > -15, logits)
