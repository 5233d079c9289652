"""A learned metric in a worker: the real worker with a made-up package, and workers that fail in every way."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from distilmt.errors import ConfigError, DataError
from distilmt.evaluate import EvaluateConfig, evaluate
from distilmt.interface.config import resolve
from distilmt.quality.learned_metrics import BATCH, Learned, Unavailable, learned

COMET = """
import sys
print("libraries chatter on standard output")
def download_model(name):
    if name == "missing":
        raise KeyError("Model 'missing' not supported by COMET.")
    return name
class Model:
    def predict(self, rows, batch_size, gpus, progress_bar):
        class Out: scores = [float(row["mt"] == row["ref"]) + len(row["src"]) / 100 for row in rows]
        if rows[0]["mt"] == "die": sys.exit(3)
        if rows[0]["mt"] == "fail": raise ValueError("no such word")
        return Out
def load_from_checkpoint(path):
    return Model()
"""
SCORES = """echo '{"protocol": 1}'; read q; echo '{"id": 0, "scores": [%s]}'"""
LINES = (["ab", "abcd"], ["x", "y"], ["x", "z"])


OWN = """
import os
def overlap(model):
    print("chatter")
    if model == "old":
        raise RuntimeError("too old")
    return 7, lambda sources, hypotheses, references: [len({*h} & {*r}) for h, r in zip(hypotheses, references)]
def alone(model): return 7
number = 7
"""


def interpreter(folder: Path, script: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def python(tmp_path: Path):
    """An interpreter that has a package of COMET's name, of a version."""

    def made(version: str = "2.2.7") -> str:
        (tmp_path / "comet.py").write_text(COMET)
        info = tmp_path / "unbabel_comet.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: unbabel-comet\nVersion: {version}\n")
        return interpreter(tmp_path, f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')

    return made


def test_the_worker_scores_line_by_line_in_batches(python):
    own = python()
    found = learned("comet", own, *LINES)
    assert (
        isinstance(found, Learned)
        and found.scores == pytest.approx([1.02, 0.04])
        and found.score == pytest.approx(0.53)
    )
    assert str(found) == "comet 0.5300  comet:2.2.7|model:Unbabel/wmt22-comet-da|nrefs:1"
    many = ["a" * (i % 7) for i in range(BATCH + 5)]
    found = learned("comet", own, many, many, many, model="other")
    assert found.scores == pytest.approx([1 + len(line) / 100 for line in many]) and "|model:other|" in found.signature


@pytest.mark.parametrize(
    ("version", "model", "first", "reason"),
    [
        ("1.1.3", None, "x", "unbabel-comet 1.1.3 is too old - install 2 or later"),
        ("2.2.7", "missing", "x", "not supported by COMET"),
        ("2.2.7", None, "die", "the worker ended with code 3"),
        ("2.2.7", None, "fail", "ValueError: no such word"),
    ],
)
def test_what_goes_wrong_in_the_worker_is_its_reason(python, version, model, first, reason):
    found = learned("comet", python(version), LINES[0], [first, "y"], LINES[2], model)
    assert isinstance(found, Unavailable) and reason in found.reason
    assert str(found).startswith("comet unavailable: ") and "metric_worker.py comet" in found.command


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "the worker ended with code 0"),
        ("echo 'no module named x' >&2; kill -9 $$", "the worker ended with signal 9: no module named x"),
        ("echo hello", "it wrote no JSON: 'hello'"),
        ("""echo '{"protocol": 0}'""", "it speaks protocol 0, expected 1"),
        ("""echo '{"protocol": 1}'; read q; echo '{"id": 7}'""", "it answered 7 to question 0"),
        ("""echo '{"protocol": 1}'; read q; echo '{"id": 0, "scores": [1]}'""", "did not answer with 2 finite numbers"),
        ("""echo '{"protocol": 1}'; read q; echo '{"id": 0, "scores": [1, NaN]}'""", "did not answer with 2 finite"),
        (SCORES % "1, true", "did not answer with 2 finite"),
        (SCORES % f"1, {'9' * 400}", "did not answer with 2 finite"),
        (SCORES % "1e308, 1e308", "did not answer with 2 finite"),
        (SCORES % f"{'[' * 60_000}{']' * 60_000}", "maximum recursion depth exceeded"),
        ("""echo '{"error": ""}'""", "it failed and said nothing of why"),
        ("""echo '{"error": null}'""", "it failed and said nothing of why"),
        (r"""printf '%s\n' '{"error": "\n bad \ud800 word\nmore"}'""", "bad ? word"),
    ],
)
def test_a_worker_that_dies_or_speaks_otherwise(tmp_path, script, reason):
    found = learned("comet", interpreter(tmp_path, script), *LINES)
    assert isinstance(found, Unavailable) and reason in found.reason


