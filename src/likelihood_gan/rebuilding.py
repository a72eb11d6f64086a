"""Modules from arguments and weights that were read: nothing large is made before these fit together.

How arguments and weights are read is left to `decoding`, what a module is to its class.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from likelihood_gan.bundled import check_names
from likelihood_gan.huggingface import CausalLM, outline
from likelihood_gan.models import CharLSTM, LSTMDiscriminator, NGram, ResidualLSTM
from likelihood_gan.models.given import Given
from likelihood_gan.models.members import Members


def rebuild(
    cls: Any, arguments: Mapping[str, Any], weights: Mapping[str, Tensor], parts: Iterable[Any]
) -> nn.Module:
    """Build a module of the package, and give it weights.

    `parts` are modules that were built before, of which it may be made.

    Raises
    ------
    TypeError, ValueError
        If the arguments are none of its class, or weights have other names, shapes or types than these
        imply. No memory was taken for a module of other shapes.
    """
    if not issubclass(cls, (Members, Given)):
        _check_outline(cls, arguments, weights)
    with torch.random.fork_rng(devices=[]):  # initial weights are thrown away
        module: nn.Module = cls(**arguments).eval()
    known = {id(part) for part in parts}
    built = tuple(f"{name}." for name, part in module.named_modules() if name and id(part) in known)
    _compare(module, weights, built)
    n_tokens_of(module)
    fill(module, {**module.state_dict(), **weights})
    return module


def fill(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a module weights, in the precision that they have.

    Raises
    ------
    RuntimeError
        If their names or shapes are not its own.
    """
    for key, own in module.state_dict(keep_vars=True).items():
        found = weights.get(key, own)
        if found.dtype != own.dtype and found.is_floating_point() and own.is_floating_point():
            own.data = own.data.to(found.dtype)
    module.load_state_dict(weights)


def n_tokens_of(module: Any) -> int | None:
    """Return the number of tokens of a module of the package, None of another one.

    Raises
    ------
    ValueError
        If it is made of modules that have no such tokens.
    """
    if isinstance(module, Given):
        n, used = n_tokens_of(module.joint), [module.first, *module.allowed.tolist()]
        if n is not None and not (0 <= min(used) and max(used) < n):
            raise ValueError(f"first and allowed must be tokens below {n}, got {used}")
        return len(module.allowed)
    if isinstance(module, Members):
        found = {n_tokens_of(member) for member in module.generators} - {None}
        if len(found) > 1:
            raise ValueError(f"generators have different numbers of tokens: {found}")
        return found.pop() if found else None
    if isinstance(module, CausalLM):
        return module.n_tokens
    if type(module) in (CharLSTM, LSTMDiscriminator, NGram, ResidualLSTM):
        return int(module.arguments["n_tokens"])
    return None


def _check_outline(cls: Any, arguments: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Compare weights with those of the same module without memory."""
    n_layers, order = arguments.get("n_layers", 0), arguments.get("order")
    if n_layers > len(weights):
        raise ValueError(f"n_layers is {n_layers}, but there are {len(weights)} weights")
    lengths = [len(value) for name, value in weights.items() if name.endswith("discounts")]
    if order is not None and lengths != [order]:
        raise ValueError(f"order is {order}, but discounts are for {lengths}")
    if issubclass(cls, CausalLM):
        module = outline(arguments, len(weights))
    else:
        with torch.device("meta"):
            module = cls(**arguments)
    _compare(module, weights)


def _counted(module: nn.Module) -> Collection[str]:
    """Name what is as long as what was counted."""
    return {
        f"{name}.{key}".removeprefix(".")
        for name, part in module.named_modules()
        if isinstance(part, NGram)
        for key, _ in part.named_buffers(recurse=False)
    }


def _compare(
    module: nn.Module, weights: Mapping[str, Tensor], left_out: tuple[str, ...] = ()
) -> None:
    """Raise ValueError if weights have other names, shapes or types than those of a module.

    What was counted has any length. Parameters may all be of another precision, or all buffers of one.
    """
    expected = {k: v for k, v in module.state_dict().items() if not k.startswith(left_out)}
    check_names(weights, expected)
    counted = _counted(module)
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    precisions: dict[tuple[bool, torch.dtype], torch.dtype] = {}
    for name, own in expected.items():
        found, wanted = weights[name], own.dtype
        if found.is_floating_point() and own.is_floating_point():
            wanted = precisions.setdefault((name in parameters, own.dtype), found.dtype)
        if found.dtype != wanted:
            raise ValueError(f"{name} must be of type {wanted}, got {found.dtype}")
        if found.shape != own.shape and name not in counted:
            raise ValueError(f"{name} must be of shape {tuple(own.shape)}, got {found.shape}")
