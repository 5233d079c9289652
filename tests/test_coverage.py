"""docs/coverage.md names nothing that does not exist: files, commands, options, methods, terms, sizes, tests."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path

import click
import pytest
import typer

from distilmt import objectives
from distilmt.cli import app
from distilmt.distilling.methods import METHODS, RECIPES, named
from distilmt.errors import ConfigError
from distilmt.marian.sizes import SIZES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/coverage.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`([^`]+)`", PAGE)))
COLUMNS = {
    "gates", "agreement", "events.jsonl", "train_perplexity", "top1_agreement", "own_mode", "beam_size", "compute_type",
    "cool_down", "repeats",
}  # fmt: skip


@cache
def text_of(folder: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py"))


@cache
def commands() -> dict[str, click.Command]:
    """Every command by its words."""
    found: dict[str, click.Command] = {}

    def walk(words: str, command: click.Command) -> None:
        found[words] = command
        for name, inner in getattr(command, "commands", {}).items():
            walk(f"{words} {name}", inner)

    walk("distilmt", typer.main.get_command(app))
    return found


def options() -> set[str]:
    return {name for command in commands().values() for each in command.params for name in each.opts}


def exists(name: str) -> bool:
    if name.startswith("test_"):
        return re.search(rf"^ *def {re.escape(name)}\(", text_of("tests"), re.MULTILINE) is not None
    if name.startswith("--"):
        return name.split()[0] in options()
    if name.startswith("distilmt "):
        return name in commands()
    if name.startswith("distilmt."):
        module, _, attribute = name.rpartition(".")
        return hasattr(import_module(module), attribute)
    if name in COLUMNS or name.removeprefix("label_") in COLUMNS:  # of a study's table, a log, a study file
        return name.removeprefix("label_") in text_of("python/distilmt")
    if any((ROOT / folder / name).exists() for folder in ("", "python/distilmt", "docs")):
        return True
    try:
        if "(" in name:
            return bool(objectives.parse(name))
        return name in {*SIZES, *RECIPES, *vars(objectives)} or all(named(part) for part in name.split(","))
    except ConfigError:
        return False


@pytest.mark.parametrize("name", [name for name in NAMES if name != "+"])
def test_a_name_on_the_page_exists(name: str) -> None:
    assert exists(name)


@pytest.mark.parametrize(
    "name", ["test_nothing", "--nothing", "distilmt nothing", "nothing.py", "hybrid+word-kd", "NLL(3 4)"]
)
def test_a_name_that_does_not_exist_is_found(name: str) -> None:
    assert not exists(name)


def test_every_method_has_a_row_of_fidelity_and_every_row_a_state() -> None:
    fidelity = PAGE.split("\n## 6. Fidelity\n")[1]
    assert not [name for name in METHODS if f"`{name}`" not in fidelity]
    states = {"yes", "work", "missing", "out", "fact"}
    for row in re.findall(r"^\| .*", PAGE.split("\n## 1.")[1].split("\n## 6.")[0], re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if cells[0] in ("document", "item", "---"):
            continue
        assert cells[1 if len(cells) == 3 else 2].split(":")[0] in states, row


def test_every_trap_has_tests_with_its_number() -> None:
    rows = re.findall(r"^\| (\d+)\. .* \| (.*) \|$", PAGE.split("\n### Traps of released code\n")[1], re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 16))
    assert all(name.endswith(f"_trap_{number}") for number, names in rows for name in re.findall(r"`([^`]+)`", names))
