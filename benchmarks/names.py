"""Default, maximum likelihood and the report's setting on the Kantrowitz names, several seeds.

    python benchmarks/names.py --seeds 3

Names are lower-cased, letters only, at most 9, deduplicated. A seed decides the split, 80/10/10, and
everything random in the fit, so the settings are paired by it. A setting without early stopping
trains on the 80 % and the 10 % together. Writes one CSV row per fit and prints means.
"""

import argparse
import csv
import random
import statistics
import sys
import time

import report
import torch

from likelihood_gan import LikelihoodGAN, metrics

N_SAMPLES = 10_000
SETTINGS = {
    "default": {},
    "mle": {"objective": "mle"},
    "report": report.SETTING | {"max_epochs": 200},
}


def load_split(seed):
    """Return the names to fit on, of which early stopping holds out a ninth, and those to test."""
    names = report.load_names()
    random.Random(seed).shuffle(names)
    n_test = len(names) // 10
    return names[:-n_test], names[-n_test:]


def measure(setting, seed):
    """Fit once and return a row of figures."""
    fit_names, test_names = load_split(seed)
    started = time.perf_counter()
    gan = LikelihoodGAN(validation_fraction=1 / 9, random_state=seed)
    gan.set_params(**SETTINGS[setting]).fit(fit_names)
    seconds = time.perf_counter() - started
    samples = gan.sample(N_SAMPLES, max_len=30, random_state=seed)
    return {
        "setting": setting,
        "seed": seed,
        "test_nats": metrics.nll(gan, test_names),
        "unique": metrics.uniqueness(samples),
        "novel": metrics.novelty(samples, fit_names),
        "length_tv": metrics.length_divergence(samples, test_names),
        "length_tv_floor": metrics.length_divergence(fit_names, test_names),
        "epochs": gan.n_iter_,
        "kept": gan.best_epoch_,
        "ess_last": gan.history_[-1].get("effective_sample_size", float("nan")),
        "seconds": seconds,
    }


def main():
    """Measure every setting with every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    writer = None
    for setting in arguments.settings:
        for seed in range(arguments.seeds):
            row = measure(setting, seed)
            if writer is None:
                writer = csv.DictWriter(sys.stdout, row.keys())
                writer.writeheader()
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})
            sys.stdout.flush()
            rows.append(row)
    for setting in arguments.settings:
        of = [row for row in rows if row["setting"] == setting]
        means = {key: statistics.mean(r[key] for r in of) for key in of[0] if key != "setting"}
        shown = (f"{key} {value:.3f}" for key, value in means.items() if key != "seed")
        print(f"# {setting}: {', '.join(shown)}", file=sys.stderr)


if __name__ == "__main__":
    main()
