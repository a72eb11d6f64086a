"""How many threads pay: 1, 2 and PyTorch's default, with and without another process.

    python -m benchmarks.threads run           # ten minutes on two busy cores
    python -m benchmarks.threads run --quick   # small sizes, into a file of their own
    python -m benchmarks.threads table         # Markdown

"busy" has a second process that spins, "idle" none of ours. What else ran is measured: `others` is the number
of cores that all other processes used while a setting was timed, the spinning one included. Seconds
are medians of up to three rounds in which all numbers of threads were timed in turns; `ratio` is the median
of the seconds in the first line of a setting / seconds, so below 1 where more threads are slower.

The part "readme" is the work of the README's example on 1,000 names, with one epoch and the default
number of threads: as PyTorch has it, and with the library's limit. Finished settings are not repeated.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from unittest import mock

import torch
from tqdm import tqdm

from benchmarks import store
from benchmarks.tasks import report_names
from benchmarks.timing import alternate
from likelihood_gan import CharLSTM, LikelihoodGAN, devices, prefix_tree
from likelihood_gan.datasets import load_first_names
from likelihood_gan.sampling import Constraints
from likelihood_gan.scoring import evaluating, score_rows
from likelihood_gan.vocabulary import Vocabulary

BATCH, ROWS, WIDTH, NAMES = 128, 4096, 10, 1000
FULL = SimpleNamespace(repeats=3, hidden=(64, 128, 256, 512, 1024, 2048), rows=ROWS)
QUICK = SimpleNamespace(repeats=1, hidden=(8,), rows=BATCH)
MACHINES = ("idle", "busy")
SPIN = "while True: pass"


@contextmanager
def spinning(machine):
    """Let another process spin if the machine is to be busy."""
    if machine == "idle":
        yield
        return
    with subprocess.Popen([sys.executable, "-c", SPIN]) as process:
        try:
            time.sleep(0.5)  # until it is at work
            yield
        finally:
            process.kill()


@contextmanager
def counting_others(found):
    """Add the number of cores that other processes use meanwhile, as `others`; NaN if not Linux."""
    before = _seconds_of_all(), time.process_time(), time.perf_counter()
    yield
    after = _seconds_of_all(), time.process_time(), time.perf_counter()
    of_all, ours, passed = (b - a for a, b in zip(before, after, strict=True))
    found["others"] = max(0.0, of_all - ours) / passed


def _seconds_of_all():
    path = Path("/proc/stat")
    if not path.exists():
        return float("nan")
    user, nice, system, *_ = map(int, path.read_text().split()[1:8])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


# What is timed: a function of the size and the sizes -> {name: function}


@lru_cache
def encoded_names(n):
    names = report_names()
    return Vocabulary.from_sequences(names).encode_rows(names[:: max(1, len(names) // n)][:n])


@lru_cache
def learner(hidden):
    """Return a generator that has seen enough names to write some, and its optimiser."""
    rng = torch.Generator().manual_seed(0)
    generator = CharLSTM(27, hidden, dropout=0.0, rng=rng)
    adam = torch.optim.Adam(generator.parameters(), lr=0.005, fused=True)
    batches = encoded_names(ROWS).split(BATCH)
    with_threads(1, lambda: [descend(generator, adam, rows) for rows in batches])
    for group in adam.param_groups:
        group["lr"] = 1e-6  # so that samples stay as long as they are while they are timed
    return generator, adam


def descend(generator, adam, rows):
    adam.zero_grad()
    generator.log_prob(rows).mean().neg().backward()
    adam.step()


def stepping(hidden, sizes):
    generator, adam = learner(hidden)
    batches = encoded_names(sizes.rows).split(BATCH)[:8]

    def train():
        for rows in batches:
            descend(generator, adam, rows)

    return train, len(batches)


def scoring(hidden, sizes):
    return partial(score_rows, learner(hidden)[0], encoded_names(sizes.rows)), 1


def sampling(hidden, sizes):
    generator, _ = learner(hidden)

    def sample():
        rng = torch.Generator().manual_seed(0)
        with evaluating(generator):
            prefix_tree.sample_counts(generator, sizes.rows, Constraints(WIDTH), rng=rng)

    return sample, 1


def readme():
    """Fit, score and draw as in README.md, with fewer names and one epoch."""
    names = load_first_names()[:NAMES]
    gan = LikelihoodGAN(random_state=0, callbacks=[lambda distribution, history: True])
    gan.fit(names)
    gan.sample(5, random_state=0)
    gan.sample(5, prefix="chri", temperature=0.8)
    gan.sample(5, min_len=10, max_len=10)
    gan.score_samples(["mary", "xkjwy"])
    gan.perplexity(names)
    gan.discriminate(["mary", "xkjwy"])


WORK = {"step": stepping, "score": scoring, "sample": sampling}


def with_threads(n, work):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        work()
    finally:
        torch.set_num_threads(before)


def unlimited(work):
    with mock.patch.object(devices, "PARAMETERS_WORTH_THREADS", 0):
        work()


def ways_of(what, size, sizes):
    """Return {way: function}, the first for comparison, and the number of steps in a call."""
    if what == "readme":
        return {"default": partial(unlimited, readme), "limited": readme}, 1
    work, calls = WORK[what](size, sizes)
    numbers = sorted({1, 2, torch.get_num_threads()})
    return {str(n): partial(with_threads, n, work) for n in numbers}, calls


def run(sizes, path):
    """Measure what the result file lacks."""
    done = {(row["part"], row["size"], row["setting"]) for row in store.read_rows(path)}
    jobs = [
        (what, hidden, machine) for hidden in sizes.hidden for what in WORK for machine in MACHINES
    ]
    jobs += [("readme", 128, machine) for machine in MACHINES]
    for what, size, machine in tqdm([job for job in jobs if job not in done], desc="threads"):
        ways, calls = ways_of(what, size, sizes)
        found = {}
        with spinning(machine), counting_others(found):
            times = alternate(ways, sizes.repeats)
        first = next(iter(times.values()))
        for way, seconds in times.items():
            row = {"part": what, "setting": machine, "size": size, "threads": way}
            row |= {"cores": os.cpu_count(), "seconds": median(seconds) / calls}
            row["ratio"] = median(a / b for a, b in zip(first, seconds, strict=True))
            store.append_row(path, store.rounded(row | found, 3))
    return store.read_rows(path)


COLUMNS = ["part", "size", "setting", "threads", "seconds", "ratio", "others", "cores"]


def table(rows):
    """Return Markdown: a line for each kind of work, size, machine and number of threads."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row in rows:
        lines.append(f"| {' | '.join(_cell(row[column]) for column in COLUMNS)} |")
    return "\n".join(lines)


def _cell(value):
    return value if isinstance(value, str) else f"{value:,}"


def main():
    """Run, or show what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing to quote")
    arguments = parser.parse_args()
    path = store.RESULTS / ("threads-quick.csv" if arguments.quick else "threads.csv")
    if arguments.command == "run":
        run(QUICK if arguments.quick else FULL, path)
    else:
        print(table(store.read_rows(path)))


if __name__ == "__main__":
    main()
