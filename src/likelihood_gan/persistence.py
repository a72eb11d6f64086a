"""Objects as one safetensors file with a JSON header; nothing in it is executable.

Everything but arrays and weights is in the header. Classes of the package, and the few of scikit-learn that it uses by default, are written by name; other code (a custom
generator, a callback, the Enum of a symbol) is only mentioned and must be given again on loading. What an
object consists of is left to its class, what symbols are in JSON to `symbols`, the file to `files`.
"""

import dataclasses
import inspect
import json
import os
from collections.abc import Mapping
from typing import Any, Self, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from likelihood_gan import models, objectives
from likelihood_gan.devices import own_modes
from likelihood_gan.files import check_path, read_file, write_file
from likelihood_gan.huggingface import CausalLM, read_config, write_config
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.plugins import build_module
from likelihood_gan.symbols import enums_among, read_symbol, write_symbol
from likelihood_gan.vocabulary import Vocabulary, sort_symbols

_BUNDLED: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        models.CharLSTM,
        models.LSTMDiscriminator,
        models.Mixture,
        models.NGram,
        models.Product,
        models.ResidualLSTM,
        CausalLM,
        FrozenEstimator,
        LogisticRegression,
        NGramHasher,
        Pipeline,
        Vocabulary,
        *objectives.OBJECTIVES.values(),
    )
}
_Class = TypeVar("_Class", bound=type)


def bundled(cls: _Class) -> _Class:
    """Register a class whose objects are written by name: estimators, dataclasses, named tuples."""
    _BUNDLED[cls.__name__] = cls
    return cls


@dataclasses.dataclass(frozen=True)
class _Code:
    """The name of something that is not in the file; of a module the weights are."""

    name: str
    weights: Mapping[str, Tensor] | None = None


class _MissingCode(ValueError):
    """What has to be given again was not."""


class Savable:
    """Mixin of a bundled class: `save` and `load`."""

    @own_modes()
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to one safetensors file, atomically: numbers and JSON, nothing executable.

        Raises
        ------
        ValueError
            If a part of it cannot be written, such as a symbol of a class of your own that is no Enum, or
            a classifier other than logistic regression on hashed n-grams; the message names the part. An
            existing file stays as it is.
        OSError
            If there is no such folder, `path` is a folder itself, or the disk refuses.
        """
        if isinstance(self, BaseEstimator):
            check_is_fitted(self)
        writer = _Writer()
        header = {"object": writer.encode(self, "")}
        write_file(path, header, writer.tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Self:
        """Read what `save` wrote; a distribution is also read from the file of its estimator.

        Parameters
        ----------
        path : path
            The file.
        **parameters
            Parameters to replace. Code is not in the file, and must be given again: a custom
            `generator` or `discriminator` (the module, or what builds it from the number of tokens),
            `objective`, `callbacks`, `classifier` or a callable `token_pattern`. For symbols that are
            members of an Enum, give the class, or a list of members of all such classes, as `vocabulary`.

        Raises
        ------
        ValueError
            If the file is damaged, foreign, of a newer format or of another class, or code is
            missing.
        """
        loaded: Self = _load(cls, path, parameters)
        return loaded


def kind_of(path: str | os.PathLike[str]) -> str:
    """Name the class of what a file holds, or "checkpoint"; its tensors are not read.

    Raises
    ------
    ValueError
        If the file is damaged, foreign or of a newer format.
    """
    name = str(check_path(path))
    header, _ = read_file(name, header_only=True)
    if "parts" in header:
        return "checkpoint"
    try:
        return str(header["object"]["object"][0])
    except (LookupError, TypeError) as error:
        raise ValueError(f"{name}: the header is damaged: {error!r}") from error


def load(path: str | os.PathLike[str]) -> Any:
    """Read what the `save` of any class wrote, if no code has to be given again."""
    kind = kind_of(path)
    cls = _BUNDLED.get(kind, Savable)
    if not issubclass(cls, Savable):
        raise ValueError(f"{os.fspath(path)} holds a {kind}, which is nothing that is saved alone")
    return cls.load(path)


@own_modes()
def write_parts(
    path: str | os.PathLike[str], parts: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write values by name, and tensors whose names do not begin like theirs, as `save` does."""
    writer = _Writer()
    for name, tensor in tensors.items():
        writer._store(tensor, name)
    encoded = {name: writer.encode(value, name) for name, value in parts.items()}
    write_file(path, {"parts": encoded}, writer.tensors)


