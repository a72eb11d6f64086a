"""An interpolated Kneser-Ney n-gram model as a generator: the classical control.

A sequence begins with one start mark, and END is a symbol like the others. The counts are buffers,
the discounts are the only parameters: they maximise the likelihood of a held-out part, for each
order and for sequences counted once, twice and more often (the modified Kneser-Ney of Chen and
Goodman 1999, whose closed form for the discounts needs the counts of counts of a large corpus).
On names the Kneser-Ney counts of shorter contexts are worth 0.3 nats against raw ones.

Why not a library: nltk.lm is pure Python and scores one symbol at a time, KenLM reads text files
of words and does not sample; neither tells the distribution of the next symbol as a tensor.
"""

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn

from likelihood_gan import Autoregressive, SequenceDistribution
from likelihood_gan.corpus import count_distinct
from likelihood_gan.protocols import END, lengths
from likelihood_gan.validation import check_known, check_weighed
from likelihood_gan.vocabulary import Vocabulary, sort_symbols

N_CLASSES = 3
NOTHING = -1  # what stands before the start mark


class NGram(Autoregressive, nn.Module):
    """Interpolated modified Kneser-Ney of `order` over the rows of `tokens`.

    In a context v that was seen, with its shortening v' and the counts c(v, w),

        p(w | v) = (c(v, w) - d c̄(v, w)) / c(v) + p(w | v') Σ_w d c̄(v, w) / c(v),

    c̄ = min(c, 3) and d in (0, 1), a parameter for each length of v and each of c <= 1, c <= 2 and
    c > 2. The shortest context, the empty one, goes on to the uniform distribution. Counts are
    weights in the longest contexts and in those that begin with the start mark, which cannot be
    prolonged; in all others they are numbers of distinct symbols to the left.

    Contexts are nodes of a tree, in which a node's children prolong it to the left; node 0 is the
    empty context. Nodes are numbered by depth and then by (parent, symbol), so that they, and the
    pairs (node, next symbol), are found in a sorted list.

    Parameters
    ----------
    n_tokens : int
        Number of tokens, END included.
    order : int
        Most symbols of context, the start mark included, plus 1.
    tokens : Tensor
        (n, time), every row with its END.
    weights : array of shape (n,), optional
        Positive; ones if missing.
    """

    def __init__(self, n_tokens, order, tokens, weights=None):
        super().__init__()
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        self.n_tokens, self.order = n_tokens, order
        start = torch.tensor([0.75, 0.5, 0.45], dtype=torch.float64)  # usual for text
        self.logits = nn.Parameter(start.logit().repeat(order, 1))
        for name, array in _count(n_tokens, order, tokens, weights).items():
            self.register_buffer(name, torch.from_numpy(array))

    def step(self, tokens, state):
        """Read a token a row; the state is the last order - 1 tokens."""
        if state is None:
            state = tokens.new_full((len(tokens), self.order - 1), NOTHING)
        state = torch.cat([state, tokens[:, None]], 1)[:, 1:]
        path = self._path(state)
        # rows whose longest known context is the same have the same distribution
        deepest, row = path.amax(1).unique(return_inverse=True)
        some = torch.empty_like(deepest).scatter_(0, row, torch.arange(len(row), device=row.device))
        return self._distributions(path[some]).log()[row], state

    def log_prob(self, tokens):
        """Log-probability of each row in nats, float64: (batch, time) -> (batch,)."""
        row, features = self.look_up(tokens)
        values = self.combine(features)
        return values.new_zeros(len(tokens)).index_add(0, row, values)

    def look_up(self, tokens):
        """Return what `combine` needs of every symbol up to END, and the rows they are in."""
        read = nn.functional.pad(tokens[:, :-1], (1, 0), value=END)
        counts = read != END
        counts[:, 0] = True
        row, column = counts.nonzero().unbind(1)
        read = nn.functional.pad(read, (self.order - 1, 0), value=NOTHING)
        back = torch.arange(1, self.order, device=tokens.device)
        path = self._path(read[row[:, None], column[:, None] + back])
        symbol = tokens[row, column]
        features = []
        for node in path.unbind(1):
            entry, found = _find(self.pairs, node * self.n_tokens + symbol, known=node >= 0)
            count = self.counts[entry].where(found, 0)
            features.append((node >= 0, count, self.totals[node], self.cut_totals[node]))
        return row, features

    def combine(self, features):
        """Log-probabilities of symbols, from their counts in contexts of each length: (n,)."""
        p = torch.full_like(features[0][1], 1 / self.n_tokens)
        for discounts, (known, count, total, cut_total) in zip(
            self.logits.sigmoid(), features, strict=True
        ):
            direct = count - discounts[_class(count)] * count.clamp(max=N_CLASSES)
            p = torch.where(known, (direct + cut_total @ discounts * p) / total, p)
        return p.log()

    def _path(self, history):
        """Nodes of the last 0, 1, ... symbols, -1 if unseen: (n, order - 1) -> (n, order)."""
        node = history.new_zeros(len(history))
        path = [node]
        for symbol in history.flip(1).unbind(1):
            known = (node >= 0) & (symbol != NOTHING)
            edge, found = _find(self.edges, node * self.n_tokens + symbol, known)
            node = (edge + 1).where(found, -1)
            path.append(node)
        return torch.stack(path, 1)

    def _distributions(self, path):
        """Probabilities of the next symbol, (n, order) -> (n, n_tokens)."""
        p = self.totals.new_full((len(path), self.n_tokens), 1 / self.n_tokens)
        for discounts, node in zip(self.logits.sigmoid(), path.unbind(1), strict=True):
            known = (node >= 0).nonzero()[:, 0]
            node = node[known]
            begin, n = self.first[node], self.first[node + 1] - self.first[node]
            row = torch.arange(len(n), device=n.device).repeat_interleave(n)
            entry = torch.arange(len(row), device=n.device) + (begin - n.cumsum(0) + n)[row]
            count = self.counts[entry]
            direct = count - discounts[_class(count)] * count.clamp(max=N_CLASSES)
            symbol = self.pairs[entry] - node[row] * self.n_tokens
            given = p.new_zeros(len(node), self.n_tokens).index_put((row, symbol), direct)
            given = given + (self.cut_totals[node] @ discounts)[:, None] * p[known]
            p = p.index_put((known,), given / self.totals[node][:, None])
        return p


