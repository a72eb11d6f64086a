"""Where to compute, in which of PyTorch's modes, random numbers there, and how many threads pay.

What is computed is left to the callers.
"""

import copy
import itertools
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import nn

PARAMETERS_WORTH_THREADS = 2_000_000
"""Below, a second thread loses more beside another process than it could gain on idle cores."""
_ENTERING = threading.Lock()
_KINDS = "cpu", "cuda", "mps"


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device to compute on; one that cannot is replaced by the CPU with a warning.

    Some parts compute in float64, which Apple's GPUs ("mps") do not have.

    Raises
    ------
    TypeError, ValueError
        If it is not the name of a device.
    """
    remedy = "pass a name such as 'cpu', 'cuda' or 'cuda:1', or None"
    if device is None:
        device = torch.empty(0).device
    if not isinstance(device, (str, torch.device)):
        raise TypeError(f"device must be a str or a torch.device, got {device!r}; {remedy}")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is no device that PyTorch knows; {remedy}") from error
    try:
        torch.zeros(1, dtype=torch.float64, device=resolved).item()
    except (AssertionError, ImportError, NotImplementedError, RuntimeError, TypeError):
        warnings.warn(f"device={device!r} is not available here; using the CPU", stacklevel=3)
        return torch.device("cpu")
    return resolved


def device_of(module: object) -> torch.device:
    """Return where the weights of a module are, or its buffers; the CPU of anything else."""
    if not isinstance(module, nn.Module):
        return torch.device("cpu")
    first = next(itertools.chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def to_device(model: Any, device: torch.device) -> Any:
    """Return a model, a module moved to the device in place; anything else stays where it is."""
    return model.to(device) if isinstance(model, nn.Module) else model


def torch_rng(random_state: np.random.RandomState, device: str | torch.device) -> torch.Generator:
    """Return a source of randomness on a device, seeded by the next draw of `random_state`."""
    return torch.Generator(device).manual_seed(int(random_state.randint(2**31 - 1)))


def on_cpu(value: Any) -> Any:
    """Return a copy on the CPU of a module that is elsewhere, anything else as it is."""
    if isinstance(value, nn.Module) and device_of(value).type != "cpu":
        return copy.deepcopy(value).cpu()
    return value


@contextmanager
def own_modes() -> Iterator[None]:
    """Compute as if the caller had set no mode: with gradients, and what names no device on the CPU.

    Under `torch.no_grad` or `torch.inference_mode` nothing could be trained, under `torch.autocast` the
    weights hardly move: to round, `LikelihoodGAN` has a parameter, `precision`.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        if (
            torch.empty(0).device.type != "cpu"
        ):  # also that of a `with`, which older versions do not tell
            modes.enter_context(torch.device("cpu"))
        yield


@contextmanager
def computing(*modules: object) -> Iterator[None]:
    """Compute with the modules in modes of our own, and with as many threads as pay for them."""
    with own_modes(), limited_threads(*modules):
        yield


@contextmanager
def limited_threads(*modules: object) -> Iterator[None]:
    """Compute with one thread if the modules are too small for more; then with as many as before.

    Not for the body of a Python generator: one that is left unfinished would not put the number back.
    """
    # `torch.set_num_threads` sets the number of the calling thread, and the one with which every
    # thread begins that computes for the first time from then on; other threads keep theirs. So
    # each caller limits and restores itself, and a thread that is new sets back at once with how
    # many others begin. Meanwhile no caller may ask for its own number, which it may do first here.
    with _ENTERING:
        before = torch.get_num_threads()
    if before == 1 or not _are_small(modules):
        yield
        return
    try:
        with _ENTERING:
            torch.set_num_threads(1)
            new = threading.Thread(target=torch.set_num_threads, args=(before,))
            with suppress(RuntimeError):  # no thread can be started, as when the interpreter ends
                new.start()
                new.join()
        yield
    finally:
        torch.set_num_threads(before)


def _are_small(modules: tuple[object, ...]) -> bool:
    """Tell whether all is on the CPU, and has too few parameters for threads to pay.

    None counts for nothing; what computes in another way than a module may be of any size.
    """
    size = 0
    for module in modules:
        if module is None:
            continue
        if not isinstance(module, nn.Module) or device_of(module).type != "cpu":
            return False
        size += sum(parameter.numel() for parameter in module.parameters())
    return size < PARAMETERS_WORTH_THREADS
