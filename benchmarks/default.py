"""The package's default against its parts, its past, and a Transformer; one command, one table.

    python -m benchmarks.default run --task names           # all settings, 5 seeds
    python -m benchmarks.default time                       # seconds to 13.73 held-out nats on names
    python -m benchmarks.default table --task names         # 95 % intervals, for the docs
    python -m benchmarks.default plot                       # the first picture of the docs

Paired by seed; a seed decides split, weights, batches and samples. "default" is `LikelihoodGAN()` with
no argument but the symbols and the seed. Seconds are process time on one thread, all that a setting
needs from the list to the fitted model. Rows go to a CSV file one by one; finished ones are not
repeated. A setting that is only in the file keeps its place in the tables.
"""

import argparse
import functools
import math
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from benchmarks import store
from benchmarks.measures import N_SAMPLES, load_judge, measure
from benchmarks.molecules import structure, with_features
from benchmarks.starts import fit_kth, fit_ngram, fit_start, with_generator
from benchmarks.tasks import load_split
from benchmarks.transformer import fit_transformer
from likelihood_gan import CharLSTM, Ensemble, LikelihoodGAN, Refined, metrics, models

TASKS = ("names", "census", "words", "words100k", "smiles", "first_names")
CONTROL = "default"
COLUMNS = [
    "test_nats",
    "new_nats",
    "kl_truth_model",
    "valid",
    "auc",
    "trigram_js",
    "length_tv",
    "unique",
    "novel",
    "seconds",
    "samples_per_second",
    "megabytes",
]
PLAIN = ("unique", "seconds", "samples_per_second", "megabytes")  # no difference is shown
N_TIMED = 100_000
N_DRAWS = 5
LEVEL = 13.73  # nats of a name: maximum likelihood with a plain LSTM, when it has ended
BEFORE = dict(  # what the default was: an LSTM alone, in epochs
    generator=CharLSTM,
    objective="pooled",
    pretrain_epochs=40,
    discriminator_pretrain_epochs=5,
    adversarial_epochs=10,
    batch_size=128,
    pretrain_learning_rate=0.005,
    adversarial_learning_rate=0.0005,
    discriminator_learning_rate=0.002,
    n_iter_no_change=8,
)
LABELS = {  # of the settings in the picture
    "default": "LikelihoodGAN()",
    "CharLSTM x Kneser-Ney": "LSTM times n-gram model",
    "Kneser-Ney": "n-gram model (Kneser-Ney)",
    "Transformer, dropout": "Transformer, 200,000 weights",
    "mle, tuned": "LSTM, dropout tuned",
    "default before": "LSTM, then adversarial",
}


# A setting is a function (split, seed, watch) -> model with sample, score_samples and save. What fits
# one model calls `watch` after its epochs, as a callback of `LikelihoodGAN`.


def default(split, seed, watch=None, **parameters):
    """Fit the estimator as it comes."""
    gan = LikelihoodGAN(vocabulary=split.symbols, random_state=seed, **parameters)
    gan.set_params(callbacks=None if watch is None else [watch])
    return gan.fit(split.fit, sample_weight=split.weights).set_params(callbacks=None)


def refined(split, seed, watch=None, **parameters):
    """Refine the default, which is not trained further."""
    model = Refined(FrozenEstimator(default(split, seed)), random_state=seed, **parameters)
    return model.fit(split.fit, sample_weight=split.weights)


def tuned(split, seed, watch=None):
    """Choose the dropout of a `CharLSTM`, which is trained by maximum likelihood, on held-out data."""
    fits = [
        fit_start(split, seed, generator__dropout=value, early_stopping=True)
        for value in (0.1, 0.25, 0.4, 0.5)
    ]
    return min(fits, key=lambda gan: min(record["validation_nll"] for record in gan.history_))


def n_gram(split, seed, watch=None):
    """Count; the length of the contexts is chosen by the likelihood of each row under the others."""
    return fit_ngram(split.fit, split.weights, vocabulary=split.symbols, watch=watch)


def mixture(split, seed, watch=None):
    """Average two `CharLSTM` that differ by their initial weights."""
    fits = [fit_kth(split, seed, k, {}) for k in range(2)]
    return with_generator(fits[0], models.Mixture([gan.generator_ for gan in fits])).distribution_


def ensemble(split, seed, watch=None):
    """Average two defaults that differ by their seeds."""
    model = Ensemble(LikelihoodGAN(vocabulary=split.symbols), random_state=seed)
    return model.fit(split.fit, sample_weight=split.weights)


