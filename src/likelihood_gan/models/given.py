"""`Given`, what a generator writes after a first symbol, with some symbols forbidden.

What the first symbol means is left to `conditional`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from likelihood_gan.devices import device_of
from likelihood_gan.protocols import State, StepGenerator, by_steps
from likelihood_gan.sampling import Autoregressive, log_prob_of, next_log_probs


class Given(Autoregressive, nn.Module):
    """What a generator writes after a first symbol, if it writes only some symbols from there on.

    The next symbol is drawn from those that are allowed, with the probabilities of the generator
    divided by their sum. So it is normalised, whatever the generator would do with the others.

    Parameters
    ----------
    joint : torch.nn.Module
        A generator with `step`; it is not copied.
    first : int
        Its token of the first symbol.
    allowed : sequence of int
        Its tokens of those that may follow. Their places, counted from 1, are the tokens here.
    """

    allowed: Tensor

    def __init__(self, joint: StepGenerator, first: int, allowed: Sequence[int]):
        super().__init__()
        self.arguments = {"joint": joint, "first": first, "allowed": list(allowed)}
        self.joint: Any = joint
        self.first = first
        tokens = torch.tensor([0, *allowed], device=device_of(joint))
        self.register_buffer("allowed", tokens, persistent=False)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens)."""
        if state is None:
            _, known = self.joint.step(tokens, None)
            log_probs, known = self.joint.step(torch.full_like(tokens, self.first), known)
        else:
            log_probs, known = self.joint.step(self.allowed[tokens], *state)
        # a tuple, since a generator that remembers nothing returns None
        return log_probs[:, self.allowed].log_softmax(-1), (known,)

    @by_steps
    def log_prob(self, tokens: Tensor) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        return log_prob_of(self.next_log_probs(tokens), tokens)

    def next_log_probs(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of every next symbol, (batch, time) -> (batch, time, n_tokens)."""
        rows = nn.functional.pad(self.allowed[tokens], (1, 0), value=self.first)
        return next_log_probs(self.joint, rows)[:, 1:, self.allowed].log_softmax(-1)
