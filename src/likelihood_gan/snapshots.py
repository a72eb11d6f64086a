"""The numbers of modules at one moment, by name: taken, and put back in place.

When that is, and what else belongs to the moment, is left to `fitting`.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from likelihood_gan.protocols import has_count


class Snapshot:
    """What epochs change of some modules, as it was after one of them.

    Attributes
    ----------
    epoch : int
        Which one that was.
    states : dict of str to dict of str to Tensor
        Parameters and buffers of each module by name.
    """

    def __init__(self, modules: Mapping[str, nn.Module], epoch: int):
        self.modules = modules
        self.take(epoch)

    @property
    def epoch(self) -> int:  # noqa: D102
        return self._taken[0]

    @property
    def states(self) -> dict[str, dict[str, Tensor]]:  # noqa: D102
        return self._taken[1]

    def take(self, epoch: int) -> None:
        """Copy everything, after an epoch."""
        states = {
            name: {key: value.detach().clone() for key, value in _changing(module)}
            for name, module in self.modules.items()
        }
        self._taken = epoch, states  # both at once, whenever Ctrl-C comes

    def restore(self) -> None:
        """Put everything back."""
        for name, module in self.modules.items():
            fill(name, dict(_changing(module)), self.states[name])


def all_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all parameters and buffers by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def _changing(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all but what was counted: no epoch changes that."""
    yield from module.named_parameters()
    for name, part_of_it in module.named_modules():
        if not has_count(part_of_it):
            yield from part_of_it.named_buffers(name, recurse=False)


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return what stands below a name."""
    start = f"{name}."
    return {
        key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)
    }


def fill(name: str, into: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into those of the same names.

    Raises
    ------
    ValueError
        If a name is missing on one side, or shapes differ; the message begins with `name`.
    """
    odd = tensors.keys() ^ into.keys()
    odd |= {key for key in tensors.keys() & into.keys() if tensors[key].shape != into[key].shape}
    if odd:
        raise ValueError(f"{name} is another one than that of the checkpoint: {sorted(odd)} differ")
    with torch.no_grad():
        for key, value in into.items():
            value.copy_(tensors[key])
