"""Split a string into symbols of several characters, by a regular expression or a callable.

The symbols join to the string again. What is made of them is left to `vocabulary`.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

TokenPattern = str | Callable[[str], list[str]]
"""What `token_pattern` may be."""

Splitter = Callable[[str], list[str]]


def make_splitter(token_pattern: TokenPattern) -> Splitter:
    """Return the function that splits a string into its symbols.

    A character that no match of a regular expression covers is a symbol of its own; `check_covered`
    refuses such strings.

    Raises
    ------
    TypeError, ValueError
        If `token_pattern` is neither a callable nor a regular expression. The function raises ValueError
        if what a callable returns does not join to the string again.
    """
    if callable(token_pattern):
        return functools.partial(_by_function, token_pattern)
    return functools.partial(_by_pattern, compile_pattern(token_pattern))


def compile_pattern(token_pattern: Any) -> re.Pattern[str]:
    """Return a regular expression, or say what is wrong with it."""
    if not isinstance(token_pattern, str):
        raise TypeError(
            "token_pattern must be a regular expression as a str, or a callable str -> list of str, "
            f"got {token_pattern!r}; of a compiled one pass its attribute pattern, or findall"
        )
    try:
        return re.compile(token_pattern)
    except re.error as error:
        raise ValueError(
            f"token_pattern={token_pattern!r} is no regular expression: {error}"
        ) from error


def check_covered(token_pattern: TokenPattern, sequences: list[Any], name: str = "X") -> None:
    """Raise ValueError if matches do not cover all of a string; a callable is checked as it splits."""
    if callable(token_pattern):
        return
    pattern = compile_pattern(token_pattern)
    for i, text in enumerate(sequences):
        if rest := pattern.sub("", text):
            raise ValueError(
                f"token_pattern={token_pattern!r} does not cover all of {name}[{i}]={text[:50]!r}: "
                f"{rest[:20]!r} is left; add what is missing, such as |. for any single character"
            )


def _by_pattern(pattern: re.Pattern[str], text: str) -> list[str]:
    if pattern.groups == 0:  # else it lists the groups
        symbols = pattern.findall(text)
        if "".join(symbols) == text and "" not in symbols:
            return symbols
    symbols, end = [], 0
    for match in pattern.finditer(text):
        symbols += text[end : match.start()]
        if match[0]:
            symbols.append(match[0])
        end = match.end()
    return [*symbols, *text[end:]]


def _by_function(function: Callable[[str], Any], text: str) -> list[str]:
    symbols = function(text)
    try:
        symbols = list(symbols)
        good = all(symbols) and "".join(symbols) == text
    except TypeError:
        good = False
    if not good:
        raise ValueError(
            "token_pattern must return a list of non-empty str that join to the string again, got "
            f"{symbols!r} of {text[:50]!r}; blanks belong to a symbol, or are one"
        )
    return symbols
