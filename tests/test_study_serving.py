"""examples/studies/serving*.py: both analyses of made-up seconds, and the task from run to report."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilmt import study
from distilmt.corpus import write_lines

pytest.importorskip("scipy", reason="needs the extra `study`")
FOLDER = Path(__file__).parents[1] / "examples/studies"
PAIR = [("b", "a")]


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


serving, report = module("serving"), module("serving_report")


def seconds(rng: np.random.Generator, gain: float = 0.0) -> list[dict[str, Any]]:
    """Ten runs of 30 s of `a` and `b`: every run has its own level, and each second lies near it."""
    return [
        {
            "system": system,
            "block": block,
            "cell": f"{block} {system}",
            "watts": level + 0.5 * rng.normal(),
            "rss_bytes": 1.0,
        }
        | {"cpu_utilisation": (0.5 if system == "a" else 0.4) + 0.01 * rng.normal()}
        for block in range(10)
        for system in "ab"
        for level in [50 + rng.normal() + gain * (system == "b")]
        for _ in range(30)
    ]


def cells(layout: Any, outcome: str) -> dict[str, str]:
    row = next(row for row in layout.rows if row[0].startswith(outcome))
    return dict(zip(layout.head, row, strict=True))


def test_seconds_find_a_difference_between_equals_and_runs_do_not() -> None:
    found = {"published": 0, "better": 0}
    for seed in range(30):
        rows = [row | {"cpu_utilisation": 0.5 + 0.01 * seed} for row in seconds(np.random.default_rng(seed))]
        said = cells(report.side_by_side(rows, "system", PAIR), "watts")
        found["published"] += said["p"].startswith("<") or float(said["p"]) < 0.05
        found["better"] += said["p (Holm)"].startswith("<") or float(said["p (Holm)"]) < 0.05
    assert found["published"] >= 20 and found["better"] <= 4, found  # of 30; 5 % would be 1 or 2
    assert (said["Seconds"], said["Blocks"]) == ("300 / 300", "10")


def test_both_find_what_is_there() -> None:
    layout = report.side_by_side(seconds(np.random.default_rng(1), gain=9.0), "system", PAIR)
    assert cells(layout, "watts")["p (Holm)"] == cells(layout, "cpu_utilisation")["p (Holm)"] == "< 0.0001"
    assert cells(layout, "rss_bytes")["p (Holm)"] == "–"  # constant: no p, and none for the others to pay for


def test_one_wrapped_second_spoils_the_published_difference_alone() -> None:
    rows = seconds(np.random.default_rng(2))
    plain = cells(report.side_by_side(rows, "system", PAIR), "watts")
    rows[-1]["watts"] -= 2**18  # about -262,099 J in one second of b, as in two runs of the study
    wrapped = cells(report.side_by_side(rows, "system", PAIR), "watts")
    assert float(wrapped["Difference"]) == pytest.approx(float(plain["Difference"]) - 2**18 / 300, abs=0.5)
    same = ["Difference of runs", "Interval", "p (Holm)", "Hedges' g"]
    assert [wrapped[key] for key in same] == [plain[key] for key in same] and (plain["Wraps"], wrapped["Wraps"]) == (
        "0",
        "1",
    )


def test_the_architectures_are_the_published_ones() -> None:
    layers = [serving.configuration(name).num_hidden_layers for name in ("bert", "distilbert", "gpt2", "distilgpt2")]
    assert layers == [12, 6, 12, 6]


def test_a_run_and_its_report(tiny_model_folder: Path, tmp_path: Path) -> None:
    for name in ("t.a", "t.b"):
        write_lines(tmp_path / name, ["the dog sees the house .", "the cat finds the tree ."])
    shutil.copy(FOLDER / "serving.py", tmp_path)
    (tmp_path / "study.yaml").write_text(f"""
name: toy
out: {tmp_path}/out
task: serving:Translation
factors:
  system:
    wide: {{beam_size: 4}}
    narrow: {{beam_size: 1}}
fixed:
  {{model: {tiny_model_folder}, test: [{tmp_path}/t.a, {tmp_path}/t.b], max_length: 8, threads: 1,
   samples: {tmp_path}/samples, watts: [1, 9]}}
repeats: 2
warm_up: 0
cool_down: 0
min_seconds: 2.1
energy: model
cpu_watts: [1, 9]
contrasts: [{{outcome: seconds, factor: system, pairs: [[narrow, wide]]}}]
""")
    assert not study.run(tmp_path / "study.yaml").failures
    rows = report.samples_of(tmp_path / "study.yaml")
    assert {row["cell"] for row in rows} == {
        f"00{block}-system={name}" for block in (1, 2) for name in ("wide", "narrow")
    }
    assert all(
        1 <= row["watts"] <= 9 and 0 <= row["cpu_utilisation"] <= 1.05 and row["rss_bytes"] > 1e7 for row in rows
    )
    report.main(str(tmp_path / "study.yaml"))
    text = (tmp_path / "out/report.md").read_text()
    assert "| seconds, narrow / wide | 2 |" in text and "As published (seconds as observations" in text
    row = next(row for row in study.rows(tmp_path / "study.yaml"))
    assert row["rss_bytes"] > 1e7 and 0 < row["cpu_utilisation"] <= 1.05 and "bleu" in row
