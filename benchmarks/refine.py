"""The refined distribution against its generator and the maximum-likelihood controls.

    python benchmarks/refine.py run --task names            # all settings, 5 seeds
    python benchmarks/refine.py table --task names          # 95 % intervals, for the docs

Paired by seed like compare.py, which measures the models; "plain" is the control. All generators of
a seed are maximum-likelihood fits on one split, kept in files.
"""

import argparse
import copy
import functools
import math
import time

import joblib
import numpy as np
import torch
from compare import FIGURES, RESULTS, STARTS, Tempered, fit_judge, fit_start, measure
from results_table import append_row, markdown_table, paired_summary, read_rows
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler
from tasks import TASKS
from tqdm import tqdm

from likelihood_gan import LikelihoodGAN, Refiner
from likelihood_gan.classifiers import DiscriminatorClassifier
from likelihood_gan.models import Mixture
from likelihood_gan.ngrams import NGramHasher

COLUMNS = [
    "test_nats",
    "valid",
    "auc",
    "trigram_js",
    "length_tv",
    "unique",
    "novel",
    "coverage",
    "beta",
    "ess",
    "seconds",
    "sampling_ratio",
]


class Refined:
    """The refined distribution of an estimator, with the methods that are measured."""

    def __init__(self, gan):
        self.gan = gan

    def sample(self, n, max_len, random_state):
        return self.gan.sample(n, max_len, refined=True, random_state=random_state)

    def score_samples(self, X):
        return self.gan.score_samples(X, refined=True)


def molecule_features(molecules):
    """What an n-gram cannot see: whether brackets and ring digits come in pairs."""
    return [
        {
            "open": m.count("(") - m.count(")"),
            "unbalanced": m.count("(") != m.count(")"),
            "odd rings": sum(m.count(digit) % 2 for digit in "123456789"),
            "rings": sum(map(m.count, "123456789")) / 2,
            "length": len(m),
        }
        for m in molecules
    ]


def with_domain_features():
    """Hashed n-grams beside domain features: one union away."""
    domain = make_pipeline(FunctionTransformer(molecule_features), DictVectorizer(), MaxAbsScaler())
    return make_pipeline(make_union(NGramHasher((1, 6)), domain), LogisticRegression(max_iter=1000))


# A setting is a function (task, seed) -> model with sample and score_samples.


def member(task, seed, k=0, hidden_size=128, dropout=0.25):
    """Return the k-th maximum-likelihood fit of a split, from a file if there is one."""
    name = f"{task}-{seed}" + (f"-{k}" if k else "")
    if (hidden_size, dropout) != (128, 0.25):
        name += f"-{hidden_size}-{dropout}"
    path = STARTS / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes = dict(hidden_size=hidden_size, dropout=dropout)
        fit_start(TASKS[task](seed), 1000 * k + seed, **sizes).save(path)
    return LikelihoodGAN.load(path)


def mixture(task, seed, n):
    """Average `n` independent fits."""
    members = [member(task, seed, k) for k in range(n)]
    gan = members[0]
    gan.generator_ = Mixture([m.generator_ for m in members]).eval()
    return gan


def refine(gan, task, seed, **params):
    """Fit the refined distribution of a generator as it is; calibrate on what was held out."""
    split = TASKS[task](seed)
    held = LikelihoodGAN(
        gan.generator_,
        objective="mle",
        pretrain_epochs=0,
        max_epochs=0,
        vocabulary=gan.vocabulary_.symbols,
        refiner=Refiner(**params),
        random_state=seed,
    )
    held.set_params(**{k: v for k, v in split.settings.items() if k != "pretrain_epochs"})
    return Refined(held.fit(split.fit, sample_weight=split.weights))


def distilled(task, seed, refined):
    """Fit a plain generator to data and samples, refined ones or, as a control, plain ones."""
    split = TASKS[task](seed)
    gan = refine(member(task, seed), task, seed).gan
    if not refined:
        gan.refiner_.beta_ = 0.0
    gan.set_params(generator=None, pretrain_epochs=40)
    return gan.distill(split.fit, sample_weight=split.weights)


