"""What MkDocs cannot read off docs/: pages of the root, of every command and every public name, and links into the sources.

A hook (mkdocs.yml). Commands come from the command line's own parser, names from the package.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import os
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import distilmt
from distilmt import cli
from distilmt.report import Report

ROOT = Path(__file__).parents[1]
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
SPOKEN = re.compile(r"(?<!\[)`docs/([\w/-]+\.md)`(?!\])")
EXAMPLE = ROOT / "docs" / "results" / "multi30k" / "report.json"


def commands() -> dict[str, Any]:
    """Every command by its words, as "labels status"."""
    found: dict[str, Any] = {}
    waiting = [("", typer.main.get_command(cli.app))]
    while waiting:
        words, command = waiting.pop()
        found |= {} if hasattr(command, "commands") else {words: command}
        waiting += [(f"{words} {name}".strip(), each) for name, each in getattr(command, "commands", {}).items()]
    return dict(sorted(found.items()))


def names() -> dict[str, str]:
    """The page of each public name of the package: its own, or that of the module or function it is at home with."""
    functions = [name for name, value in vars(distilmt).items() if inspect.isfunction(value) and name[0] != "_"]
    pages = {name: name for name in (*functions, *distilmt._MODULES)}
    pages |= {name: home if home in pages else name for name, home in distilmt._HOME.items()}
    return dict(sorted(pages.items(), key=lambda item: item[0].lower()))


@functools.cache
def results() -> dict[type, str]:
    """The page of each class that public functions return, or that such a class holds, and that has no place of its own."""
    public: dict[str, list[Any]] = {page: [] for page in names().values()}
    for name, page in names().items():
        value = getattr(distilmt, name)
        public[page] += _members(value) if inspect.ismodule(value) else [value]
    described = {each for values in public.values() for each in values if inspect.isclass(each)}
    found: dict[type, str] = {}
    for page, values in public.items():
        waiting: list[Any] = [each for each in values if inspect.isfunction(each)]
        while waiting:
            new = [each for each in _classes(waiting.pop(0)) if each not in described and each not in found]
            found |= dict.fromkeys(new, page)
            waiting += new
    return found


def _members(module: Any) -> list[Any]:
    """What a module lists as public, or else defines."""
    if listed := getattr(module, "__all__", ()):
        return [getattr(module, name) for name in listed]
    own = {name: each for name, each in vars(module).items() if getattr(each, "__module__", "") == module.__name__}
    return [each for name, each in own.items() if name[0] != "_"]


def _classes(value: Any) -> list[type]:
    """The package's classes that a function returns or a class has as fields, imported for type checkers alone or not."""
    module = sys.modules[value.__module__]
    noted = value.__annotations__ if inspect.isclass(value) else {"": value.__annotations__.get("return")}
    homes = {
        alias.name: node.module
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("distilmt.")
        for alias in node.names
    }
    words = dict.fromkeys(re.findall(r"\b[A-Z]\w+", " ".join(map(str, noted.values()))))
    found = [getattr(importlib.import_module(homes.get(word) or module.__name__), word, None) for word in words]
    return [each for each in found if inspect.isclass(each) and each.__module__.startswith("distilmt.")]


def on_config(config: MkDocsConfig) -> None:
    def group(title: str) -> list[Any]:
        return next(each[title] for each in config.nav if title in each)

    group("Commands").extend(["commands/index.md", *(_page(words) for words in commands())])
    group("Python").extend(["python/index.md", *(f"python/{page}.md" for page in dict.fromkeys(names().values()))])
    found = (ROOT / "docs" / "results").rglob("*.md")
    reports = sorted(path for path in found if path.name in ("report.md", "payback.md"))
    group("Results").extend(str(path.relative_to(ROOT / "docs")) for path in reports)