def product(split, seed, watch=None):
    """Multiply a `CharLSTM` and an n-gram model; the exponents are chosen on held-out data.

    Then all data are counted.
    """
    if split.weights is None:
        gan = fit_start(split, seed)
        held_out = np.isin(split.fit, gan.held_out_).astype(float)
        training = 1 - held_out
    else:
        training, held_out = split.hold_out(seed)
        gan = fit_start(split, seed, training)
    counts = fit_ngram(split.fit, training, vocabulary=split.symbols).generator
    tokens = gan.vocabulary_.encode_rows(split.fit)
    both = models.Product([gan.generator_, counts])
    both.fit_exponents(tokens, torch.from_numpy(held_out))
    counts.count(tokens, torch.from_numpy(training + held_out))
    return with_generator(gan, both).distribution_


ALONE = dict(objective="mle", adversarial_epochs=0)
SETTINGS = {
    "default": default,
    "no adversarial epoch": functools.partial(default, **ALONE),
    "maximum likelihood, as long": functools.partial(default, pretrain_epochs=47, **ALONE),
    "eight adversarial epochs": functools.partial(default, adversarial_epochs=8),
    "CharLSTM, same epochs": functools.partial(default, generator=CharLSTM, **ALONE),
    "refined default": refined,
    "refined default, structure": functools.partial(
        refined, classifier=with_features(structure), Cs=(0.1, 0.3)
    ),
    "CharLSTM x Kneser-Ney": product,
    "Kneser-Ney": n_gram,
    "Transformer": fit_transformer,
    "Transformer, dropout": functools.partial(fit_transformer, dropout=0.2),
    "mixture of two": mixture,
    "ensemble of two defaults": ensemble,
    "mle, tuned": tuned,
    "default before": functools.partial(default, **BEFORE),
}


def run_once(setting, seed, task, n_samples=N_SAMPLES, n_timed=N_TIMED, draws=N_DRAWS):
    """Fit once and return a row, in a list."""
    warm_up()
    split, judge = load_split(task, seed), load_judge(task, seed)
    started = time.process_time()
    model = SETTINGS[setting](split, seed)
    seconds = time.process_time() - started
    row = {"setting": setting, "seed": seed, "seconds": seconds}
    started = time.process_time()
    model.sample(n_timed, split.max_len, random_state=seed)
    row["samples_per_second"] = n_timed / (time.process_time() - started)
    row["megabytes"] = size_of_file(model) / 1e6
    return [store.rounded(row | measure(model, split, judge, seed, n_samples, draws))]


