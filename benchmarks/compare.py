"""Every objective, baseline and alternative against the maximum-likelihood control, paired by seed.

    python benchmarks/compare.py run --task names                   # all settings, 5 seeds
    python benchmarks/compare.py run --task words --epochs 5 --objective mle pooled-kl
    python benchmarks/compare.py table --task names                 # 95 % intervals, for the docs
    python benchmarks/compare.py plot --task names                  # quality against diversity

A seed decides the split and one maximum-likelihood fit, the start. Every objective goes on from its
weights for the same number of epochs at the same rate; the control goes on with maximum likelihood.
A fit is measured twice: "last" is the model of the last epoch, which shows what the objective
does; "kept" is that of the lowest held-out negative log-likelihood, what early stopping gives.
Settings "scratch-..." have no start. Rows go to a CSV file one by one; finished ones are not repeated.
"""

import argparse
import copy
import functools
import math
import time
from pathlib import Path

import joblib
import numpy as np
import report
import torch
from alternatives import ALTERNATIVES
from ngram import fit_ngram
from results_table import append_row, markdown_table, paired_summary, read_rows
from tasks import TASKS
from torch import nn
from tqdm import tqdm

from likelihood_gan import Autoregressive, LikelihoodGAN, metrics
from likelihood_gan.models import Mixture
from likelihood_gan.objectives import MLE, Likelihood, MaliGAN, Pooled, Reinforce
from likelihood_gan.objectives import Mixture as MixtureObjective

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
STARTS = RESULTS / "starts"  # not in the repository: what a killed command need not fit again
FIGURES = ROOT / "docs" / "figures"
N_SAMPLES = 10_000
COLUMNS = [  # of the tables; the files have more
    "test_nats",
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


def blind(batch):
    """`Pooled("kl")` with D = 1/2 everywhere: what its samples do without a discriminator."""
    return -(batch.real.log_prob.mean() + batch.generated.log_prob.mean()) / 2


blind.adversarial = False
OBJECTIVES = {
    "mle": MLE(),
    "likelihood": Likelihood(),
    "likelihood-power.3": Likelihood(power=0.3),
    "likelihood-power0": Likelihood(power=0),
    "likelihood-normalised": Likelihood(length_normalised=True),
    "mixture-kl": MixtureObjective("kl"),
    "mixture-js": MixtureObjective("js"),
    "mixture-reverse_kl": MixtureObjective("reverse_kl"),
    "mixture-hellinger": MixtureObjective("hellinger"),
    "pooled-kl": Pooled("kl"),
    "pooled-js": Pooled("js"),
    "pooled-js+mle": Pooled("js", mle_weight=1),
    "pooled-reverse_kl+mle": Pooled("reverse_kl", mle_weight=1),
    "reinforce": Reinforce(),
    "maligan": MaliGAN(),
    "pooled-blind": blind,
}
SCRATCH = ["mle", "likelihood", "likelihood-power.3", "likelihood-power0", "likelihood-normalised"]
PLAIN = ("ess", "seconds")  # of no interest as differences
TEMPERATURES = [0.7, 0.8, 0.9, 1.1]
DROPOUTS = [0.1, 0.4, 0.5]  # beside the default, .25


class Tempered(Autoregressive, nn.Module):
    """A generator whose next-symbol log-probabilities are divided by a temperature."""

    def __init__(self, generator, temperature):
        super().__init__()
        self.generator, self.temperature = generator, temperature

    def step(self, tokens, state):
        log_probs, state = self.generator.step(tokens, state)
        return (log_probs / self.temperature).log_softmax(-1), state


# A setting is a function (split, start, seed, epochs) -> {stop: model}.


def fit_start(split, seed, weights=None, **generator_params):
    """Fit by maximum likelihood, as the estimator's defaults do."""
    gan = LikelihoodGAN(objective="mle", max_epochs=0, random_state=seed)
    gan.set_params(vocabulary=split.symbols, **split.settings)
    if generator_params:
        gan.set_params(generator_params={**(gan.generator_params or {}), **generator_params})
    return gan.fit(split.fit, sample_weight=split.weights if weights is None else weights)


def objective(name):
    """Go on from the start with an objective."""

    def fit(split, start, seed, epochs):
        gan = copy.deepcopy(start).set_params(
            objective=OBJECTIVES[name],
            warm_start=True,
            pretrain_epochs=0,
            max_epochs=epochs,
            n_iter_no_change=epochs,
        )
        return _fit_and_watch(gan, split)

    return fit


def scratch(name):
    """Train with an objective from fresh weights, with the rates and epochs of the start."""

    def fit(split, start, seed, epochs):
        n = split.settings.get("pretrain_epochs", 40)
        gan = LikelihoodGAN(vocabulary=split.symbols, random_state=seed)
        gan.set_params(**split.settings)
        gan.set_params(
            objective=OBJECTIVES[name],
            pretrain_epochs=0,
            discriminator_pretrain_epochs=0,
            max_epochs=n,
            n_iter_no_change=n,
            learning_rate={1: 0.005, n * 3 // 4 + 1: 0.0005},
        )
        return _fit_and_watch(gan, split)

    return fit


def temperature(value):
    """Sample the start at a temperature; nothing is trained."""
    return lambda split, start, seed, epochs: {
        "only": _with_generator(start, Tempered(start.generator_, value))
    }


def start_alone(split, start, seed, epochs):
    """Measure the start as it is."""
    return {"only": start}


def ensemble(split, start, seed, epochs):
    """Mix two independent maximum-likelihood fits of one split."""
    second = fit_start(split, 1000 + seed)
    return {"only": _with_generator(start, Mixture([start.generator_, second.generator_]))}


def tuned(split, start, seed, epochs):
    """Choose the dropout by held-out likelihood: of sequences, or of people if they are counted."""
    if split.weights is None:
        fits = [start] + [fit_start(split, seed, dropout=dropout) for dropout in DROPOUTS]
        return {"only": min(fits, key=lambda gan: min(r["validation_nll"] for r in gan.history_))}
    trained_on = np.random.default_rng(seed).binomial(split.weights.astype(int), 0.9)

    def held_out_score(dropout):
        gan = fit_start(split, seed, trained_on, dropout=dropout)
        return gan.score(split.fit, sample_weight=split.weights - trained_on)

    return {"only": fit_start(split, seed, dropout=max([0.25, *DROPOUTS], key=held_out_score))}


def as_in_the_report(split, start, seed, epochs):
    """Train by the report's objective and setting: its sizes, rates and 200 epochs."""
    gan = LikelihoodGAN(**report.SETTING, max_epochs=200, random_state=seed)
    return {"last": gan.set_params(vocabulary=split.symbols).fit(split.fit)}


def n_gram(split, start, seed, epochs):
    """Fit the interpolated n-gram model."""
    return {
        "only": fit_ngram(split.fit, split.weights, vocabulary=split.symbols, random_state=seed)
    }


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


def _fit_and_watch(gan, split):
    """Fit, and return the model of the last epoch beside the one that early stopping keeps."""
    last = None

    def watch(estimator, record):
        nonlocal last
        last = copy.deepcopy(estimator)

    gan.set_params(callbacks=[watch]).fit(split.fit, sample_weight=split.weights)
    last.history_ = gan.history_
    return {"last": last, "kept": gan} if gan.early_stopping else {"last": last}


def _with_generator(gan, generator):
    """Return the estimator with another generator over the same symbols."""
    other = copy.copy(gan)
    other.generator_ = generator.eval()
    return other


def measure(model, split, judge, seed, n_samples=None):
    """Return the figures of one model, against sequences that it was not fitted on."""
    samples = model.sample(n_samples or N_SAMPLES, split.max_len, random_state=seed)
    figures = {
        "auc": metrics.two_sample_auc(samples[:5000], split.test, random_state=seed),
        "bigram_js": metrics.n_gram_divergence(samples, split.test, 2),
        "trigram_js": metrics.n_gram_divergence(samples, split.test, 3),
        "frechet": metrics.hashed_frechet_distance(samples, split.test),
        "length_tv": metrics.length_divergence(samples, split.test),
        "unique": metrics.uniqueness(samples),
        "novel": metrics.novelty(samples, split.fit),
        "coverage": metrics.coverage(samples, split.unseen),
        "typical_nats": metrics.nll(judge, samples),
        "test_nats": math.nan,
        "kl_truth_model": math.nan,
        "kl_model_truth_listed": math.nan,
        "listed_mass": math.nan,
        "valid": math.nan,
    }
    if hasattr(model, "score_samples"):
        figures["test_nats"] = metrics.nll(model, split.unseen)
        if split.truth is not None:
            figures |= against_truth(model, split.truth)
    if split.valid is not None:
        figures["valid"] = sum(map(split.valid, samples)) / len(samples)
    return figures


def against_truth(model, truth):
    """Kullback-Leibler divergences in nats, both ways, by summing over all that can happen.

    A model gives some probability to sequences off the list, where the truth has none, so
    KL(model, truth) is infinite for every model. What is finite says the same in two numbers: the
    probability of the list, and the divergence of the model given that it stays on the list.
    """
    log_q = np.log(list(truth.values()))
    log_p = model.score_samples(list(truth))
    log_mass = np.logaddexp.reduce(log_p)
    return {
        "kl_truth_model": float((np.exp(log_q) * (log_q - log_p)).sum()),
        "kl_model_truth_listed": float(
            (np.exp(log_p - log_mass) * (log_p - log_mass - log_q)).sum()
        ),
        "listed_mass": float(np.exp(log_mass)),
    }


def fit_judge(split):
    """Fit an n-gram model to all real data: a sample that it finds unlikely is not typical."""
    weights = np.ones(len(split.fit)) if split.weights is None else split.weights
    both = list(split.fit) + split.test
    return fit_ngram(both, np.concatenate([weights, np.ones(len(split.test))]), random_state=0)


@functools.lru_cache(maxsize=1)
def load_start(task, seed):
    """Return the split, its judge and the maximum-likelihood fit of a seed, kept in a file."""
    torch.set_num_threads(1)
    split = TASKS[task](seed)
    path = STARTS / f"{task}-{seed}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fit_start(split, seed).save(path)
    return split, fit_judge(split), LikelihoodGAN.load(path)


def run_once(task, setting, seed, epochs):
    """Fit once and return a row for every model that came of it."""
    split, judge, start = load_start(task, seed)
    started = time.perf_counter()
    models = SETTINGS[setting](split, start, seed, epochs)
    seconds = time.perf_counter() - started
    rows = []
    for stop, model in models.items():
        history = getattr(model, "history_", [])
        ess = history[-1].get("effective_sample_size", math.nan) if history else math.nan
        row = {"setting": setting, "stop": stop, "seed": seed, "epochs": epochs}
        row |= measure(model, split, judge, seed) | {"ess": ess, "seconds": seconds}
        rows.append({k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()})
    return rows


def run(task, settings, seeds, epochs, n_jobs, results=RESULTS):
    """Do what the result file lacks."""
    path = results / f"compare-{task}.csv"
    rows = read_rows(path)
    if {row["epochs"] for row in rows} - {epochs}:
        raise ValueError(f"{path.name} has rows of other than {epochs} epochs; move it away")
    done = {(row["setting"], row["seed"]) for row in rows}
    missing = [(s, seed) for seed in range(seeds) for s in settings if (s, seed) not in done]
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    starts = parallel(joblib.delayed(load_start)(task, seed) for seed in {s for _, s in missing})
    for _ in tqdm(starts, desc="starts"):
        pass
    jobs = [joblib.delayed(run_once)(task, setting, seed, epochs) for setting, seed in missing]
    for rows in tqdm(parallel(jobs), total=len(jobs), desc=task):
        for row in rows:
            append_row(path, row)
    return read_rows(path)


def tables(rows):
    """Return Markdown: what users get, what the objectives do, and the same from fresh weights."""
    columns = [c for c in COLUMNS if not all(math.isnan(row[c]) for row in rows)]
    rows = sorted(rows, key=lambda row: list(SETTINGS).index(row["setting"]))
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
            summary = paired_summary(chosen, control, columns)
            lines += [f"**{title}**", "", *markdown_table(summary, control, columns, PLAIN), ""]
    return lines


def plot(rows, path):
    """Draw quality against diversity: how typical samples are, and how many are distinct."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    means = {
        entry["setting"]: (entry["mean"]["unique"], entry["mean"]["typical_nats"])
        for entry in paired_summary(
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
    parser.add_argument("--objective", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="after the start")
    parser.add_argument("--jobs", type=int, default=-1)
    arguments = parser.parse_args()
    if arguments.command == "run":
        task, epochs = arguments.task, arguments.epochs
        run(task, arguments.objective, arguments.seeds, epochs, arguments.jobs)
    rows = read_rows(RESULTS / f"compare-{arguments.task}.csv")
    chosen = [row for row in rows if row["setting"] in arguments.objective]
    if arguments.command == "plot":
        plot(chosen, FIGURES / f"compare-{arguments.task}.png")
    elif arguments.command == "table":
        text = "\n".join(tables(chosen))
        (FIGURES / f"compare-{arguments.task}.md").write_text(text)
        print(text)


if __name__ == "__main__":
    import compare  # under its own name: the workers import what they cache

    compare.main()
