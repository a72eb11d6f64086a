"""One safetensors file with a JSON header, written as a whole or not at all.

All of the header is under a single key, as sorted JSON, so that equal things make equal files. What stands in
it is left to `persistence`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

FORMAT = 1
_KEY = "likelihood_gan"


def write_file(
    path: str | os.PathLike[str], header: Mapping[str, Any], tensors: dict[str, Tensor]
) -> None:
    """Write a header, to which the format is added, and tensors.

    Raises
    ------
    TypeError
        If `path` is no path.
    OSError
        If there is no such folder, `path` is a folder itself, or the disk refuses; a file that exists
        stays as it is.
    """
    target = check_path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path={os.fspath(path)!r}: there is no folder {str(target.parent)!r}; make it first"
        )
    text = json.dumps({"format": FORMAT, **header}, sort_keys=True)
    write_atomically(target, safetensors.torch.save(tensors, {_KEY: text}))


def read_file(name: str, header_only: bool = False) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors, or none of these.

    Raises
    ------
    ValueError
        If the file is damaged, foreign or of a newer format.
    """
    try:
        with safetensors.safe_open(name, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise ValueError(f"{name} is a safetensors file, but not one of likelihood-gan")
            header = json.loads(text)
            if header["format"] > FORMAT:
                raise ValueError(
                    f"{name} has format {header['format']}, this version of likelihood-gan reads "
                    f"up to {FORMAT}; install a newer one"
                )
            keys = () if header_only else file.keys()
            # clones: what is read hangs on the file, which may be replaced
            return header, {key: file.get_tensor(key).clone() for key in keys}
    except safetensors.SafetensorError as error:
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


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file, or leave it as it is if that is cut short."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:  # its message would name the temporary file alone
        error.add_note(f"path={str(path)!r} was not written")
        raise
    finally:
        temporary.unlink(missing_ok=True)
