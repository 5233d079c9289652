"""examples/studies and docs/study.md: every file there is one that can be read."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from distilmt import objectives
from distilmt.distilling.methods import METHODS, RECIPES
from distilmt.interface.config import resolve
from distilmt.objectives import Term
from distilmt.study import StudyConfig, read
from distilmt.study.decode import DecodeTask
from distilmt.study.distill import DistillTask
from distilmt.study.spec import Study

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


def tasks_of(studies: list[Study]) -> list[DistillTask]:
    found = [settings for study in studies if study.config.task == "distill" for _, settings in study.treatments]
    return [resolve(DistillTask, settings) for settings in found]


def methods_of(tasks: list[DistillTask]) -> set[str]:
    return {part for task in tasks if not (task.recipe or task.objective) for part in re.split("[+/]", task.method)}


def test_the_ladder_has_every_method_recipe_and_term() -> None:
    studies = {path.name: read(path) for path in (ROOT / "examples" / "ladder").glob("*.yaml")}
    tasks = tasks_of(list(studies.values()))
    assert set(METHODS) - methods_of(tasks) == set()
    phases = [phase for task in tasks for phase in task.chosen.phases]
    assert set(RECIPES) - {phase.recipe for phase in phases} == set()
    losses = " ".join(
        loss for phase in phases for loss in (phase.objective, phase.own.objective if phase.own else "") if loss
    )
    terms = {
        name
        for name in vars(objectives)
        if isinstance(found := getattr(objectives, name), type) and issubclass(found, Term)
    }
    assert terms - {"Term", "LayerTerm"} - set(re.findall(r"\w+(?=\()", losses)) == set()
    assert {"layers+hidden", "seq-kd/seq-inter"} <= {task.method for task in tasks}  # as published
    decoded = [
        settings for study in studies.values() if study.config.task == "decode" for _, settings in study.treatments
    ]
    assert any("neighbours.datastore" in settings for settings in decoded)  # kNN-MT
    # Of the generated corpus all, but for what needs a second text.
    small = [study for name, study in studies.items() if "generated.yaml" in (name, study.config.like)]
    assert set(METHODS) - methods_of(tasks_of(small)) == {"distil-adapt-distil"}
    alone = {study.config.name for study in small if not {"alone"} & methods_of(tasks_of([study]))}
    assert alone == set()


def test_the_page_has_every_key_and_its_example_is_a_study(tmp_path: Path) -> None:
    text = PAGE.split("## The file\n\n")[1].split("\n\n|")[0]
    (tmp_path / "study.yaml").write_text(re.sub("^    ", "", text, flags=re.MULTILINE))
    assert read(tmp_path / "study.yaml").levels == {"beam_size": ["1", "4"], "direction": ["de-en", "en-de"]}
    given = {"name", "out", "task", "factors", "fixed"}  # in the example
    groups = {"metering", "rates", "asked", "training", "teacher_training", "label", "data", "own", "mix", "neighbours"}
    for key in {field.name for cls in (StudyConfig, DecodeTask, DistillTask) for field in fields(cls)} - given - groups:
        assert f"`{key}`" in PAGE, key
