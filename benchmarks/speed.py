"""How fast it is, against a literal transcription of the report, and what it takes to grow.

    python -m benchmarks.speed run                      # all parts, about ten minutes on one core
    python -m benchmarks.speed run --part step sample   # some parts
    python -m benchmarks.speed run --quick              # small sizes, into a file of their own
    python -m benchmarks.speed table                    # Markdown, for the docs
    python -m benchmarks.speed plot                     # the figure

Seconds are medians, of processor time since others may share the core; a ratio is the median of literal
seconds / seconds over rounds in which all ways were timed in turns: in one process, on one thread, with
equal weights and without dropout. Beside the default generator, the LSTM alone takes the literal's place.

`gflops` counts, per second, the multiplications and additions of the matrix products that the words
need, without padding. A symbol (END is one) costs 8 H (H + V) in an LSTM of H units over V tokens, and
2 H V more where it is written; in the default generator, which also reads and weighs the V probabilities of
its n-gram model, 8 H (H + 2 V) and 4 H V. A pass backwards costs twice as much. `gflops_evaluated` counts the
symbols that the LSTM was in fact given: a prefix tree is given fewer than the words have, so that its
`gflops` may exceed what the machine can do. `peak_mb` is what a process of its own took above the
imports, data and models included. Rows go to a CSV file; finished ones are not repeated.
"""

import argparse
import copy
import itertools
import math
import multiprocessing
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch.nn.functional import pad
from tqdm import tqdm

from benchmarks import store, timing
from benchmarks.literal import BATCH, LiteralGenerator, LiteralTraining
from benchmarks.starts import load_start, with_generator
from benchmarks.tasks import report_names, web2_words
from benchmarks.timing import Counting, gflop, memory
from likelihood_gan import (
    CharLSTM,
    LSTMDiscriminator,
    Refined,
    SequenceDistribution,
    corpus,
    prefix_tree,
    training,
)
from likelihood_gan.corpus import Corpus
from likelihood_gan.models import ResidualLSTM
from likelihood_gan.objectives import MLE, ImportanceSampled
from likelihood_gan.protocols import END, lengths
from likelihood_gan.sampling import Constraints, sample_by_steps
from likelihood_gan.scoring import log_probs

WIDTH = 15  # the report's columns
RATE = 1e-6  # so that samples stay as long as they are while they are timed
LITERAL_MOST = 100_000  # words; beyond, only the growth of ours is of interest
DROPPING, TREE = "finished rows dropped", "prefix tree"
CONTROLS = {"ratio": "literal", "ratio_to_dropping": DROPPING, "ratio_to_lstm": "CharLSTM"}
alternate = partial(timing.alternate, clock=time.process_time)
to_rows = partial(timing.to_rows, controls=CONTROLS)
WORDS = (1_000, 10_000, 100_000, 1_000_000)
SYMBOLS, LENGTHS = (30, 300, 1_000, 5_000), (10, 20, 40, 60)
GROWTH = {"samples": WORDS, "corpus": WORDS}
GROWTH |= {f"vocabulary: {what}": SYMBOLS for what in ("step", "sample")}
GROWTH |= {f"length: {what}": LENGTHS for what in ("step", "sample")}
FULL = SimpleNamespace(repeats=5, hidden=(8, 64, 128, 256), rows=20 * BATCH, square=2048)
FULL.n_samples, FULL.lists, FULL.growth = (10_000, 100_000), ("names", "web2"), GROWTH
QUICK = SimpleNamespace(repeats=2, hidden=(8, 64), rows=4 * BATCH, square=512)
QUICK.n_samples, QUICK.lists = (1_000,), ("names",)
QUICK.growth = {name: sizes[:2] for name, sizes in GROWTH.items()}
SAVED = "names.safetensors"
IMPORTS = """
import time; started = time.perf_counter()
import torch, sklearn.linear_model; between = time.perf_counter()
import likelihood_gan; print(between - started, time.perf_counter() - between)
"""


# A measurement is a function (setting, size, sizes, folder) -> rows.