@pytest.mark.parametrize(
    "script", ["sleep 60", """echo '{"protocol": 1}'; sleep 60; exit 0""", "sleep 60 & exec sleep 60"]
)
def test_a_worker_that_says_nothing_is_ended_with_all_it_started(tmp_path, script):
    began = time.monotonic()
    found = learned("comet", interpreter(tmp_path, script), *LINES, timeout=0.3)
    assert isinstance(found, Unavailable) and found.reason.startswith("no answer in 0.3 s - raise --metric-timeout")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("function", "model", "reason"),
    [
        ("nothing", None, "own.py has no function nothing"),
        ("number", None, "own.py has no function number"),
        ("alone", None, "own.py:alone must return (version, score)"),
        ("overlap", "old", "RuntimeError: too old"),
    ],
)
def test_a_metric_of_ones_own(tmp_path, function, model, reason):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    found = learned(f"{file}:overlap", sys.executable, *LINES)
    assert isinstance(found, Learned) and found.scores == [1.0, 0.0]
    assert found.signature == f"{file}:overlap:7|model:|nrefs:1"
    found = learned(f"{file}:{function}", sys.executable, *LINES, model)
    assert isinstance(found, Unavailable) and reason in found.reason


def test_an_interpreter_without_the_package(tmp_path):
    found = learned("comet", interpreter(tmp_path, f'exec {sys.executable} -S "$@"'), *LINES)
    assert isinstance(found, Unavailable) and "comet" in found.reason


def test_evaluate_keeps_its_scores_whatever_the_metric_does(python, tmp_path):
    files = {}
    for name, lines in zip(("sources", "hypotheses", "reference"), LINES, strict=True):
        files[name] = str(tmp_path / name)
        Path(files[name]).write_text("".join(f"{line}\n" for line in lines))
    given = {"hypotheses": files["hypotheses"], "references": (files["reference"],), "metric": "comet"}
    result = evaluate(**given, sources=files["sources"], python=python())
    assert (
        result.learned.score == pytest.approx(0.53)
        and "\ncomet 0.5300" in str(result)
        and str(result).startswith("BLEU")
    )
    result = evaluate(**given, sources=files["sources"], python=str(tmp_path / "nothing"))
    assert "comet unavailable: cannot start" in str(result) and result.scores.exact == 0.5
    Path(files["sources"]).write_text("one\n")
    with pytest.raises(DataError, match="must be translations of the same lines"):
        evaluate(**given, sources=files["sources"], python="x")
    for wrong, message in (
        ({}, "name its interpreter by --python"), ({"python": "x"}, "reads the source too"),
        ({"metric": "bleurt"}, "must be comet, or FILE.py:FUNCTION"), ({"metric": "nothing.py:score"}, "no file nothing.py"),
        ({"metric": None, "python": "x"}, "go with --metric"),
        ({"python": "x", "sources": "s", "metric_timeout": 0.0}, "must be a positive number of seconds"),
        ({"references": (), "test_set": "wmt14/de-en", "sources": "s", "python": "x"}, "and only then"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            resolve(EvaluateConfig, **(given | wrong))
