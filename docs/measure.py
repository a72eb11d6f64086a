"""Print the table of "When not to use it" in the user guide."""

import torch

from likelihood_gan import LikelihoodGAN
from likelihood_gan.datasets import load_first_names

torch.set_num_threads(1)
print("seed  best of maximum likelihood  1 adversarial epoch  last  effective sample sizes")
for seed in range(3):
    gan = LikelihoodGAN(random_state=seed).fit(load_first_names())
    kept = gan.history_[gan.best_epoch_ - 1]
    judged = [record for record in gan.history_ if record["phase"] == "adversarial"]
    print(
        f"{seed}  epoch {gan.best_epoch_} ({kept['phase']}): {kept['validation_nll']:.2f}",
        f"{judged[0]['validation_nll']:.2f}  {judged[-1]['validation_nll']:.2f}",
        f"after {len(judged)}:",
        *(f"{record['effective_sample_size']:.1f}" for record in judged),
    )
