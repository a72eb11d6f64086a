"""Every objective, baseline and alternative against the maximum-likelihood control, paired by seed.

    python -m benchmarks.compare run --task names                   # all settings, 5 seeds
    python -m benchmarks.compare run --task words --epochs 5 --objective mle pooled-kl
    python -m benchmarks.compare table --task names                 # 95 % intervals, for the docs
    python -m benchmarks.compare plot --task names                  # quality against diversity

A seed decides the split and one maximum-likelihood fit, the start. Every objective goes on from its
weights for the same number of epochs at the same rate; the control goes on with maximum likelihood.
A fit is measured twice: "last" is the model of the last epoch, which shows what the objective
does; "kept" is that of the lowest held-out negative log-likelihood, what early stopping gives.
Settings "scratch-..." have no start. Rows go to a CSV file one by one; finished ones are not repeated.
A setting that is only in the file keeps its place in the tables.
"""

import argparse
import functools
import math
import time

import numpy as np

from benchmarks import store
from benchmarks.alternatives import ALTERNATIVES
from benchmarks.measures import N_SAMPLES, load_judge, measure
from benchmarks.objectives import OBJECTIVES
from benchmarks.starts import (
    REPORT,
    Tempered,
    fit_and_watch,
    fit_ngram,
    fit_start,
    go_on,
    load_start,
    make_start,
    prepare,
    with_generator,
)
from benchmarks.tasks import TASKS, load_split
from likelihood_gan import LikelihoodGAN
from likelihood_gan.models import Mixture

COLUMNS = [  # of the tables; the files have more
    "test_nats",
    "new_nats",
    "kl_truth_model",
    "kl_model_truth_listed",
    "listed_mass",
    "valid",
    "auc",
    "trigram_js",
    "length_tv",
    "unique",
    "novel",
    "coverage",
    "ess",
    "seconds",
]
SCRATCH = ["mle", "likelihood", "likelihood-power.3", "likelihood-power0", "likelihood-normalised"]
PLAIN = ("ess", "seconds")  # of no interest as differences
TEMPERATURES = [0.7, 0.8, 0.9, 1.1]
DROPOUTS = [0.1, 0.4, 0.5]  # beside the default, .25


# A setting is a function (split, start, seed, epochs) -> {stop: model}.


def objective(name):
    """Go on from the start with an objective."""

    def fit(split, start, seed, epochs):
        return _both(*go_on(start, split.fit, OBJECTIVES[name], epochs, split.weights))

    return fit


