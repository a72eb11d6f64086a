"""The refined distribution against its generator and the maximum-likelihood controls.

    python -m benchmarks.refine run --task names            # all settings, 5 seeds
    python -m benchmarks.refine table --task names          # 95 % intervals, for the docs
    python -m benchmarks.refine plot                        # the figure of all tasks
    python -m benchmarks.refine cost                        # speed, and memory for 10^6 proposals

Paired by seed like compare.py, which measures the models; the control is "mle", a maximum-likelihood
fit of 128 hidden units. All generators of a seed are fitted to one split and hold out the same
sequences; they are kept in files. Rows go to a CSV file one by one; finished ones are not repeated.
A setting that is only in the file keeps its place in the tables.
"""

import argparse
import functools
import math
import resource
import time

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from benchmarks import store
from benchmarks.measures import N_SAMPLES, load_judge, measure
from benchmarks.molecules import parses, structure, with_features
from benchmarks.starts import Tempered, fit_start, load_start, make_start, prepare, with_generator
from benchmarks.tasks import TASKS, load_split
from likelihood_gan import Refined, metrics
from likelihood_gan.models import Mixture
from likelihood_gan.ngrams import NGramHasher

COLUMNS = [
    "test_nats",
    "new_nats",
    "valid",
    "auc",
    "auc_trees",
    "trigram_js",
    "length_tv",
    "unique",
    "novel",
    "coverage",
    "parameters",
    "beta",
    "ess",
]
PLAIN = ("parameters", "beta", "ess")  # of no interest as differences


# A setting is a function (task, seed) -> model with sample and score_samples.


def larger(task, seed):
    """Fit a generator with more parameters than the smaller one and its classifier together."""
    return load_start(task, seed, hidden_size=256, dropout=0.4 if task == "names" else 0.25)


def mixture(task, seed, n):
    """Average `n` fits that differ by their initial weights."""
    fits = [load_start(task, seed, k) for k in range(n)]
    return with_generator(fits[0], Mixture([gan.generator_ for gan in fits]))


def refine(gan, task, seed, **params):
    """Refine a fitted estimator, which is not trained further."""
    split = load_split(task, seed)
    refined = Refined(FrozenEstimator(gan), random_state=seed, **params)
    return refined.fit(split.fit, sample_weight=split.weights)


def distilled(teach, task, seed, share=0.5):
    """Fit a generator like the start to the data and to samples of a distribution."""
    split = load_split(task, seed)
    samples = teach(task, seed).sample(2 * len(split.fit), random_state=seed)
    weights = np.ones(len(split.fit)) if split.weights is None else split.weights
    parts = weights / weights.sum() * (1 - share), np.full(len(samples), share / len(samples))
    student = make_start(split, seed)
    return student.fit([*split.fit, *samples], sample_weight=np.concatenate(parts))


def changed(task, seed, **parameters):
    """Train by maximum likelihood with other parameters."""
    return fit_start(load_split(task, seed), seed, **parameters)


def longer(task, seed):
    """Train for as many steps as a distilled generator is trained."""
    return changed(task, seed, pretrain_epochs=3 * load_start(task, seed).pretrain_epochs)


def tempered(value, task, seed):
    """Sample the plain generator at a temperature."""
    gan = load_start(task, seed)
    return with_generator(gan, Tempered(gan.generator_, value))


SETTINGS = {
    "mle": load_start,
    "refined": lambda t, s: refine(load_start(t, s), t, s),
    "refined, structure": lambda t, s: refine(
        load_start(t, s), t, s, classifier=with_features(structure), Cs=(0.1, 0.3)
    ),
    "refined, parser": lambda t, s: refine(
        load_start(t, s), t, s, classifier=with_features(structure, parses), Cs=(0.1, 0.3)
    ),
    "mle, two mixed": lambda t, s: mixture(t, s, 2),
    "mle, four mixed": lambda t, s: mixture(t, s, 4),
    "four mixed, refined": lambda t, s: refine(mixture(t, s, 4), t, s),
    "mle, 256": larger,
    "256, refined": lambda t, s: refine(larger(t, s), t, s),
    "256, refined, structure": lambda t, s: refine(
        larger(t, s), t, s, classifier=with_features(structure), Cs=(0.1, 0.3)
    ),
    "mle, longer": longer,
    "mle, bf16": lambda t, s: changed(t, s, precision="bf16"),
    "distilled": lambda t, s: distilled(SETTINGS["refined"], t, s),
    "self-distilled": lambda t, s: distilled(load_start, t, s),
} | {f"mle, temperature {v}": functools.partial(tempered, v) for v in (0.9, 1.1)}


