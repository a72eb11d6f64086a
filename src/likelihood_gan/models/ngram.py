"""`NGram`, interpolated modified Kneser-Ney as a generator: it learns by counting.

How its contexts are counted is left to `contexts`, how a network corrects it to `residual`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from likelihood_gan.models.automaton import Automaton
from likelihood_gan.models.contexts import (
    N_CLASSES,
    Tree,
    class_of,
    count_contexts,
    find,
    interpolate,
)
from likelihood_gan.protocols import END, State, lengths
from likelihood_gan.rows import hash_rows, occurrences, repeat_themselves
from likelihood_gan.rules import NONE, NOT_NEGATIVE, check, integer
from likelihood_gan.sampling import Autoregressive

SYMBOLS_FOR_DISCOUNTS = 100_000
"""Symbols, about, whose likelihood chooses the discounts, and the order."""
ORDERS = 6, 8, 12, 16, 24
WORTH_LONGER = 0.01
"""Share of the nats that longer contexts must save to be counted: they take time and memory."""
_COUNTED = ("edges", "pairs", "counts")  # what `count_contexts` returns
_NOTHING = -1  # what stands before the start mark
_SOME = 1e-9  # counts below it are rounding errors
_USUAL = torch.tensor([0.75, 0.5, 0.45], dtype=torch.float64)  # discounts for text


class NGram(Autoregressive, nn.Module):
    """Interpolated modified Kneser-Ney (Chen and Goodman 1999) over the symbols of sequences.

    In a context v that was seen, with its shortening v' and the counts c(v, w),

        p(w | v) = (c(v, w) - d c̄(v, w)) / c(v) + p(w | v') Σ_w d c̄(v, w) / c(v),

    c̄ = min(c, 3) and d in (0, 1), one for each length of v and each of c <= 1, c <= 2 and c > 2. The
    shortest context, the empty one, goes on to the uniform distribution. Counts are occurrences in
    the longest contexts and in those that begin with the start mark, which cannot be prolonged; in
    all others they are numbers of distinct symbols to the left.

    **In training mode, a row that was counted is scored as if it had not been**, in closed form. So
    what is learned on top of the counts meets them as it will meet them on new sequences, and the
    discounts are those that maximise this leave-one-out likelihood: nothing is held out for them.
    Where the data repeat themselves, one occurrence is left out, since the next one is likely.

    Parameters
    ----------
    n_tokens : int
        Number of tokens, END (0) included.
    order : int or None, default=None
        Most symbols of context, the start mark included, plus 1. None takes the first of 6, 8, 12, 16
        and 24 on which the next one does not improve, by the likelihood of each row under the
        counts of the others.
    min_count : float, default=0
        Contexts that were met less often are left out. The model is smaller then and tells less of
        the sequences it has counted; what is left out in training mode is no longer exact.

    Notes
    -----
    Counts are memory: much of a list can be rebuilt from the model, and its file grows with the list;
    ``save(path, held_out=False)`` changes nothing of that.

    It has no weights, so nothing of it is trained by gradients; `count` is all it needs.

    References
    ----------
    Chen and Goodman (1999), "An empirical study of smoothing techniques for language modeling";
    Kneser and Ney (1995), "Improved backing-off for m-gram language modeling".

    Examples
    --------
    >>> from likelihood_gan import LikelihoodGAN
    >>> from likelihood_gan.datasets import load_first_names
    >>> gan = LikelihoodGAN(NGram, random_state=0).fit(load_first_names())
    >>> len(gan.sample(3))
    3
    """

    # the tree of contexts: see `contexts.Tree`, which has what is derived of them
    edges: Tensor
    pairs: Tensor
    counts: Tensor
    discounts: Tensor  # (order, N_CLASSES)
    rows: Tensor  # hashes of what was counted, sorted,
    left_out: Tensor  # and the occurrences that are left out of each

    def __init__(self, n_tokens: int, order: int | None = None, min_count: float = 0.0):
        super().__init__()
        check(n_tokens, "n_tokens", integer(1))
        check(order, "order", NONE | integer(1))
        check(min_count, "min_count", NOT_NEGATIVE)
        self.arguments = {"n_tokens": n_tokens, "order": order, "min_count": min_count}
        self.n_tokens, self.min_count = n_tokens, min_count
        self._orders = ORDERS if order is None else (order,)
        order = self._orders[0]
        none = torch.zeros((0, 1), dtype=torch.int64, device="cpu")  # whatever the default is
        nothing = count_contexts(none, np.zeros(0), n_tokens, order, 0)
        for name, values in zip(_COUNTED, nothing, strict=True):
            self.register_buffer(name, values)
        self.register_buffer("discounts", _USUAL.repeat(order, 1))
        self.register_buffer("rows", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("left_out", torch.zeros(0, dtype=torch.float64))
        self._tree: Tree | None = None
        self._automaton: Automaton | None = None

    @property
    def order(self) -> int:
        """Most symbols of context, the start mark included, plus 1: as given, or as chosen."""
        return len(self.discounts)

    def count(self, tokens: Tensor, weights: Tensor) -> None:
        """Learn rows, and forget what was counted before.

        Parameters
        ----------
        tokens : Tensor
            (n, time), all different, each with its END.
        weights : Tensor
            (n,), positive: how often each row came, or shares.
        """
        device = self.counts.device
        tokens, times = tokens.cpu(), occurrences(weights.cpu().double().numpy())
        keys, sorting = hash_rows(tokens).sort()
        left_out = np.ones_like(times) if repeat_themselves(times) else times
        self.rows, self.left_out = keys.to(device), torch.from_numpy(left_out)[sorting].to(device)
        guess, kept, lowest = _USUAL.to(device)[None], {}, math.inf
        for order in self._orders:
            counted = count_contexts(tokens, times, self.n_tokens, order, self.min_count)
            for name, values in zip(_COUNTED, counted, strict=True):
                setattr(self, name, values.to(device))
            self.discounts = torch.cat([guess, guess[-1:].repeat(order - len(guess), 1)])
            nats = self._choose_discounts(tokens, torch.from_numpy(times))
            if nats > (1 - WORTH_LONGER) * lowest:
                break
            kept = {name: getattr(self, name) for name in (*_COUNTED, "discounts", "_tree")}
            guess, lowest = self.discounts, nats
        for name, values in kept.items():
            setattr(self, name, values)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens)."""
        context = torch.zeros_like(tokens) if state is None else state
        automaton = self._read()
        context = automaton.follow(context, tokens)
        return automaton.next(context).log().float(), context

    def never_counted(self) -> Tensor | None:
        """Tell which tokens were in no row, (n_tokens,); None if all were in one, or nothing was counted.

        They have the probability of the uniform end of the recursion.
        """
        known = self.pairs[: int(self._grown().first[1])]  # of the empty context
        if len(known) in (0, self.n_tokens):
            return None
        return torch.ones(self.n_tokens, dtype=torch.bool, device=known.device).index_fill(
            0, known, False
        )

    def log_prob(self, tokens: Tensor) -> Tensor:
        """Log-probability of each row in nats, float64: (batch, time) -> (batch,)."""
        places = self._places(tokens)
        values = self._combine(
            self.discounts, self._features(places, self._removals(tokens, places))
        )
        return values.new_zeros(len(tokens)).index_add(0, places.row, values)

    def next_log_probs(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of every next symbol, (batch, time) -> (batch, time, n_tokens).

        Those behind END are 0.
        """
        places = self._places(tokens)
        removals = self._removals(tokens, places)
        if removals is None:  # the path ends where the longest known context is
            p = self._read().next(places.path.amax(1))
        else:
            p = self._distributions(places.path, places.row, removals)
        shape = (*tokens.shape, self.n_tokens)
        table = torch.zeros(shape, dtype=torch.float32, device=tokens.device)
        table[places.row, places.column] = p.log().float()
        return table

    def _places(self, tokens: Tensor) -> "_Places":
        read = nn.functional.pad(tokens[:, :-1], (1, 0), value=END)
        counts = read != END
        counts[:, 0] = True
        row, column = counts.nonzero().unbind(1)
        read = nn.functional.pad(read, (self.order - 1, 0), value=_NOTHING)
        back = torch.arange(1, self.order, device=tokens.device)
        path = self._path(read[row[:, None], column[:, None] + back])
        return _Places(row, column, tokens[row, column], path)

    def _path(self, history: Tensor) -> Tensor:
        """Nodes of the last 0, 1, ... symbols, -1 if unseen: (n, order - 1) -> (n, order)."""
        node = history.new_zeros(len(history))
        path = [node]
        for symbol in history.flip(1).unbind(1):
            known = (node >= 0) & (symbol != _NOTHING)
            edge, found = find(self.edges, node * self.n_tokens + symbol, known)
            node = (edge + 1).where(found, -1)
            path.append(node)
        return torch.stack(path, 1)

    def _grown(self) -> Tree:
        """Return what was counted, with what is looked up in it: made anew if that has changed."""
        if self._tree is None or self._tree.pairs is not self.pairs:
            counted = self.edges, self.pairs, self.counts
            self._tree = Tree.of(*counted, self.n_tokens, self.order)
        return self._tree

    def _read(self) -> Automaton:
        tree, old = self._grown(), self._automaton
        if old is None or old.tree is not tree or old.discounts is not self.discounts:
            self._automaton = old = Automaton(tree, self.discounts, self.n_tokens)
        return old

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tree": None, "_automaton": None}

    # The recursion, for chosen symbols and for all symbols

    def _features(self, places: "_Places", removals: "Sequence[_Removal] | None") -> "_Features":
        """Return for every length of context what the recursion needs."""
        features: _Features = []
        tree = self._grown()
        for depth, node in enumerate(places.path.unbind(1)):
            entry, found = find(self.pairs, node * self.n_tokens + places.symbol, node >= 0)
            count = found.double()
            if len(self.pairs):
                count = self.counts[entry].double().where(found, 0)
            total, discounted = tree.totals[node].double(), tree.discounted[node].double()
            if removals is not None:
                removal = removals[depth]
                count = count - removal.of_pairs(places.row * len(self.pairs) + entry, found)
                less, change = removal.of_nodes(places.row * len(tree.totals) + node, node >= 0)
                total, discounted = total - less, discounted + change
            known = (node >= 0) & (total > _SOME)
            count = count.clamp(min=0)
            clipped, kind = count.clamp(max=N_CLASSES), class_of(count)
            features.append((known, count, clipped, kind, total.where(known, 1), discounted))
        return features

    def _combine(self, discounts: Tensor, features: "_Features") -> Tensor:
        p = torch.full_like(features[0][1], 1 / self.n_tokens)
        for d, (known, count, clipped, kind, total, discounted) in zip(
            discounts, features, strict=True
        ):
            direct = count - d[kind] * clipped
            p = torch.where(known, (direct + discounted @ d * p) / total, p)
        return p.log()

    def _distributions(self, path: Tensor, rows: Tensor, removals: "Sequence[_Removal]") -> Tensor:
        """Probabilities of the next symbol, (n, order) -> (n, n_tokens), float64."""
        tree = self._grown()
        p = self.discounts.new_full((len(path), self.n_tokens), 1 / self.n_tokens)
        for d, node, removal in zip(self.discounts, path.unbind(1), removals, strict=True):
            less, change = removal.of_nodes(rows * len(tree.totals) + node, node >= 0)
            totals = tree.totals[node].double() - less
            known = ((node >= 0) & (totals > _SOME)).nonzero()[:, 0]
            node = node[known]
            p = p.index_copy(
                0,
                known,
                interpolate(
                    tree,
                    node,
                    p[known],
                    d.expand(len(node), -1),
                    totals[known],
                    tree.discounted[node].double() + change[known],
                    removal.of_rows(rows[known], len(self.pairs)),
                ),
            )
        return p

    # Leaving rows out

    def _removals(self, tokens: Tensor, places: "_Places") -> "list[_Removal] | None":
        """Return for every length of context what the counts lose with each row; None if nothing.

        All occurrences of a row are taken out where they were counted as such, in the longest
        contexts. A pair whose count becomes 0 there no longer prolongs the one with the shorter
        context, which loses 1; and so on.
        """
        if not self.training or len(self.rows) == 0:
            return None
        key = hash_rows(tokens)
        place, known = find(self.rows, key, torch.ones_like(key, dtype=torch.bool))
        known = known & (tokens == END).any(1)  # a cut row was not counted
        if not known.any():
            return None
        times = self.left_out[place].where(known, 0)[places.row]
        longest = (places.path >= 0).sum(1) - 1
        tree, n_pairs = self._grown(), len(self.pairs)
        keys, amounts = places.row[:0], times[:0]
        removals: list[_Removal] = []
        for depth in range(self.order - 1, -1, -1):
            node = places.path[:, depth]
            here = (longest == depth) & (times > 0)
            entry, _ = find(self.pairs, node * self.n_tokens + places.symbol, here)
            keys = torch.cat([keys, (places.row * n_pairs + entry)[here]])
            keys, index = keys.unique(return_inverse=True)
            amounts = torch.cat([amounts, times[here]])
            amounts = amounts.new_zeros(len(keys)).index_add(0, index, amounts)
            removals.append(self._removal(keys, amounts))
            vanished = self.counts[keys % n_pairs].double() - amounts < _SOME
            entry, row = (keys % n_pairs)[vanished], (keys // n_pairs)[vanished]
            keys, amounts = row * n_pairs + tree.shorter[entry], amounts.new_ones(len(row))
        return removals[::-1]

    def _removal(self, keys: Tensor, amounts: Tensor) -> "_Removal":
        entry, row = keys % len(self.pairs), keys // len(self.pairs)
        node = row * (len(self.edges) + 1) + self.pairs[entry] // self.n_tokens
        nodes, index = node.unique(return_inverse=True)
        before = self.counts[entry].double()
        after = (before - amounts).clamp(min=0)
        change = amounts.new_zeros(len(nodes) * N_CLASSES)
        for count, sign in ((before, -1), (after, 1)):
            place = index * N_CLASSES + class_of(count)
            change = change.index_add(0, place, sign * count.clamp(max=N_CLASSES))
        total = amounts.new_zeros(len(nodes)).index_add(0, index, amounts)
        return _Removal(keys, amounts, nodes, total, change.view(-1, N_CLASSES))

    def _choose_discounts(self, tokens: Tensor, times: Tensor) -> float:
        """Maximise the likelihood of the counted rows, each as if it had not been counted.

        Return its negative logarithm, in nats a row.
        """
        some = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))
        enough = (lengths(tokens[some]) + 1).cumsum(0) <= SYMBOLS_FOR_DISCOUNTS
        some = some[: max(int(enough.sum()), 1)]
        device, training = self.counts.device, self.training
        self.training = True
        tokens, times = tokens[some].to(device), times[some].to(device)
        places = self._places(tokens)
        features = self._features(places, self._removals(tokens, places))
        self.training = training
        shares = (times / times.sum())[places.row]
        logits = self.discounts.logit().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [logits], max_iter=60, tolerance_change=1e-6, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = -(shares * self._combine(logits.sigmoid(), features)).sum()
            # far out the likelihood is flat in the logits, which only this term holds
            loss = loss + 1e-4 * logits.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimiser.step(closure)
        self.discounts = logits.detach().sigmoid()
        return -float((shares * self._combine(self.discounts, features)).sum())

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        for name in self._buffers:  # they are as long as what was counted
            if isinstance(found := state_dict.get(prefix + name), Tensor):
                setattr(self, name, torch.empty_like(found, device=self.counts.device))
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._grown()  # refuses what is no tree
        discounts, rows = self.discounts, self.rows
        if discounts.shape[1:] != (N_CLASSES,) or not bool(
            ((0 <= discounts) & (discounts <= 1)).all()
        ):
            raise ValueError(f"discounts must be from 0 to 1 and (order, {N_CLASSES})")
        if rows.ndim != 1 or self.left_out.shape != rows.shape:
            raise ValueError("left_out must have a number for each of rows")


_Features = list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]]
"""For each length: whether the context is known, c(v, w), c̄(v, w), its class, c(v), (n,), and Σ c̄
by class."""


class _Places(NamedTuple):
    """Where symbols stand: all those up to END, (n,), and the nodes of their contexts, (n, order)."""

    row: Tensor
    column: Tensor
    symbol: Tensor
    path: Tensor


class _Removal(NamedTuple):
    """What pairs and nodes lose with a row; both are found by row * their number + their place."""

    pairs: Tensor
    amounts: Tensor
    nodes: Tensor
    totals: Tensor
    discounted: Tensor

    def of_pairs(self, keys: Tensor, known: Tensor) -> Tensor:
        place, found = find(self.pairs, keys, known)
        return self.amounts[place].where(found, 0) if len(self.pairs) else keys.double() * 0

    def of_rows(self, rows: Tensor, n_pairs: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a function that tells what pairs lose with rows: (row, pair) -> amount."""

        def less(row: Tensor, pair: Tensor) -> Tensor:
            keys = rows[row] * n_pairs + pair
            return self.of_pairs(keys, torch.ones_like(keys, dtype=torch.bool))

        return less

    def of_nodes(self, keys: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.nodes) == 0:
            nothing = keys.double() * 0
            return nothing, nothing[:, None].expand(-1, N_CLASSES)
        place, found = find(self.nodes, keys, known)
        of_classes = self.discounted[place].where(found[:, None], 0)
        return self.totals[place].where(found, 0), of_classes