def scratch(name):
    """Train with an objective from fresh weights, with the rates and epochs of the start."""

    def fit(split, start, seed, epochs):
        n = split.settings.get("pretrain_epochs", 40)
        gan = make_start(
            split,
            seed,
            objective=OBJECTIVES[name],
            pretrain_epochs=0,
            discriminator_pretrain_epochs=0,
            adversarial_epochs=n,
            n_iter_no_change=n,
            adversarial_learning_rate={1: 0.005, n * 3 // 4 + 1: 0.0005},
        )
        return _both(*fit_and_watch(gan, split.fit, split.weights))

    return fit


def temperature(value):
    """Sample the start at a temperature; nothing is trained."""
    return lambda split, start, seed, epochs: {
        "only": with_generator(start, Tempered(start.generator_, value))
    }


def start_alone(split, start, seed, epochs):
    """Measure the start as it is."""
    return {"only": start}


def ensemble(split, start, seed, epochs):
    """Mix two independent maximum-likelihood fits of one split."""
    second = fit_start(split, 1000 + seed)
    return {"only": with_generator(start, Mixture([start.generator_, second.generator_]))}


def tuned(split, start, seed, epochs):
    """Choose the dropout by held-out likelihood: of sequences, or of people if they are counted."""
    if split.weights is None:
        fits = [start] + [fit_start(split, seed, generator__dropout=value) for value in DROPOUTS]
        return {"only": min(fits, key=lambda gan: min(r["validation_nll"] for r in gan.history_))}
    trained_on = np.random.default_rng(seed).binomial(split.weights.astype(int), 0.9)

    def held_out_score(dropout):
        gan = fit_start(split, seed, trained_on, generator__dropout=dropout)
        return gan.score(split.fit, sample_weight=split.weights - trained_on)

    best = max([0.25, *DROPOUTS], key=held_out_score)
    return {"only": fit_start(split, seed, generator__dropout=best)}


def as_in_the_report(split, start, seed, epochs):
    """Train by the report's objective and setting: its sizes, rates and 200 epochs."""
    gan = LikelihoodGAN(**REPORT, adversarial_epochs=200, random_state=seed)
    return {"last": gan.set_params(vocabulary=split.symbols).fit(split.fit)}


def n_gram(split, start, seed, epochs):
    """Fit the interpolated n-gram model."""
    return {"only": fit_ngram(split.fit, split.weights, vocabulary=split.symbols)}


def alternative(name):
    """Train one of the methods that the report names as alternatives."""

    def fit(split, start, seed, epochs):
        counts = 1 if split.weights is None else split.weights.astype(int)
        repeated = np.repeat(split.fit, counts).tolist()
        return {"last": ALTERNATIVES[name](start, repeated, epochs=epochs, random_state=seed)}

    return fit


SETTINGS = (
    {name: objective(name) for name in OBJECTIVES}
    | {f"scratch-{name}": scratch(name) for name in SCRATCH}
    | {f"temperature-{value}": temperature(value) for value in TEMPERATURES}
    | {"start": start_alone, "mle-ensemble": ensemble, "mle-tuned": tuned, "n-gram": n_gram}
    | {"scratch-report": as_in_the_report}
    | {name: alternative(name) for name in ALTERNATIVES}
)


def _both(gan, last):
    """Return the model of the last epoch and, if that is another, the one that is kept."""
    return {"last": last, "kept": gan} if gan.early_stopping else {"last": gan}


def run_once(setting, seed, task, epochs, n_samples=N_SAMPLES):
    """Fit once and return a row for every model that came of it."""
    start = load_start(task, seed)
    split, judge = load_split(task, seed), load_judge(task, seed)
    started = time.perf_counter()
    models = SETTINGS[setting](split, start, seed, epochs)
    seconds = time.perf_counter() - started
    histories = [model.history_ for model in models.values() if getattr(model, "history_", [])]
    ess = histories[0][-1].get("effective_sample_size", math.nan) if histories else math.nan
    rows = []
    for stop, model in models.items():
        row = {"setting": setting, "stop": stop, "seed": seed, "epochs": epochs}
        row |= measure(model, split, judge, seed, n_samples) | {"ess": ess, "seconds": seconds}
        rows.append(store.rounded(row))
    return rows


def run(task, settings, seeds, epochs, n_jobs, again=False, n_samples=N_SAMPLES):
    """Do what the result file lacks."""
    path = store.RESULTS / f"compare-{task}.csv"
    if {row["epochs"] for row in store.read_rows(path)} - {epochs}:
        raise ValueError(f"{path.name} has rows of other than {epochs} epochs; move it away")
    pairs = store.missing(path, settings, seeds, again)
    prepare(task, {seed for _, seed in pairs}, n_jobs)
    once = functools.partial(run_once, task=task, epochs=epochs, n_samples=n_samples)
    return store.append_rows(path, once, pairs, n_jobs)


def tables(rows):
    """Return Markdown: what users get, what the objectives do, and the same from fresh weights."""
    columns = store.measured(COLUMNS, rows)
    rows = store.in_order(rows, SETTINGS)
    from_scratch = [row for row in rows if row["setting"].startswith("scratch-")]
    others = [row for row in rows if row not in from_scratch]
    parts = {
        "The epoch with the best held-out likelihood": ("mle", others, "kept"),
        "The last epoch": ("mle", others, "last"),
        "From fresh weights, the last epoch": ("scratch-mle", from_scratch, "last"),
    }
    lines = []
    for title, (control, part, stop) in parts.items():
        chosen = [row for row in part if row["stop"] in (stop, "only")]
        if any(row["stop"] == stop for row in chosen):
            summary = store.paired_summary(chosen, control, columns)
            table = store.markdown_table(summary, control, columns, PLAIN)
            lines += [f"**{title}**", "", *table, ""]
    return lines


def plot(rows, path):
    """Draw quality against diversity: how typical samples are, and how many are distinct."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    means = {
        entry["setting"]: (entry["mean"]["unique"], entry["mean"]["typical_nats"])
        for entry in store.paired_summary(
            [row for row in rows if row["stop"] != "kept"], "mle", ["unique", "typical_nats"]
        )
    }
    curve = sorted(
        (float(name.removeprefix("temperature-")), point)
        for name, point in {**means, "temperature-1": means["start"]}.items()
        if name.startswith("temperature-")
    )
    axes.plot(*zip(*(point for _, point in curve), strict=True), "k.-", label="MLE, temperature")
    for value, point in curve:
        axes.annotate(f"{value:g}", point, textcoords="offset points", xytext=(4, 4))
    others = {n: p for n, p in means.items() if not n.startswith(("temperature-", "scratch-"))}
    for i, (name, point) in enumerate(others.items()):
        axes.plot(*point, "o^sDvP"[i % 6], color=f"C{i % 10}", label=name)
    axes.set_xlabel(f"share of distinct sequences among {N_SAMPLES:,}")
    axes.set_ylabel("nats per sample under an n-gram model of the data")
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main():
    """Run, or show what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table", "plot"])
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--objective", nargs="+", choices=SETTINGS, help="all, if missing")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="after the start")
    parser.add_argument("--samples", type=int, default=N_SAMPLES, help="of each model")
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--again", action="store_true", help="measure what is finished, too")
    arguments = parser.parse_args()
    task, chosen = arguments.task, arguments.objective
    if arguments.command == "run":
        rest = arguments.epochs, arguments.jobs, arguments.again, arguments.samples
        run(task, chosen or list(SETTINGS), arguments.seeds, *rest)
    rows = store.read_rows(store.RESULTS / f"compare-{task}.csv")
    rows = [row for row in rows if chosen is None or row["setting"] in chosen]
    if arguments.command == "plot":
        plot(rows, store.FIGURES / f"compare-{task}.png")
    elif arguments.command == "table":
        text = "\n".join(tables(rows))
        (store.FIGURES / f"compare-{task}.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
