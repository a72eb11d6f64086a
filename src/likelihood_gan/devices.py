"""Where to compute, and random numbers there.

What is computed is left to the callers.
"""

import copy
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device to compute on; a missing one is replaced by the CPU with a warning."""
    if device is None:
        return torch.get_default_device()
    resolved = torch.device(device)
    if resolved.type == "cuda" and not torch.cuda.is_available():
        warnings.warn(f"device={device!r} is not available here; using the CPU", stacklevel=3)
        return torch.device("cpu")
    return resolved


def device_of(module: object) -> torch.device:
    """Return where the weights of a module are; the CPU if it has none."""
    parameters = module.parameters() if isinstance(module, nn.Module) else iter(())
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device


def torch_rng(random_state: np.random.RandomState, device: str | torch.device) -> torch.Generator:
    """Return a source of randomness on a device, seeded by the next draw of `random_state`."""
    return torch.Generator(device).manual_seed(int(random_state.randint(2**31 - 1)))


def on_cpu(value: Any) -> Any:
    """Return a copy on the CPU of a module that is elsewhere, anything else as it is."""
    if isinstance(value, nn.Module) and device_of(value).type != "cpu":
        return copy.deepcopy(value).cpu()
    return value