class Parts:
    """What `write_parts` wrote: `tensors`, and values that are decoded one by one.

    Raises
    ------
    ValueError
        If the file is damaged, foreign or of a newer format, or holds one object.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.name = os.fspath(path)
        header, self.tensors = read_file(self.name)
        if "parts" not in header:
            raise ValueError(f"{self.name} is no checkpoint; read it with load")
        self.encoded: dict[str, Any] = header["parts"]

    def decode(self, part: str, root: type | None = None, **given: Any) -> Any:
        """Return a part; if it is an object, of the class `root`, with parameters that are given."""
        reader = _Reader(self.name, self.tensors, given)
        try:
            return reader.decode(self.encoded[part], part, root)
        except _MissingCode as error:
            raise ValueError(str(error).replace("to load", "to resume")) from None
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self.name}: the header is damaged: {error!r}") from error


def encode_parameters(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that are not at their default, as they stand in a header."""
    written = _Writer()._content(estimator, "")["parameters"]
    encoded: dict[str, Any] = json.loads(json.dumps(written))
    return encoded


@own_modes()
def _load(cls: type, path: str | os.PathLike[str], given: Mapping[str, Any]) -> Any:
    name = str(check_path(path))
    header, tensors = read_file(name)
    if "parts" in header:
        raise ValueError(f"{name} is a checkpoint of a fit; read it with resume")
    try:
        found, where = header["object"], ""
        kind, content = found["object"]
        if kind != cls.__name__ and "distribution_" in content.get("learned", {}):
            found, where = content["learned"]["distribution_"], "distribution_"
            kind, _ = found["object"]
        if not issubclass(cls, _BUNDLED[kind]):
            raise _MissingCode(f"{name} holds a {kind}; read it with {kind}.load")
        return _Reader(name, tensors, given).decode(found, where, root=cls)
    except _MissingCode as error:
        raise ValueError(str(error)) from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: the header is damaged: {error!r}") from error


# JSON knows no tuples, no classes and no keys but text: such values are written as
# {"kind": content}. A plain dict never looks like that, it is written as {"dict": pairs}.


