"""
Why do the report's names come out short?
=========================================

The report's experiment in small: its objective alone, a few runs on the embedded names. That
objective weighs real names by their probability. (The whole of it is `benchmarks/report.py`.)
"""

import statistics

import joblib
from sklearn.base import clone

from likelihood_gan import CharLSTM, LikelihoodGAN
from likelihood_gan.datasets import load_first_names
from likelihood_gan.displays import DiscriminatorDisplay, LengthDisplay, TrainingDisplay

N_RUNS = 4
EPOCHS = 25

names = [name for name in load_first_names() if len(name) <= 9]
gan = LikelihoodGAN(
    CharLSTM,
    objective="importance",  # the report's: Equation 4
    generator_params={"hidden_size": 8, "dropout": 0.0},
    discriminator_params={"hidden_size": 8},
    pretrain_epochs=0,
    discriminator_pretrain_epochs=0,
    adversarial_epochs=EPOCHS,
    adversarial_learning_rate={1: 0.02, 6: 0.002},
    discriminator_learning_rate={1: 0.02, 6: 0.002},
    early_stopping=False,
)
fits = [joblib.delayed(clone(gan).set_params(random_state=i).fit)(names) for i in range(N_RUNS)]
runs = joblib.Parallel(n_jobs=2)(fits)
histories = [fitted.history_ for fitted in runs]
TrainingDisplay.from_histories(  # Figure 5 of the report
    histories, keys=["discriminator_loss", "generator_loss"]
)

# %%
# Of 128 names in a batch a handful carries the weight: the likely ones, and those are short.
keys = ["effective_sample_size", "weighted_mean_length", "corpus_mass"]
display = TrainingDisplay.from_histories(histories, keys=keys)
display.axes_[1].axhline(statistics.mean(map(len, names)), color="black")
size = statistics.mean(history[-1]["effective_sample_size"] for history in histories)
print(f"effective sample size at the end: {size:.1f} of 128")

# %%
# So the model writes short names (Figure 6 of the report).
sample = runs[0].sample(200, random_state=0)
LengthDisplay.from_samples(sample, names)
print(*sample[:12])
print("of length 10:", *runs[0].sample(5, 10, min_len=10, random_state=0))

# %%
# Exact likelihoods give the best discriminator there is; this one has not found it.
DiscriminatorDisplay.from_estimator(runs[0], names)
