"""From parameters to a model: named as scikit-learn does, built or copied, and tried out once.

Training the model is left to `training`.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import nn

from likelihood_gan.corpus import Corpus
from likelihood_gan.devices import on_cpu, resolve_device, to_device
from likelihood_gan.laws import (
    DISCRIMINATOR_LAWS,
    GENERATOR_LAWS,
    Budget,
    Trial,
    coarse_weights,
    require,
)
from likelihood_gan.models import CharLSTM, LSTMDiscriminator, NGram, ResidualLSTM
from likelihood_gan.objectives import OBJECTIVES, Objective
from likelihood_gan.protocols import (
    Generator,
    call_with_rng,
    checked_sample,
    has_count,
    has_parameters,
    is_generator,
    require_generator,
)
from likelihood_gan.scoring import evaluating, log_probs, logits
from likelihood_gan.training import try_objective

_LAWFUL = (CharLSTM, LSTMDiscriminator, NGram, ResidualLSTM)
"""Classes of the package that its tests have tried with the same laws; a subclass is another one."""
_FEWEST, _MOST = 128, 1024
"""Rows that are drawn to try a generator: as many as a batch has, within these bounds."""
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
        if not has_count(generator):
            self._check_epochs(generator)
        if not judging or not has_parameters(generator):
            return generator, None
        return generator, self._make_module("discriminator", n_tokens, rng, device)

    def _check_epochs(self, generator: Any) -> None:
        """Raise ValueError if what can be trained is not, or what cannot be is to be trained."""
        epochs = {name: getattr(self, name) for name in ("pretrain_epochs", "adversarial_epochs")}
        if not has_parameters(generator):
            if asked := [f"{name}={value}" for name, value in epochs.items() if value]:
                raise ValueError(
                    f"generator {type(generator).__name__} has nothing to train, but "
                    f"{' and '.join(asked)}: set both epochs to 0 to take it as it is, or use "
                    "SequenceDistribution, which needs no fit; what is trained are parameters of a "
                    "torch.nn.Module that require a gradient, what learns by counting has a method count"
                )
            return
        trained = is_generator(self.generator) or self._fitted("distribution_") is not None
        if not trained and not any(epochs.values()):
            raise ValueError(
                "pretrain_epochs and adversarial_epochs are both 0: nothing would be trained; pass a "
                "trained module as generator, or train"
            )

    def _make_module(
        self, name: str, n_tokens: int, rng: torch.Generator, device: torch.device
    ) -> Any:
        """Build the generator or the discriminator, or copy that of the previous fit."""
        fitted = self._fitted(name + "_")
        if fitted is not None:
            return to_device(copy.deepcopy(fitted), device)
        given = getattr(self, name)
        builder = self._builders[name] if given is None else given
        params = getattr(self, name + "_params") or {}
        return to_device(build_module(name, builder, params, n_tokens, rng), device)

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
                to_device(module, device)


def build_module(
    name: str, builder: Any, params: Mapping[str, Any], n_tokens: int, rng: torch.Generator
) -> Any:
    """Copy a model, or call what builds one: ``builder(n_tokens, **params)``.

    A discriminator is a `torch.nn.Module`, a generator any object with `log_prob` and `sample`.

    Raises
    ------
    TypeError, ValueError
        If the parameter `name` is neither a model nor a callable that builds one, or the model
        cannot be copied.
    """
    if isinstance(builder, nn.Module) or (name == "generator" and is_generator(builder)):
        _require(name, builder)
        if params:
            raise ValueError(
                f"{name}_params={dict(params)} needs {name} to be a callable, got a finished "
                f"{type(builder).__name__}"
            )
        try:
            return copy.deepcopy(builder)
        except Exception as error:
            raise ValueError(
                f"{name} {type(builder).__name__} cannot be deep-copied ({error}); pass a callable "
                "that builds it"
            ) from error
    if not callable(builder):
        kind = "an object with log_prob and sample" if name == "generator" else "a torch.nn.Module"
        raise TypeError(f"{name} must be {kind}, or a callable that builds one, got {builder!r}")
    _check_signature(name, builder, params)
    model: Any = call_with_rng(functools.partial(builder, **params), n_tokens, rng=rng)
    _require(name, model)
    return model


def _require(name: str, model: Any) -> None:
    """Raise TypeError if it is no generator, or no module that may be a discriminator."""
    if name == "generator":
        require_generator(model)
    elif not isinstance(model, nn.Module):
        raise TypeError(f"{name} must be, or build, a torch.nn.Module, got {type(model).__name__}")


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
    generator: Generator,
    discriminator: nn.Module | None,
    corpus: Corpus,
    n_tokens: int,
    objective: Objective,
    rng: torch.Generator,
) -> None:
    """Call the modules and the objective once, so that a broken promise is found before training."""
    if discriminator is not None and not has_parameters(discriminator):
        raise ValueError(f"discriminator {type(discriminator).__name__} has no parameters to train")
    for model in (generator, discriminator):
        if too_coarse := coarse_weights(model):
            raise ValueError(too_coarse)
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


def check_plugins(
    generator: Generator,
    discriminator: nn.Module | None,
    corpus: Corpus,
    n_tokens: int,
    batch_size: int,
) -> None:
    """Try the laws on modules that are not of the package, on rows as long as those of the corpus.

    Copies are tried, with random numbers of their own: what follows does not depend on it.

    Raises
    ------
    ValueError
        If one is broken. The message names the module, the law, and how to train nevertheless.
    """
    plugins: dict[str, Any] = {"generator": generator, "discriminator": discriminator}
    for name, model in plugins.items():
        if model is None or type(model) in _LAWFUL:
            continue
        judging = name == "discriminator"
        budget = Budget(
            corpus.width,
            spare=0,
            n_samples=min(max(batch_size, _FEWEST), _MOST),
            n_listed=1024,
            n_alone=3,
        )
        trial = Trial(
            model,
            "logit" if judging else "log_prob",
            n_tokens,
            budget,
            data=corpus.tokens[:, : corpus.width],
        )
        try:
            require(DISCRIMINATOR_LAWS if judging else GENERATOR_LAWS, trial)
        except ValueError as error:
            raise ValueError(
                f"{name} {type(model).__name__} breaks a law, {error}; check_plugins=False trains it as "
                "it is"
            ) from error
