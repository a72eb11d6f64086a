"""
Does the generator have to be a neural network?
===============================================

No: anything with a log-probability and samples will do. Here it is a bigram table, one row of
logits for each symbol. The data are not strings either: a known chain of chords wrote them, so
that what two objectives learn can be compared with the truth.
"""

import math
import random

import torch
from torch import nn

from likelihood_gan import Autoregressive, LikelihoodGAN
from likelihood_gan.checks import check_generator

N_SONGS = 1000
EPOCHS = 20

NEXT = {  # from a chord, or the start, to the next one, or the end
    "start": {"I": 0.7, "vi": 0.3},
    "I": {"IV": 0.4, "V": 0.3, "vi": 0.3},
    "IV": {"V": 0.5, "I": 0.5},
    "V": {"I": 0.4, "vi": 0.2, "end": 0.4},
    "vi": {"IV": 0.8, "V": 0.2},
}


def write_song(rng, chord="start"):
    chord = rng.choices(list(NEXT[chord]), NEXT[chord].values())[0]
    return () if chord == "end" else (chord, *write_song(rng, chord))


class Bigram(Autoregressive, nn.Module):
    def __init__(self, n_tokens):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_tokens, n_tokens))

    def step(self, tokens, state):
        return self.logits.log_softmax(-1)[tokens], state


check_generator(Bigram(5), n_tokens=5)  # 4 chords and the end
songs = [write_song(random.Random(i)) for i in range(2 * N_SONGS)]
train, test = songs[:N_SONGS], songs[N_SONGS:]
truth = [
    math.log(NEXT[a][b]) for s in test for a, b in zip(("start", *s), (*s, "end"), strict=True)
]
print(f"chain: {-sum(truth) / N_SONGS:.2f} nats, {sum(map(len, test)) / N_SONGS:.1f} chords a song")
rates = {"pretrain_learning_rate": 0.2, "adversarial_learning_rate": 0.01}
for name in ("mle", "importance"):
    gan = LikelihoodGAN(Bigram, objective=name, pretrain_epochs=EPOCHS, **rates, random_state=0)
    gan.set_params(early_stopping=False).fit(train)  # a song held out would be missed in the data
    length = sum(map(len, gan.sample(1000, max_len=99, random_state=0))) / 1000
    print(f"{name}: {-gan.score(test):.2f} nats, {length:.1f} chords; after V come", end=" ")
    after_v = gan.generator_.logits[1 + gan.vocabulary_.symbols.index("V")].softmax(0).tolist()
    print({s: round(p, 2) for s, p in zip(("end", *gan.vocabulary_.symbols), after_v, strict=True)})
