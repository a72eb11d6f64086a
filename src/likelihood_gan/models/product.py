"""`Product`, several generators that vote on every symbol.

How its members are trained is left to `training`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from likelihood_gan.devices import computing
from likelihood_gan.models.members import Members, call
from likelihood_gan.protocols import END, Generator, State, by_steps, has_step
from likelihood_gan.sampling import Autoregressive, log_prob_of, next_log_probs
from likelihood_gan.scoring import evaluating

MOST = 10.0
"""Largest exponent that is tried: of rows that are always likeliest the likelihood has no maximum."""
_LEAST = 1e-6  # the smallest one with which a member still forbids symbols
_ROWS_PER_BLOCK = 1024


class Product(Autoregressive, Members):
    """Product of several generators, symbol by symbol: a product of experts that is normalised.

        p(w | past) ∝ Π_k p_k(w | past)^a_k.

    Members of different kinds, such as an LSTM and an `NGram`, make different mistakes, and a symbol
    is likely here only if none of them finds it unlikely. The exponents are best chosen on sequences
    that no member has seen, by `fit_exponents`.

    Parameters
    ----------
    generators : iterable of StepGenerator
        Any generators with `step`, over one vocabulary. They become parts of the product and are not
        copied. A member that is itself a product is taken apart, which changes nothing; so what
        stands in several of them is computed once.
    exponents : sequence of float or None, default=None
        Not negative; None is 1/n for each of n members. They are not trained by gradients.

    Notes
    -----
    A symbol that a member cannot write has probability 0. A member of exponent 0 does not count. If
    no symbol is left, all are alike.

    `count` is there if a member counts, such as `NGram`.

    References
    ----------
    Hinton (2002), "Training products of experts by minimizing contrastive divergence". There the
    product is over whole sequences, and its normaliser unknown; here it is over symbols, and exact.
    """

    exponents: Tensor

    def __init__(self, generators: Iterable[Generator], exponents: Sequence[float] | None = None):
        super().__init__(generators)
        for member in self.generators:
            if not has_step(member):
                raise TypeError(
                    f"generators holds a {type(member).__name__} without step(tokens, state), the "
                    "distribution of the next symbol, which a product needs; a Mixture does not"
                )
        values = self._one_for_each("exponents", exponents)
        if exponents is None:
            values = values / len(values)
        self.arguments = {"generators": list(self.generators), "exponents": exponents}
        self.register_buffer("exponents", values.float())

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens)."""
        factors, exponents = zip(*self._factors(), strict=True)
        states = [None] * len(factors) if state is None else state
        steps = [factor.step(tokens, s) for factor, s in zip(factors, states, strict=True)]
        log_probs = [values for values, _ in steps]
        return _multiply(log_probs, exponents), [factor_state for _, factor_state in steps]

    @by_steps
    def log_prob(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        return log_prob_of(self.next_log_probs(tokens, rng), tokens)

    def next_log_probs(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probabilities of every next symbol, (batch, time) -> (batch, time, n_tokens)."""
        factors, exponents = zip(*self._factors(), strict=True)
        return _multiply([_table(factor, tokens, rng) for factor in factors], exponents)

    def fit_exponents(self, tokens: Tensor, weights: Tensor | None = None) -> Self:
        """Choose the exponents that maximise the likelihood of rows which no member has seen.

        The logarithm of the likelihood is concave in them, so there is one maximum. All next-symbol
        distributions of the rows are computed once, in evaluation mode, and kept meanwhile. A
        member that cannot write one of the rows gets 0, and none gets more than 10.

        Parameters
        ----------
        tokens : Tensor
            (n, time), for instance held-out rows; a few hundred are enough.
        weights : Tensor, optional
            (n,), not negative; equal if missing.

        Returns
        -------
        Product
            Itself.

        Raises
        ------
        ValueError
            If there is no row, weights do not fit, or every member finds some row impossible.
        """
        shares = torch.ones(len(tokens)) if weights is None else weights
        shares = shares.detach().cpu().double()
        if shares.shape != (len(tokens),) or not (shares >= 0).all() or not shares.sum() > 0:
            raise ValueError(
                "weights must hold a number for each row, not negative and not all 0, got shape "
                f"{tuple(shares.shape)} for {len(tokens)} rows"
            )
        used = shares > 0
        tokens, shares = tokens[used.to(tokens.device)], (shares / shares.sum())[used]
        there = pad(tokens[:, :-1] != END, (1, 0), value=True)  # symbols, and each first END
        exponents = _best_exponents(
            self._tables(tokens, there),
            tokens[there].cpu(),
            shares[there.nonzero()[:, 0].cpu()],
        )
        self.exponents = exponents.to(self.exponents)
        return self

    def _factors(self) -> list[tuple[Any, float]]:
        """Return the distinct generators that have a vote, none a product, and their exponents."""
        found: dict[int, tuple[Any, float]] = {}  # by identity, as in `Members._counting`
        for member, exponent in zip(self.generators, self.exponents.tolist(), strict=True):
            for part, share in _parts(member):
                _, before = found.get(id(part), (part, 0.0))
                found[id(part)] = part, before + exponent * share
        # if all are 0, the first still tells the number of symbols
        return [factor for factor in found.values() if factor[1] > 0] or [*found.values()][:1]

    def _tables(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Return what each member says where it is `there`, float64: (members, places, n_tokens)."""
        members = [_parts(member) for member in self.generators]
        blocks = []
        with computing(self), torch.no_grad(), evaluating(self):
            for rows, here in zip(
                tokens.split(_ROWS_PER_BLOCK), there.split(_ROWS_PER_BLOCK), strict=True
            ):
                distinct = {id(part): part for parts in members for part, _ in parts}
                known = {
                    key: _table(part, rows, None)[here].cpu().double()
                    for key, part in distinct.items()
                }
                tables = [
                    _multiply([known[id(p)] for p, _ in parts], [a for _, a in parts])
                    for parts in members
                ]
                blocks.append(torch.stack(tables))
        return torch.cat(blocks, 1)


def _parts(member: Any) -> list[tuple[Any, float]]:
    # a product's normaliser is the same for all symbols, so that of another one cancels it
    return member._factors() if type(member) is Product else [(member, 1.0)]


def _table(generator: Any, tokens: Tensor, rng: torch.Generator | None) -> Tensor:
    own = getattr(generator, "next_log_probs", None)
    return call(own or partial(next_log_probs, generator), tokens, rng=rng)


def _multiply(log_probs: Sequence[Tensor], exponents: Iterable[float]) -> Tensor:
    """Multiply distributions over the last dimension; what is impossible has no gradient."""
    total = torch.zeros_like(log_probs[0])
    possible = torch.ones_like(total, dtype=torch.bool)
    for values, exponent in zip(log_probs, exponents, strict=True):
        if exponent > 0:
            known = values > -torch.inf
            total = total + exponent * torch.where(known, values, 0.0)
            possible = possible & known
    total = total.masked_fill(~possible, -torch.inf)
    return torch.where(possible.any(-1, keepdim=True), total, 0.0).log_softmax(-1)


def _best_exponents(tables: Tensor, symbols: Tensor, shares: Tensor) -> Tensor:
    """Maximise the likelihood of symbols (places,) with weights, by what members say: (members,)."""
    places = torch.arange(len(symbols))
    writes = (tables[:, places, symbols] > -torch.inf).all(1)
    if not writes.any():
        raise ValueError(
            "tokens hold rows that no product can write: every member gives some row probability "
            "0; leave those rows out, or add a member that can write them all"
        )
    impossible = tables[writes] == -torch.inf
    forbidden = impossible.any(0)
    values = tables[writes].masked_fill(impossible, 0.0)
    chosen = values[:, places, symbols] @ shares

    def nats(exponents: Tensor) -> tuple[float, Tensor, Tensor]:
        # an exponential family: means and covariances under it are the derivatives
        scores = torch.tensordot(exponents, values, 1).masked_fill(forbidden, -torch.inf)
        log_p = scores.log_softmax(1)
        p = log_p.exp()
        mean = (values * p).sum(2)
        square = (values * (p * shares[:, None])).flatten(1) @ values.flatten(1).T
        covariance = square - (mean * shares) @ mean.T
        return -float(log_p[places, symbols] @ shares), mean @ shares - chosen, covariance

    least = torch.where(impossible.flatten(1).any(1), _LEAST, 0.0).double()
    exponents = torch.zeros(len(writes), dtype=torch.float64)
    exponents[writes] = _minimise(nats, torch.full_like(least, 1 / len(least)), least)
    return exponents


def _minimise(
    function: Callable[[Tensor], tuple[float, Tensor, Tensor]], x: Tensor, least: Tensor
) -> Tensor:
    """Minimise a convex function of few numbers, from `least` to MOST, by Newton's method.

    The function also gives its gradient and its Hessian.
    """
    most = torch.full_like(x, MOST)
    for _ in range(100):
        value, gradient, hessian = function(x)
        free = ~((x <= least) & (gradient > 0) | (x >= most) & (gradient < 0))
        if not (gradient[free].abs() > 1e-9).any():
            break
        square = hessian[free][:, free]
        square = square + 1e-9 * square.trace() * torch.eye(len(square), dtype=x.dtype)
        newton = torch.zeros_like(x)
        newton[free] = torch.linalg.lstsq(square, gradient[free, None]).solution[:, 0]
        # beside a bound Newton's step may not lead down; a short one along the gradient does
        steps = [step / 2**i for step in (newton, gradient) for i in range(40)]
        tried = (torch.clamp(x - step, least, most) for step in steps)
        lower = next((y for y in tried if function(y)[0] < value), None)
        if lower is None:
            break  # as exact as the value is
        x = lower
    return x
