"""docs/losses.md says what the code says; its examples run and its objectives can be read."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch

from distilmt.objectives import LayerTerm, parse
from distilmt.objectives.expression import _TERMS as TERMS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    return re.split(r"^## ", PAGE.split(f"\n## {name}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_page_is_what_its_script_writes() -> None:
    assert runpy.run_path(str(ROOT / "docs" / "losses.py"))["page"]() == PAGE, "run python docs/losses.py"
    assert (ROOT / "docs" / "losses.svg").exists()


def test_every_term_and_every_file_of_one_has_its_gradient() -> None:
    table = section("Gradients")
    assert not [name for name, term in TERMS.items() if not issubclass(term, LayerTerm) and f"`{name}`" not in table]
    assert not [path.name for folder in ("terms", "divergences") for path in (ROOT / "csrc" / folder).glob("*.h")
                if path.name not in table and path.name != "scalar.h"]  # fmt: skip


@pytest.mark.parametrize("row", re.findall(r"^\| .*", section("Published settings"), re.MULTILINE)[2:])
def test_published_objectives_can_be_read(row: str) -> None:
    objective = parse(row.split(" | ")[1].strip("`"))
    assert parse(repr(objective)) == objective


def test_examples_run() -> None:
    torch.manual_seed(1)
    names: dict[str, object] = {}
    for number, example in enumerate(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL), 1):
        exec(compile(example, f"docs/losses.md, example {number}", "exec"), names)
        assert "out" not in names or torch.isfinite(names["out"].loss)  # type: ignore[attr-defined]
