"""From parameters to a module: named as scikit-learn does, built or copied, and tried out once.

Training the module is left to `training`.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import nn

from likelihood_gan.corpus import Corpus
from likelihood_gan.devices import on_cpu, resolve_device
from likelihood_gan.objectives import OBJECTIVES, Objective
from likelihood_gan.protocols import (
    GeneratorModule,
    call_with_rng,
    checked_sample,
    has_count,
    has_parameters,
)
from likelihood_gan.scoring import evaluating, log_probs, logits
from likelihood_gan.training import try_objective

MODULES = ("generator", "discriminator")
"""The parameters that are modules."""


class ModuleParameters:
    """Mixin of an estimator with modules: ``generator__hidden_size`` is in ``generator_params``."""

    generator: Any
    pretrain_epochs: int
    adversarial_epochs: int
    warm_start: bool
    device: str | torch.device | None
    distribution_: Any
    discriminator_: Any
    _builders: ClassVar[Mapping[str, Callable[..., Any]]]
    """What builds a module that is not given."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; if `deep`, those of the modules as ``generator__...``, too."""
        params: dict[str, Any] = super().get_params(deep)  # type: ignore[misc]
        for name in MODULES if deep else ():
            arguments = params[f"{name}_params"]
            if isinstance(arguments, Mapping):
                params |= {f"{name}__{key}": value for key, value in arguments.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``generator__hidden_size`` is that entry of ``generator_params``."""
        prefixes = tuple(f"{name}__" for name in MODULES)
        own = {key: value for key, value in params.items() if not key.startswith(prefixes)}
        for name in MODULES:
            for key in own:
                if key.startswith(f"{name}_params__"):
                    argument = key.partition("__")[2]
                    raise ValueError(f"{key} is no parameter; write {name}__{argument}")
        super().set_params(**own)  # type: ignore[misc]
        for key in (key for key in params if key not in own):
            name, _, argument = key.partition("__")
            arguments = getattr(self, f"{name}_params") or {}
            if argument not in arguments or arguments[argument] is not params[key]:
                setattr(self, f"{name}_params", {**arguments, argument: params[key]})
        return self

    def _fitted(self, name: str) -> Any:
        """Return an attribute of the previous fit if this one is to start from it, else None."""
        return getattr(self, name, None) if self.warm_start else None

    def _make_modules(
        self, judging: bool, n_tokens: int, rng: torch.Generator, device: torch.device
    ) -> tuple[Any, Any]:
        """Return the generator, and the discriminator if there is judging and someone to learn from it."""
        generator = self._make_module("generator", n_tokens, rng, device)
        given = isinstance(self.generator, nn.Module) or self._fitted("distribution_") is not None
        if self.pretrain_epochs + self.adversarial_epochs == 0 and not given | has_count(generator):
            raise ValueError(
                "pretrain_epochs and adversarial_epochs are both 0: nothing would be trained; pass a "
                "trained module as generator, or train"
            )
        if not judging or not has_parameters(generator):
            return generator, None
        return generator, self._make_module("discriminator", n_tokens, rng, device)

    def _make_module(
        self, name: str, n_tokens: int, rng: torch.Generator, device: torch.device
    ) -> Any:
        """Build the generator or the discriminator, or copy that of the previous fit."""
        fitted = self._fitted(name + "_")
        if fitted is not None:
            return copy.deepcopy(fitted).to(device)
        given = getattr(self, name)
        builder = self._builders[name] if given is None else given
        params = getattr(self, name + "_params") or {}
        return build_module(name, builder, params, n_tokens, rng).to(device)

    # Where they are computed

    def _finish_reading(self) -> None:
        self._move()

    def __getstate__(self) -> dict[str, Any]:
        # CPU copies: a pickle with CUDA tensors cannot be opened on a machine without CUDA
        state: Any = super().__getstate__()
        return {key: on_cpu(value) for key, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        self._move()

    def _move(self) -> None:
        """Put what was read on the CPU where it is to be computed."""
        if hasattr(self, "distribution_"):
            device = resolve_device(self.device)
            for module in (self.distribution_.generator, self.discriminator_):
                if isinstance(module, nn.Module):
                    module.to(device)


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
    _check_signature(name, builder, params)
    module: Any = call_with_rng(functools.partial(builder, **params), n_tokens, rng=rng)
    if not isinstance(module, nn.Module):
        raise TypeError(f"{name} must build a torch.nn.Module, got {type(module).__name__}")
    return module


def _check_signature(name: str, builder: Any, params: Mapping[str, Any]) -> None:
    """Raise TypeError if a callable has no such parameters."""
    try:
        signature = inspect.signature(builder)
    except (TypeError, ValueError):  # some builtin types have none
        return
    try:
        signature.bind(0, **params)
    except TypeError as error:
        known = [p for p in list(signature.parameters)[1:] if p != "rng"]
        raise TypeError(
            f"{name}_params={dict(params)} does not fit {name}={builder!r}: {error}; "
            f"its parameters are {known}"
        ) from error


def try_out(
    generator: GeneratorModule,
    discriminator: nn.Module | None,
    corpus: Corpus,
    n_tokens: int,
    objective: Objective,
    rng: torch.Generator,
) -> None:
    """Call the modules and the objective once, so that a broken promise is found before training."""
    for method in ("log_prob", "sample"):
        if not callable(getattr(generator, method, None)):
            raise TypeError(f"generator {type(generator).__name__} has no method {method}")
    if not has_parameters(generator) and not has_count(generator):
        raise ValueError(
            f"generator {type(generator).__name__} has no parameters to train and no method count; "
            "one that is finished needs no fit: see SequenceDistribution"
        )
    if discriminator is not None and not has_parameters(discriminator):
        raise ValueError(f"discriminator {type(discriminator).__name__} has no parameters to train")
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
    if type(objective) not in OBJECTIVES.values() and has_parameters(generator):
        try_objective(objective, generator, discriminator, corpus)