def adversarial(setting, hidden, sizes, folder):
    """Sample, train the discriminator, train the generator: a step, or an epoch of the names."""
    generator, tokens, calls = trained(hidden), encoded_names(), 1
    if setting == "step":
        order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))
        tokens = tokens[order[: sizes.rows]]
        calls = math.ceil(len(tokens) / BATCH)
    n_real, n_drawn = n_symbols(tokens), len(tokens) * mean_symbols(generator)
    needed = gflop(generator, n_drawn + 3 * n_real)
    needed += gflop(generator, 3 * (n_real + n_drawn) + n_real, writes=False)
    times = alternate(adversarial_ways(generator, tokens, WIDTH), sizes.repeats)
    return to_rows(times, len(tokens), calls, needed)


def adversarial_ways(generator, tokens, width):
    hidden, n_tokens = generator.output.in_features, generator.output.out_features
    models = generator, LSTMDiscriminator(n_tokens, hidden, rng=torch.Generator().manual_seed(0))
    ways = {"literal": LiteralTraining(widen(tokens, width), *models).adversarial_epoch}
    for precision in ("float32", "bf16"):
        ways[precision] = epochs(
            tokens, ImportanceSampled(), *copy.deepcopy(models), precision=precision
        )
    return ways


def pretraining(setting, hidden, sizes, folder):
    """Train the generator by maximum likelihood for an epoch of the names."""
    generator, tokens = trained(hidden), encoded_names()
    judge = LSTMDiscriminator(generator.output.out_features, 1)  # has nothing to do
    ways = {"literal": LiteralTraining(widen(tokens), generator, judge).likelihood_epoch}
    for precision in ("float32", "bf16"):
        ways[precision] = epochs(tokens, MLE(), copy.deepcopy(generator), precision=precision)
    needed = 3 * gflop(generator, n_symbols(tokens))
    return to_rows(alternate(ways, sizes.repeats), len(tokens), needed=needed)


def sampling(setting, n, sizes, folder):
    """Draw words; `gan.sample` makes strings of them, the others stop at tokens or their counts."""
    distribution, rng = load_gan().distribution_, torch.Generator().manual_seed(0)
    generator = distribution.generator
    if setting == "untrained":
        vocabulary, hidden = distribution.vocabulary, generator.output.in_features
        generator = CharLSTM(vocabulary.n_tokens, hidden, rng=rng).eval()
        distribution = SequenceDistribution(generator, vocabulary, distribution.max_len)
    ways = {"literal": partial(LiteralGenerator(generator).sample_blocks, n, WIDTH)}
    given = {"literal": n * WIDTH}
    for name, draw in {DROPPING: sample_by_steps, TREE: prefix_tree.sample_counts}.items():
        ways[name] = partial(draw, generator, n, Constraints(WIDTH), rng=rng)
        draw(counting := Counting(generator), n, Constraints(WIDTH), rng=rng)
        given[name] = counting.n_symbols
    ways["gan.sample"] = partial(distribution.sample, n, WIDTH)
    needed = gflop(generator, n * mean_symbols(generator))
    evaluated = {name: gflop(generator, symbols) for name, symbols in given.items()}
    return to_rows(alternate(ways, sizes.repeats), n, 1, needed, evaluated)


def scoring(setting, n, sizes, folder):
    """Score a list of words; `gan.score_samples` begins with strings, the others with tokens."""
    gan, words = load_gan(), LISTS[setting]()
    tokens, generator = gan.vocabulary_.encode_rows(words), gan.generator_
    prefix_tree.PrefixTree(tokens).log_probs(counting := Counting(generator))
    given = {"literal": widen(tokens).numel(), TREE: counting.n_symbols}
    ways = {
        "literal": partial(LiteralGenerator(generator).score, widen(tokens)),
        "sorted by length": partial(log_probs, generator, tokens, torch.Generator()),
        TREE: lambda: prefix_tree.PrefixTree(tokens).log_probs(generator),
        "gan.score_samples": partial(gan.score_samples, words),
    }
    needed = gflop(generator, n_symbols(tokens))
    evaluated = {name: gflop(generator, symbols) for name, symbols in given.items()}
    return to_rows(alternate(ways, sizes.repeats), n, 1, needed, evaluated)


