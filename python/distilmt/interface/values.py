"""Checks one value against one type, for `config`: what a flag, a YAML key or a Python keyword may hold.

Types: int, float, str, bool, Path, tuples of these (fixed or `tuple[T, ...]`), Literal, unions, and None in a union.
"""

from __future__ import annotations

import difflib
import os
import types
import typing
from pathlib import Path
from typing import Any, Literal

_NAMES: dict[Any, str] = {int: "integer", float: "number", str: "text", bool: "true|false", Path: "path"}
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NOTHING = ("none", "null")


def describe(kind: Any) -> str:
    """A type in words a user knows, as in `integer`, `auto|float32`, `text text`."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return "|".join(str(choice) for choice in arguments)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return "|".join(describe(each) for each in arguments if each is not type(None))
    if typing.get_origin(kind) is tuple:
        each = [describe(argument) for argument in arguments if argument is not ...]
        return f"{each[0]}..." if arguments[-1] is ... else " ".join(each)
    return _NAMES.get(kind) or str(getattr(kind, "__name__", kind))


def convert(value: Any, kind: Any, *, text: bool) -> Any:
    """Checks a value against a type and returns it in that type's form.

    Args:
        text: the value was typed by a person (flag, setting, YAML), so `"3"` is an integer; not so for Python callers.

    Raises:
        ValueError: what it must be and what came.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    wrong = ValueError(f"must be {describe(kind)}, got {value!r}")
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and (value is None or (text and str(value).lower() in _NOTHING)):
            return None
        for each in arguments:
            try:
                return convert(value, each, text=text)
            except ValueError:
                continue
        raise wrong
    if origin is Literal:
        for choice in arguments:
            # Equal type too: True == 1 in Python, yet `true` is no integer.
            if (type(value) is type(choice) and value == choice) or (text and str(value) == str(choice)):
                return choice
        near = difflib.get_close_matches(str(value), [str(choice) for choice in arguments], 1)
        raise ValueError(f"{wrong} - did you mean {near[0]!r}?" if near else str(wrong))
    if origin is tuple:
        if arguments[-1] is ...:
            try:
                return (convert(value, arguments[0], text=text),)  # one value stands for a list of one
            except ValueError:
                pass
        if not isinstance(value, (tuple, list)):
            raise wrong
        inner = [arguments[0]] * len(value) if arguments[-1] is ... else list(arguments)
        if len(inner) != len(value):
            raise ValueError(f"must be {len(inner)} values ({describe(kind)}), got {len(value)}: {list(value)!r}")
        return tuple(convert(item, each, text=text) for item, each in zip(value, inner, strict=True))
    if kind is Any:
        return value
    if kind is bool:
        if text and isinstance(value, str) and value.lower() in _WORDS:
            return _WORDS[value.lower()]
    elif kind in (int, float) and not isinstance(value, bool):
        return _number(value, kind, text, wrong)
    elif kind in (str, Path) and isinstance(value, (str, os.PathLike)):
        return kind(os.fspath(value))
    if isinstance(value, kind) and not (isinstance(value, bool) and kind is int):
        return value
    raise wrong


def _number(value: Any, kind: type, text: bool, wrong: ValueError) -> Any:
    if isinstance(value, str) and not text:
        raise wrong
    try:
        number = kind(value) if isinstance(value, str) or kind is float else value.__index__()
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise wrong from None
    if number != number:  # NaN passes every range check that is written with < and >
        raise wrong
    return number