@functools.lru_cache(maxsize=1)
def warm_up():
    """Take one thread, and let the first fit of a process import what it needs before time counts."""
    torch.set_num_threads(1)
    words = ["ab", "ba", "abb", "bab", "aab", "b", "baa", "aba", "bb", "a"] * 10
    brief = dict(pretrain_epochs=1, discriminator_pretrain_epochs=1, adversarial_epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that it has learnt little
        LikelihoodGAN(CharLSTM, random_state=0, **brief).fit(words).sample(1000)
    fit_ngram(words)


def size_of_file(model):
    """Return the bytes of what `save` writes, or of a pickle if a part is code."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        try:
            model.save(path)
        except ValueError:
            joblib.dump(model, path)
        return path.stat().st_size


def run(task, settings, seeds, again=False, **sizes):
    """Do what the result file lacks, one after the other, since time is measured."""
    path = store.RESULTS / f"default-{task}.csv"
    once = functools.partial(run_once, task=task, **sizes)
    return store.append_rows(path, once, store.missing(path, settings, seeds, again))


class Stopwatch:
    """Callback that takes the time until the test list is scored below a level, and then stops.

    The time of the scoring itself does not count.
    """

    def __init__(self, sequences, level, clock=time.process_time):
        self.sequences, self.level, self.clock = sequences, level, clock
        self.seconds, self.nats = math.nan, math.inf
        self._started = clock()

    def __call__(self, distribution, history):
        """Score the distribution as it is."""
        now = self.clock()
        self.nats = min(self.nats, metrics.nll(distribution, self.sequences))
        if self.nats < self.level and math.isnan(self.seconds):
            self.seconds = now - self._started
        self._started += self.clock() - now
        return self.nats < self.level


def time_once(setting, seed, task="names", level=LEVEL):
    """Fit until the level is reached and return a row, in a list; "seconds" is NaN if it never was.

    After every epoch the model is scored as it is, and the finished model as well: what is made of
    several fits is scored only then.
    """
    warm_up()
    split = load_split(task, seed)
    watch = Stopwatch(split.unseen, level)
    watch(SETTINGS[setting](split, seed, watch), [])
    row = {"setting": setting, "seed": seed, "level": level, "seconds": watch.seconds}
    return [store.rounded(row | {"lowest_nats": watch.nats})]


def measure_time(task, settings, seeds, again=False, level=LEVEL):
    """Do what the result file lacks."""
    path = store.RESULTS / f"default-time-{task}.csv"
    if {row["level"] for row in store.read_rows(path)} - {level}:
        raise ValueError(f"{path.name} has rows of other levels than {level}; move it away")
    once = functools.partial(time_once, task=task, level=level)
    return store.append_rows(path, once, store.missing(path, settings, seeds, again))


def table(rows):
    """Return lines of Markdown: means, and differences to the default with their intervals."""
    rows, columns = store.in_order(rows, SETTINGS), store.measured(COLUMNS, rows)
    summary = store.paired_summary(rows, CONTROL, columns)
    return store.markdown_table(summary, CONTROL, columns, PLAIN)


def time_table(rows):
    """Return lines of Markdown: how many seeds reached the level, and their mean seconds."""
    if not rows:
        return []
    lines = [
        "",
        f"| setting | seconds to {rows[0]['level']:g} nats | reached by |",
        "|---|---|---|",
    ]
    rows = store.in_order(rows, SETTINGS)
    for setting in dict.fromkeys(row["setting"] for row in rows):
        seconds = {row["seed"]: row["seconds"] for row in rows if row["setting"] == setting}
        reached = [value for value in seconds.values() if not math.isnan(value)]
        mean = f"{statistics.fmean(reached):.1f}" if reached else "never"
        lines.append(f"| {setting} | {mean} | {len(reached)} of {len(seconds)} |")
    return lines


def plot(rows, path):
    """Draw held-out nats against seconds to fit, one point a setting: the lower left is best."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained", facecolor="white")
    for entry in store.paired_summary(rows, CONTROL, ["test_nats", "seconds"]):
        if entry["setting"] not in LABELS:
            continue
        ours = entry["setting"] == CONTROL
        x, y = entry["mean"]["test_nats"], entry["mean"]["seconds"]
        colour = "C0" if ours else "0.35"
        axes.plot(x, y, "o", color=colour, markersize=10 if ours else 7)
        axes.annotate(
            LABELS[entry["setting"]],
            (x, y),
            xytext=(-5, 12) if ours else (8, 0),  # above: the nearest points are as fast
            textcoords="offset points",
            va="baseline" if ours else "center",
            color=colour,
            weight="bold" if ours else "normal",
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.08, y=0.12)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.3 * (high - low))  # room for the labels
    axes.set_xlabel("nats for a name that was never seen: fewer is better")
    axes.set_ylabel("seconds to fit, one core")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main():
    """Run, or show what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table", "plot", "time"])
    parser.add_argument("--task", choices=TASKS, default="names")
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=N_SAMPLES, help="of each model")
    parser.add_argument("--timed", type=int, default=N_TIMED, help="samples that are timed")
    parser.add_argument("--draws", type=int, default=N_DRAWS, help="whose AUC is averaged")
    parser.add_argument("--level", type=float, default=LEVEL, help="nats that `time` waits for")
    parser.add_argument("--again", action="store_true", help="measure what is finished, too")
    arguments = parser.parse_args()
    task, chosen = arguments.task, (arguments.setting, arguments.seeds, arguments.again)
    if arguments.command == "run":
        sizes = dict(n_samples=arguments.samples, n_timed=arguments.timed, draws=arguments.draws)
        run(task, *chosen, **sizes)
    elif arguments.command == "time":
        measure_time(task, *chosen, level=arguments.level)
    rows = store.read_rows(store.RESULTS / f"default-{task}.csv")
    if arguments.command == "plot":
        plot(rows, store.FIGURES / "default.png")
    elif arguments.command == "table":
        times = store.read_rows(store.RESULTS / f"default-time-{task}.csv")
        text = "\n".join(table(rows) + time_table(times))
        (store.FIGURES / f"default-{task}.md").write_text(text + "\n")
        print(text)


if __name__ == "__main__":
    main()
