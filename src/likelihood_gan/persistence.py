"""Objects as one safetensors file with a JSON header; nothing in it is executable.

Classes of the package, and the few of scikit-learn that it uses by default, are written by name; other code
is only mentioned and must be given again on loading. What an object consists of is left to its class, how it
is written and read to `encoding` and `decoding`, the file to `files`.
"""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from likelihood_gan.bundled import BUNDLED, bundled
from likelihood_gan.decoding import Reader, Refusal
from likelihood_gan.devices import own_modes
from likelihood_gan.encoding import Writer
from likelihood_gan.files import read_file, write_file
from likelihood_gan.rules import FLAG, check, instance

__all__ = ["Parts", "Savable", "bundled", "encode_parameters", "kind_of", "load", "write_parts"]


class Savable:
    """Mixin of a bundled class: `save` and `load`."""

    @own_modes()
    def save(self, path: str | os.PathLike[str], *, held_out: bool = True) -> None:
        """Write it to one safetensors file: numbers and JSON, nothing executable.

        The file is written as a whole or not at all, whoever else saves to the same path or reads it, and has a
        digest of every byte. It keeps the permissions of the file that it replaces. If `path` is a
        symbolic link, the file that it leads to is replaced.

        Parameters
        ----------
        path : path
            The file.
        held_out : bool, default=True
            Whether the sequences that early stopping held out, `held_out_`, are in the file: a tenth of
            the data, in plain text. Without them `Refined` calibrates on all data. From a generator that
            counts, such as the default one, much of the data can be rebuilt in any case; see
            `likelihood_gan.models.NGram`.

        Raises
        ------
        ValueError
            If a part of it cannot be written, such as a symbol of a class of your own that is no Enum, or
            a classifier other than logistic regression on hashed n-grams; the message names the part. An
            existing file stays as it is.
        OSError
            If there is no such folder, `path` is a folder, a FIFO or a device, or the disk refuses. An
            existing file stays as it is.
        """
        check(held_out, "held_out", FLAG)
        if isinstance(self, BaseEstimator):
            check_is_fitted(self)
        writer = Writer(held_out)
        write_file(path, {"object": writer.encode(self, "")}, writer.tensors)

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
        FileNotFoundError, IsADirectoryError
            If there is no such file.
        ValueError
            If the file is damaged, was altered, is foreign, of a newer format or of another class, or
            code is missing. The message names the file and, where it is one field of it, that field.

        Notes
        -----
        What is read does not hang on the file, which may be replaced, changed or deleted. A digest
        tells damage, but is no signature: who can write the file can write another model into it.
        """
        loaded: Self = _File(path).decode(cls, parameters)
        return loaded

    def _finish_reading(self) -> None:
        """Do what is left once it was read; raise TypeError or ValueError if it does not fit together."""


def kind_of(path: str | os.PathLike[str]) -> str:
    """Name the class of what a file holds, or "checkpoint".

    Raises
    ------
    ValueError
        If the file is damaged, foreign or of a newer format.
    """
    return _File(path).kind


def load(path: str | os.PathLike[str]) -> Any:
    """Read what the `save` of any class wrote, if no code has to be given again.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ValueError
        As `Savable.load`.
    """
    file = _File(path)
    cls = BUNDLED.get(file.kind, Savable)
    if file.kind != "checkpoint" and not issubclass(cls, Savable):
        raise ValueError(f"{file.name} holds a {file.kind}, which is nothing that is saved alone")
    return file.decode(cls, {})


@own_modes()
def write_parts(
    path: str | os.PathLike[str], parts: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write values by name, and tensors whose names do not begin like theirs, as `save` does."""
    writer = Writer()
    for name, tensor in tensors.items():
        writer.store(tensor, name)
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
        header, self.tensors = read_file(path)
        self.name = os.fspath(path)
        if "parts" not in header:
            raise ValueError(f"{self.name} is no checkpoint; read it with load")
        self.encoded: Any = header["parts"]

    def parameters_of(self, part: str) -> dict[str, Any]:
        """Return the parameters of a part that is an estimator, as they stand in the header."""
        with self.blamed(part):
            _, content = self.encoded[part]["object"]
            return dict(content["parameters"])

    def decode(self, part: str, root: type | None = None, **given: Any) -> Any:
        """Return a part; if it is an object, of the class `root`, with parameters that are given."""
        with self.blamed(part):
            reader = Reader(self.name, self.tensors, given, verb="resume")
            return reader.decode(self.encoded[part], part, root)

    def blamed(self, part: str) -> AbstractContextManager[None]:
        """Turn what is raised by values of a part into a ValueError that names the file and the part."""
        return Reader(self.name, {}, {}).blamed(part)


class _File:
    """What `Savable.save` wrote, or a checkpoint."""

    def __init__(self, path: str | os.PathLike[str]):
        self._header, self._tensors = read_file(path)
        self.name = os.fspath(path)
        self.kind = "checkpoint"
        if "parts" not in self._header:
            with Reader(self.name, {}, {}).blamed("object"):
                self.kind, _ = self._header["object"]["object"]
                check(self.kind, "kind", instance(str))

    @own_modes()
    def decode(self, cls: type, given: Mapping[str, Any]) -> Any:
        """Return the object, of a class which has to be its own, or the distribution in it."""
        if self.kind == "checkpoint":
            raise ValueError(f"{self.name} is a checkpoint of a fit; read it with resume")
        reader = Reader(self.name, self._tensors, given)
        with reader.blamed("object"):
            found, where, kind = self._header["object"], "", self.kind
            content = found["object"][1]
            if kind != cls.__name__ and "distribution_" in content.get("learned", {}):
                found, where = content["learned"]["distribution_"], "distribution_"
                kind, _ = found["object"]
            if not issubclass(cls, BUNDLED[kind]):
                raise Refusal(f"{self.name} holds a {kind}; read it with {kind}.load")
            return reader.decode(found, where, root=cls)


def encode_parameters(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that are not at their default, as they stand in a header."""
    written = Writer().encode(estimator, "")["object"][1]["parameters"]
    encoded: dict[str, Any] = json.loads(json.dumps(written))
    return encoded