def fit_ngram(
    sequences,
    weights=None,
    *,
    order=6,
    vocabulary=None,
    validation_fraction=0.1,
    random_state=None,
):
    """Choose order (1 to `order`) and discounts on held-out sequences, then count all of them.

    As in `LikelihoodGAN`, distinct sequences are held out, and a sequence of weight 2 is one that
    came twice.

    Returns
    -------
    SequenceDistribution
    """
    sequences, weights = check_weighed(sequences, weights)
    known = Vocabulary.from_sequences(sequences)
    if vocabulary is not None:
        known = Vocabulary(sort_symbols(vocabulary), known.text)
        check_known(known, sequences, "sequences")
    tokens = known.encode_rows(sequences)
    first, weights = count_distinct(tokens, weights)
    if len(first) < 2:
        raise ValueError(f"sequences must hold at least 2 distinct ones, got {len(first)}")
    tokens = tokens[first]
    shuffled = check_random_state(random_state).permutation(len(first))
    n_held_out = min(max(round(validation_fraction * len(first)), 1), len(first) - 1)
    held_out, used = np.sort(shuffled[:n_held_out]), np.sort(shuffled[n_held_out:])
    tried = try_orders(
        known.n_tokens,
        order,
        (tokens[used], weights[used]),
        (tokens[held_out], torch.from_numpy(weights[held_out])),
    )
    _, best = min(tried, key=lambda found: found[0])
    model = NGram(known.n_tokens, best.order, tokens, weights)
    with torch.no_grad():
        model.logits.copy_(best.logits)
    return SequenceDistribution(model.eval(), known, int(lengths(tokens).max()))


