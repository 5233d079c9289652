"""examples/studies and docs/study.md: every file there is one that can be read."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from distilmt.methods import METHODS
from distilmt.study import StudyConfig, read
from distilmt.study.decode import DecodeTask
from distilmt.study.distill import DistillTask

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/study.md").read_text()


@pytest.mark.parametrize(
    "path",
    sorted(path for folder in ("studies", "ladder") for path in (ROOT / "examples" / folder).glob("*.yaml")),
    ids=lambda path: path.stem,
)
def test_an_example_is_a_study(path: Path) -> None:
    study = read(path)
    assert len(study.cells()) == len(study.treatments) * study.config.repeats and study.contrasts
    named = f"distilmt study run examples/{path.parent.name}/{path.name}" in path.read_text()
    assert named or study.config.like  # its command stands in the file that it is like


def test_the_ladder_has_every_method() -> None:
    studies = [read(path) for path in (ROOT / "examples" / "ladder").glob("*.yaml")]
    levels = {str(settings.get("method")) for study in studies for _, settings in study.treatments}
    assert set(METHODS) - {part for level in levels for part in (level, *level.split("/"))} == set()


def test_the_page_has_every_key_and_its_example_is_a_study(tmp_path: Path) -> None:
    text = PAGE.split("## The file\n\n")[1].split("\n\n|")[0]
    (tmp_path / "study.yaml").write_text(re.sub("^    ", "", text, flags=re.MULTILINE))
    assert read(tmp_path / "study.yaml").levels == {"beam_size": ["1", "4"], "direction": ["de-en", "en-de"]}
    given = {"name", "out", "task", "factors", "fixed"}  # in the example
    groups = {"metering", "rates", "asked", "training", "teacher_training", "label", "data", "own"}
    for key in {field.name for cls in (StudyConfig, DecodeTask, DistillTask) for field in fields(cls)} - given - groups:
        assert f"`{key}`" in PAGE, key
