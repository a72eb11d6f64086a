"""The likeliest sequences of anything with `step`, in exact order, by best-first search.

What becomes of tokens, and holding the generator in evaluation mode, is left to the callers.
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from likelihood_gan.protocols import END, State, StepGenerator, checked_log_prob
from likelihood_gan.sampling import take_rows

PREFIXES_PER_BLOCK = 256
"""Prefixes that are continued at a time."""
MAX_OPEN_PREFIXES = 2**20
"""Prefixes that may wait to be continued: bounds the memory."""

Accept = Callable[[Tensor], Tensor]


def most_probable(
    generator: StepGenerator,
    n: int,
    max_len: int,
    *,
    prefix: Sequence[int] = (),
    accept: Accept | None = None,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Find the `n` likeliest sequences.

    A prefix is at least as likely as what begins with it. So prefixes are continued in the order of
    their probability, a block at a time, and the search ends when `n` sequences are at least as
    likely as every prefix that is left: none of these can lead to a likelier one.

    Parameters
    ----------
    generator : module with `step`
        In evaluation mode, on `device`.
    n : int
        Number of sequences.
    max_len : int
        Most symbols of a sequence, prefix included. Only sequences that end count.
    prefix : sequence of int, default=()
        Tokens that every sequence begins with.
    accept : callable, optional
        Rows of tokens (m, length) -> bool (m,), on the CPU: which count. Others are passed over.
    device : torch.device
        Where to compute.

    Returns
    -------
    tokens : Tensor
        int64 (m, max_len + 1), the likeliest first; m < n if no more have a probability above 0.
        Of equally likely ones, the order and which come last have no meaning.
    log_probs : Tensor
        (m,), float64, nats, of the whole row.

    Raises
    ------
    ValueError
        If more than `MAX_OPEN_PREFIXES` prefixes wait, or `step` gave NaN or probabilities above 1.
    """
    best = _Best(n, accept, max_len + 1, device)
    number = itertools.count()  # of equally likely blocks, the older comes first
    with torch.no_grad():
        root = _root(generator, prefix, device)
        heap, n_open = [(-root.bound, next(number), root)], 1
        while heap:
            _, _, block = heapq.heappop(heap)
            n_open -= len(block.tokens)
            if block.bound <= best.floor:
                break  # and so are all the others
            for child in _continue(generator, block, best, max_len):
                heapq.heappush(heap, (-child.bound, next(number), child))
                n_open += len(child.tokens)
            if n_open > MAX_OPEN_PREFIXES:
                heap = [entry for entry in heap if entry[2].bound > best.floor]
                heapq.heapify(heap)
                n_open = sum(len(entry[2].tokens) for entry in heap)
            if n_open > MAX_OPEN_PREFIXES:
                raise ValueError(
                    f"more than {MAX_OPEN_PREFIXES} beginnings may lead to the n={n} likeliest "
                    f"sequences, {len(best.tokens)} of which were found; ask for fewer, give a prefix, "
                    "lower max_len or loosen where"
                )
    return best.tokens, best.log_probs


class _Prefixes(NamedTuple):
    """Prefixes of one length, the likeliest first, (m, 1 + length) with the start symbol.

    What the generator knows before it reads the last token is row `parent` of `state`, which blocks
    share.
    """

    tokens: Tensor
    log_probs: Tensor
    bound: float
    parent: Tensor
    state: State


class _Best:
    """The `n` likeliest rows so far, and the least of their log-probabilities."""

    def __init__(self, n: int, accept: Accept | None, width: int, device: torch.device):
        self._n, self._accept = n, accept
        self.floor = -torch.inf
        self.tokens = torch.zeros((0, width), dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(0, dtype=torch.float64, device=device)

    def add(self, tokens: Tensor, log_probs: Tensor) -> None:
        new = log_probs > self.floor
        tokens, log_probs = tokens[new], log_probs[new]
        if self._accept is not None and len(tokens):
            accepted = self._accept(tokens.cpu()).to(tokens.device)
            tokens, log_probs = tokens[accepted], log_probs[accepted]
        if len(tokens) == 0:
            return
        tokens = pad(tokens, (0, self.tokens.shape[1] - tokens.shape[1]), value=END)
        log_probs = torch.cat([self.log_probs, log_probs])
        order = log_probs.argsort(descending=True, stable=True)[: self._n]
        self.tokens, self.log_probs = torch.cat([self.tokens, tokens])[order], log_probs[order]
        if len(order) == self._n:
            self.floor = float(self.log_probs[-1])


def _root(generator: StepGenerator, prefix: Sequence[int], device: torch.device) -> _Prefixes:
    tokens = torch.tensor([[END, *prefix]], dtype=torch.int64, device=device)
    total, state = torch.zeros(1, dtype=torch.float64, device=device), None
    for read, written in zip(tokens[0, :-1], tokens[0, 1:], strict=True):
        log_probs, state = generator.step(read[None], state)
        total = total + log_probs[:, written]
    return _Prefixes(tokens, total, float(total), tokens.new_zeros(1), state)


def _continue(
    generator: StepGenerator, block: _Prefixes, best: _Best, max_len: int
) -> list[_Prefixes]:
    """Continue prefixes by a symbol: what ends goes to the best, the others come back in blocks."""
    promising = block.log_probs > best.floor
    tokens, parent = block.tokens[promising], block.parent[promising]
    log_probs, state = generator.step(tokens[:, -1], take_rows(block.state, parent))
    total = block.log_probs[promising][:, None] + log_probs.double()
    checked_log_prob(total.amax(1), len(total))
    best.add(tokens[:, 1:], total[:, END])
    if tokens.shape[1] > max_len:
        return []
    total[:, END] = -torch.inf
    parent, symbol = (total > best.floor).nonzero(as_tuple=True)
    total = total[parent, symbol]
    order = total.argsort(descending=True, stable=True)
    return [
        _Prefixes(
            torch.cat([tokens[parent[some]], symbol[some, None]], 1),
            total[some],
            float(total[some[0]]),
            parent[some],
            state,
        )
        for some in order.split(PREFIXES_PER_BLOCK)
        if len(some)
    ]
