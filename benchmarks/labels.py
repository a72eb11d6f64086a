"""Male and female names told apart by a generative classifier, beside logistic regression on n-grams.

    python -m benchmarks.labels run --task names            # Kantrowitz, 5 folds
    python -m benchmarks.labels run --task first_names      # US Census
    python -m benchmarks.labels table --task names          # for the docs

Names that are in both lists are left out: they have no right answer. The folds are stratified. A row
is one fold of one setting; finished ones are not repeated.
"""

import argparse
import functools
import time

import numpy as np
from scipy.special import logsumexp
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from benchmarks import store
from likelihood_gan import CharLSTM, GenerativeClassifier, LikelihoodGAN
from likelihood_gan.datasets import load_first_names_by_sex, load_kantrowitz_names
from likelihood_gan.models import NGram

N_FOLDS = 5
CONTROL = "logistic regression"
COLUMNS = ["accuracy", "log_loss", "nats"]


def logistic_regression():
    """Features and settings as in scikit-learn's examples of text."""
    vectorizer = CountVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    return make_pipeline(vectorizer, LogisticRegression(max_iter=5000))


def chosen():
    """Choose the strength of regularisation by cross-validated log loss."""
    grid = {"logisticregression__C": [0.1, 0.3, 1, 3, 10]}
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=1)
    return GridSearchCV(logistic_regression(), grid, scoring="neg_log_loss", cv=folds)


def generative(symbols, **settings):
    return GenerativeClassifier(LikelihoodGAN(vocabulary=symbols, random_state=0, **settings))


class Separate:
    """One `LikelihoodGAN` for each class, which share nothing."""

    def __init__(self, symbols):
        self.estimator = functools.partial(LikelihoodGAN, vocabulary=symbols, random_state=0)

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.prior = counts / counts.sum()
        self.parts = [self.estimator().fit(X[y == label]) for label in self.classes_]
        return self

    def predict_proba(self, X):
        joint = np.stack([part.score_samples(X) for part in self.parts], 1) + np.log(self.prior)
        return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))

    def score_samples(self, X, y):
        scores = np.stack([part.score_samples(X) for part in self.parts], 1)
        return scores[np.arange(len(y)), np.searchsorted(self.classes_, y)]


SETTINGS = {
    CONTROL: lambda symbols: logistic_regression(),
    "logistic regression, C chosen": lambda symbols: chosen(),
    "default": generative,
    "order 12": functools.partial(generative, generator_params={"order": 12}),
    "CharLSTM": functools.partial(generative, generator=CharLSTM),
    "NGram": functools.partial(generative, generator=NGram, generator_params={"order": 8}),
    "one model a class": Separate,
}


def kantrowitz():
    """Return names and their sexes."""
    every = [name.strip().lower() for name in load_kantrowitz_names()]
    return every, ["female"] * 5001 + ["male"] * 2943


TASKS = {"names": kantrowitz, "first_names": load_first_names_by_sex}


def load(task):
    """Return the names that have one sex, sorted, and their sexes, as arrays."""
    sexes = {}
    for name, sex in zip(*TASKS[task](), strict=True):
        sexes.setdefault(name, set()).add(sex)
    pairs = sorted((name, *found) for name, found in sexes.items() if len(found) == 1)
    names, found = zip(*pairs, strict=True)
    return np.array(names), np.array(found)


def run_once(setting, fold, task="names"):
    """Fit and judge on one fold; return a row, in a list. Its "seed" is the fold."""
    names, sexes = load(task)
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    train, test = list(folds.split(names, sexes))[fold]
    model = SETTINGS[setting](sorted(set("".join(names))))
    started = time.perf_counter()
    model.fit(names[train], sexes[train])
    row = {"setting": setting, "seed": fold, "seconds": time.perf_counter() - started}
    p = model.predict_proba(names[test])
    row["accuracy"] = accuracy_score(sexes[test], model.classes_[p.argmax(1)])
    row["log_loss"] = log_loss(sexes[test], p)
    if hasattr(model, "score_samples") and "logistic" not in setting:
        row["nats"] = -float(model.score_samples(names[test], sexes[test]).mean())
    return [store.rounded(row)]


def table(rows):
    """Return lines of Markdown: means over folds, and differences to logistic regression."""
    summary = store.paired_summary(store.in_order(rows, SETTINGS), CONTROL, COLUMNS)
    header, *lines = store.markdown_table(summary, CONTROL, COLUMNS, ("nats",))
    return [header.replace("seeds", "folds"), *lines]


def main():
    """Run, or show what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--task", choices=TASKS, default="names")
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    arguments = parser.parse_args()
    path = store.RESULTS / f"labels-{arguments.task}.csv"
    if arguments.command == "run":
        once = functools.partial(run_once, task=arguments.task)
        store.append_rows(path, once, store.missing(path, arguments.setting, N_FOLDS))
    text = "\n".join(table(store.read_rows(path)))
    (store.FIGURES / f"labels-{arguments.task}.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
