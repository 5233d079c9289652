"""The site: built without warnings, with a page of every command and of every public name."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import zlib
from itertools import pairwise
from pathlib import Path

import pytest

import distilmt
from docs_pages import ROOT, options

mkdocs = pytest.importorskip("mkdocs.commands.build", reason="needs the documentation's tools: pip install '.[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mkdocs build --strict`."""
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    mkdocs.build(config)
    return folder


def test_every_command_has_a_page_with_all_its_options(site: Path) -> None:
    known = options()
    commands = [words for words in known if words and not any(other.startswith(f"{words} ") for other in known)]
    assert len(commands) > 25
    for words in commands:
        page = (site / "commands" / f"{words.replace(' ', '-')}.html").read_text()
        assert all(flag in page for flag in known[words] if flag.startswith("--"))


@pytest.fixture(scope="module")
def described(site: Path) -> dict[str, str]:
    """What the site's inventory has, and its kind."""
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    return dict(line.split(" ")[:2] for line in inventory.splitlines())


def test_every_public_name_and_what_it_returns_is_described(described: dict[str, str]) -> None:
    functions = [name for name, value in vars(distilmt).items() if inspect.isfunction(value) and name[0] != "_"]
    public = [getattr(distilmt, name) for name in (*functions, *distilmt._HOME, *distilmt._MODULES)]
    public += [getattr(module, name) for module in public for name in getattr(module, "__all__", ())]
    named = [value for value in public if inspect.isclass(value) or inspect.isfunction(value)]
    paths = {f"{value.__module__}.{value.__qualname__}" for value in named if value.__module__.startswith("distilmt")}
    assert len(paths) > 100 and paths - described.keys() == set()
    sources = (path.read_text() for path in (ROOT / "python").rglob("*.py"))
    ours = {name for text in sources for name in re.findall(r"^class (\w+)", text, re.M)}
    notes = " ".join(str(value.__annotations__.get("return")) for value in named if inspect.isfunction(value))
    held = {"Learned", "Unavailable", "ForecastRow", "PaybackRow", "Composite"}  # by fields of what is returned
    returned = ours & set(re.findall(r"\w+", notes)) | held
    assert {"EvaluateResult", "StudyReport", "Forecast"} < returned
    assert returned - {path.rpartition(".")[2] for path, kind in described.items() if kind == "py:class"} == set()


def undocumented(cls: type) -> list[str]:
    """Public members of a class without a docstring, and fields without a help that no docstring of the class names."""
    docs = [inspect.getdoc(each) or "" for each in cls.__mro__ if each.__module__.startswith("distilmt")]
    told = " ".join(doc for doc in docs if not re.match(r"\w+\(", doc))  # what dataclasses make up
    given = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    helped = {each.name for each in given if each.metadata or dataclasses.is_dataclass(each.default_factory)}
    public = {name: value for name, value in vars(cls).items() if name[0] != "_"}
    members = [name for name, value in public.items() if callable(value) or hasattr(value, "__get__")]
    missing = [name for name in members if name not in cls.__annotations__ and not inspect.getdoc(getattr(cls, name))]
    fields = [name for name in cls.__annotations__ if name[0] != "_" and name not in helped]
    missing += [name for name in fields if not re.search(rf"\b{name}\b", told)]
    return [*missing, *(["the class"] if not told else [])]


def test_every_member_of_a_described_class_has_a_docstring(described: dict[str, str]) -> None:
    paths = [path.rpartition(".") for path, kind in described.items() if kind == "py:class"]
    classes = {getattr(importlib.import_module(module), name, None) for module, _, name in paths}
    classes.discard(None)  # what a module imports for type checkers alone is described where it is defined
    assert len(classes) > 80
    assert {f"{cls.__qualname__}: {missing}" for cls in classes if (missing := undocumented(cls))} == set()


def test_the_newcomers_path_leads_from_page_to_page(site: Path) -> None:
    path = ["index", "quickstart", "own-data", "choosing-a-method", "labelling", "bill"]
    for page, following in pairwise(path):
        text, next_text = (site / f"{page}.html").read_text(), (site / f"{following}.html").read_text()
        assert f'<link rel="next" href="{following}.html">' in text
        assert f'<link rel="prev" href="{page}.html">' in next_text
        assert page == "index" or re.search(rf'<p>Next: <a href="{following}.html">', text)
    order = re.search(r"Read in this order:.*?\. ", (ROOT / "README.md").read_text(), re.S)
    assert order and re.findall(r"\(docs/([\w-]+)\.md\)", order[0]) == path[1:]


def test_there_is_a_report_to_look_at(site: Path) -> None:
    assert 'href="example-report.html"' in (site / "report.html").read_text()
    assert (site / "example-report.html").read_text().count("data:image/svg") >= 4


def test_every_link_of_a_page_leads_to_a_file_of_the_site(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text()):
            assert re.match(r"https?:|data:|mailto:", target) or (page.parent / target).exists(), (
                f"{page.name}: {target}"
            )


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.findall(r'<(?:script|img|link rel="stylesheet")[^>]+(?:src|href)="https?:', page.read_text())
