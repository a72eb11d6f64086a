"""`Members`, what generators that are made of generators have in common.

How they are put together is left to `mixture` and `product`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from sklearn.utils.metaestimators import available_if
from torch import Tensor, nn

from likelihood_gan.protocols import Generator, call_with_rng, has_count, require_generator


class Members(nn.Module):
    """Generators over one vocabulary as parts of another; they are not copied."""

    def __init__(self, generators: Iterable[Generator]):
        super().__init__()
        self.generators: Any = _Parts(generators)

    @available_if(lambda self: bool(self._counting()))  # type: ignore[untyped-decorator]
    def count(self, tokens: Tensor, weights: Tensor) -> None:
        """Let every member that counts do so once; see `CountingGenerator`."""
        for member in self._counting():
            member.count(tokens, weights)

    def _counting(self) -> list[Any]:
        """Return the members that count, also those of members, each once."""
        # by identity: a dataclass may be equal to another one, or have no hash
        found: dict[int, Any] = {}
        for member in self.generators:
            if isinstance(member, Members):
                found |= {id(part): part for part in member._counting()}
            elif has_count(member):
                found[id(member)] = member
        # what stands inside another one is counted by it
        modules = [member for member in found.values() if isinstance(member, nn.Module)]
        inside = {id(part) for member in modules for part in member.modules() if part is not member}
        return [member for key, member in found.items() if key not in inside]

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
                f"generators must hold at least one model and {name} one number for each, got "
                f"{n} generators and {name}={numbers}"
            )
        if not (values.isfinite() & (values >= 0)).all() or not values.any():
            raise ValueError(
                f"{name} must be finite, not negative and not all 0, got {numbers}; pass None "
                f"for equal {name}"
            )
        device = next((p.device for p in self.parameters()), None)
        return values.to(device)


class _Parts(nn.Module):
    """A list of modules and others; the modules are parts of what has the list."""

    def __init__(self, members: Iterable[Generator]):
        super().__init__()
        self.others: dict[str, Any] = {}
        for k, member in enumerate(members):
            require_generator(member, f"generators[{k}]")
            if isinstance(member, nn.Module):
                self.add_module(str(k), member)
            else:
                self.others[str(k)] = member

    def __len__(self) -> int:
        return len(self._modules) + len(self.others)

    def __getitem__(self, k: int) -> Any:
        return (self.others if str(k) in self.others else self._modules)[str(k)]

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))


def call(function: Callable[..., Tensor], *args: Any, rng: torch.Generator | None) -> Tensor:
    """Call a method of a member, with the random numbers of `rng` if there is one."""
    return function(*args) if rng is None else call_with_rng(function, *args, rng=rng)
