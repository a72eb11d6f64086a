"""The refined distribution against its generator and the maximum-likelihood controls.

    python benchmarks/refine.py run --task names            # all settings, 5 seeds
    python benchmarks/refine.py table --task names          # 95 % intervals, for the docs
    python benchmarks/refine.py plot                        # the figure of all tasks
    python benchmarks/refine.py cost                        # speed, and memory for 10^6 proposals

Paired by seed like compare.py, which measures the models; the control is "mle", a maximum-likelihood
fit of 128 hidden units. All generators of a seed are fitted to one split and hold out the same
sequences; they are kept in files. Rows go to a CSV file one by one; finished ones are not repeated.
"""

import argparse
import copy
import functools
import math
import resource
import time

import joblib
import numpy as np
import torch
from compare import FIGURES, N_SAMPLES, RESULTS, STARTS, Tempered, fit_judge, fit_start, measure
from molecules import parses, structure, with_features
from results_table import append_row, markdown_table, paired_summary, read_rows
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tasks import TASKS
from tqdm import tqdm

from likelihood_gan import LikelihoodGAN, Refiner, metrics
from likelihood_gan.classifiers import DiscriminatorClassifier
from likelihood_gan.models import CharLSTM, Mixture
from likelihood_gan.ngrams import NGramHasher

