"""The tree of contexts that an n-gram model counts, as sorted arrays.

What probabilities are made of the counts is left to `ngram`.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likelihood_gan.protocols import END, lengths

N_CLASSES = 3
"""Counts of 1, of 2, and of more are discounted differently."""


class Tree(NamedTuple):
    """Contexts, the pairs of a context and the symbol behind it, and what is looked up of both.

    Contexts are nodes of a tree, in which a node's children prolong it to the left; node 0 is the
    empty context. Shorter contexts come first.

    Attributes
    ----------
    edges : Tensor
        (nodes - 1,), int64, sorted. Edge i leads from node p by symbol s to node i + 1: p * n_tokens + s.
    pairs : Tensor
        (pairs,), int64, sorted: node * n_tokens + symbol.
    counts : Tensor
        (pairs,), floating-point.
    first : Tensor
        (nodes + 1,), the first pair of each node.
    shorter : Tensor
        (pairs,), the pair of the shortened context and the same symbol.
    longest : Tensor
        (pairs,), the node of the longest known context that the context and the symbol end with.
    ends : Tensor
        (depths,), how many nodes are of at most 0, 1, ... symbols.
    totals : Tensor
        (nodes,), Σ c of each node.
    discounted : Tensor
        (nodes, N_CLASSES), Σ c̄ of each node, by class.
    """

    edges: Tensor
    pairs: Tensor
    counts: Tensor
    first: Tensor
    shorter: Tensor
    longest: Tensor
    ends: Tensor
    totals: Tensor
    discounted: Tensor

    @classmethod
    def of(cls, edges: Tensor, pairs: Tensor, counts: Tensor, n_tokens: int, order: int) -> "Tree":
        """Look up once what is looked up often, in what `count_contexts` returned.

        Raises
        ------
        ValueError
            If the arrays are not such a tree, as those of a damaged file may be.
        """
        edge, pair, count = (values.cpu().numpy() for values in (edges, pairs, counts))
        n_nodes = len(edge) + 1
        above, left = (np.concatenate([[0], x]) for x in np.divmod(edge, n_tokens))
        node, symbol = np.divmod(pair, n_tokens)
        _require(
            above[1:] >= 0, above[1:] < np.arange(1, n_nodes), edge[1:] > edge[:-1], what="edges"
        )
        _require(node >= 0, node < n_nodes, pair[1:] > pair[:-1], what="pairs")
        _require([pair.shape == count.shape], count > 0, count < np.inf, what="counts")
        ends = [1]
        while ends[-1] < n_nodes:
            _require(len(ends) < order, what="edges")
            ends.append(int(np.searchsorted(edge, ends[-1] * n_tokens)) + 1)
        first = np.searchsorted(pair, np.arange(n_nodes + 1) * n_tokens)
        shorter, longest = np.zeros((2, len(pair)), dtype=np.int64)
        for start, end in itertools.pairwise([0, *ends]):  # shorter contexts first
            part = slice(first[start], first[end])
            key = above[node[part]] * n_tokens + symbol[part]
            if start:
                shorter[part] = np.searchsorted(pair, key)
                _require(shorter[part] < first[start], what="pairs")
                _require(pair[shorter[part]] == key, what="pairs")
            # what the shortened context goes on to is prolonged, if it is as long as it can be
            known = longest[shorter[part]] if start else np.zeros_like(key)
            wanted = known * n_tokens + (left[node[part]] if start else symbol[part])
            place = np.searchsorted(edge, wanted)
            found = (known >= start) & (np.append(edge, -1)[place] == wanted)
            longest[part] = np.where(found, place + 1, known)
        kind = class_of(torch.from_numpy(count)).numpy()
        discounted = np.bincount(
            node * N_CLASSES + kind,
            weights=np.minimum(count, N_CLASSES),
            minlength=n_nodes * N_CLASSES,
        ).reshape(n_nodes, N_CLASSES)
        totals = np.bincount(node, weights=count, minlength=n_nodes)
        small = len(pair) < 2**31 and n_nodes < 2**31
        places = [x.astype(np.int32) if small else x for x in (first, shorter, longest)]
        sums = narrow(totals), narrow(discounted)
        derived = (torch.from_numpy(x).to(edges.device) for x in (*places, np.array(ends), *sums))
        return cls(edges, pairs, counts, *derived)


def _require(*true: Any, what: str) -> None:
    if not all(np.all(values) for values in true):
        raise ValueError(f"{what} are not those of a tree of contexts")


def narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers in single precision if that is exact, as it is for counts."""
    single = values.astype(np.float32)
    return single if (single == values).all() else values


