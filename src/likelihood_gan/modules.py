"""From a parameter to a module: built or copied, tried out once, and put on a device.

Training the module is left to `training`.
"""

import copy
import functools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from likelihood_gan.corpus import Corpus
from likelihood_gan.protocols import GeneratorModule, call_with_rng, checked_sample
from likelihood_gan.training import evaluating, log_probs, logits


def build_module(
    name: str, builder: Any, params: Mapping[str, Any], n_tokens: int, rng: torch.Generator
) -> Any:
    """Copy a module, or call what builds one: ``builder(n_tokens, **params)``.

    Raises
    ------
    TypeError, ValueError
        If the parameter `name` is neither a module nor a callable that builds one, or the module
        cannot be copied.
    """
    if isinstance(builder, nn.Module):
        if params:
            raise ValueError(
                f"{name}_params={dict(params)} needs {name} to be a callable, got a module"
            )
        try:
            return copy.deepcopy(builder)
        except Exception as error:
            raise ValueError(
                f"{name} {type(builder).__name__} cannot be deep-copied ({error}); pass a callable "
                "that builds it"
            ) from error
    if not callable(builder):
        raise TypeError(f"{name} must be a torch.nn.Module or a callable, got {builder!r}")
    module: Any = call_with_rng(functools.partial(builder, **params), n_tokens, rng=rng)
    if not isinstance(module, nn.Module):
        raise TypeError(f"{name} must build a torch.nn.Module, got {type(module).__name__}")
    return module


def try_out(
    generator: GeneratorModule,
    discriminator: nn.Module | None,
    corpus: Corpus,
    n_tokens: int,
    rng: torch.Generator,
) -> None:
    """Call the modules once, so that a broken promise is found before training."""
    for method in ("log_prob", "sample"):
        if not callable(getattr(generator, method, None)):
            raise TypeError(f"generator {type(generator).__name__} has no method {method}")
    for name, module in {"generator": generator, "discriminator": discriminator}.items():
        if module is not None and not any(p.requires_grad for p in module.parameters()):
            raise ValueError(f"{name} {type(module).__name__} has no parameters to train")
    tokens = corpus.tokens[:8].clone()
    tokens[0, 0] = n_tokens - 1
    try:
        log_probs(generator, tokens, rng)
        if discriminator is not None:
            logits(discriminator, tokens, rng)
    except (IndexError, RuntimeError) as error:
        raise ValueError(
            f"generator or discriminator failed on tokens from 0 to {n_tokens - 1}: {error}; "
            f"was it built for n_tokens={n_tokens}?"
        ) from error
    with torch.no_grad(), evaluating(generator):
        sample = call_with_rng(generator.sample, 2, corpus.width, rng=rng)
    checked_sample(sample, 2, corpus.width, n_tokens)


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device to compute on; a missing one is replaced by the CPU with a warning."""
    if device is None:
        return torch.get_default_device()
    resolved = torch.device(device)
    if resolved.type == "cuda" and not torch.cuda.is_available():
        warnings.warn(f"device={device!r} is not available here; using the CPU", stacklevel=3)
        return torch.device("cpu")
    return resolved


def torch_rng(random_state: np.random.RandomState, device: str | torch.device) -> torch.Generator:
    """Return a source of randomness on a device, seeded by the next draw of `random_state`."""
    return torch.Generator(device).manual_seed(int(random_state.randint(2**31 - 1)))


def device_of(module: nn.Module) -> torch.device:
    """Return where the weights of a module are."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def on_cpu(value: Any) -> Any:
    """Return a copy on the CPU of a module that is elsewhere, anything else as it is."""
    if isinstance(value, nn.Module) and device_of(value).type != "cpu":
        return copy.deepcopy(value).cpu()
    return value
