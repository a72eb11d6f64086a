"""An n-gram model read symbol by symbol: an automaton whose states are contexts.

How contexts are counted is left to `contexts`, what is left out of the counts to `ngram`.
"""

import torch
from torch import Tensor

from likelihood_gan.models.contexts import Tree, find, interpolate

NUMBERS_WORTH_KEEPING = 2**21
"""Size up to which the probabilities behind the shortest contexts are kept."""


class Automaton:
    """The longest known context of what was read so far, and the probabilities of what may follow.

    Parameters
    ----------
    tree : Tree
        The contexts.
    discounts : Tensor
        (order, N_CLASSES).
    n_tokens : int
        Number of tokens.
    """

    def __init__(self, tree: Tree, discounts: Tensor, n_tokens: int):
        self.tree, self.discounts, self.n_tokens = tree, discounts, n_tokens
        # rows of the first contexts; shorter ones are first
        self._table = discounts.new_full((1, n_tokens), 1 / n_tokens)
        if len(tree.pairs):
            root = torch.zeros(1, dtype=torch.int64, device=discounts.device)
            self._table = self._interpolate(root, self._table)
        self._missed = 0

    def follow(self, context: Tensor, symbol: Tensor) -> Tensor:
        """Return the longest known contexts that some contexts and symbols end with: (n,) -> (n,)."""
        if len(self.tree.pairs) == 0:
            return torch.zeros_like(context)
        pair, found = find(self.tree.pairs, context * self.n_tokens + symbol, context >= 0)
        reached = self.tree.longest[pair].where(found, 0).long()
        others = (~found & (context > 0)).nonzero()[:, 0]
        if len(others):
            shorter = self._shortened(context[others])
            reached.index_copy_(0, others, self.follow(shorter, symbol[others]))
        return reached

    def next(self, context: Tensor) -> Tensor:
        """Return the probabilities of all symbols behind contexts: (n,) -> (n, n_tokens), float64.

        What the table of the shortest contexts lacks is computed. Once that has been as much as there
        is, the table doubles.
        """
        table = self._table  # of one moment: another thread may put a greater one in its place
        size = len(table)
        most = min(len(self.tree.totals), max(NUMBERS_WORTH_KEEPING // self.n_tokens, 1))
        if size < most:
            self._missed += int((context >= size).sum())
            if self._missed > size:
                new = torch.arange(size, min(2 * self._missed, most), device=context.device)
                self._table, self._missed = torch.cat([table, self._next(new)]), 0
        return self._next(context)

    def _next(self, context: Tensor) -> Tensor:
        table = self._table
        missing = (context >= len(table)).nonzero()[:, 0]
        if len(missing) == 0:
            return table[context]
        new, row = context[missing].unique(return_inverse=True)
        above, place = self._shortened(new).unique(return_inverse=True)
        p = self._interpolate(new, self._next(above)[place])[row]
        if len(missing) == len(context):
            return p
        return table[context.clamp(max=len(table) - 1)].index_copy_(0, missing, p)

    def _interpolate(self, context: Tensor, lower: Tensor) -> Tensor:
        discounts = self.discounts[torch.bucketize(context, self.tree.ends, right=True)]
        sums = self.tree.totals[context].double(), self.tree.discounted[context].double()
        return interpolate(self.tree, context, lower, discounts, *sums)

    def _shortened(self, context: Tensor) -> Tensor:
        return self.tree.edges[context - 1] // self.n_tokens