def run_once(setting, seed, task, n_samples):
    """Fit once and return a row, in a list."""
    torch.set_num_threads(1)
    split, judge = load_split(task, seed), load_judge(task, seed)
    started = time.perf_counter()
    model = SETTINGS[setting](task, seed)
    seconds = time.perf_counter() - started
    row = {"setting": setting, "seed": seed} | measure(model, split, judge, seed, n_samples)
    samples = model.sample(n_samples // 2, split.max_len, random_state=seed)
    row["auc_trees"] = metrics.two_sample_auc(
        samples, split.test, classifier=trees(), random_state=0
    )
    row["parameters"] = n_parameters(model)
    row |= {
        column: nan_if_none(getattr(model, attribute, None))
        for column, attribute in {
            "beta": "beta_",
            "C": "C_",
            "held_out_gain": "gain_",
            "ess": "relative_effective_sample_size_",
        }.items()
    }
    row["log_z"] = model.log_partition_.value if isinstance(model, Refined) else math.nan
    return [store.rounded(row | {"seconds": seconds})]


def trees():
    """Build a classifier of another kind than the one that refines: boosted trees, n up to 3."""
    dense = FunctionTransformer(lambda X: X.toarray(), accept_sparse=True)
    boosting = HistGradientBoostingClassifier(max_iter=60, max_bins=15, random_state=0)
    return make_pipeline(NGramHasher((1, 3), 2**9), dense, boosting)


def n_parameters(model):
    """Count the numbers of a generator and those of the classifiers above it that are not 0."""
    gan = model.estimator_ if isinstance(model, Refined) else model
    n = sum(parameter.numel() for parameter in gan.generator_.parameters())
    for classifier in getattr(model, "classifiers_", []):
        last = getattr(classifier, "steps", [("", classifier)])[-1][1]
        n += int(np.count_nonzero(getattr(last, "coef_", 0)))
    return n


def nan_if_none(value):
    return math.nan if value is None else value


def run(task, settings, seeds, n_jobs, n_samples, again=False):
    """Do what the result file lacks."""
    path = store.RESULTS / f"refine-{task}.csv"
    pairs = store.missing(path, settings, seeds, again)
    prepare(task, {seed for _, seed in pairs}, n_jobs)
    once = functools.partial(run_once, task=task, n_samples=n_samples)
    return store.append_rows(path, once, pairs, n_jobs)


def table(rows):
    """Return Markdown: means, and differences to the control with their intervals."""
    rows, columns = store.in_order(rows, SETTINGS), store.measured(COLUMNS, rows)
    summary = store.paired_summary(rows, "mle", columns)
    return "\n".join(store.markdown_table(summary, "mle", columns, PLAIN))


def plot(tasks, path):
    """Draw held-out nats gained over the control, with 95 % intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(tasks), figsize=(9, 4.5), layout="constrained")
    for axis, (task, rows) in zip(np.atleast_1d(axes), tasks.items(), strict=True):
        summary = [
            s for s in store.paired_summary(rows, "mle", ["test_nats"]) if s["setting"] != "mle"
        ]
        summary.sort(key=lambda entry: -entry["difference"]["test_nats"])
        gains = [-entry["difference"]["test_nats"] for entry in summary]
        errors = [np.nan_to_num(entry["half_width"]["test_nats"]) for entry in summary]
        colours = ["C0" if "refined" in e["setting"] else "0.6" for e in summary]
        y = np.arange(len(summary))
        axis.barh(y, gains, xerr=errors, color=colours)
        axis.set_yticks(y, [entry["setting"] for entry in summary])
        axis.set_xlabel("held-out nats per sequence gained")
        axis.set_title(task)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def cost(task="names", seed=0, n=125_000):
    """Print the speed of refined samples, and the memory that a million proposals take."""
    refined = refine(load_start(task, seed), task, seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, model in {"plain": refined.estimator_, "refined": refined}.items():
        started = time.perf_counter()
        model.sample(n, random_state=0)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{name}: {n / seconds:,.0f} samples/s, peak +{(peak - before) / 1024:.0f} MB")


def main():
    """Run, or show what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table", "plot", "cost"])
    parser.add_argument("--task", choices=TASKS, default="names")
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=N_SAMPLES, help="of each model")
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--again", action="store_true", help="measure what is finished, too")
    arguments = parser.parse_args()
    if arguments.command == "cost":
        return cost(arguments.task)
    if arguments.command == "run":
        rest = arguments.seeds, arguments.jobs, arguments.samples, arguments.again
        run(arguments.task, arguments.setting, *rest)
    rows = {task: store.read_rows(store.RESULTS / f"refine-{task}.csv") for task in TASKS}
    if arguments.command == "plot":
        plot({task: part for task, part in rows.items() if part}, store.FIGURES / "refine.png")
    elif arguments.command == "table":
        text = table(rows[arguments.task])
        (store.FIGURES / f"refine-{arguments.task}.md").write_text(text + "\n")
        print(text)


if __name__ == "__main__":
    main()
