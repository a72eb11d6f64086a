"""One safetensors file with a JSON header and a digest of every byte.

All of the header is under a single key, as sorted JSON, so that equal things make equal files. What stands in
it is left to `persistence`.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from likelihood_gan.atomic import write_atomically

FORMAT = 1
DEEPEST = 128
"""Most lists and mappings inside one another that a header may have."""
_KEY = "likelihood_gan"
_BLANK = "0" * 64
"""What stands in place of the digest when it is computed, sha256 in hexadecimal digits."""


def write_file(
    path: str | os.PathLike[str], header: Mapping[str, Any], tensors: dict[str, Tensor]
) -> None:
    """Write a header, to which format and digest are added, and tensors.

    Raises
    ------
    TypeError
        If `path` is no path.
    ValueError
        If the header is nested too deeply.
    OSError
        If there is no such folder, `path` is a folder itself, or the disk refuses; a file that exists
        stays as it is.
    """
    target = check_path(path)
    _check_depth(header)
    text = json.dumps({"digest": _BLANK, "format": FORMAT, **header}, sort_keys=True)
    data = safetensors.torch.save(tensors, {_KEY: text})
    digest, start = hashlib.sha256(data).hexdigest(), data.index(_BLANK.encode())
    view = memoryview(data)
    write_atomically(target, view[:start], digest.encode(), view[start + len(_BLANK) :])


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header, less the digest, and tensors, which do not hang on the file.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is no regular file, damaged, altered, foreign or of a newer format.
    """
    name = str(check_path(path))
    if not stat.S_ISREG(os.stat(name).st_mode):
        raise ValueError(f"{name} is a FIFO, a socket or a device; pass the name of a file")
    data = Path(name).read_bytes()
    if not data:
        raise ValueError(f"{name} is empty: no file of likelihood-gan")
    header = _read_header(name, data)
    try:
        return header, safetensors.torch.load(data)
    except _FAILURES as error:
        raise ValueError(f"{name} is damaged or no safetensors file: {error}") from error


def check_path(path: Any) -> Path:
    """Return what may be a file, or say why it is none."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a pathlib.Path, got {path!r}")
    given = os.fspath(path)
    if not given or Path(given).is_dir():
        raise IsADirectoryError(
            f"path={given!r} is a folder; pass the name of a file, such as "
            f"{os.path.join(given, 'model.safetensors')!r}"
        )
    return Path(given)


_FAILURES = (
    *(safetensors.SafetensorError, ArithmeticError, AssertionError, AttributeError),
    *(LookupError, RuntimeError, TypeError, ValueError),
)
"""What reading of foreign bytes may raise."""


def _read_header(name: str, data: bytes) -> dict[str, Any]:
    """Return what stands under our key, once it is known that no byte was altered."""
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        if end > len(data):
            raise ValueError("it ends before its header does")
        metadata = json.loads(data[8:end]).get("__metadata__", {})
        text = metadata.get(_KEY)
    except _FAILURES as error:
        raise ValueError(f"{name} is damaged or no safetensors file: {error}") from error
    if text is None:
        raise ValueError(f"{name} is a safetensors file, but not one of likelihood-gan")
    try:
        header = json.loads(text)
        digest, version = header.pop("digest"), header["format"]
        intact = digest == _digest_without(digest.encode(), data)
    except _FAILURES as error:
        raise ValueError(f"{name}: the header is damaged: {error!r}") from error
    if not intact:
        raise ValueError(
            f"{name} is damaged: it was altered or cut after it was written, its digest is another one"
        )
    if type(version) is not int or version < 1:
        raise ValueError(f"{name}: the header is damaged: format is {version!r}")
    if version > FORMAT:
        raise ValueError(
            f"{name} has format {version}, this version of likelihood-gan reads up to {FORMAT}; "
            "install a newer one"
        )
    try:
        _check_depth(header)
    except ValueError as error:
        raise ValueError(f"{name}: the header is damaged: {error}") from error
    return dict(header)


def _digest_without(digest: bytes, data: bytes) -> str:
    """Compute the digest of all bytes but its own."""
    view, start = memoryview(data), max(data.find(digest), 0)
    found = hashlib.sha256(view[:start])
    found.update(_BLANK.encode())
    found.update(view[start + len(_BLANK) :])
    return found.hexdigest()


def _check_depth(header: Mapping[str, Any]) -> None:
    """Raise ValueError if JSON is nested more deeply than all that read it can bear."""
    level: list[Any] = [header]
    for _ in range(DEEPEST):
        level = [
            part
            for value in level
            if isinstance(value, (dict, list))
            for part in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(f"lists and mappings are nested more than {DEEPEST} deep; use pickle")