def on_files(files: Files, config: MkDocsConfig) -> None:
    for name in ROOT_PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    made = commands()
    rows = [
        f"| [`distilmt {words}`]({Path(_page(words)).name}) | {_first(each.help)} |" for words, each in made.items()
    ]
    about = "# Commands\n\n" + (inspect.getdoc(cli) or "").split("\n\n", 1)[1]
    pages = {"commands/index.md": "\n".join([about, "", "| command | what it does |", "| --- | --- |", *rows])}
    pages |= {_page(words): command_page(words, each) for words, each in made.items()}
    rows = [
        f"| [`distilmt.{name}`]({page}.md#{_path(getattr(distilmt, name))}) | {_first(inspect.getdoc(getattr(distilmt, name)))} |"
        for name, page in names().items()
    ]
    about = f"# Python\n\n{inspect.getdoc(distilmt)}"
    pages["python/index.md"] = "\n".join([about, "", "| name | what it is |", "| --- | --- |", *rows])
    pages |= {f"python/{page}.md": name_page(page, made) for page in set(names().values())}
    pages["example-report.html"] = Report(str(EXAMPLE)).html()
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are right in the repository, made right on the site; `docs/bill.md` in a sentence becomes one."""
    root = page.file.src_uri in ROOT_PAGES
    here = "" if root else "docs"
    at = os.path.dirname(page.file.src_uri)

    def target(match: re.Match[str]) -> str:
        path = os.path.normpath(os.path.join(here, at, match[1]))
        inside = path.removeprefix("docs/") if path.startswith("docs/") else path
        if files.get_file_from_path(inside) is None and (ROOT / path).is_file():
            files.append(File.generated(config, inside, abs_src_path=str(ROOT / path)))
        return os.path.relpath(inside, at or ".")

    def spoken(match: re.Match[str]) -> str:
        file = files.get_file_from_path(match[1])
        known = file and not file.inclusion.is_excluded() and match[1] != page.file.src_uri
        return f"[{match[1]}]({os.path.relpath(match[1], at or '.')})" if known else match[0]

    if page.file.generated_by and not root:
        return markdown
    linked = SPOKEN.sub(spoken, LINK.sub(target, markdown))
    return linked.replace("`example-report.html`", "[example-report.html](example-report.html)")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """`Returns: ...` and `Raises: ...` on one line of a docstring, each a paragraph of its own."""
    split = re.sub(r"\n(Returns|Raises): ", r"</p>\n<p>\1: ", html)
    return re.sub(r"<p>(Returns|Raises): ", r"<p><strong>\1:</strong> ", split)


def command_page(words: str, command: Any) -> str:
    """Usage, docstring and options of one command."""
    with command.make_context(f"distilmt {words}", [], resilient_parsing=True) as context:
        usage = " ".join([f"distilmt {words}", *command.collect_usage_pieces(context)])
        records = [param.get_help_record(context) for param in command.get_params(context)]
    rows = [f"| `{option}` | {_cell(meaning)} |" for option, meaning in records]
    table = "\n".join(["| option | meaning |", "| --- | --- |", *rows])
    return f"# distilmt {words}\n\n    {usage}\n\n{inspect.cleandoc(command.help)}\n\n{table}\n"


def name_page(page: str, commands: dict[str, Any]) -> str:
    """One page of public names, by mkdocstrings: a module with all it shows, or functions and classes."""
    value, text = getattr(distilmt, page), f"# distilmt.{page}\n"
    held = "".join(f"\n::: {_path(each)}\n" for each, at in results().items() if at == page)
    if not inspect.ismodule(value):
        text += "".join(f"\n::: {_path(getattr(distilmt, name))}\n" for name, at in names().items() if at == page)
        command = f"[`distilmt {page}`](../{_page(page)})"
        return text + held + (f"\nOptions: those of {command}, with `_` for `-`.\n" if page in commands else "")
    module = value.__name__
    text += f"\n::: {module}\n    options: {{show_root_heading: false}}\n"
    public = [getattr(value, name) for name in getattr(value, "__all__", ())]
    files = pkgutil.iter_modules(value.__path__) if hasattr(value, "__path__") and not public else ()
    shown = [f"{module}.{file.name}" for file in files]
    # A function with the name of its file: the parser of the sources sees the file.
    shown += [_path(each) for each in public if _path(each).startswith(f"{module}.{getattr(each, '__name__', '')}.")]
    return text + "".join(f"\n::: {path}\n" for path in shown) + held


def _page(words: str) -> str:
    return f"commands/{words.replace(' ', '-')}.md"


def _path(value: Any) -> str:
    """Where a module, class or function is defined; empty for anything else."""
    if inspect.ismodule(value):
        return value.__name__
    return f"{value.__module__}.{value.__qualname__}" if inspect.isclass(value) or inspect.isfunction(value) else ""


def _first(text: str | None) -> str:
    return _cell(" ".join((text or "").split("\n\n", 1)[0].split()))


def _cell(text: str) -> str:
    return re.sub(r"([|\[])", r"\\\1", text)
