"""Objects as JSON and tensors: everything but arrays and weights is in the JSON.

Code is only mentioned: a custom generator, a callback, the Enum of a symbol. How a file is read again is
left to `decoding`, what symbols are in JSON to `symbols`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from likelihood_gan.bundled import (
    BUNDLED,
    changed,
    class_of,
    fields_of,
    is_learned,
    learned_by,
)
from likelihood_gan.huggingface import write_config
from likelihood_gan.symbols import write_symbol
from likelihood_gan.vocabulary import Vocabulary, sort_symbols

REPLACEABLE = ("generator", "discriminator", "discriminator_")
"""Where custom modules may stand."""

# JSON knows no tuples, no classes and no keys but text: such values are written as
# {"kind": content}. A plain dict never looks like that, it is written as {"dict": pairs}.


class Writer:
    """Values as JSON; arrays and weights go to `tensors`, named by where they stand."""

    def __init__(self, held_out: bool = True) -> None:
        self._held_out = held_out  # whether the sequences themselves are written
        self.tensors: dict[str, Tensor] = {}
        self._written: dict[int, str] = {}  # estimators and modules, by identity
        self._enums: dict[str, type] = {}

    def encode(self, value: Any, where: str) -> Any:
        """Return as JSON what stands at `where`.

        Raises
        ------
        ValueError
            If it, or a part of it, cannot be written; the message names the part.
        """
        try:
            return self._encode(value, where)
        except RecursionError:
            raise ValueError(
                f"{where.partition('.')[0]} is nested too deeply to be written"
            ) from None

    def _encode(self, value: Any, where: str) -> Any:
        if (written := write_symbol(value)) is not None:
            if "enum" in written:
                name = type(value).__qualname__
                if self._enums.setdefault(name, type(value)) is not type(value):
                    raise ValueError(f"{where} holds members of two classes {name}; rename one")
            return written
        if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
            return self.encode(value.item(), where)
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (np.ndarray, Tensor)):
            return {"array": self.store(torch.as_tensor(value), where)}
        if isinstance(value, torch.device):
            return str(value)
        if isinstance(value, (set, frozenset)):
            kind = "set" if isinstance(value, set) else "frozenset"
            return {kind: [self.encode(v, where) for v in sort_symbols(value)]}
        if isinstance(value, list):
            return [self.encode(v, f"{where}.{i}") for i, v in enumerate(value)]
        if isinstance(value, type):
            if value in BUNDLED.values():
                return {"class": value.__name__}
        elif (cls := class_of(value)) is not None:
            if id(value) in self._written:
                return {"same": self._written[id(value)]}
            if isinstance(value, (BaseEstimator, nn.Module)):
                self._written[id(value)] = where
            return {"object": [cls.__name__, self._content(value, where)]}
        elif isinstance(value, nn.Module) and where.rpartition(".")[2] in REPLACEABLE:
            return {"module": [type(value).__qualname__, self._weights(value, where)]}
        elif (settings := write_config(value)) is not None:
            return {"config": self.encode(settings, where)}
        elif type(value) is tuple:
            return {"tuple": [self.encode(v, f"{where}.{i}") for i, v in enumerate(value)]}
        elif isinstance(value, Mapping):
            pairs = enumerate(value.items())
            return {
                "dict": [
                    [self.encode(k, where), self.encode(v, f"{where}.{i}")] for i, (k, v) in pairs
                ]
            }
        raise ValueError(
            f"{where or 'it'} holds {value!r}, which cannot be written to a safe file; use pickle or "
            "joblib instead"
        )

    def _content(self, value: Any, where: str) -> dict[str, Any]:
        if isinstance(value, BaseEstimator):
            return {
                "parameters": {
                    k: self._encode_parameter(value, k, v, where)
                    for k, v in changed(value).items()
                    if k != "verbose"  # how someone watches is not what was made
                },
                "learned": {
                    k: self.encode(v, join(where, k)) for k, v in self._learned(value, where)
                },
            }
        if isinstance(value, nn.Module):
            built_with: Any = value.arguments
            arguments = self.encode(dict(built_with), join(where, "arguments"))
            return {"arguments": arguments, "weights": self._weights(value, where)}
        if isinstance(value, Vocabulary):
            pattern = value.token_pattern
            return {
                "symbols": self.encode(list(value.symbols), join(where, "symbols")),
                "text": value.text,
                "token_pattern": {"code": _name_of(pattern)} if callable(pattern) else pattern,
                "unknown_token": value.unknown_token,
            }
        names = fields_of(type(value))
        return {name: self.encode(getattr(value, name), join(where, name)) for name in names}

    def _learned(self, value: Any, where: str) -> Iterator[tuple[str, Any]]:
        """Yield what an estimator has learned, and what subclasses of its class have on top."""
        cls: Any = class_of(value)
        for name, part in sorted(vars(value).items()):
            if not is_learned(name):
                continue
            if name not in learned_by(cls) and type(value) is cls:
                if not hasattr(cls, "load"):  # scikit-learn's may learn more in later versions
                    continue
                raise ValueError(
                    f"{where or 'it'} has the attribute {name}, which no {cls.__name__} has; delete "
                    "it, or use pickle"
                )
            yield name, [] if name == "held_out_" and not self._held_out else part

    def _encode_parameter(self, estimator: Any, name: str, value: Any, where: str) -> Any:
        code = {"code": _name_of(value)}
        if isinstance(value, nn.Module) and class_of(value) is None:
            return code
        try:
            return self.encode(value, join(where, name))
        except ValueError:
            if not hasattr(estimator, "load"):  # there it could not be given again
                raise
            return code

    def _weights(self, module: nn.Module, where: str) -> list[str]:
        """Store what no part stores that was written before; return the names."""
        elsewhere = tuple(
            f"{name}."
            for name, part in module.named_modules()
            if name and id(part) in self._written
        )
        names = [key for key in module.state_dict() if not key.startswith(elsewhere)]
        for key, value in module.state_dict().items():
            if not isinstance(value, Tensor):
                raise ValueError(f"{where} has the extra state {key!r}, no tensor; use pickle")
            if key in names:
                self.store(value, join(where, key))
        return names

    def store(self, tensor: Tensor, where: str) -> str:
        """Keep a tensor, under the name of where it stands."""
        # a clone: safetensors refuses tensors that share memory
        self.tensors[where] = tensor.detach().cpu().contiguous().clone()
        return where


def join(where: str, name: str) -> str:
    """Name what stands in something."""
    return f"{where}.{name}" if where else name


def _name_of(code: Any) -> str:
    return str(getattr(code, "__qualname__", type(code).__qualname__))
