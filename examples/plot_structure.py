"""
What if a classifier cannot see what is wrong?
==============================================

Refinement repairs what its classifier can see. A bracket that is closed much later is beyond n-grams;
as any scikit-learn pipeline over sequences can be the classifier, a feature is one union away.
"""

import random

import torch
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer

from likelihood_gan import LikelihoodGAN, Refiner
from likelihood_gan.ngrams import NGramHasher

N_WORDS = 4000
torch.set_num_threads(1)


def write(depth=0):
    """Write a random expression such as f(a,g(b))."""
    if depth == 4 or random.random() < 0.3:
        return random.choice("abcde")
    arguments = [write(depth + 1) for _ in range(random.choice([1, 2]))]
    return f"{random.choice('fgh')}({','.join(arguments)})"


def brackets(words):
    """Count the brackets that are left open."""
    return [{"open": abs(w.count("(") - w.count(")"))} for w in words]


random.seed(0)
corpus = sorted({word for word in (write() for _ in range(N_WORDS)) if 3 < len(word) < 30})
gan = LikelihoodGAN(
    generator_params={"hidden_size": 24},
    objective="mle",
    pretrain_epochs=15,
    pretrain_learning_rate=0.02,
    max_epochs=0,
    random_state=0,
).fit(corpus)

feature = make_pipeline(FunctionTransformer(brackets), DictVectorizer())
judge = LogisticRegression(solver="liblinear")
aware = make_pipeline(make_union(NGramHasher(), feature), judge)
for name, classifier in {"n-grams": None, "n-grams and brackets": aware}.items():
    gan.set_params(refiner=Refiner(classifier, n_samples=5000)).refine(corpus)
    samples = [gan.sample(1000, refined=refined, random_state=0) for refined in (False, True)]
    plain, refined = (sum(not b["open"] for b in brackets(words)) / 1000 for words in samples)
    gain, ess = gan.refiner_.gain_, gan.refiner_.effective_sample_size_
    print(f"{name}: {plain:.0%} of the plain samples are balanced, {refined:.0%} of the refined")
    print(f"    {gain:+.2f} held-out nats, effective sample size {ess:.2f}")
