"""A fitted estimator as one safetensors file with a JSON header; nothing in it is executable.

Everything but the weights is in the header, under a single key, as sorted JSON. Bundled classes
are written by name; other code (a custom generator, a callback) is only mentioned and must be given
again on loading.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from likelihood_gan import models, objectives
from likelihood_gan.fitting import Run
from likelihood_gan.vocabulary import Vocabulary, sort_symbols

FORMAT = 1
_KEY = "likelihood_gan"
_CODE: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        models.CharLSTM,
        models.ConvDiscriminator,
        models.LSTMDiscriminator,
        *objectives.OBJECTIVES.values(),
    )
}


@dataclasses.dataclass
class _Code:
    """The name of something that is not in the file."""

    name: str


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator; an existing file is replaced at the very end or not at all."""
    modules = {"generator": estimator.generator_}
    if estimator.discriminator_ is not None:
        modules["discriminator"] = estimator.discriminator_
    header = {
        "format": FORMAT,
        "parameters": {
            name: _encode_parameter(value)
            for name, value in estimator.get_params(deep=False).items()
        },
        "symbols": _encode(list(estimator.vocabulary_.symbols), "vocabulary"),
        "text": estimator.vocabulary_.text,
        "max_len": int(estimator.max_len_),
        "history": _encode(estimator.history_, "history_"),
        "best_epoch": estimator.best_epoch_,
        "modules": list(modules),
    }
    tensors = {}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            if not isinstance(value, torch.Tensor):
                raise ValueError(f"{name}_ has the extra state {key!r}, no tensor; use pickle")
            # a clone: safetensors refuses tensors that share memory
            tensors[f"{name}.{key}"] = value.detach().cpu().contiguous().clone()
    data = safetensors.torch.save(tensors, {_KEY: json.dumps(header, sort_keys=True)})
    _write_atomically(Path(path), data)


def load(cls: type, path: str | os.PathLike[str], replaced: Mapping[str, Any]) -> Any:
    """Build an estimator of class `cls` from a file; see `LikelihoodGAN.load`."""
    name = os.fspath(path)
    header, tensors = _read(name)
    try:
        saved = {key: _decode(value) for key, value in header["parameters"].items()}
        vocabulary = Vocabulary(_decode(header["symbols"]), header["text"])
        run = Run(_decode(header["history"]), int(header["best_epoch"]))
        max_len = int(header["max_len"])
        weights: dict[str, dict[str, torch.Tensor]] = {module: {} for module in header["modules"]}
        for key, value in tensors.items():
            module, _, key = key.partition(".")
            weights[module][key] = value
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: the header is damaged: {error!r}") from error
    parameters = saved | dict(replaced)
    missing = {key: value for key, value in parameters.items() if isinstance(value, _Code)}
    if missing:
        raise ValueError(
            f"{name} was saved with code that is not in the file; pass "
            + ", ".join(f"{key}= ({value.name})" for key, value in sorted(missing.items()))
            + " to load"
        )
    try:
        estimator = cls(**parameters)
    except TypeError as error:
        raise ValueError(f"{name}: a parameter is unknown: {error}") from None
    return estimator._restore(vocabulary, max_len, weights, run)


def _read(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safetensors.safe_open(name, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise ValueError(f"{name} is a safetensors file, but not of LikelihoodGAN.save")
            header = json.loads(text)
            if header["format"] > FORMAT:
                raise ValueError(
                    f"{name} has format {header['format']}, this version of likelihood-gan reads "
                    f"up to {FORMAT}; install a newer one"
                )
            return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"{name} is damaged or no safetensors file: {error}") from error


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# JSON knows no tuples, no classes and no keys but text: such values are written as
# {"kind": content}. A plain dict never looks like that, it is written as {"dict": pairs}.


def _encode_parameter(value: Any) -> Any:
    try:
        return _encode(value, "parameter")
    except ValueError:
        return {"code": getattr(value, "__qualname__", type(value).__qualname__)}


def _encode(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return {"set": [_encode(v, where) for v in sort_symbols(value)]}
    if isinstance(value, list):
        return [_encode(v, where) for v in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(v, where) for v in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(k, where), _encode(v, where)] for k, v in value.items()]}
    if isinstance(value, type) and value in _CODE.values():
        return {"class": value.__name__}
    if type(value) in _CODE.values() and dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"object": [type(value).__name__, _encode(fields, where)]}
    raise ValueError(
        f"{where} holds {value!r}, which cannot be written to a safe file; "
        "use pickle or joblib instead"
    )


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(_decode(v) for v in content)
    if kind == "set":
        return {_decode(v) for v in content}
    if kind == "dict":
        return {_decode(k): _decode(v) for k, v in content}
    if kind == "code":
        return _Code(content)
    if kind == "class":
        return _CODE[content]
    name, fields = content
    return _CODE[name](**_decode(fields))