def defaults(setting, n, sizes, folder):
    """Measure the default generator, an LSTM that corrects an n-gram model, beside the LSTM alone."""
    names, tokens, rng = report_names(), encoded_names(), torch.Generator().manual_seed(0)
    plain, vocabulary = trained(load_gan().generator_.output.in_features), load_gan().vocabulary_
    default = ResidualLSTM(vocabulary.n_tokens, plain.output.in_features, rng=rng)
    default.count(tokens, torch.ones(len(tokens)))
    ways, needed, evaluated, items, calls = {}, {}, {}, n, 1
    for name, generator in {"CharLSTM": plain, "default": default.eval()}.items():
        counting, constraints = Counting(generator), Constraints(WIDTH)
        distribution = SequenceDistribution(generator, vocabulary, WIDTH)
        if setting == "likelihood epoch":
            items, ways[name] = len(tokens), epochs(tokens, MLE(), copy.deepcopy(generator))
            needed[name] = 3 * gflop(generator, n_symbols(tokens))
        elif setting == "adversarial step":
            some = tokens[torch.randperm(len(tokens), generator=rng)[: sizes.rows]]
            items, calls = len(some), math.ceil(len(some) / BATCH)
            judge = LSTMDiscriminator(vocabulary.n_tokens, plain.output.in_features, rng=rng)
            ways[name] = epochs(some, ImportanceSampled(), copy.deepcopy(generator), judge)
            n_real, n_drawn = n_symbols(some), len(some) * mean_symbols(generator)
            needed[name] = gflop(generator, n_drawn + 3 * n_real)
            needed[name] += gflop(plain, 3 * (n_real + n_drawn) + n_real, writes=False)
        elif setting == "score":
            items, ways[name] = len(names), partial(distribution.score_samples, names)
            prefix_tree.PrefixTree(tokens).log_probs(counting)
            evaluated[name] = gflop(generator, counting.n_symbols)
        elif setting == "sample":
            ways[name] = partial(distribution.sample, n)
            prefix_tree.sample_counts(counting, n, constraints, rng=rng)
            evaluated[name] = gflop(generator, counting.n_symbols)
        else:
            start = FrozenEstimator(with_generator(load_gan(), generator))
            refined = Refined(start, random_state=0).fit(names)
            refined.beta_ = 0.5  # also where nothing was gained
            ways[name] = partial(refined.sample, n, WIDTH)
    return to_rows(alternate(ways, sizes.repeats), items, calls, needed, evaluated)


def multiplying(setting, size, sizes, folder):
    """Multiply large matrices, or those of one time step, [BATCH, H] x [H, 4 H]."""
    n, m, k = (size, size, size) if setting == "large" else (BATCH, size, 4 * size)
    operations = 2 * n * m * k / 1e9
    calls, ways = math.ceil(min(1 / operations, 10_000)), {}
    for name, dtype in {"float32": torch.float32, "bf16": torch.bfloat16}.items():
        left, right = torch.randn(n, m, dtype=dtype), torch.randn(m, k, dtype=dtype)
        ways[name] = partial(lambda a, b: [a @ b for _ in range(calls)], left, right)
    return to_rows(alternate(ways, sizes.repeats), calls, calls, calls * operations)


def importing(setting, repeats, sizes, folder):
    """Import the package after torch and the part of scikit-learn that it uses."""
    run = partial(subprocess.run, [sys.executable, "-c", IMPORTS], capture_output=True, check=True)
    theirs, ours = zip(*(map(float, run().stdout.split()) for _ in range(repeats)), strict=True)
    return to_rows({"torch, sklearn.linear_model": theirs, "likelihood_gan": ours})


def growing(setting, x, sizes, folder):
    """Measure a point of a growth curve in a process of its own."""
    if not (folder / "words.txt").exists():
        load_gan().distribution_.save(folder / SAVED)
        words = load_gan().sample(max(sizes.growth["corpus"]), WIDTH, random_state=0)
        (folder / "words.txt").write_text("\n".join(words))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(point, setting, x, folder, min(2, sizes.repeats)).result()


def point(setting, x, folder, repeats):
    """Call ours once and see how much memory it took; then time it and the literal way."""
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports, too
    before = memory("VmRSS")
    ways, items, calls = growing_ways(setting, x, folder)
    ways["ours"]()
    peak = memory("VmHWM") - before
    if items > LITERAL_MOST:
        ways, repeats = {"ours": ways["ours"]}, 1
    return to_rows(alternate(ways, repeats), items, calls, peak_mb={"ours": peak})