SETTINGS = {
    "plain": member,
    "refined": lambda t, s: refine(member(t, s), t, s),
    "refined-conv": lambda t, s: refine(
        member(t, s), t, s, classifier=DiscriminatorClassifier(random_state=s)
    ),
    "refined-domain": lambda t, s: refine(member(t, s), t, s, classifier=with_domain_features()),
    "mixture-2": lambda t, s: mixture(t, s, 2),
    "mixture-4": lambda t, s: mixture(t, s, 4),
    "mixture-4-refined": lambda t, s: refine(mixture(t, s, 4), t, s),
    "plain-256": lambda t, s: member(t, s, hidden_size=256, dropout=0.4),
    "refined-256": lambda t, s: refine(member(t, s, hidden_size=256, dropout=0.4), t, s),
    "distilled": lambda t, s: distilled(t, s, refined=True),
    "self-distilled": lambda t, s: distilled(t, s, refined=False),
} | {f"temperature-{v}": functools.partial(lambda v, t, s: cooled(t, s, v), v) for v in (0.8, 0.9)}


def cooled(task, seed, temperature):
    """Sample the plain generator at a temperature."""
    gan = copy.copy(member(task, seed))
    gan.generator_ = Tempered(gan.generator_, temperature).eval()
    return gan


@functools.lru_cache(maxsize=1)
def load_task(task, seed):
    """Return a split and its judge."""
    torch.set_num_threads(1)
    split = TASKS[task](seed)
    return split, fit_judge(split)


def run_once(task, setting, seed):
    """Fit once and return a row."""
    split, judge = load_task(task, seed)
    started = time.perf_counter()
    model = SETTINGS[setting](task, seed)
    seconds = time.perf_counter() - started
    refiner = model.gan.refiner_ if isinstance(model, Refined) else None
    row = {"setting": setting, "seed": seed} | measure(model, split, judge, seed)
    row["beta"] = refiner.beta_ if refiner else math.nan
    row["C"] = (refiner.C_ or math.nan) if refiner else math.nan
    row["held_out_gain"] = refiner.gain_ if refiner else math.nan
    row["ess"] = refiner.effective_sample_size_ if refiner else math.nan
    row["log_z"] = refiner.log_partition_.value if refiner else math.nan
    row["sampling_ratio"] = sampling_ratio(model, split) if refiner else 1.0
    row["seconds"] = seconds
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()}


def sampling_ratio(model, split, n=2000, repeats=3):
    """Time refined samples as a multiple of plain ones, in turns: the median of the ratios."""
    ratios = []
    for _ in range(repeats):
        times = []
        for refined in (False, True):
            started = time.perf_counter()
            model.gan.sample(n, split.max_len, refined=refined, random_state=0)
            times.append(time.perf_counter() - started)
        ratios.append(times[1] / times[0])
    return float(np.median(ratios))


def run(task, settings, seeds, n_jobs, results=RESULTS):
    """Do what the result file lacks."""
    path = results / f"refine-{task}.csv"
    done = {(row["setting"], row["seed"]) for row in read_rows(path)}
    missing = [(s, seed) for seed in range(seeds) for s in settings if (s, seed) not in done]
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    shared = parallel(joblib.delayed(member)(task, seed) for seed in {seed for _, seed in missing})
    for _ in tqdm(shared, desc="generators"):
        pass
    jobs = [joblib.delayed(run_once)(task, setting, seed) for setting, seed in missing]
    for row in tqdm(parallel(jobs), total=len(jobs), desc=task):
        append_row(path, row)
    return read_rows(path)


def main():
    """Run, or show what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=-1)
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.task, arguments.setting, arguments.seeds, arguments.jobs)
    rows = read_rows(RESULTS / f"refine-{arguments.task}.csv")
    rows = [row for row in rows if row["setting"] in arguments.setting]
    columns = [c for c in COLUMNS if not all(math.isnan(row[c]) for row in rows)]
    summary = paired_summary(rows, "plain", columns)
    plain = ("beta", "ess", "seconds", "sampling_ratio")
    text = "\n".join(markdown_table(summary, "plain", columns, plain))
    if arguments.command == "table":
        (FIGURES / f"refine-{arguments.task}.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    import refine  # under its own name: the workers import what they cache

    refine.main()
