"""Turns a configuration dataclass into a command: one flag per option, so that adding a field adds the flag.

Every flag reaches `config.load` as the text that was typed; the schema alone decides what it means.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from distilmt.interface.config import Option, load, options


class ListCommand(TyperCommand):
    """A command whose repeatable options take several values at once: `--references a b`, not only one at a time."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        repeatable = {flag for param in self.params if getattr(param, "multiple", False) for flag in param.opts}
        spread: list[str] = []
        flag, filled = "", False
        for word in args:
            if word.startswith("-"):
                flag, filled = word, False
            elif filled and flag in repeatable:
                spread.append(flag)
            else:
                filled = True
            spread.append(word)
        return super().parse_args(ctx, spread)


def command(
    app: typer.Typer, name: str, cls: type, function: Callable[..., Any], positional: tuple[str, ...] = ()
) -> None:
    """Adds `distilmt NAME`: all options of `cls` as flags, `--config FILE` and `--set KEY=VALUE`.

    Args:
        cls: the configuration dataclass, schema of the flags.
        positional: options that are written without a flag, in this order.
        function: takes an instance of it; what it returns is printed. Its docstring is the help.
    """

    kinds = {option.name: option.type for option in options(cls)}

    def run(**flags: Any) -> None:
        file, sets = flags.pop("config"), flags.pop("set") or ()
        # An absent repeatable option arrives as None or [], by the version of Typer.
        given = {key: _group(value, kinds[key]) for key, value in flags.items() if value is not None and value != []}
        result = function(load(cls, file, sets, given))
        if result is not None:
            print(result)

    # Typer reads a signature; this one is made from the schema.
    table = sorted(options(cls), key=lambda option: positional.index(option.name) if option.name in positional else 99)
    parameters = [_parameter(option, option.name in positional) for option in table]
    file_form = typer.Option("--config", metavar="FILE", help="options from a YAML file; flags win over it")
    set_form = typer.Option("--set", metavar="KEY=VALUE", help="one option by its name or path; may be repeated")
    parameters += [_keyword("config", str | None, file_form), _keyword("set", list[str] | None, set_form)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    # The docstring without its sections, which speak of Python.
    text = re.split(r"^(?:Args|Returns|Raises|Source)\b.*", inspect.getdoc(function) or "", maxsplit=1, flags=re.M)[0]
    app.command(name, cls=ListCommand, help=text.strip())(run)


def _parameter(option: Option, positional: bool) -> inspect.Parameter:
    flag = "--" + option.name.replace("_", "-")
    help = option.help
    if option.required:
        help += " [required]"
    elif option.default not in (None, (), ""):
        default = option.default if not isinstance(option.default, tuple) else " ".join(map(str, option.default))
        help += f" [default: {str(default).lower() if isinstance(default, bool) else default}]"
    if option.type is bool:
        return _keyword(option.name, bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", help=help))
    kind = _shape(option.type)
    if positional:
        return _keyword(option.name, kind | None, typer.Argument(metavar=option.metavar, help=help, show_default=False))
    return _keyword(option.name, kind | None, typer.Option(flag, metavar=option.metavar, help=help))


def _shape(kind: Any) -> Any:
    """The text a flag of this type takes: one word, a fixed number of words, or a list of words."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next((_shape(each) for each in inner if typing.get_origin(each) is tuple), str)
    if typing.get_origin(kind) is not tuple:
        return str
    return list[str] if inner[-1] is ... else tuple[(str,) * len(inner)]  # type: ignore[misc]


def _group(words: Any, kind: Any) -> Any:
    """Cuts the words of a list of tuples into these: `--test a b --test c d` arrives as one flat list."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is tuple and inner[-1] is ... and typing.get_origin(inner[0]) is tuple:
        size = len(typing.get_args(inner[0]))
        return [words[i : i + size] for i in range(0, len(words), size)]
    return words


def _keyword(name: str, kind: Any, form: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, form])
