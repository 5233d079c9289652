"""Every example of a docstring runs, in a folder that has what it takes for granted."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
import textwrap
from dataclasses import field
from pathlib import Path
from typing import Any

import pytest
import torch

import distilmt
from conftest import lively_model
from distilmt import models
from distilmt.quickstart import write_corpus
from docs_pages import ROOT, distilmt_lines, parse

PACKAGE = ROOT / "python" / "distilmt"
METHODS = ("alone", "word-kd", "seq-kd")
GIVEN: dict[str, Any] = {
    "field": field, "distilmt": distilmt, "work": lambda *given, **named: None, "texts": ["Ein Hund bellt."],
    "folder": "soft", "teacher": "teacher", "source_hash": "s", "target_hash": "t", "blobs": [b""],
    "ids": torch.tensor([1, 2, 3]), "hidden": torch.ones(3, 4, requires_grad=True), "weight": torch.ones(7, 4),
    "t_hidden": torch.ones(3, 4), "t_weight": torch.ones(7, 4), "golds": ["A dog."] * 4,
    "rows": [{"method": name, "seconds": n**1.5, "block": n, "run": f"{name} {n}"} for name in METHODS for n in range(5)],
}  # fmt: skip
TAKEN = {
    "interface.config": "train.TrainingOptions", "knn.__init__": "translate.Translator",
    "labels.rank": "labels.records.read_records",
}  # fmt: skip
# Too long for an example; their calls are compared with the functions.
NOT_RUN = {"labels.ray": "starts a cluster: test_labels_ray.py", "study.__init__": "runs studies: test_study_run.py"}


def docstrings() -> list[tuple[str, str]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found.append((".".join(path.relative_to(PACKAGE).with_suffix("").parts), ast.get_docstring(node) or ""))
    return found


def examples() -> list[tuple[str, str]]:
    """Module and code of each indented paragraph that is Python and calls something."""
    found = []
    for module, doc in docstrings():
        for block in re.findall(r"(?:^|\n\n)((?:    .*(?:\n|$)|\n)+)", doc):
            code = textwrap.dedent(block)
            try:
                calls = any(isinstance(node, ast.Call) for node in ast.walk(ast.parse(code)))
            except SyntaxError:
                continue
            found += [(module, code)] * calls
    return found


EXAMPLES = examples()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, vocabulary) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    write_corpus(folder, 1, train=4, dev=2, test=2)
    teacher = lively_model(vocabulary)
    teacher.final_logits_bias[0, vocabulary.eos_id] = 1.5  # so that it comes to an end
    models.save(teacher, vocabulary, folder / "teacher")
    for name in ("run", "run1", "run2"):
        shutil.copytree(ROOT / "docs" / "results" / "multi30k", folder / name)
    shutil.copytree(folder / "teacher", folder / "run" / "student")
    shutil.copy(folder / "test.en", folder / "out.en")
    (folder / "run.yaml").write_text("train: [a.de, a.en]")
    distilmt.label(model=str(folder / "teacher"), source=str(folder / "train.de"), out=str(folder / "labels"), n_best=2)
    return folder


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 16 and {module for module, _ in EXAMPLES} > {*TAKEN, *NOT_RUN, "energy.meter", "translate"}


@pytest.mark.parametrize(("name", "code"), EXAMPLES, ids=[module for module, _ in EXAMPLES])
def test_an_example_runs(name: str, code: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    evaluation = importlib.import_module("distilmt.evaluate")
    monkeypatch.setattr(evaluation, "test_set", lambda name: (["Ein Hund."], [["A dog."]]))  # no network
    module = importlib.import_module(f"distilmt.{name}".removesuffix(".__init__"))
    names = {**vars(module), **{each: getattr(module, each) for each in getattr(module, "__all__", ())}, **GIVEN}
    if name in TAKEN:
        home, _, taken = TAKEN[name].rpartition(".")
        names[taken] = getattr(importlib.import_module(f"distilmt.{home}"), taken)
    tree = ast.parse(code)
    if name in NOT_RUN:
        exec(compile("\n".join(re.findall(r"^(?:import|from) .*", code, re.M)), name, "exec", dont_inherit=True), names)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if inspect.isfunction(function := eval(ast.unparse(call.func), names)):
                inspect.signature(function).bind(*call.args, **{str(each.arg): None for each in call.keywords})
        return
    exec(compile(tree, f"docstring of {name}", "exec", dont_inherit=True), names)


LINES = [line for _, doc in docstrings() for line in re.findall(r"^    (distilmt .*)", doc, re.M)]


@pytest.mark.parametrize("line", LINES)
def test_a_command_can_be_read(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in distilmt_lines(line):
        parse(words, monkeypatch)
