"""The command `likelihood-gan`: its errors and its exit codes.

What can be asked of it is left to `command_options`.
"""

import argparse
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from likelihood_gan.command_options import make_parser
from likelihood_gan.console import DONE, FAILED, INTERRUPTED, WRONG, tell


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        What stands behind `likelihood-gan`; None takes that of the process.

    Returns
    -------
    int
        0 if all is done, also if no one wants to read more; 1 if training diverged; 2 if an option or
        a file is wrong; 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        With 0 after ``--help``, with 2 where the options cannot be read.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    try:
        try:
            arguments = make_parser().parse_args(argv)
        finally:
            sys.stdout.flush()
        with _plain_warnings():
            code = _run(arguments)
        sys.stdout.flush()
    except OSError as error:  # of standard output: what else can fail is told by `_run`
        if sys.flags.dev_mode:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return DONE
        tell(f"error: standard output: {_message(error)}")
        return WRONG
    return code


def _run(arguments: argparse.Namespace) -> int:
    """Run a command; print what ends it as one line."""
    try:
        arguments.run(arguments)
    except KeyboardInterrupt as error:
        tell("; ".join(["interrupted", *_notes(error)]))
        return INTERRUPTED
    except BrokenPipeError:
        if arguments.command in ("fit", "resume"):  # no one reads how far it is
            return FAILED
        raise
    except (OSError, TypeError, ValueError, FloatingPointError) as error:
        if sys.flags.dev_mode:
            raise
        tell("; ".join([f"error: {_message(error)}", *_notes(error)]))
        return FAILED if isinstance(error, FloatingPointError) else WRONG
    return DONE


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fspath(error.filename)}: "
        return f"{name}{error.strerror}"
    return " ".join(str(error).splitlines())


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings as one line, without the place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        tell(f"warning: {' '.join(str(message).splitlines())}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
