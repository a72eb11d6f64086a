"""What the parameters of `LikelihoodGAN` may be, all of them checked before anything is trained.

What a rule is stands in `rules`; what the parameters mean is left to `estimator`.
"""

from typing import Any

from likelihood_gan.objectives import Objective, get_objective
from likelihood_gan.rules import (
    CALLABLES,
    FLAG,
    KEYWORDS,
    NONE,
    SHARE,
    SYMBOLS,
    Rule,
    check_attributes,
    choice,
    integer,
)
from likelihood_gan.schedules import check_schedule
from likelihood_gan.validation import check_handle_unknown

MOST_SEQUENCES_A_STEP = 2**20
"""A batch of more is a mistake, and would ask for all memory."""

_RULES: dict[str, Rule] = {
    "generator_params": NONE | KEYWORDS,
    "discriminator_params": NONE | KEYWORDS,
    "pretrain_epochs": integer(0),
    "discriminator_pretrain_epochs": integer(0),
    "adversarial_epochs": integer(0),
    "batch_size": integer(1, MOST_SEQUENCES_A_STEP),
    "precision": choice("float32", "bf16"),
    "max_len": NONE | integer(1),
    "vocabulary": NONE | SYMBOLS,
    "early_stopping": FLAG,
    "validation_fraction": SHARE,
    "n_iter_no_change": integer(1),
    "warm_start": FLAG,
    "callbacks": NONE | CALLABLES,
    "check_plugins": FLAG,
    "verbose": FLAG | integer(0),
}


def check_parameters(estimator: Any) -> Objective:
    """Check what needs no data and return the objective.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type, or out of range. The message has its name and value.
    """
    check_attributes(estimator, _RULES)
    check_handle_unknown(estimator.handle_unknown)
    judging = max(estimator.discriminator_pretrain_epochs, estimator.adversarial_epochs)
    for name, epochs in {
        "pretrain_learning_rate": estimator.pretrain_epochs,
        "adversarial_learning_rate": estimator.adversarial_epochs,
        "discriminator_learning_rate": judging,
    }.items():
        check_schedule(getattr(estimator, name), name, epochs)
    return get_objective(estimator.objective)