def growing_ways(setting, x, folder):
    """Return ours and the literal way, and the items and steps of a call."""
    gan, (axis, _, what) = SequenceDistribution.load(folder / SAVED), setting.partition(": ")
    literal, hidden = LiteralGenerator(gan.generator), gan.generator.output.in_features
    if axis == "samples":
        ours = partial(gan.sample, x, WIDTH)
        return {"literal": partial(literal.sample_blocks, x, WIDTH), "ours": ours}, x, 1
    if axis == "corpus":  # read and scored block by block

        def score(function):
            with open(folder / "words.txt") as file:
                words = (line.rstrip("\n") for line in itertools.islice(file, x))
                while block := list(itertools.islice(words, 2**15)):
                    function(block)

        literally = partial(
            score, lambda block: literal.score(widen(gan.vocabulary.encode_rows(block)))
        )
        return {"literal": literally, "ours": partial(score, gan.score_samples)}, x, 1
    k, length = (x, 10) if axis == "vocabulary" else (27, x)
    rows = np.random.default_rng(0).integers(1, k + 1, (2 * BATCH, length))  # i.i.d. symbols
    generator = CharLSTM(k + 1, hidden, dropout=0.0, rng=torch.Generator().manual_seed(0))
    if what == "step":
        tokens = pad(torch.from_numpy(rows), (0, 1), value=END)
        ways = adversarial_ways(generator, tokens, length + 1)
        return {"literal": ways["literal"], "ours": ways["float32"]}, len(rows), 2
    untrained = SequenceDistribution(generator, range(1, k + 1), length)
    literally = partial(LiteralGenerator(generator).sample, 1000, length)
    ours = partial(untrained.sample, 1000, length, min_len=length)
    return {"literal": literally, "ours": ours}, 1000, 1


# What they need.


def n_symbols(tokens):
    return int((lengths(tokens) + 1).clamp(max=tokens.shape[1]).sum())


def encoded_names():
    return load_gan().vocabulary_.encode_rows(report_names())


def mean_symbols(generator, n=2000):
    rng = torch.Generator().manual_seed(0)
    return n_symbols(sample_by_steps(generator, n, Constraints(WIDTH), rng=rng)) / n


def widen(tokens, width=WIDTH):
    return pad(tokens, (0, max(0, width - tokens.shape[1])), value=END)


def epochs(tokens, objective, generator, judge=None, rate=RATE, **how):
    """Return a function that trains models for one more epoch."""
    how |= dict(discriminator=judge, batch_size=BATCH, rng=torch.Generator().manual_seed(0))
    how |= dict(learning_rate=rate, discriminator_learning_rate=rate)
    records = training.train(generator, Corpus(tokens, torch.ones(len(tokens))), objective, **how)

    def epoch():  # of as many steps as the literal one, also if the rows are few
        with mock.patch.object(corpus, "STEPS_PER_EPOCH", (1, corpus.STEPS_PER_EPOCH[1])):
            next(records)

    return epoch


@lru_cache(maxsize=1)
def load_gan():
    """Return the fit to names that other experiments start from: 128 units."""
    return load_start("names", 0)


@lru_cache
def trained(hidden):
    """Return a generator of this size, without dropout, that has learnt from the names."""
    gan, rng = load_gan(), torch.Generator().manual_seed(0)
    generator = CharLSTM(gan.vocabulary_.n_tokens, hidden, dropout=0.0, rng=rng)
    if hidden == gan.generator_.output.in_features:
        generator.load_state_dict(gan.generator_.state_dict())
    else:
        train = epochs(encoded_names(), MLE(), generator, rate=0.01)
        for _ in range(5):
            train()
    return generator


LISTS = {"names": report_names, "web2": web2_words}
PARTS = {  # a measurement, and its settings with their sizes
    "peak": (multiplying, lambda s: [("large", s.square), *(("time step", h) for h in s.hidden)]),
    "step": (adversarial, lambda s: [("step", h) for h in s.hidden]),
    "report": (adversarial, lambda s: [("epoch", 8)]),
    "pretrain": (pretraining, lambda s: [("epoch", h) for h in s.hidden]),
    "sample": (sampling, lambda s: itertools.product(("trained", "untrained"), s.n_samples)),
    "score": (scoring, lambda s: [(name, len(LISTS[name]())) for name in s.lists]),
    "default": (
        defaults,
        lambda s: [
            ("likelihood epoch", len(report_names())),
            ("adversarial step", s.rows),
            ("score", len(report_names())),
            ("sample", max(s.n_samples)),
            ("refined sample", max(s.n_samples)),
        ],
    ),
    "growth": (growing, lambda s: [(name, x) for name, xs in s.growth.items() for x in xs]),
    "import": (importing, lambda s: [("processes", s.repeats)]),
}


