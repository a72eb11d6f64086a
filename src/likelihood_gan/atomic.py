"""A file that is written as a whole or not at all, whoever else writes or reads it meanwhile.

What stands in it is left to the callers.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where no file can be removed that someone has open
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: str | os.PathLike[str], *parts: bytes | memoryview) -> None:
    """Write a file, or leave it as it is if that is cut short.

    The bytes go to a new file in the same folder, with a random name; once they are on the disk it takes
    the place of the old one, whose permissions it has. A new file has those of the umask. Where `path`
    is a symbolic link, the link stays, and the file that it leads to is replaced.

    Raises
    ------
    OSError
        If there is no such folder, `path` is a folder, a FIFO or a device, or the disk refuses. Then
        the old file is as it was, and nothing else is left.
    """
    target = _target(path)
    remove_leftovers(target)
    try:
        with _temporary(target) as (file, name):
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            os.replace(name, target)
        _sync(target.parent)
    except OSError as error:  # its message would name the temporary file alone
        error.add_note(f"path={os.fspath(path)!r} was not written")
        raise


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what writing to `path` has left behind where its process was killed.

    Whoever still writes holds a lock on the file, which ends with the process. Where there are no locks,
    as on some network drives, nothing is removed.
    """
    target = Path(os.path.realpath(path))
    start = _start_of(target)
    try:
        names = [name for name in os.listdir(target.parent) if name.startswith(start)]
    except OSError:  # there is no such folder, or it may not be read
        return
    for name in names:
        leftover = target.with_name(name)
        with contextlib.suppress(OSError):
            if fcntl is None:
                leftover.unlink()
                continue
            descriptor = os.open(leftover, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
            finally:
                os.close(descriptor)


def _target(path: str | os.PathLike[str]) -> Path:
    """Return the file to replace, which need not exist."""
    given = os.fspath(path)
    target = Path(os.path.realpath(given) if os.path.islink(given) else given)
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), given)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path={given!r}: there is no folder {str(target.parent)!r}; make it first"
        )
    if target.exists() and not target.is_file() and not target.is_dir():
        raise FileExistsError(
            f"path={given!r} is a FIFO, a socket or a device; pass the name of a file"
        )
    return target


def _start_of(target: Path) -> str:
    # a hash of the name: with the name itself, one of 255 bytes could not be written
    mark = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return f".likelihood-gan-{mark}-"


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a new file beside another one, with its permissions; remove it unless it was renamed."""
    before = target.stat() if target.exists() else None
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o777
    descriptor, name = _create(target, mode)
    try:
        with open(descriptor, "wb") as file:
            if before is not None and hasattr(os, "fchmod"):
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, mode)
            yield file, name
    finally:
        name.unlink(missing_ok=True)


def _create(target: Path, mode: int) -> tuple[int, Path]:
    """Create a file that was not there, and lock it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        name = target.with_name(f"{_start_of(target)}{secrets.token_hex(8)}.tmp")
        descriptor = os.open(name, flags | getattr(os, "O_CLOEXEC", 0), mode)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor, name
        except BlockingIOError:
            pass
        except OSError:  # there are no locks here
            return descriptor, name
        os.close(descriptor)  # someone has taken it for a leftover before it was locked
        name.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Have the new name on the disk, too."""
    with contextlib.suppress(OSError):  # some systems cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
