"""What `encoding` wrote, as objects again: every field is checked, and an error names the file and the field.

Modules are left to `rebuilding`, what a field may be to `bundled` and to the classes.
"""

import contextlib
import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from likelihood_gan.bundled import (
    BUNDLED,
    check_fields,
    check_names,
    fields_of,
    is_learned,
    learned_by,
)
from likelihood_gan.encoding import join
from likelihood_gan.huggingface import read_config
from likelihood_gan.plugins import build_module
from likelihood_gan.rebuilding import fill, n_tokens_of, rebuild
from likelihood_gan.symbols import enums_among, read_symbol
from likelihood_gan.vocabulary import Vocabulary

_BUILDING = (
    *("generator", "generator_params", "discriminator", "discriminator_params"),
    *("token_pattern", "vocabulary"),
)
"""Parameters that build custom modules, and vocabularies."""
FAILURES = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)
"""What foreign values may raise in our code, and in that which we call."""


class Refusal(ValueError):
    """A message that says all there is to say."""


@dataclass(frozen=True)
class Code:
    """The name of something that is not in the file; of a module the weights are."""

    name: str
    weights: Mapping[str, Tensor] | None = None


class Reader:
    """What `Writer` wrote, as objects again.

    Parameters
    ----------
    name : str
        The file.
    tensors : mapping of str to Tensor
        Its tensors.
    given : mapping of str to object
        Parameters that are given, in place of those of the file and of code, which is not there.
    verb : str, default="load"
        What they are passed to.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, Tensor],
        given: Mapping[str, Any],
        verb: str = "load",
    ):
        self.name, self.tensors, self.given, self.verb = name, tensors, given, verb
        self._code = dict(given)  # what builds custom modules, also of parts that are estimators
        self._enums = enums_among(given.get("vocabulary") or ())
        self._read: dict[str, Any] = {}

    def decode(self, value: Any, where: str = "", root: Any = None) -> Any:
        """Return what was written at `where`; if it is an object, of the class `root`."""
        try:
            return self._decode(value, where, root)
        except Refusal:
            raise
        except FAILURES as error:
            raise Refusal(self._say(where, error)) from error

    @contextlib.contextmanager
    def blamed(self, where: str) -> Iterator[None]:
        """Turn all that reading may raise into a ValueError that names the file and a field."""
        try:
            yield
        except Refusal as error:
            raise ValueError(str(error)) from error.__cause__
        except FAILURES as error:
            raise ValueError(self._say(where, error)) from error

    def _say(self, where: str, error: BaseException) -> str:
        said = str(error) if isinstance(error, (TypeError, ValueError)) else repr(error)
        at = f" at {where}" if where else ""
        return f"{self.name}: the header is damaged{at}: {said}"

    def _decode(self, value: Any, where: str, root: Any) -> Any:
        if isinstance(value, list):
            return [self.decode(v, f"{where}.{i}") for i, v in enumerate(value)]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "object":
            name, content = content
            return self._build(BUNDLED[name], content, where, root)
        if kind == "same":
            return self._read[content]
        if kind == "module":
            name, names = content
            return Code(str(name), {key: self.tensors[join(where, key)] for key in names})
        if kind == "array":
            return self.tensors[content].numpy()
        if kind == "tuple":
            return tuple(self._list(content, where))
        if kind in ("set", "frozenset"):
            parts = self._list(content, where)
            return _distinct(set(parts) if kind == "set" else frozenset(parts), parts)
        if kind == "dict":
            pairs = [
                (self.decode(k, where), self.decode(v, f"{where}.{i}"))
                for i, (k, v) in enumerate(content)
            ]
            return _distinct(dict(pairs), pairs)
        if kind == "config":
            return read_config(self.decode(content, where))
        if kind == "code":
            return Code(str(content))
        if kind == "class":
            return BUNDLED[content]
        if kind == "enum" and content[1] not in getattr(
            self._enums.get(content[0]), "__members__", ()
        ):
            self._require({"vocabulary": Code(content[0])})
        return read_symbol(kind, content, self._enums)

    def _list(self, content: Any, where: str) -> list[Any]:
        if not isinstance(content, list):
            raise ValueError(f"expected a list, got {content!r}")
        return [self.decode(v, f"{where}.{i}") for i, v in enumerate(content)]

    def _build(self, cls: Any, content: Any, where: str, root: Any) -> Any:
        if issubclass(cls, BaseEstimator):
            value = self._build_estimator(cls, root or cls, content, where, root is not None)
        elif issubclass(cls, nn.Module):
            check_names(content, ("arguments", "weights"))
            arguments = self.decode(content["arguments"], join(where, "arguments"))
            weights = {key: self.tensors[join(where, key)] for key in content["weights"]}
            value = rebuild(cls, arguments, weights, self._read.values())
        else:
            check_names(content, fields_of(cls))
            fields = {k: self.decode(v, join(where, k)) for k, v in content.items()}
            check_fields(fields, cls)
            self._add_code(cls, fields)
            value = (root or cls)(**fields)
        if hasattr(value, "_finish_reading"):
            value._finish_reading()
        self._read[where] = value
        return value

    def _add_code(self, cls: type, fields: dict[str, Any]) -> None:
        """Put what was given in its place."""
        if cls is Vocabulary and isinstance(code := fields["token_pattern"], Code):
            fields["token_pattern"] = self._code.get("token_pattern")
            if fields["token_pattern"] is None:
                self._require({"token_pattern": code})
        vocabulary, generator = fields.get("vocabulary"), fields.get("generator")
        if isinstance(generator, Code):
            fields["generator"] = self._rebuild("generator", generator, vocabulary)
        self._check_tokens("generator", fields.get("generator"), vocabulary)

    def _build_estimator(
        self, kind: type, cls: type, content: Any, where: str, is_root: bool
    ) -> Any:
        check_names(content, ("parameters", "learned"))
        parameters = {
            k: self.decode(v, join(where, k)) for k, v in sorted(content["parameters"].items())
        }
        known = inspect.signature(cls).parameters
        parameters |= {k: v for k, v in self.given.items() if is_root or k in parameters}
        if unknown := [k for k in parameters if k not in known and k not in _BUILDING]:
            raise Refusal(f"{self.name}: a parameter is unknown: {', '.join(unknown)}")
        parameters = {k: v for k, v in parameters.items() if k in known}
        self._require({k: v for k, v in parameters.items() if isinstance(v, Code)})
        self._code |= {k: v for k, v in parameters.items() if k in _BUILDING}
        value = cls(**parameters)
        if hasattr(cls, "_parameter_constraints"):  # one of scikit-learn
            value._validate_params()
        learned = {k: self.decode(v, join(where, k)) for k, v in sorted(content["learned"].items())}
        if learned:
            self._check_learned(kind, cls, learned)
            vars(value).update(learned)
        return value

    def _check_learned(self, kind: type, cls: type, learned: dict[str, Any]) -> None:
        expected = set(learned_by(kind))
        if cls is not kind:  # a subclass may have learned more
            expected |= set(filter(is_learned, learned))
        check_names(learned, expected)
        if isinstance(code := learned.get("discriminator_"), Code):
            vocabulary = learned["distribution_"].vocabulary
            learned["discriminator_"] = self._rebuild("discriminator", code, vocabulary)
        check_fields(learned, kind)
        if "discriminator_" in learned:
            vocabulary = learned["distribution_"].vocabulary
            self._check_tokens("discriminator_", learned["discriminator_"], vocabulary)

    def _check_tokens(self, name: str, module: Any, vocabulary: Any) -> None:
        n_tokens = n_tokens_of(module)
        if n_tokens is not None and n_tokens != vocabulary.n_tokens:
            raise ValueError(
                f"{name} has {n_tokens} tokens, but the vocabulary has {vocabulary.n_tokens}"
            )

    def _rebuild(self, name: str, code: Code, vocabulary: Any) -> nn.Module:
        """Build a custom module, by what was given again, and give it its weights."""
        builder = self._code.get(name)
        if builder is None:
            self._require({name: code})
        params = self._code.get(f"{name}_params") or {}
        module = build_module(name, builder, params, vocabulary.n_tokens, torch.Generator())
        if not isinstance(module, nn.Module):
            kind = type(module).__name__
            raise Refusal(f"{self.name}: {name} was saved as a torch.nn.Module, got a {kind}")
        try:
            fill(module, code.weights or {})
        except RuntimeError as error:
            raise Refusal(
                f"{self.name}: {name} does not fit the weights in the file: {error}"
            ) from None
        return module.eval()

    def _require(self, missing: Mapping[str, Code]) -> None:
        if missing:
            raise Refusal(
                f"{self.name} was saved with code that is not in the file; pass "
                + ", ".join(f"{key}= ({value.name})" for key, value in sorted(missing.items()))
                + f" to {self.verb}"
            )


_Found = TypeVar("_Found", bound=Collection[Any])


def _distinct(found: _Found, parts: list[Any]) -> _Found:
    if len(found) != len(parts):
        raise ValueError("what may come once comes twice")
    return found
