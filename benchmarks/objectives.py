"""Objectives under the names that stand in the result files.

The names are older than those of the package: "likelihood" is its "importance", "mixture" its
"balance".
"""

from likelihood_gan.objectives import (
    MLE,
    BalanceHeuristic,
    ImportanceSampled,
    MaliGAN,
    Pooled,
    Reinforce,
)


def blind(batch):
    """`Pooled("kl")` with D = 1/2 everywhere: what its samples do without a discriminator."""
    return -(batch.real.log_prob.mean() + batch.generated.log_prob.mean()) / 2


blind.adversarial = False
OBJECTIVES = {
    "mle": MLE(),
    "likelihood": ImportanceSampled(),
    "likelihood-power.3": ImportanceSampled(power=0.3),
    "likelihood-power0": ImportanceSampled(power=0),
    "likelihood-normalised": ImportanceSampled(length_normalised=True),
    "mixture-kl": BalanceHeuristic("kl"),
    "mixture-js": BalanceHeuristic("js"),
    "mixture-reverse_kl": BalanceHeuristic("reverse_kl"),
    "mixture-hellinger": BalanceHeuristic("hellinger"),
    "pooled-kl": Pooled("kl"),
    "pooled-js": Pooled("js"),
    "pooled-js+mle": Pooled("js", mle_weight=1),
    "pooled-reverse_kl+mle": Pooled("reverse_kl", mle_weight=1),
    "reinforce": Reinforce(),
    "maligan": MaliGAN(),
    "pooled-blind": blind,
}
