"""Sampling and scoring that evaluate every distinct prefix once; exact, for anything with `step`.

Many sequences share their prefixes: the tree of these has several times fewer nodes than the
sequences have symbols. When that pays, and holding the generator in evaluation mode, is left to the callers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from likelihood_gan.progress import counting
from likelihood_gan.protocols import END, State, StepGenerator, checked_log_prob
from likelihood_gan.sampling import Constraints, draw, take_rows

PREFIXES_PER_BLOCK = 4096
"""Prefixes that are evaluated at a time in sampling, rows that are scored at a time."""


def sample_counts(
    generator: StepGenerator,
    n: int,
    constraints: Constraints,
    *,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw how often each sequence comes in `n` independent draws.

    From the empty prefix on, the number of draws with a prefix is split over its next
    symbols, by one multinomial draw. Prefixes with one draw left go on as in ordinary sampling.

    Parameters
    ----------
    generator : module with `step`
        In evaluation mode, on the device of `rng`.
    n : int
        Number of draws. Memory grows with the number of distinct sequences only.
    constraints : Constraints
        Where rows are cut, and what else is asked of them.
    rng : torch.Generator
        Source of all randomness.

    Returns
    -------
    tokens : Tensor
        int64 (m, length), distinct rows in an order without meaning. A row without END is cut.
    counts : Tensor
        int64 (m,), with sum n.
    log_probs : Tensor
        (m,), float64, nats: `generator.log_prob(tokens)`; under constraints the log-probability
        with which they let a row be drawn, given its prefix.

    Raises
    ------
    ValueError
        If at some position every symbol that the constraints allow has probability 0.
    """
    seed = torch.randint(2**62, (), generator=rng, device=rng.device)
    dice = np.random.default_rng(int(seed))
    rows = []
    with torch.no_grad(), counting(n, "drawing sequences") as add:
        stack = [_root(generator, n, constraints.prefix, rng.device)]
        while stack:  # depth first, so that few blocks wait
            nodes = stack.pop()
            if nodes.tokens.shape[1] > constraints.max_len:
                rows.append((nodes.tokens, nodes.counts, nodes.log_probs))
            elif (nodes.counts == 1).all():
                rows.append(_finish(generator, nodes, constraints, rng))
            else:
                ended, going = _split(generator, nodes, constraints, rng, dice)
                rows.append((ended.tokens, ended.counts, ended.log_probs))
                stack += going
            if add is not None:
                add(int(rows[-1][1].sum()))
    tokens, counts, log_probs = zip(*rows, strict=True)
    shape = sum(map(len, tokens)), max(block.shape[1] for block in tokens) - 1
    padded = torch.full(shape, END, device=rng.device)
    for part, block in zip(padded.split([len(block) for block in tokens]), tokens, strict=True):
        part[:, : block.shape[1] - 1] = block[:, 1:]
    return padded, torch.cat(counts), torch.cat(log_probs)


class PrefixTree:
    """The distinct prefixes of some rows, sorted once.

    Rows are scored in lexicographic order, in blocks, so that beyond the tokens memory does not
    grow with their number; the more rows, the more of them share a prefix.

    Parameters
    ----------
    tokens : Tensor
        (n, time), any rows, also equal ones. What stands behind the first 0 of a row does not count.
    """

    def __init__(self, tokens: Tensor):
        # the start symbol in front, for the empty prefix, and END wherever a row has ended
        self._read = pad(tokens * ((tokens == END).cumsum(1) == 0), (1, 0), value=END)
        order = torch.from_numpy(np.lexsort(self._read.cpu().numpy().T[::-1])).to(tokens.device)
        self._blocks = order.split(PREFIXES_PER_BLOCK)

    def sharing(self) -> float:
        """Symbols that `log_probs` scores for each prefix that it evaluates; 1 is no sharing."""
        n_symbols = 1 + (self._read != END).sum(1)  # END included
        n_evaluated = 0
        for rows in self._blocks:
            new = n_symbols[rows] - _shared_with_above(self._read[rows])
            n_evaluated += int(new.clamp(min=0).sum())
        return int(n_symbols.sum()) / max(n_evaluated, 1)

    def log_probs(self, generator: StepGenerator) -> Tensor:
        """Score the rows in the order they were given, (n,), float64, nats.

        The generator has to be in evaluation mode, on the device of the tokens.

        Raises
        ------
        ValueError
            If `step` gave NaN or probabilities above 1.
        """
        result = torch.empty(len(self._read), dtype=torch.float64, device=self._read.device)
        with torch.no_grad():
            for rows in self._blocks:
                result[rows] = _score_sorted(generator, self._read[rows])
        return checked_log_prob(result, len(result))


class _Nodes(NamedTuple):
    """Distinct prefixes of one length, and how many draws begin with each.

    `tokens` (m, 1 + length) begin with the start symbol; `counts` and `log_probs` are (m,). What
    the generator knows before it reads the last token is row `parent` of `state`: rows are taken
    only when a block is read, so that those waiting share a state.
    """

    tokens: Tensor
    counts: Tensor
    log_probs: Tensor
    parent: Tensor
    state: State

    def read(self, generator: StepGenerator) -> tuple[Tensor, State]:
        return generator.step(self.tokens[:, -1], take_rows(self.state, self.parent))


