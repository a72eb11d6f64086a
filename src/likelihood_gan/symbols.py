"""Symbols as JSON, and back to the same type and value: numbers, bytes, dates, members of an Enum.

JSON knows text, whole numbers, floats, true, false and null; others are written as {kind: content}. What
holds symbols is left to `persistence`.
"""

import datetime
import decimal
import enum
import fractions
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from likelihood_gan.vocabulary import UNKNOWN_SYMBOL

_Kind = tuple[type, Callable[[Any], Any], Callable[[Any], Any]]

_KINDS: dict[str, _Kind] = {
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "complex": (complex, lambda z: [z.real, z.imag], lambda parts: complex(*parts)),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "fraction": (fractions.Fraction, str, fractions.Fraction),
    "uuid": (uuid.UUID, str, uuid.UUID),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    # fold is in no ISO format
    "datetime": (
        datetime.datetime,
        lambda moment: [moment.isoformat(), moment.fold],
        lambda parts: datetime.datetime.fromisoformat(parts[0]).replace(fold=parts[1]),
    ),
    "time": (
        datetime.time,
        lambda moment: [moment.isoformat(), moment.fold],
        lambda parts: datetime.time.fromisoformat(parts[0]).replace(fold=parts[1]),
    ),
    "timedelta": (
        datetime.timedelta,
        lambda span: [span.days, span.seconds, span.microseconds],
        lambda parts: datetime.timedelta(*parts),
    ),
    # JSON joins two surrogates to one character
    "characters": (str, lambda text: list(map(ord, text)), lambda codes: "".join(map(chr, codes))),
    "numpy": (
        np.generic,
        lambda value: [value.dtype.str, int(value.astype(np.int64))],
        lambda parts: np.int64(parts[1]).view(parts[0]),
    ),
}


def write_symbol(value: Any) -> dict[str, Any] | None:
    """Return {kind: content} of what is no JSON, None if there is no kind for it."""
    if value is UNKNOWN_SYMBOL:
        return {"unknown": None}
    if isinstance(value, enum.Enum):
        if value.name not in type(value).__members__:  # flags that are combined
            return None
        return {"enum": [type(value).__qualname__, value.name]}
    if isinstance(value, str):
        is_plain = type(value) is not str or not re.search("[\ud800-\udfff]", value)
        return None if is_plain else _written("characters", value)
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return _written("numpy", value)
    zone = getattr(value, "tzinfo", None)
    if zone is not None and type(zone) is not datetime.timezone:
        return None  # its rules are not in the text
    kind = next((kind for kind, (cls, _, _) in _KINDS.items() if type(value) is cls), None)
    return None if kind is None else _written(kind, value)


def read_symbol(kind: str, content: Any, enums: Mapping[str, type[enum.Enum]]) -> Any:
    """Return the symbol that was written; `enums` are the classes of members, by name.

    Raises
    ------
    LookupError, TypeError, ValueError, ArithmeticError
        If there is no such kind, class or member, or nothing is written like this.
    """
    symbol: Any
    if kind == "unknown":
        symbol = UNKNOWN_SYMBOL
    elif kind == "enum":
        name, member = content
        symbol = enums[name][member]
    else:
        symbol = _KINDS[kind][2](content)
    if repr(write_symbol(symbol)) != repr({kind: content}):
        raise ValueError(f"no {kind} is written as {content!r}")
    return symbol


def enums_among(symbols: Iterable[Any]) -> dict[str, type[enum.Enum]]:
    """Return the Enum classes whose members are among symbols, by name."""
    return {type(member).__qualname__: type(member) for member in _members(symbols)}


def _members(symbols: Iterable[Any]) -> Iterator[enum.Enum]:
    for symbol in symbols:
        if isinstance(symbol, enum.Enum):
            yield symbol
        elif isinstance(symbol, (tuple, frozenset)):
            yield from _members(symbol)


def _written(kind: str, value: Any) -> dict[str, Any]:
    return {kind: _KINDS[kind][1](value)}
