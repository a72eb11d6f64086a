"""Functions timed in turns, and what the times say: ratios, operations, memory.

What is timed is left to the experiments.
"""

import math
import re
import time
from pathlib import Path
from statistics import median

SECONDS = 45  # after which no further round begins


def alternate(ways, repeats, clock=time.perf_counter):
    """Time functions in turns: {name: seconds of each round}.

    A first round, which warms up, is not counted, unless there is no time for that many.
    """
    rounds, begun = [], time.perf_counter()
    while len(rounds) <= repeats and time.perf_counter() - begun < SECONDS:
        rounds.append([])
        for function in ways.values():
            started = clock()
            function()
            rounds[-1].append(clock() - started)
    return dict(zip(ways, zip(*rounds[-repeats:], strict=True), strict=True))


def to_rows(
    times, items=math.nan, calls=1, needed=math.nan, evaluated=None, peak_mb=None, *, controls
):
    """Turn rounds of several ways into figures.

    Parameters
    ----------
    times : dict
        See `alternate`; a round has `calls` steps and so many `items`.
    needed : float, or dict of float by way
        10^9 operations that a round needs.
    evaluated, peak_mb : dict, optional
        By way: operations that it does in fact, and memory.
    controls : dict
        For each column with ratios the way to compare with.
    """
    rows = []
    needs = needed if isinstance(needed, dict) else dict.fromkeys(times, needed)
    for method, seconds in times.items():
        ratios = {}
        for column, control in controls.items():
            pairs = zip(times.get(control, [math.nan] * len(seconds)), seconds, strict=True)
            ratios[column] = median(theirs / ours for theirs, ours in pairs)
        figures = {
            "seconds": median(seconds) / calls,
            **ratios,
            "items_per_second": items / median(seconds),
            "gflops": needs.get(method, math.nan) / median(seconds),
            "gflops_evaluated": (evaluated or {}).get(method, math.nan) / median(seconds),
            "peak_mb": (peak_mb or {}).get(method, math.nan),
        }
        rows.append({"method": method} | {k: float(f"{x:.4g}") for k, x in figures.items()})
    return rows


def memory(key):
    """Read what this process holds (VmRSS) or held at most (VmHWM), in MB.

    The maximum of `resource.getrusage` begins with that of the process that started this one.
    """
    return int(re.search(rf"{key}:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def gflop(generator, n, writes=True):
    """Count the operations of a pass forwards over `n` symbols, in 10^9."""
    hidden, n_tokens = generator.output.in_features, generator.output.out_features
    inputs, heads = generator.lstm.layers[0].input_size, 1 + hasattr(generator, "trust")
    return n * (8 * hidden * (hidden + inputs) + 2 * hidden * n_tokens * heads * writes) / 1e9


class Counting:
    """A generator that counts the symbols it is given."""

    def __init__(self, generator):
        self.generator, self.n_symbols = generator, 0

    def step(self, tokens, state):
        self.n_symbols += len(tokens)
        return self.generator.step(tokens, state)