class _Writer:
    """Values as JSON; arrays and weights go to `tensors`, named by where they stand."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._written: dict[int, str] = {}  # estimators and modules, by identity
        self._enums: dict[str, type] = {}

    def encode(self, value: Any, where: str) -> Any:
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
            return {"array": self._store(torch.as_tensor(value), where)}
        if isinstance(value, torch.device):
            return str(value)
        if isinstance(value, (set, frozenset)):
            kind = "set" if isinstance(value, set) else "frozenset"
            return {kind: [self.encode(v, where) for v in sort_symbols(value)]}
        if isinstance(value, list):
            return [self.encode(v, f"{where}.{i}") for i, v in enumerate(value)]
        if isinstance(value, type):
            if value in _BUNDLED.values():
                return {"class": value.__name__}
        elif (cls := _bundled_class(value)) is not None:
            if id(value) in self._written:
                return {"same": self._written[id(value)]}
            if isinstance(value, (BaseEstimator, nn.Module)):
                self._written[id(value)] = where
            return {"object": [cls.__name__, self._content(value, where)]}
        elif isinstance(value, nn.Module) and where.rpartition(".")[2] in _REPLACEABLE:
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
            learned = {k: v for k, v in sorted(vars(value).items()) if _is_learned(k)}
            return {
                "parameters": {
                    k: self._encode_parameter(value, k, v, where)
                    for k, v in _changed(value).items()
                    if k != "verbose"  # how someone watches is not what was made
                },
                "learned": {k: self.encode(v, _join(where, k)) for k, v in learned.items()},
            }
        if isinstance(value, nn.Module):
            built_with: Any = value.arguments
            arguments = self.encode(dict(built_with), _join(where, "arguments"))
            return {"arguments": arguments, "weights": self._weights(value, where)}
        if isinstance(value, Vocabulary):
            pattern = value.token_pattern
            return {
                "symbols": self.encode(list(value.symbols), _join(where, "symbols")),
                "text": value.text,
                "token_pattern": {"code": _name_of(pattern)} if callable(pattern) else pattern,
                "unknown_token": value.unknown_token,
            }
        return {k: self.encode(v, _join(where, k)) for k, v in _fields(value).items()}

    def _encode_parameter(self, estimator: Any, name: str, value: Any, where: str) -> Any:
        code = {"code": _name_of(value)}
        if isinstance(value, nn.Module) and _bundled_class(value) is None:
            return code
        try:
            return self.encode(value, _join(where, name))
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
                self._store(value, _join(where, key))
        return names

    def _store(self, tensor: Tensor, where: str) -> str:
        # a clone: safetensors refuses tensors that share memory
        self.tensors[where] = tensor.detach().cpu().contiguous().clone()
        return where


class _Reader:
    """What `_Writer` wrote, as objects again."""

    def __init__(self, name: str, tensors: Mapping[str, Tensor], given: Mapping[str, Any]):
        self.name, self.tensors, self.given = name, tensors, given
        self._code = dict(given)  # what builds custom modules, also of parts that are estimators
        self._enums = enums_among(given.get("vocabulary") or ())
        self._read: dict[str, Any] = {}

    def decode(self, value: Any, where: str = "", root: Any = None) -> Any:
        if isinstance(value, list):
            return [self.decode(v, f"{where}.{i}") for i, v in enumerate(value)]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "object":
            name, content = content
            return self._build(_BUNDLED[name], content, where, root)
        if kind == "same":
            return self._read[content]
        if kind == "module":
            name, names = content
            return _Code(name, {key: self.tensors[_join(where, key)] for key in names})
        if kind == "array":
            return self.tensors[content].numpy()
        if kind == "tuple":
            return tuple(self.decode(v, f"{where}.{i}") for i, v in enumerate(content))
        if kind in ("set", "frozenset"):
            parts = {self.decode(v, where) for v in content}
            return parts if kind == "set" else frozenset(parts)
        if kind == "dict":
            pairs = enumerate(content)
            return {self.decode(k, where): self.decode(v, f"{where}.{i}") for i, (k, v) in pairs}
        if kind == "config":
            return read_config(self.decode(content, where))
        if kind == "code":
            return _Code(content)
        if kind == "class":
            return _BUNDLED[content]
        if kind == "enum" and content[1] not in getattr(
            self._enums.get(content[0]), "__members__", ()
        ):
            self._require({"vocabulary": _Code(content[0])})
        return read_symbol(kind, content, self._enums)

    def _build(self, cls: type, content: Any, where: str, root: Any) -> Any:
        if issubclass(cls, BaseEstimator):
            value = self._build_estimator(root or cls, content, where, root is not None)
        elif issubclass(cls, nn.Module):
            arguments = self.decode(content["arguments"], _join(where, "arguments"))
            with torch.random.fork_rng(devices=[]):  # initial weights are thrown away
                value = cls(**arguments).eval()
            weights = {key: self.tensors[_join(where, key)] for key in content["weights"]}
            _load_weights(value, value.state_dict() | weights, where)
        else:
            fields = {k: self.decode(v, _join(where, k)) for k, v in content.items()}
            if isinstance(code := fields.get("token_pattern"), _Code):
                fields["token_pattern"] = self._code.get("token_pattern")
                if fields["token_pattern"] is None:
                    self._require({"token_pattern": code})
            if isinstance(fields.get("generator"), _Code):
                n_tokens = fields["vocabulary"].n_tokens
                fields["generator"] = self._rebuild("generator", fields["generator"], n_tokens)
            value = (root or cls)(**fields)
        self._read[where] = value
        return value

    def _build_estimator(self, cls: type, content: Any, where: str, is_root: bool) -> Any:
        parameters = {
            k: self.decode(v, _join(where, k)) for k, v in sorted(content["parameters"].items())
        }
        known = inspect.signature(cls).parameters
        parameters |= {k: v for k, v in self.given.items() if is_root or k in parameters}
        unknown = [k for k in parameters if k not in known and k not in _BUILDING]
        if unknown:
            raise _MissingCode(f"{self.name}: a parameter is unknown: {', '.join(unknown)}")
        parameters = {k: v for k, v in parameters.items() if k in known}
        self._require({k: v for k, v in parameters.items() if isinstance(v, _Code)})
        self._code |= {k: v for k, v in parameters.items() if k in _BUILDING}
        value = cls(**parameters)
        learned = {
            k: self.decode(v, _join(where, k)) for k, v in sorted(content["learned"].items())
        }
        if isinstance(learned.get("discriminator_"), _Code):
            n_tokens = learned["distribution_"].vocabulary.n_tokens
            code = learned["discriminator_"]
            learned["discriminator_"] = self._rebuild("discriminator", code, n_tokens)
        if not all(map(_is_learned, learned)):
            raise ValueError(f"learned holds {sorted(learned)}")
        vars(value).update(learned)
        return value

    def _rebuild(self, name: str, code: _Code, n_tokens: int) -> nn.Module:
        """Build a custom module, by what was given again, and give it its weights."""
        builder = self._code.get(name)
        if builder is None:
            self._require({name: code})
        params = self._code.get(f"{name}_params") or {}
        module = build_module(name, builder, params, n_tokens, torch.Generator())
        if not isinstance(module, nn.Module):
            kind = type(module).__name__
            raise _MissingCode(f"{name} was saved as a torch.nn.Module, got a {kind}")
        _load_weights(module, code.weights or {}, name)
        return module.eval()

    def _require(self, missing: Mapping[str, _Code]) -> None:
        if missing:
            raise _MissingCode(
                f"{self.name} was saved with code that is not in the file; pass "
                + ", ".join(f"{key}= ({value.name})" for key, value in sorted(missing.items()))
                + " to load"
            )


_REPLACEABLE = ("generator", "discriminator", "discriminator_")
"""Where custom modules stand."""
_BUILDING = (
    *("generator", "generator_params", "discriminator", "discriminator_params"),
    *("token_pattern", "vocabulary"),
)
"""Parameters that build them, and vocabularies."""


def _load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        name = where.rpartition(".")[2].removesuffix("_")
        raise _MissingCode(f"{name} does not fit the weights in the file: {error}") from None


def _bundled_class(value: Any) -> type | None:
    """Return the class to name, None if an object cannot be made again from what is written."""
    cls = type(value)
    if isinstance(value, Pipeline) and _changed(value).keys() != {"steps"}:
        return None
    while cls not in _BUNDLED.values() and hasattr(cls, "load") and cls.__base__ is not None:
        cls = cls.__base__  # a subclass is read by its own `load`
    return cls if cls in _BUNDLED.values() else None


def _is_learned(name: str) -> bool:
    return (name.endswith("_") and not name.startswith("_")) or name == "n_features_in_"


def _fields(value: Any) -> dict[str, Any]:
    """Return what a named tuple or a dataclass holds."""
    if isinstance(value, tuple):
        return dict(zip(type(value)._fields, value, strict=True))  # type: ignore[attr-defined]
    saved = (field for field in dataclasses.fields(value) if field.metadata.get("saved", True))
    return {field.name: getattr(value, field.name) for field in saved}


def _changed(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that are not at their default: what is deprecated is not written."""
    defaults = inspect.signature(type(estimator)).parameters
    return {
        name: value
        for name, value in sorted(estimator.get_params(deep=False).items())
        if type(value) is not type(defaults[name].default) or value != defaults[name].default
    }


def _name_of(code: Any) -> str:
    return str(getattr(code, "__qualname__", type(code).__qualname__))


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