def try_orders(n_tokens, order, counted, held_out):
    """Return (held-out nats per sequence, model) of each order from 1 on, to the first no better."""
    tried = []
    for n in range(1, order + 1):
        model = NGram(n_tokens, n, *counted)
        tried.append((_fit_discounts(model, *held_out), model))
        if n > 1 and tried[-1][0] >= tried[-2][0]:
            break
    return tried


def _fit_discounts(model, tokens, weights):
    """Maximise the likelihood of held-out rows; return its negative in nats per sequence."""
    row, features = model.look_up(tokens)
    weights = (weights / weights.sum())[row]
    optimiser = torch.optim.LBFGS([model.logits], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        # far out the likelihood is flat in the logits, which only this term holds
        return -(weights * model.combine(features)).sum() + 1e-4 * model.logits.square().sum()

    def closure():
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)
    with torch.no_grad():
        return -float((weights * model.combine(features)).sum())


def _count(n_tokens, order, tokens, weights):
    """Return the tree of contexts and its counts as arrays; see `NGram`."""
    tokens = tokens.numpy()
    n_symbols = lengths(torch.from_numpy(tokens)).numpy()
    weights = np.ones(len(tokens)) if weights is None else np.asarray(weights, dtype=np.float64)
    row, place = (np.arange(tokens.shape[1]) <= n_symbols[:, None]).nonzero()
    symbol, weight = tokens[row, place].astype(np.int64), weights[row]
    read = np.pad(tokens, ((0, 0), (1, 0)))  # column `place` is what stands to the left
    node = np.zeros(len(row), dtype=np.int64)
    edges, pairs, counts = [], [], []
    n_nodes = 1
    for depth in range(order):
        if depth:
            alive = place >= depth - 1  # one start mark, and nothing before it
            row, place, symbol, weight = (x[alive] for x in (row, place, symbol, weight))
            edge = node[alive] * n_tokens + read[row, place - depth + 1]
            new, node = np.unique(edge, return_inverse=True)
            node += n_nodes
            n_nodes += len(new)
            edges.append(new)
        found, index = np.unique(node * n_tokens + symbol, return_inverse=True)
        pairs.append(found)
        counts.append(np.bincount(index, weights=weight, minlength=len(found)))
    edges = np.concatenate([np.zeros(0, dtype=np.int64), *edges])
    for depth in range(order - 1):  # Kneser-Ney: distinct symbols to the left, where there are any
        child, symbol = np.divmod(pairs[depth + 1], n_tokens)
        prolonged = edges[child - 1] // n_tokens * n_tokens + symbol
        n_left = np.bincount(np.searchsorted(pairs[depth], prolonged), minlength=len(pairs[depth]))
        context = pairs[depth] // n_tokens
        begins = (context > 0) & (edges[context - 1] % n_tokens == END) if depth else False
        counts[depth] = np.where(begins, counts[depth], n_left)
    pairs, counts = np.concatenate(pairs), np.concatenate(counts).astype(np.float64)
    context, kind = pairs // n_tokens, _class(torch.from_numpy(counts)).numpy()
    cut = np.bincount(
        context * N_CLASSES + kind,
        weights=np.minimum(counts, N_CLASSES),
        minlength=n_nodes * N_CLASSES,
    )
    return {
        "edges": edges,
        "pairs": pairs,
        "counts": counts,
        "first": np.searchsorted(pairs, np.arange(n_nodes + 1) * n_tokens),
        "totals": np.bincount(context, weights=counts, minlength=n_nodes),
        "cut_totals": cut.reshape(n_nodes, N_CLASSES),
    }


def _class(counts):
    return counts.ceil().clamp(1, N_CLASSES).long() - 1


def _find(keys, wanted, known):
    """Return places in a sorted list and whether `wanted` is there."""
    if len(keys) == 0:
        return torch.zeros_like(wanted), torch.zeros_like(known)
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return place, known & (keys[place] == wanted)