def _root(generator: StepGenerator, n: int, prefix: Sequence[int], device: torch.device) -> _Nodes:
    tokens = torch.tensor([[END, *prefix]], dtype=torch.int64, device=device)
    state = None
    for token in tokens[:, :-1].unbind(1):
        _, state = generator.step(token, state)
    zero = tokens.new_zeros(1)
    return _Nodes(tokens, zero + n, zero.double(), zero, state)


def _split(
    generator: StepGenerator,
    nodes: _Nodes,
    constraints: Constraints,
    rng: torch.Generator,
    dice: np.random.Generator,
) -> tuple[_Nodes, list[_Nodes]]:
    """Continue prefixes by a symbol: those that have ended, and blocks of the others."""
    log_probs, state = nodes.read(generator)
    log_probs = constraints.apply(log_probs, nodes.tokens.shape[1] - 1)
    table = _multinomial(log_probs, nodes.counts, rng, dice)
    parent, symbol = table.nonzero(as_tuple=True)
    counts = table[parent, symbol]
    # First the ended, then the rare: so most prefixes with one draw share blocks.
    order = counts.where(symbol != END, 0).argsort(stable=True)
    parent, symbol, counts = parent[order], symbol[order], counts[order]
    tokens = torch.cat([nodes.tokens[parent], symbol[:, None]], 1)
    total = nodes.log_probs[parent] + log_probs[parent, symbol]
    n_ended = int((symbol == END).sum())
    size = max(
        1, min(PREFIXES_PER_BLOCK, 2**22 // log_probs.shape[1])
    )  # less of a large vocabulary
    cuts = [n_ended, *range(n_ended + size, len(symbol), size)]
    blocks = zip(*(x.tensor_split(cuts) for x in (tokens, counts, total, parent)), strict=True)
    ended, *going = (_Nodes(*block, state) for block in blocks)  # type: ignore[call-arg]
    return ended, [block for block in going if len(block.tokens)]


def _multinomial(
    log_probs: Tensor, counts: Tensor, rng: torch.Generator, dice: np.random.Generator
) -> Tensor:
    """Split counts (m,) over symbols by their log-probabilities: (m, n_tokens) of int64."""
    m, n_tokens = log_probs.shape
    if counts.sum() <= 4 * m:  # cheaper one by one than by a binomial draw per symbol
        row = torch.arange(m, device=counts.device).repeat_interleave(counts)
        cell = row * n_tokens + draw(log_probs[row], rng)
        return torch.bincount(cell, minlength=m * n_tokens).view(m, n_tokens)
    p = log_probs.double().softmax(1)
    split = dice.multinomial(counts.cpu().numpy(), p.cpu().numpy())
    return torch.from_numpy(split).to(counts.device)


def _finish(
    generator: StepGenerator,
    nodes: _Nodes,
    constraints: Constraints,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Continue prefixes with one draw each to their end: tokens, counts and log-probabilities."""
    max_len = constraints.max_len
    tokens = pad(nodes.tokens, (0, max_len + 1 - nodes.tokens.shape[1]), value=END)
    total = nodes.log_probs.clone()
    alive = torch.arange(len(tokens), device=tokens.device)
    log_probs, state = nodes.read(generator)
    for t in range(nodes.tokens.shape[1], max_len + 1):
        log_probs = constraints.apply(log_probs, t - 1)
        symbol = draw(log_probs, rng)
        tokens[alive, t] = symbol
        total.index_add_(0, alive, log_probs.gather(1, symbol[:, None])[:, 0].double())
        going = (symbol != END).nonzero()[:, 0]
        if len(going) < len(alive):
            alive, symbol, state = alive[going], symbol[going], take_rows(state, going)
        if len(alive) == 0 or t == max_len:
            break
        log_probs, state = generator.step(symbol, state)
    # a copy: a view would keep all columns up to max_len in memory
    return tokens[:, : t + 1].clone(), nodes.counts, total


def _shared_with_above(read: Tensor) -> Tensor:
    """Count the first tokens that each row shares with the one above, (m,)."""
    as_above = (read[1:] == read[:-1]).long().cumprod(1).sum(1)
    return pad(as_above, (1, 0), value=0)


def _score_sorted(generator: StepGenerator, read: Tensor) -> Tensor:
    """Score rows in lexicographic order that begin with the start symbol: (m, 1 + time) -> (m,)."""
    n_shared = _shared_with_above(read)
    total = torch.zeros(len(read), dtype=torch.float64, device=read.device)
    alive = torch.arange(len(read), device=read.device)
    node, state = torch.zeros_like(alive), None
    for t in range(read.shape[1] - 1):
        if len(alive) == 0:
            break
        new = n_shared[alive] <= t  # the first rows that begin with their t + 1 tokens
        log_probs, state = generator.step(read[alive[new], t], take_rows(state, node[new]))
        node = new.cumsum(0) - 1
        symbol = read[alive, t + 1]
        total[alive] += log_probs[node, symbol]
        going = symbol != END
        alive, node = alive[going], node[going]
    return total