def run(parts, sizes, path):
    """Measure what the result file lacks."""
    torch.set_num_threads(1)
    done = {(row["part"], row["setting"], row["size"]) for row in store.read_rows(path)}
    jobs = [(part, *case) for part in parts for case in PARTS[part][1](sizes)]
    with tempfile.TemporaryDirectory() as folder:
        for part, setting, size in tqdm([job for job in jobs if job not in done], desc="speed"):
            for row in PARTS[part][0](setting, size, sizes, Path(folder)):
                store.append_row(path, {"part": part, "setting": setting, "size": size} | row)
    return store.read_rows(path)


def table(rows):
    """Return Markdown: a table for each part, with the share of the peak that was reached."""
    large = [row for row in rows if (row["part"], row["setting"]) == ("peak", "large")]
    peaks = {row["method"]: row["gflops"] for row in large}
    lines = []
    for part in PARTS:
        chosen = []
        for row in (row for row in rows if row["part"] == part):
            peak = peaks.get("bf16" if "bf16" in row["method"] else "float32", math.nan)
            shares = {f"{k}_of_peak": row[k] / peak for k in ("gflops", "gflops_evaluated")}
            chosen.append({k: x for k, x in (row | shares).items() if k != "part"})
        if chosen:
            columns = [c for c in chosen[0] if any(row[c] == row[c] for row in chosen)]  # not NaN
            lines += [f"**{part}**", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
            lines += [f"| {' | '.join(cell(row[c]) for c in columns)} |" for row in chosen] + [""]
    return "\n".join(lines)


def cell(value):
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def plot(rows, path):
    """Draw ratios as bars, and how seconds and memory grow."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 4, figsize=(16, 11), layout="constrained")
    panels = ("step", "report"), ("pretrain",), ("sample",), ("score",)
    for axis, parts in zip(axes[0], panels, strict=True):
        bars = [row for row in rows if row["part"] in parts and row["method"] != "literal"]
        groups = list(dict.fromkeys(f"{row['setting']}\n{row['size']:,}" for row in bars))
        methods = list(dict.fromkeys(row["method"] for row in bars))
        width = 0.8 / max(1, len(methods))
        for i, method in enumerate(methods):
            own = [row["ratio"] for row in bars if row["method"] == method]
            axis.bar(np.arange(len(groups)) + i * width, own, width, align="edge", label=method)
        axis.set_xticks(np.arange(len(groups)) + 0.4, groups)
        axis.axhline(1, color="black", linewidth=1)
        axis.margins(y=0.35)  # room for the legend
        axis.set_title(f"{parts[0]}: times as fast as the literal")
    for i, name in enumerate(("samples", "corpus", "vocabulary", "length")):
        curves = {}
        for row in (row for row in rows if row["setting"].partition(": ")[0] == name):
            curves.setdefault((row["setting"].partition(": ")[2], row["method"]), []).append(row)
        for (j, y), key in itertools.product(enumerate(("seconds", "peak_mb"), 1), curves):
            if y == "seconds" or key[1] == "ours":
                style = "o-" if key[1] == "ours" else "o:"
                # memory that was there before is no growth, and has no logarithm
                points = [(row["size"], row[y]) for row in curves[key] if row[y] > 0]
                if points:
                    axes[j, i].loglog(*zip(*points, strict=True), style, label=" ".join(key))
            axes[j, i].set(xlabel=name, ylabel=y)
    for axis in axes.flat:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
    figure.savefig(path, dpi=80, metadata={"Software": None})


def main():
    """Run, or show what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table", "plot"])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing to quote")
    arguments = parser.parse_args()
    path = store.RESULTS / ("speed-quick.csv" if arguments.quick else "speed.csv")
    if arguments.command == "run":
        run(arguments.part, QUICK if arguments.quick else FULL, path)
    elif arguments.command == "plot":
        plot(store.read_rows(path), store.FIGURES / f"{path.stem}.png")
    else:
        text = table(store.read_rows(path))
        (store.FIGURES / f"{path.stem}.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
