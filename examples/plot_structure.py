"""
What if a classifier cannot see what is wrong?
==============================================

`Refined` repairs what its classifier can see. A bracket that is closed much later is beyond n-grams.
Any scikit-learn pipeline over sequences can be the classifier, so a feature is one union away.
"""

import random

from sklearn.feature_extraction import DictVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer

from likelihood_gan import CharLSTM, LikelihoodGAN, Refined
from likelihood_gan.ngrams import NGramHasher

N_WORDS = 4000


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
    CharLSTM,
    generator_params={"hidden_size": 24},
    objective="mle",
    pretrain_epochs=15,
    pretrain_learning_rate=0.01,
    batch_size=32,
    adversarial_epochs=0,
    random_state=0,
).fit(corpus)

feature = make_pipeline(FunctionTransformer(brackets), DictVectorizer())
judge = LogisticRegression(solver="liblinear")
aware = make_pipeline(make_union(NGramHasher(), feature), judge)
for name, classifier in {"n-grams": None, "n-grams and brackets": aware}.items():
    refined = Refined(FrozenEstimator(gan), classifier, n_samples=5000, random_state=0).fit(corpus)
    samples = [model.sample(1000, random_state=0) for model in (gan, refined)]
    before, after = (sum(not b["open"] for b in brackets(words)) / 1000 for words in samples)
    share = refined.relative_effective_sample_size_
    print(f"{name}: {before:.0%} of the plain samples are balanced, {after:.0%} of the refined")
    print(f"    {refined.gain_:+.2f} held-out nats, relative effective sample size {share:.2f}")
