"""
What makes a name male or female?
=================================

A label is the first symbol of its sequence: what follows is written, and scored, given the label. So one
model of American first names writes new ones for a sex of one's choice, and by Bayes' rule it tells
the sex of a name that it has never seen. Logistic regression on n-grams stands beside it.
"""

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from likelihood_gan import GenerativeClassifier, LikelihoodGAN
from likelihood_gan.datasets import load_first_names_by_sex

PRETRAIN_EPOCHS = 40  # the default
EVERY = 1

# The Census Bureau published two lists. A name that is in both has no right answer.
names, sexes = map(np.array, load_first_names_by_sex())
_, number, times = np.unique(names, return_inverse=True, return_counts=True)
once = times[number] == 1
names, sexes = names[once][::EVERY], sexes[once][::EVERY]
X, X_new, y, y_new = train_test_split(names, sexes, stratify=sexes, random_state=0)

letters = "abcdefghijklmnopqrstuvwxyz"
gan = LikelihoodGAN(vocabulary=letters, pretrain_epochs=PRETRAIN_EPOCHS, random_state=0)
model = GenerativeClassifier(gan).fit(X, y)

# %%
# Names for a sex, with any constraint that `sample` knows.
for sex in model.classes_:
    print(f"{sex}:", *model.sample(10, y=sex, random_state=0))
    print(f"{sex}, with the prefix ro:", *model.sample(8, y=sex, prefix="ro", random_state=0))

# %%
# The sex of names that were held back. Logistic regression only tells sexes apart, and does that better;
# the generative model also writes names, and knows how likely each is.
counts = CountVectorizer(analyzer="char_wb", ngram_range=(1, 4))
regression = make_pipeline(counts, LogisticRegression(max_iter=5000)).fit(X, y)
for title, classifier in (("generative", model), ("logistic regression", regression)):
    p = classifier.predict_proba(X_new)
    print(
        f"{title}: accuracy {classifier.score(X_new, y_new):.3f}, log loss {log_loss(y_new, p):.3f}"
    )

# %%
# One letter may decide. Log-odds of female against male, in nats:
for name in ["roberta", "robertus", "daniela", "danielus", "marlo", "marla", "xqzzk"]:
    log_female, log_male = model.predict_log_proba([name])[0]
    known = "in the data" if name in X else "new"
    print(f"  {name:9s} {log_female - log_male:+6.1f} ({known})")