COLUMNS = [
    "test_nats",
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
SPLIT = ("early_stopping", "validation_fraction")  # settings that decide what is held out


class Refined:
    """The refined distribution of an estimator, with the methods that are measured."""

    def __init__(self, gan):
        self.gan = gan

    def sample(self, n, max_len, random_state):
        return self.gan.sample(n, max_len, refined=True, random_state=random_state)

    def score_samples(self, X):
        return self.gan.score_samples(X, refined=True)


# A setting is a function (task, seed) -> model with sample and score_samples.


def member(task, seed, k=0, hidden_size=128, dropout=0.25):
    """Return the k-th maximum-likelihood fit of a split, from a file if there is one."""
    sizes = dict(hidden_size=hidden_size, dropout=dropout)
    name = f"{task}-{seed}" + (f"-{k}" if k else "")
    if (hidden_size, dropout) != (128, 0.25):
        name += f"-{hidden_size}-{dropout}"
    path = STARTS / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        split = TASKS[task](seed)
        if k == 0:
            fit_start(split, seed, **sizes).save(path)
        else:  # the same split and batches, other weights
            rng = torch.Generator().manual_seed(1000 * k + seed)
            gan = LikelihoodGAN(objective="mle", max_epochs=0, random_state=seed)
            gan.set_params(vocabulary=split.symbols, **split.settings)
            sizes |= gan.generator_params or {}
            generator = CharLSTM(len(split.symbols) + 1, rng=rng, **sizes)
            gan.set_params(generator=generator, generator_params=None)
            gan.fit(split.fit, sample_weight=split.weights)
            gan.set_params(generator=None, generator_params=sizes).save(path)
    return LikelihoodGAN.load(path)


def larger(task, seed):
    """Fit a generator with more parameters than the smaller one and its classifier together."""
    return member(task, seed, hidden_size=256, dropout=0.4 if task == "names" else 0.25)


def mixture(task, seed, n):
    """Average `n` fits that differ by their initial weights."""
    gan = member(task, seed)
    members = [gan.generator_, *(member(task, seed, k).generator_ for k in range(1, n))]
    gan.generator_ = Mixture(members).eval()
    return gan


def refine(gan, task, seed, **params):
    """Refine a generator that is not trained further; calibrate on what was held out from it."""
    split = TASKS[task](seed)
    held = LikelihoodGAN(
        gan.generator_,
        objective="mle",
        pretrain_epochs=0,
        max_epochs=0,
        vocabulary=split.symbols,
        refiner=Refiner(**params),
        random_state=seed,
    )
    held.set_params(**{name: split.settings[name] for name in SPLIT if name in split.settings})
    return Refined(held.fit(split.fit, sample_weight=split.weights))


def distilled(task, seed, refined):
    """Fit a plain generator to data and samples: refined ones or, as a control, plain ones."""
    split = TASKS[task](seed)
    teacher = refine(member(task, seed), task, seed).gan
    if not refined:
        teacher.refiner_.beta_ = 0.0
    start = member(task, seed)
    same = {name: getattr(start, name) for name in ("generator_params", "pretrain_epochs")}
    teacher.set_params(generator=None, **same)
    return teacher.distill(split.fit, sample_weight=split.weights)


def changed(task, seed, **parameters):
    """Train by maximum likelihood with other parameters."""
    split = TASKS[task](seed)
    gan = LikelihoodGAN(objective="mle", max_epochs=0, random_state=seed)
    gan.set_params(vocabulary=split.symbols, **split.settings).set_params(**parameters)
    return gan.fit(split.fit, sample_weight=split.weights)


def longer(task, seed):
    """Train for as many steps as a distilled generator is trained."""
    return changed(task, seed, pretrain_epochs=3 * member(task, seed).pretrain_epochs)


def tempered(value, task, seed):
    """Sample the plain generator at a temperature."""
    gan = copy.copy(member(task, seed))
    gan.generator_ = Tempered(gan.generator_, value).eval()
    return gan


SETTINGS = {
    "mle": member,
    "refined": lambda t, s: refine(member(t, s), t, s),
    "refined, with log p": lambda t, s: refine(member(t, s), t, s, use_log_prob=True),
    "refined, MH": lambda t, s: refine(member(t, s), t, s, sampler="mh"),
    "refined, convolutions": lambda t, s: refine(
        member(t, s), t, s, classifier=DiscriminatorClassifier(random_state=s)
    ),
    "refined, structure": lambda t, s: refine(
        member(t, s), t, s, classifier=with_features(structure), Cs=(0.1, 0.3)
    ),
    "refined, parser": lambda t, s: refine(
        member(t, s), t, s, classifier=with_features(structure, parses), Cs=(0.1, 0.3)
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
    "mle, length buckets": lambda t, s: changed(t, s, length_buckets=True),
    "mle, bf16 and length buckets": lambda t, s: changed(
        t, s, precision="bf16", length_buckets=True
    ),
    "distilled": lambda t, s: distilled(t, s, refined=True),
    "self-distilled": lambda t, s: distilled(t, s, refined=False),
} | {f"mle, temperature {v}": functools.partial(tempered, v) for v in (0.9, 1.1)}


@functools.lru_cache(maxsize=1)
def load_task(task, seed):
    """Return a split and its judge."""
    torch.set_num_threads(1)
    split = TASKS[task](seed)
    return split, fit_judge(split)


def run_once(task, setting, seed, n_samples):
    """Fit once and return a row."""
    split, judge = load_task(task, seed)
    started = time.perf_counter()
    model = SETTINGS[setting](task, seed)
    seconds = time.perf_counter() - started
    gan = model.gan if isinstance(model, Refined) else model
    refiner = gan.refiner_ if isinstance(model, Refined) else None
    row = {"setting": setting, "seed": seed} | measure(model, split, judge, seed, n_samples)
    samples = model.sample(n_samples // 2, split.max_len, random_state=seed)
    row["auc_trees"] = metrics.two_sample_auc(
        samples, split.test, classifier=trees(), random_state=0
    )
    row["parameters"] = n_parameters(gan.generator_, refiner)
    row["beta"] = refiner.beta_ if refiner else math.nan
    row["C"] = (refiner.C_ or math.nan) if refiner else math.nan
    row["log_prob_coef"] = refiner.coef_[1] if refiner else math.nan
    row["held_out_gain"] = refiner.gain_ if refiner else math.nan
    row["ess"] = refiner.effective_sample_size_ if refiner else math.nan
    row["log_z"] = refiner.log_partition_.value if refiner else math.nan
    row["seconds"] = seconds
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()}


def trees():
    """Build a classifier of another kind than the one that refines: boosted trees, n up to 3."""
    dense = FunctionTransformer(lambda X: X.toarray(), accept_sparse=True)
    boosting = HistGradientBoostingClassifier(max_iter=60, max_bins=15, random_state=0)
    return make_pipeline(NGramHasher((1, 3), 2**9), dense, boosting)


def n_parameters(generator, refiner):
    """Count the numbers of a generator and those of its classifier that are not 0."""
    n = sum(parameter.numel() for parameter in generator.parameters())
    for classifier in refiner.classifiers_ if refiner else []:
        last = getattr(classifier, "steps", [("", classifier)])[-1][1]
        n += int(np.count_nonzero(getattr(last, "coef_", 0)))
        n += sum(p.numel() for p in getattr(last, "discriminator_", torch.nn.Module()).parameters())
    return n


def run(task, settings, seeds, n_jobs, n_samples, results=RESULTS):
    """Do what the result file lacks."""
    path = results / f"refine-{task}.csv"
    done = {(row["setting"], row["seed"]) for row in read_rows(path)}
    missing = [(s, seed) for seed in range(seeds) for s in settings if (s, seed) not in done]
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    jobs = [joblib.delayed(run_once)(task, setting, seed, n_samples) for setting, seed in missing]
    for row in tqdm(parallel(jobs), total=len(jobs), desc=task):
        append_row(path, row)
    return read_rows(path)


def table(rows):
    """Return Markdown: means, and differences to the control with their intervals."""
    rows = sorted(rows, key=lambda row: list(SETTINGS).index(row["setting"]))
    columns = [c for c in COLUMNS if not all(math.isnan(row[c]) for row in rows)]
    return "\n".join(markdown_table(paired_summary(rows, "mle", columns), "mle", columns, PLAIN))


def plot(tasks, path):
    """Draw held-out nats gained over the control, with 95 % intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(tasks), figsize=(9, 4.5), layout="constrained")
    for axis, (task, rows) in zip(np.atleast_1d(axes), tasks.items(), strict=True):
        summary = [s for s in paired_summary(rows, "mle", ["test_nats"]) if s["setting"] != "mle"]
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
    torch.set_num_threads(1)
    gan = refine(member(task, seed), task, seed).gan
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for refined in (False, True):
        started = time.perf_counter()
        gan.sample(n, refined=refined, random_state=0)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{refined=}: {n / seconds:,.0f} samples/s, peak +{(peak - before) / 1024:.0f} MB")


def main():
    """Run, or show what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table", "plot", "cost"])
    parser.add_argument("--task", choices=TASKS, default="names")
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--samples", type=int, default=N_SAMPLES)
    arguments = parser.parse_args()
    if arguments.command == "cost":
        return cost()
    if arguments.command == "run":
        settings = arguments.setting
        run(arguments.task, settings, arguments.seeds, arguments.jobs, arguments.samples)
    rows = {task: read_rows(RESULTS / f"refine-{task}.csv") for task in TASKS}
    if arguments.command == "plot":
        plot({task: part for task, part in rows.items() if part}, FIGURES / "refine.png")
    elif arguments.command == "table":
        text = table(rows[arguments.task])
        (FIGURES / f"refine-{arguments.task}.md").write_text(text + "\n")
        print(text)


if __name__ == "__main__":
    import refine  # under its own name: the workers import what they cache

    refine.main()
