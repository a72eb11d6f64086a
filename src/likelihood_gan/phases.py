"""The phases of a fit: some epochs with one objective, and their step sizes.

How they are run, and when one ends early, is left to `fitting`.
"""

import numbers
from dataclasses import dataclass

from likelihood_gan.objectives import MLE, Objective, is_adversarial
from likelihood_gan.schedules import Cosine, Schedule

WARM_RATE = 0.3
"""Share of the step size of maximum likelihood with which a warm start begins."""
PHASES = (
    "pretrain_epochs",
    "discriminator_pretrain_epochs",
    "adversarial_epochs",
    "pretrain_learning_rate",
    "adversarial_learning_rate",
)
"""The parameters of `make_phases`."""


@dataclass(frozen=True)
class Phase:
    """Some epochs with one objective; None trains the discriminator alone.

    `given` is the learning rate as the user wrote it, if it is another.
    """

    name: str
    objective: Objective | None
    epochs: int
    learning_rate: Schedule
    given: Schedule | None = None

    @property
    def may_end(self) -> bool:
        """Whether it ends without progress: a rate that still has to fall would bring some."""
        return self.objective is not None and not isinstance(self.learning_rate, Cosine)


def make_phases(
    objective: Objective,
    pretrain_epochs: int,
    discriminator_pretrain_epochs: int,
    adversarial_epochs: int,
    pretrain_learning_rate: Schedule,
    adversarial_learning_rate: Schedule,
    *,
    warm: bool = False,
) -> list[Phase]:
    """List the phases of a fit: maximum likelihood, the discriminator alone, then `objective`.

    A number as `pretrain_learning_rate` falls to 0 along a cosine; if `warm`, from three tenths of it:
    the full step would first undo what the last fit has found with small ones.
    """
    given = pretrain_learning_rate
    judging = discriminator_pretrain_epochs if is_adversarial(objective) else 0
    if isinstance(pretrain_learning_rate, numbers.Real):
        rate = float(pretrain_learning_rate) * (WARM_RATE if warm else 1)
        pretrain_learning_rate = Cosine(rate, max(pretrain_epochs, 1))
    return [
        Phase("pretrain", MLE(), pretrain_epochs, pretrain_learning_rate, given),
        Phase("discriminator", None, judging, 0.0),
        Phase("adversarial", objective, adversarial_epochs, adversarial_learning_rate),
    ]
