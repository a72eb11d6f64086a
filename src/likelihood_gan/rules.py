"""Rules for parameters: what a value must be, and one message for all that are not.

Which argument has which rule is left to its file, of `LikelihoodGAN` to `parameters`; data to `validation`.
"""

import math
import numbers
import sys
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state


@dataclass(frozen=True)
class Rule:
    """What a parameter must be.

    Parameters
    ----------
    said : str
        The same in words, as they stand behind "must be".
    is_type : callable
        Whether a value is of the right type; else TypeError.
    is_legal : callable, optional
        Whether a value of the right type is in range; else ValueError.
    """

    said: str
    is_type: Callable[[Any], bool]
    is_legal: Callable[[Any], bool] = lambda value: True

    def __or__(self, other: "Rule") -> "Rule":
        """Return the rule that either of two be kept."""

        def is_legal(value: Any) -> bool:
            return any(rule.is_type(value) and rule.is_legal(value) for rule in (self, other))

        def is_type(value: Any) -> bool:
            return self.is_type(value) or other.is_type(value)

        return Rule(f"{self.said} or {other.said}", is_type, is_legal)


def check(value: Any, name: str, rule: Rule) -> None:
    """Check the value of the argument `name`.

    Raises
    ------
    TypeError, ValueError
        If it is not of the right type, or out of range. The message has the name, what it must be
        and what it is.
    """
    if not rule.is_type(value):
        raise TypeError(f"{name} must be {rule.said}, got {value!r}")
    if not rule.is_legal(value):
        most = f" and at most {sys.maxsize}" if _is_integer(value) and value > sys.maxsize else ""
        raise ValueError(f"{name} must be {rule.said}{most}, got {value!r}")


def check_attributes(owner: Any, rules: Mapping[str, Rule]) -> None:
    """Check attributes of an object, in the order of the rules; see `check`."""
    for name, rule in rules.items():
        check(getattr(owner, name), name, rule)


def random_source(random_state: Any, name: str = "random_state") -> np.random.RandomState:
    """Return what draws, as `sklearn.utils.check_random_state`, with a message that has the name.

    Raises
    ------
    ValueError
        If it is no seed.
    """
    try:
        return check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            f"{name} must be None, an integer from 0 to {2**32 - 1} or a numpy.random.RandomState, "
            f"got {random_state!r}"
        ) from error


def _is_flag(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not _is_flag(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not _is_flag(value)


def _is_record(record: Mapping[str, Any]) -> bool:
    trained = record.get("phase") != "pretrain" or _is_number(record.get("generator_loss"))
    return _is_integer(record.get("epoch")) and isinstance(record.get("phase"), str) and trained


def integer(least: int, most: int = sys.maxsize) -> Rule:
    """Return the rule of a count: no float such as 3.0 and no boolean, numpy's integers are."""
    said = f"an integer >= {least}"
    if most < sys.maxsize:
        said = f"an integer from {least} to {most}"
    return Rule(said, _is_integer, lambda value: least <= value <= most)


def instance(*classes: type) -> Rule:
    """Return the rule of an object of one of some classes."""
    return Rule(
        " or ".join(f"a {cls.__name__}" for cls in classes),
        lambda value: isinstance(value, classes),
    )


def array(kinds: str, ndim: int) -> Rule:
    """Return the rule of a numpy array with so many axes, of one of numpy's kinds such as "f"."""
    return Rule(
        f"an array of kind {' or '.join(kinds)} with {ndim} axes",
        lambda value: isinstance(value, np.ndarray),
        lambda value: value.dtype.kind in kinds and value.ndim == ndim,
    )


def choice(*values: str) -> Rule:
    """Return the rule of a parameter that is one of a few words."""
    return Rule(
        " or ".join(map(repr, values)),
        lambda value: isinstance(value, str),
        lambda value: value in values,
    )


FLAG = Rule("True or False", _is_flag)
NONE = Rule("None", lambda value: value is None)
NOT_ZERO = Rule("an integer other than 0", _is_integer, lambda value: value != 0)
NUMBER = Rule("a number", _is_number)
FINITE = Rule("a finite number", _is_number, lambda value: -math.inf < value < math.inf)
POSITIVE = Rule("a positive, finite number", _is_number, lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Rule("a finite number >= 0", _is_number, lambda value: 0 <= value < math.inf)
SHARE = Rule("a number between 0 and 1, neither included", _is_number, lambda value: 0 < value < 1)
TOP_SHARE = Rule("a number above 0 and at most 1", _is_number, lambda value: 0 < value <= 1)
DROPOUT = Rule("a number from 0 to below 1", _is_number, lambda value: 0 <= value < 1)
POSITIVES = Rule(
    "a sequence of positive numbers",
    lambda value: isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str),
    lambda value: (
        np.ndim(value) == 1
        and len(value) > 0
        and all(POSITIVE.is_type(v) and POSITIVE.is_legal(v) for v in value)
    ),
)
KEYWORDS = Rule(
    'a mapping of names to values, such as {"hidden_size": 64}',
    lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
)
CALLABLES = Rule(
    "a list of callables, such as [PrintEpoch()]",
    lambda value: (
        isinstance(value, Collection) and not isinstance(value, str) and all(map(callable, value))
    ),
)
SYMBOLS = Rule(
    "an iterable of hashable symbols",
    lambda value: (
        all(isinstance(symbol, Hashable) for symbol in value)
        if isinstance(value, Collection)
        else isinstance(value, Iterable)  # not looked at, since that would use it up
    ),
)
SEQUENCES = Rule(
    "a list of str, or of tuples",
    lambda value: isinstance(value, list),
    lambda value: any(all(isinstance(part, cls) for part in value) for cls in (str, tuple)),
)
RECORDS = Rule(
    "a list of records of epochs",
    lambda value: isinstance(value, list) and all(isinstance(record, dict) for record in value),
    lambda value: all(map(_is_record, value)),
)
NGRAM_RANGE = Rule(
    "(shortest, longest) with 1 <= shortest <= longest",
    lambda value: isinstance(value, Sequence) and all(map(_is_integer, value)),
    lambda value: len(value) == 2 and 1 <= value[0] <= value[1],
)
