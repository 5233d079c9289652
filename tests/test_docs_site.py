"""The site: built without warnings, with a page of every command and of every public name."""

from __future__ import annotations

import inspect
import re
import zlib
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


def test_every_public_name_is_described(site: Path) -> None:
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    described = {line.split(" ")[0] for line in inventory.splitlines()}
    public = [getattr(distilmt, name) for name in (*distilmt._HOME, *distilmt._MODULES)]
    public += [getattr(module, name) for module in public for name in getattr(module, "__all__", ())]
    named = [value for value in public if inspect.isclass(value) or inspect.isfunction(value)]
    paths = {f"{value.__module__}.{value.__qualname__}" for value in named if value.__module__.startswith("distilmt")}
    assert len(paths) > 100 and paths - described == set()


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
