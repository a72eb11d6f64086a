"""`Mixture`, the average of several generators.

How its members are trained is left to `training`.
"""

from collections.abc import Iterable, Sequence

import torch
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from likelihood_gan.models.members import Members, call
from likelihood_gan.protocols import END, Generator, State, has_step
from likelihood_gan.sampling import draw


class Mixture(Members):
    """Weighted average of the distributions of several generators, Σ_k w_k p_k(x).

    `Mixture([gan.generator_ for gan in gans])` averages fitted estimators; fit them with the same
    `vocabulary`, so that their tokens mean the same.

    Parameters
    ----------
    generators : iterable of Generator
        Any objects with `log_prob` and `sample`, over one vocabulary. They become parts of the mixture
        and are not copied.
    weights : sequence of float or None, default=None
        Non-negative, in any unit; None is equal weights. They are not trained.

    Notes
    -----
    `step` is there if all members have it. It gives the mixture's own next-symbol distribution: a
    member that made the beginning likely counts more, by Bayes' rule. `count` is there if a member
    counts, such as `NGram`.
    """

    log_weights: Tensor

    def __init__(self, generators: Iterable[Generator], weights: Sequence[float] | None = None):
        super().__init__(generators)
        shares = self._one_for_each("weights", weights)
        self.arguments = {"generators": list(self.generators), "weights": weights}
        self.register_buffer("log_weights", (shares / shares.sum()).log().float())

    def log_prob(self, tokens: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        log_probs = [call(member.log_prob, tokens, rng=rng) for member in self.generators]
        return _logsumexp(torch.stack(log_probs, 1) + self.log_weights)

    def sample(self, n: int, max_len: int, *, rng: torch.Generator | None = None) -> Tensor:
        """Draw `n` rows of at most `max_len` tokens, the member of each row anew."""
        chosen = draw(self.log_weights.expand(n, -1), rng)
        tokens = torch.full((n, max_len), END, device=chosen.device)
        width = 0
        for k in chosen.unique().tolist():
            rows = (chosen == k).nonzero()[:, 0]
            drawn = call(self.generators[k].sample, len(rows), max_len, rng=rng)
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


def _logsumexp(values: Tensor) -> Tensor:
    """Sum over dimension 1; where all are -inf the gradient is 0, and not PyTorch's NaN."""
    possible = (values > -torch.inf).any(1)
    total = torch.where(possible[:, None], values, 0.0).logsumexp(1)
    return torch.where(possible, total, -torch.inf)