def count_contexts(
    tokens: Tensor, times: NDArray[np.float64], n_tokens: int, order: int, min_count: float
) -> list[Tensor]:
    """Return edges, pairs and counts of the tree of contexts, see `Tree`."""
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
    met = np.concatenate([[np.inf], np.zeros(n_nodes - 1)])  # how often each context was met
    for depth in range(order - 1):  # Kneser-Ney: distinct symbols to the left, where there are any
        child, symbol = np.divmod(pairs[depth + 1], n_tokens)
        at = np.searchsorted(pairs[depth], edge[child - 1] // n_tokens * n_tokens + symbol)
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
    if min_count > 0:
        edge, pair, count = _prune(met >= min_count, edge, pair, count, n_tokens)
    return [torch.from_numpy(values) for values in (edge, pair, narrow(count))]


def _prune(
    kept: NDArray[np.bool_],
    edge: NDArray[np.int64],
    pair: NDArray[np.int64],
    count: NDArray[np.float64],
    n_tokens: int,
) -> tuple[Any, ...]:
    """Leave contexts out, and number the others anew; a context is met at most as often as its parent."""
    number = np.cumsum(kept) - 1
    parent, symbol = np.divmod(edge[kept[1:]], n_tokens)
    edge = number[parent] * n_tokens + symbol
    context, symbol = np.divmod(pair, n_tokens)
    pairs = kept[context]
    return edge, number[context[pairs]] * n_tokens + symbol[pairs], count[pairs]


def class_of(counts: Tensor) -> Tensor:
    """Return which discount counts get, from 0 to `N_CLASSES` - 1: of the same shape."""
    return counts.ceil().clamp(1, N_CLASSES).long() - 1


def find(keys: Tensor, wanted: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return places in a sorted list, and whether `wanted` is there."""
    if len(keys) == 0:
        return torch.zeros_like(wanted), torch.zeros_like(known)
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return place, known & (keys[place] == wanted)


def interpolate(
    tree: Tree,
    node: Tensor,
    lower: Tensor,
    discounts: Tensor,
    totals: Tensor,
    discounted: Tensor,
    less: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Return p(w | v) for all w, by p(w | v') and the counts of v: see `NGram`.

    Parameters
    ----------
    tree : Tree
    node : Tensor
        (n,), the contexts v.
    lower : Tensor
        (n, n_tokens), p(w | v').
    discounts, totals, discounted : Tensor
        (n, N_CLASSES), (n,), (n, N_CLASSES): d, Σ c and Σ c̄ of each v.
    less : callable, optional
        ``less(row, pair)``, what is left out of the counts of pairs.
    """
    n_tokens = lower.shape[1]
    begin, end = tree.first[node].long(), tree.first[node + 1].long()
    n = end - begin
    row = torch.arange(len(n), device=n.device).repeat_interleave(n)
    pair = torch.arange(len(row), device=n.device) + (end - n.cumsum(0))[row]
    count = tree.counts[pair].double()
    if less is not None:
        count = (count - less(row, pair)).clamp(min=0)
    share = count - discounts[row, class_of(count)] * count.clamp(max=N_CLASSES)
    p = lower * (discounted * discounts).sum(1, keepdim=True)
    cell = tree.pairs[pair] + (torch.arange(len(n), device=n.device) - node)[row] * n_tokens
    return p.view(-1).index_add_(0, cell, share).view_as(p) / totals[:, None]
