"""The pages of the documentation, their code blocks, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import typer

from distilmt import cli
from distilmt.interface import flags

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
_BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>.+) -->\n\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


class Block(NamedTuple):
    language: str
    code: str
    not_run: str | None
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(each["language"], each["code"], each["why"], text.count("\n", 0, each.start("code")) + 1)
        for each in _BLOCK.finditer(text)
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def lines_of(code: str) -> list[str]:
    """The commands of a shell block, continued lines joined."""
    joined = code.replace("\\\n", " ").splitlines()
    return [line.strip() for line in joined if line.strip() and not line.startswith("#")]


def distilmt_lines(line: str) -> list[list[str]]:
    """The words behind each `distilmt` of a shell line, also inside quotes and behind other programs."""
    found: list[list[str]] = []
    words: list[str] = []
    open_line = False
    for word in shlex.split(line, comments=True):
        if word.startswith("distilmt "):
            found += distilmt_lines(word)
        elif word == "distilmt":
            found.append(words := [])
            open_line = True
        elif word in ("&&", ";", "|", "<", ">"):
            open_line = False
        elif open_line:
            words.append(word)
    return found


class Read(Exception):
    pass


def parse(words: list[str], monkeypatch: Any) -> None:
    """Reads a command line as the program does, values and rules included, and stops before its work begins."""

    def load(*given: Any) -> None:
        real(*given)
        raise Read

    real = flags.load
    command, name = typer.main.get_command(cli.app), "distilmt"
    context = command.make_context(name, [words[0]], resilient_parsing=True)
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, list(words))
        context = command.make_context(
            name, list(words), parent=context, resilient_parsing=hasattr(command, "commands")
        )
    if isinstance(command, flags.ListCommand) and "config" in context.params:
        monkeypatch.setattr(flags, "load", load)
        try:
            context.invoke(command.callback, **context.params)
        except Read:
            pass
        finally:
            monkeypatch.setattr(flags, "load", real)


def options() -> dict[str, set[str]]:
    """The flags of every command, by its words; those of a group are of all its commands."""
    found: dict[str, set[str]] = {}
    waiting: list[tuple[str, Any]] = [("", typer.main.get_command(cli.app))]
    while waiting:
        words, command = waiting.pop()
        inside = getattr(command, "commands", {})
        waiting += [(f"{words} {name}".strip(), each) for name, each in inside.items()]
        found[words] = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)} | {"--help"}
    return found
