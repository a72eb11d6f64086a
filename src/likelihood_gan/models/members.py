"""`Members`, what generators that are made of generators have in common.

How they are put together is left to `mixture` and `product`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from sklearn.utils.metaestimators import available_if
from torch import Tensor, nn

from likelihood_gan.protocols import Generator, call_with_rng


class Members(nn.Module):
    """Generators over one vocabulary as parts of another; they are not copied."""

    def __init__(self, generators: Iterable[nn.Module]):
        super().__init__()
        members = list(generators)
        for member in members:
            if not isinstance(member, nn.Module) or not isinstance(member, Generator):
                raise TypeError(
                    f"generators holds a {type(member).__name__}, but needs torch.nn.Modules with "
                    "log_prob and sample, such as generator_ of a fitted LikelihoodGAN"
                )
        self.generators: Any = nn.ModuleList(members)

    @available_if(lambda self: bool(self._counting()))  # type: ignore[untyped-decorator]
    def count(self, tokens: Tensor, weights: Tensor) -> None:
        """Let every member that counts do so once; see `CountingGenerator`."""
        for member in self._counting():
            member.count(tokens, weights)

    def _counting(self) -> list[Any]:
        """Return the members that count, also those of members, each once."""
        found: dict[Any, None] = {}
        for member in self.generators:
            if isinstance(member, Members):
                found |= dict.fromkeys(member._counting())
            elif callable(getattr(member, "count", None)):
                found[member] = None
        # what stands inside another one is counted by it
        inside = {part for member in found for part in member.modules() if part is not member}
        return [member for member in found if member not in inside]

    def _one_for_each(self, name: str, numbers: Sequence[float] | None) -> Tensor:
        """Return the argument `name`, not negative and (members,), as float64; None is ones."""
        n = len(self.generators)
        try:
            values = torch.as_tensor([1] * n if numbers is None else numbers).double()
        except (RuntimeError, TypeError, ValueError) as error:
            raise TypeError(
                f"{name} must be a sequence of numbers or None, got {numbers!r}"
            ) from error
        if not n or values.shape != (n,):
            raise ValueError(
                f"generators must hold at least one module and {name} one number for each, got "
                f"{n} generators and {name}={numbers}"
            )
        if not (values.isfinite() & (values >= 0)).all() or not values.any():
            raise ValueError(
                f"{name} must be finite, not negative and not all 0, got {numbers}; pass None "
                f"for equal {name}"
            )
        device = next((p.device for p in self.parameters()), None)
        return values.to(device)


def call(function: Callable[..., Tensor], *args: Any, rng: torch.Generator | None) -> Tensor:
    """Call a method of a member, with the random numbers of `rng` if there is one."""
    return function(*args) if rng is None else call_with_rng(function, *args, rng=rng)
