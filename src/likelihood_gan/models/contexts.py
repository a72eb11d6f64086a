"""The tree of contexts that an n-gram model counts, as sorted arrays.

What probabilities are made of the counts is left to `ngram`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likelihood_gan.protocols import END, lengths

N_CLASSES = 3
"""Counts of 1, of 2, and of more are discounted differently."""
BUFFERS = ("edges", "nodes", "pairs", "shorter", "counts", "first", "totals", "discounted")
"""What `count_contexts` returns."""


def count_contexts(
    tokens: Tensor, times: NDArray[np.float64], n_tokens: int, order: int, min_count: float
) -> list[Tensor]:
    """Return the tree of contexts and its counts, in the order of `BUFFERS`."""
    rows = tokens.numpy()
    row, place = (np.arange(rows.shape[1]) <= lengths(tokens).numpy()[:, None]).nonzero()
    symbol, weight = rows[row, place].astype(np.int64), times[row]
    read = np.pad(rows, ((0, 0), (1, 0)))  # column `place` is what stands to the left
    node, n_nodes = np.zeros(len(row), dtype=np.int64), 1
    edges, pairs, counts = [np.zeros(0, dtype=np.int64)], [], []
    for depth in range(order):
        if depth:
            alive = place >= depth - 1  # one start mark, and nothing before it
            row, place, symbol, weight = row[alive], place[alive], symbol[alive], weight[alive]
            new, node = np.unique(
                node[alive] * n_tokens + read[row, place - depth + 1], return_inverse=True
            )
            node, n_nodes = node + n_nodes, n_nodes + len(new)
            edges.append(new)
        found, index = np.unique(node * n_tokens + symbol, return_inverse=True)
        pairs.append(found)
        counts.append(np.bincount(index, weights=weight, minlength=len(found)))
    edge = np.concatenate(edges)
    starts = np.cumsum([0, *map(len, pairs)])
    shorter = [np.zeros(len(pairs[0]), dtype=np.int64)]
    met = np.concatenate([[np.inf], np.zeros(n_nodes - 1)])  # how often each context was met
    for depth in range(order - 1):  # Kneser-Ney: distinct symbols to the left, where there are any
        child, symbol = np.divmod(pairs[depth + 1], n_tokens)
        at = np.searchsorted(pairs[depth], edge[child - 1] // n_tokens * n_tokens + symbol)
        shorter.append(starts[depth] + at)
        begins = np.zeros(len(pairs[depth]), dtype=bool)
        if depth:
            context = pairs[depth] // n_tokens
            begins = edge[context - 1] % n_tokens == END
            np.add.at(met, context, counts[depth])
        n_left = np.bincount(at, minlength=len(pairs[depth])).astype(np.float64)
        counts[depth] = np.where(begins, counts[depth], n_left)
    if order > 1:
        np.add.at(met, pairs[-1] // n_tokens, counts[-1])
    pair, count = np.concatenate(pairs), np.concatenate(counts).astype(np.float64)
    short = np.concatenate(shorter)
    to = np.arange(1, n_nodes)
    if min_count > 0:
        edge, to, pair, count, short, n_nodes = _prune(
            met >= min_count, edge, to, pair, count, short, n_tokens
        )
    context, kind = pair // n_tokens, class_of(torch.from_numpy(count)).numpy()
    discounted = np.bincount(
        context * N_CLASSES + kind,
        weights=np.minimum(count, N_CLASSES),
        minlength=n_nodes * N_CLASSES,
    )
    found = [
        edge,
        to,
        pair,
        short,
        count,
        np.searchsorted(pair, np.arange(n_nodes + 1) * n_tokens),
        np.bincount(context, weights=count, minlength=n_nodes).astype(np.float64),
        discounted.reshape(n_nodes, N_CLASSES).astype(np.float64),
    ]
    return [torch.from_numpy(values) for values in found]


def _prune(
    kept: NDArray[np.bool_],
    edge: NDArray[np.int64],
    to: NDArray[np.int64],
    pair: NDArray[np.int64],
    count: NDArray[np.float64],
    short: NDArray[np.int64],
    n_tokens: int,
) -> tuple[Any, ...]:
    """Leave contexts out, and number the others anew; a context is met at most as often as its parent."""
    number = np.cumsum(kept) - 1
    parent, symbol = np.divmod(edge, n_tokens)
    edges = kept[to]
    edge, to = number[parent[edges]] * n_tokens + symbol[edges], number[to[edges]]
    context, symbol = np.divmod(pair, n_tokens)
    pairs = kept[context]
    place = np.cumsum(pairs) - 1
    pair, short = number[context[pairs]] * n_tokens + symbol[pairs], place[short[pairs]]
    return edge, to, pair, count[pairs], short, int(kept.sum())


def check_contexts(tree: Mapping[str, Tensor], n_tokens: int) -> None:
    """Raise ValueError if arrays, by the names of `BUFFERS`, are no tree of contexts.

    What is looked up in them would lead out of them, or ask for any amount of memory.
    """
    n_nodes, n_pairs = len(tree["totals"]), len(tree["pairs"])
    n_edges, anything = len(tree["edges"]), (0, math.inf)
    expected: dict[str, tuple[tuple[int, ...], tuple[float, float]]] = {
        "edges": ((n_edges,), (0, n_nodes * n_tokens)),
        "nodes": ((n_edges,), (1, n_nodes)),
        "shorter": ((n_pairs,), (0, n_pairs)),
        "pairs": ((n_pairs,), (0, n_nodes * n_tokens)),
        "first": ((n_nodes + 1,), (0, n_pairs + 1)),
        "counts": ((n_pairs,), anything),
        "totals": ((n_nodes,), anything),
        "discounted": ((n_nodes, N_CLASSES), anything),
    }
    for name, (shape, (low, high)) in expected.items():
        values = tree[name]
        fits = values.shape == shape and bool(((values >= low) & (values < high)).all())
        if not fits or (name in ("edges", "pairs", "first") and bool((values.diff() < 0).any())):
            raise ValueError(f"{name} holds what is no tree of contexts")


def class_of(counts: Tensor) -> Tensor:
    """Return which discount counts get, from 0 to `N_CLASSES` - 1: of the same shape."""
    return counts.ceil().clamp(1, N_CLASSES).long() - 1


def find(keys: Tensor, wanted: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return places in a sorted list, and whether `wanted` is there."""
    if len(keys) == 0:
        return torch.zeros_like(wanted), torch.zeros_like(known)
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return place, known & (keys[place] == wanted)
