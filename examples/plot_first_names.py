"""
Which names might there have been?
==================================

5,163 American first names teach the default to spell: an LSTM that corrects an n-gram model. It is
trained by maximum likelihood, then against a discriminator, and the epoch that predicts held-out names
best is kept. What comes out is a distribution: it writes new names, and it says how likely any word is.
"""

from likelihood_gan import LikelihoodGAN
from likelihood_gan.datasets import load_first_names

# The first two are the defaults; the last keeps every name of the list.
PRETRAIN_EPOCHS = 40
EPOCHS = 1
EVERY = 1

names = load_first_names()[::EVERY]
gan = LikelihoodGAN(
    pretrain_epochs=PRETRAIN_EPOCHS, adversarial_epochs=EPOCHS, verbose=5, random_state=0
).fit(names)
nats = {record["epoch"]: record["validation_nll"] for record in gan.history_}  # of held-out names
print(f"{nats[0]:.2f} nats by counts alone, {nats[gan.best_epoch_]:.2f} in the epoch that is kept")


# %%
# New names. A good model repeats some of the list, but neither all of it nor itself.
def show(title, words):
    print(f"\n{title}:", *words)


show("20 samples", gan.sample(20, random_state=1))
sample = gan.sample(1000, random_state=2)
n_new = sum(word not in set(names) for word in sample)
print(f"of 1,000 samples {len(set(sample))} are distinct and {n_new} are not in the list")

# %%
# The generator writes one letter after the other, so the beginning, the length and the daring
# can be chosen. At temperature 0.5 it prefers what is likely anyway.
show("with the prefix chri", gan.sample(10, prefix="chri", random_state=3))
show("of exactly 10 letters", gan.sample(10, min_len=10, max_len=10, random_state=4))
show("at temperature 0.5", gan.sample(10, temperature=0.5, random_state=5))

# %%
# The likelihood is exact: log-probabilities in nats, the end of the word included.
words = ["maria", "christine", "marlina", "teapot", "aaaaaaa", "xqzzk"]
print("\nlog-probability of")
for word, score in zip(words, gan.score_samples(words), strict=True):
    print(f"  {word:10s} {score:6.1f} nats", "(in the list)" * (word in names))

# %%
# Perplexity: among how many equally likely letters would the model hesitate as long? Of 27, which
# know nothing, these are left on the list itself, whose names it has counted.
print(f"\nperplexity {gan.perplexity(names):.2f} per symbol of 27")
