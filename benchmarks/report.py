"""The report's experiment: 30 runs of 200 epochs, and its figures.

    python -m benchmarks.report run                      # the report's setting
    python -m benchmarks.report run --variant gradient   # with a defect of the published code
    python -m benchmarks.report plot                     # figures and table from the results

A result file has one line of JSON per finished run, so a killed command goes on where it was. The
workers are joblib's: choose a backend with `joblib.parallel_config`. A run depends on its seed
alone.
"""

import argparse
import math
import random
import statistics
import time

import joblib
import torch
from torch.nn.functional import pad
from tqdm import tqdm

from benchmarks import store
from benchmarks.starts import REPORT
from benchmarks.tasks import report_names
from likelihood_gan import CharLSTM, LikelihoodGAN, LSTMDiscriminator
from likelihood_gan.objectives import log_softplus

COLUMNS = (
    "discriminator_loss",
    "discriminator_accuracy",
    "generator_loss",
    "effective_sample_size",
    "weighted_mean_length",
    "corpus_mass",
)


# What the published code did differently, imitated. The library has none of it.


class PaddingReader(LSTMDiscriminator):
    """Read the padding too: real rows have 15 columns, generated ones 10.

    The loop judges real and generated rows together in training mode, the real ones first, and
    real rows alone in evaluation mode.
    """

    def forward(self, tokens, rng=None):
        tokens = pad(tokens, (0, 15 - tokens.shape[1]))
        outputs, _ = self.directions[0](self.symbols(tokens, torch.float32), None, rng)
        last = outputs[:, 14].clone()
        if self.training:
            last[len(tokens) // 2 :] = outputs[len(tokens) // 2 :, 9]
        return self.output(last)[:, 0]


class PaddingWriter(CharLSTM):
    """Count what stands behind the end, up to 15 columns, into the likelihood."""

    def log_prob(self, tokens, rng=None):
        tokens = pad(tokens, (0, 15 - tokens.shape[1]))
        log_probs, _ = self._read(pad(tokens[:, :-1], (1, 0)), None, rng)
        return log_probs.gather(2, tokens[:, :, None]).sum((1, 2))


def broadcast(batch):
    """Multiply (B, 1) by (B,): the mean factorises and the logits leave the gradient."""
    ratios = batch.real.log_prob - batch.real.log_frequency
    products = log_softplus(batch.real.logits)[:, None] + ratios[None, :]
    return 2 * math.log(len(ratios)) - products.flatten().logsumexp(0)


VARIANTS = {
    "method": {},
    "padding": {"discriminator": PaddingReader},
    "gradient": {"objective": broadcast},
    "published": {
        "discriminator": PaddingReader,
        "objective": broadcast,
        "generator": PaddingWriter,
    },
}


def fit(names, variant, seed, epochs):
    """Fit once on one thread, so that the numbers do not depend on the workers."""
    torch.set_num_threads(1)
    gan = LikelihoodGAN(**(REPORT | VARIANTS[variant]), random_state=seed)
    return gan.set_params(adversarial_epochs=epochs).fit(names)


def run_once(names, variant, seed, epochs):
    """Fit once and return a line of the result file."""
    started = time.perf_counter()
    gan = fit(names, variant, seed, epochs)
    seconds = time.perf_counter() - started
    generated = gan.sample(10_000, 15, random_state=seed)
    return {
        "seed": seed,
        "epochs": epochs,
        "seconds": round(seconds, 1),
        "history": {c: [float(f"{r[c]:.4g}") for r in gan.history_] for c in COLUMNS},
        "unique": len(set(generated)) / len(generated),
        "mean_length": statistics.mean(map(len, generated)),
        "generated": generated[:200],
        "forced": gan.sample(10, 10, min_len=10, random_state=seed),
        "train_nats": -gan.score(names),
    }


def run(names, path, variant="method", runs=30, epochs=200, n_jobs=None):
    """Do the runs that the result file lacks."""
    done = {seed: r for seed, r in store.read_runs(path).items() if r["epochs"] == epochs}
    store.write_runs(path, done)
    jobs = [
        joblib.delayed(run_once)(names, variant, seed, epochs)
        for seed in range(runs)
        if seed not in done
    ]
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    for result in tqdm(parallel(jobs), total=len(jobs), desc=variant, disable=not jobs):
        done[result["seed"]] = result
        store.append_run(path, result)
    store.write_runs(path, done)
    return done


def histories(runs):
    """Turn the columns of result lines back into histories."""
    return [
        [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        for columns in (run["history"] for run in runs.values())
    ]


def plot(names, results, figures):
    """Draw every figure of docs/report.md and print its table."""
    import matplotlib

    matplotlib.use("Agg")
    from likelihood_gan.displays import DiscriminatorDisplay, LengthDisplay, TrainingDisplay

    figures.mkdir(parents=True, exist_ok=True)

    def save(display, name):
        display.figure_.savefig(figures / f"{name}.png", dpi=100, metadata={"Software": None})

    method = store.read_runs(results / "report-method.jsonl")
    losses = ["discriminator_loss", "generator_loss"]
    save(TrainingDisplay.from_histories(histories(method), keys=losses), "report-losses")
    keys = ("effective_sample_size", "weighted_mean_length", "corpus_mass")
    why = TrainingDisplay.from_histories(histories(method), keys=keys)
    why.axes_[1].axhline(statistics.mean(map(len, names)), color="black", label="the list")
    why.axes_[1].legend()
    save(why, "report-why")
    real = random.Random(0).sample(names, 200)
    save(LengthDisplay.from_samples(method[0]["generated"], real), "report-lengths")
    gan = fit(names, "method", 0, len(method[0]["history"]["generator_loss"]))
    save(DiscriminatorDisplay.from_estimator(gan, names), "report-discriminator")
    words = {
        "real": random.Random(1).sample(names, 12),
        "generated, seed 0": method[0]["generated"][:12],
        "of length 10, seed 0": method[0]["forced"],
    }
    rows = [f"| {title} | {', '.join(sample)} |" for title, sample in words.items()]
    tables = {
        "report-names.md": ["| | names |", "|---|---|", *rows],
        "report-table.md": table(results),
    }
    for name, lines in tables.items():
        (figures / name).write_text("\n".join(lines) + "\n")
        print("\n".join(lines))


def table(results):
    """Return the means, and the lowest and highest, over the runs of every variant: Markdown."""

    def last(column):
        return lambda run: run["history"][column][-1]

    columns = {
        "discriminator loss": last("discriminator_loss"),
        "its accuracy": last("discriminator_accuracy"),
        "generator loss": last("generator_loss"),
        "effective sample size": last("effective_sample_size"),
        "mass on the corpus": last("corpus_mass"),
        "mean length": lambda run: run["mean_length"],
        "unique": lambda run: run["unique"],
        "nats per training name": lambda run: run["train_nats"],
        "seconds": lambda run: run["seconds"],
    }
    lines = [f"| variant | runs | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for variant in VARIANTS:
        runs = store.read_runs(results / f"report-{variant}.jsonl").values()
        if runs:
            values = [[column(run) for run in runs] for column in columns.values()]
            cells = [f"{statistics.mean(v):.3g} ({min(v):.3g} to {max(v):.3g})" for v in values]
            lines.append(f"| {variant} | {len(runs)} | {' | '.join(cells)} |")
    return lines


def main():
    """Run or plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("--variant", choices=VARIANTS, default="method")
    running.add_argument("--runs", type=int, default=30)
    running.add_argument("--epochs", type=int, default=200)
    running.add_argument("--jobs", type=int, default=-1)
    commands.add_parser("plot")
    arguments = parser.parse_args()
    names = report_names()
    if arguments.command == "plot":
        plot(names, store.RESULTS, store.FIGURES)
    else:
        path = store.RESULTS / f"report-{arguments.variant}.jsonl"
        run(names, path, arguments.variant, arguments.runs, arguments.epochs, arguments.jobs)


if __name__ == "__main__":
    main()
