"""`Mixture`, the average of several generators.

How its members are trained is left to `training`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from sklearn.utils.metaestimators import available_if
from torch import Tensor, nn

from likelihood_gan.protocols import END, Generator, State, call_with_rng, has_step
from likelihood_gan.sampling import draw


class Mixture(nn.Module):
    """Weighted average of the distributions of several generators, Σ_k w_k p_k(x).

    `Mixture([gan.generator_ for gan in gans])` averages fitted estimators; fit them with the same
    `vocabulary`, so that their tokens mean the same.

    Parameters
    ----------
    generators : iterable of torch.nn.Module
        Generators over one vocabulary. They become parts of the mixture and are not copied.
    weights : sequence of float or None, default=None
        Non-negative, in any unit; None is equal weights. They are not trained.

    Notes
    -----
    `step` is there if all members have it. It gives the mixture's own next-symbol distribution: a
    member that made the beginning likely counts more, by Bayes' rule.
    """

    log_weights: Tensor

    def __init__(self, generators: Iterable[nn.Module], weights: Sequence[float] | None = None):
        super().__init__()
        members = list(generators)
        for member in members:
            if not isinstance(member, nn.Module) or not isinstance(member, Generator):
                raise TypeError(
                    f"generators holds a {type(member).__name__}, but needs torch.nn.Modules with "
                    "log_prob and sample, such as generator_ of a fitted LikelihoodGAN"
                )
        shares = torch.as_tensor([1] * len(members) if weights is None else weights).double()
        if not members or shares.shape != (len(members),):
            raise ValueError(
                "generators must hold at least one module and weights one number for each, got "
                f"{len(members)} generators and weights={weights}"
            )
        if not (shares.isfinite() & (shares >= 0)).all() or not shares.any():
            raise ValueError(
                f"weights must be finite, not negative and not all 0, got {weights}; pass None "
                "for equal weights"
            )
        self.arguments = {"generators": members, "weights": weights}
        self.generators: Any = nn.ModuleList(members)
        device = next((p.device for p in self.parameters()), None)
        self.register_buffer("log_weights", (shares / shares.sum()).log().float().to(device))

    def log_prob(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        log_probs = [_call(member.log_prob, tokens, rng=rng) for member in self.generators]
        return _logsumexp(torch.stack(log_probs, 1) + self.log_weights)

    def sample(self, n: int, max_len: int, *, rng: torch.Generator | None = None) -> Tensor:
        """Draw `n` rows of at most `max_len` tokens, the member of each row anew."""
        chosen = draw(self.log_weights.expand(n, -1), rng)
        tokens = torch.full((n, max_len), END, device=chosen.device)
        width = 0
        for k in chosen.unique().tolist():
            rows = (chosen == k).nonzero()[:, 0]
            drawn = _call(self.generators[k].sample, len(rows), max_len, rng=rng)
            tokens[rows, : drawn.shape[1]] = drawn
            width = max(width, drawn.shape[1])
        return tokens[:, :width]

    @available_if(lambda self: all(map(has_step, self.generators)))  # type: ignore[untyped-decorator]
    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens)."""
        if state is None:
            log_posterior = self.log_weights.expand(len(tokens), -1)  # (batch, members)
            states = [None] * len(self.generators)
        else:
            log_posterior, log_probs, states = state
            index = tokens[:, None, None].expand(-1, log_probs.shape[1], 1)
            log_joint = log_posterior + log_probs.gather(2, index)[:, :, 0]
            # once no member can have written the beginning, they count as at the start
            possible = (log_joint > -torch.inf).any(1, keepdim=True)
            log_posterior = torch.where(possible, log_joint, self.log_weights).log_softmax(1)
        steps = [m.step(tokens, s) for m, s in zip(self.generators, states, strict=True)]
        log_probs = torch.stack([values for values, _ in steps], 1)  # (batch, members, n_tokens)
        mixed = _logsumexp(log_probs + log_posterior[:, :, None])
        return mixed, (log_posterior, log_probs, [member_state for _, member_state in steps])


def _call(function: Callable[..., Tensor], *args: Any, rng: torch.Generator | None) -> Tensor:
    return function(*args) if rng is None else call_with_rng(function, *args, rng=rng)


def _logsumexp(values: Tensor) -> Tensor:
    """Sum over dimension 1; where all are -inf the gradient is 0, and not PyTorch's NaN."""
    possible = (values > -torch.inf).any(1)
    total = torch.where(possible[:, None], values, 0.0).logsumexp(1)
    return torch.where(possible, total, -torch.inf)
