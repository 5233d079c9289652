"""report/across.py: the systems of several run folders, tested as those of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distilmt.corpus import load_corpus
from distilmt.errors import ConfigError
from distilmt.report import Report, report
from distilmt.report.across import by_seed
from distilmt.state.storage import write_json
from report_data import example, system

REFERENCES = [f"the {noun} sees a {other}" for noun in ("dog", "cat", "tree", "man") for other in "abcdefgh"]


def made(folder: Path, systems: dict[str, dict[int | None, int]], **more: Any) -> str:
    """A run folder; of each system and seed so many lines are wrong."""
    folder.mkdir()
    test = [str(folder.parent / name) for name in ("flickr.de", "flickr.en")]
    for path in test:
        Path(path).write_text("".join(f"{line}\n" for line in REFERENCES))
    entries = []
    for name, seeds in systems.items():
        role = {"teacher": "teacher", "alone": "baseline"}.get(name, "student")
        for seed, wrong in seeds.items():
            kept = f"{name}-{seed}.txt"
            lines = ["nothing" if i < wrong else line for i, line in enumerate(REFERENCES)]
            (folder / kept).write_text("".join(f"{line}\n" for line in lines))
            entries.append(system(name, role, 40.0 - wrong, pace=100, seed=seed, hypotheses={"flickr": kept}))
    hashes = {"target_hash": load_corpus((test[0], test[1])).target_hash}
    texts = [{"name": "train"}, {"name": "dev"}, {"name": "flickr"} | hashes]
    data = example() | {"title": folder.name, "systems": entries, "setup": {"texts": texts}} | more
    write_json(folder / "report.json", data)
    write_json(folder / "run.json", {"config": {"test": [test]}})
    return str(folder)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """The same student, better each time than the one alone; another student in the second run."""
    one = made(tmp_path / "one", {"teacher": {None: 0}, "alone": {1: 20, 2: 21}, "kd": {1: 3, 2: 4}})
    two = made(tmp_path / "two", {"teacher": {None: 0}, "alone": {3: 22}, "kd": {3: 2}, "other": {3: 20}})
    return [one, two]


def test_one_system_in_two_runs_has_the_seeds_of_both(runs):
    whole = report(runs=tuple(runs))
    rows = whole.data["significance"]
    assert [(row["name"], row["seeds"]) for row in rows] == [("kd", (3, 3)), ("other", (1, 3))] * 2
    assert {row["against"] for row in rows} == {"alone"} and rows[0]["test"] == "bootstrap over seeds and sentences"
    assert rows[0]["p_holm"] == min(1.0, 4 * rows[0]["p"]) < 0.05 and "*" in rows[0]["stars"]
    shown = whole.markdown()
    assert "Significance across the runs, against the alone" in shown and "Holm's correction over all 4 rows" in shown
    Report(whole.data)  # keeps to the schema


def test_against_another_system(runs):
    rows = report(runs=tuple(runs), against="kd").data["significance"]
    assert {row["name"] for row in rows} == {"other"} and all(row["difference"] < 0 for row in rows)
    with pytest.raises(ConfigError, match="--against 'nobody': the report has 'teacher', 'alone', 'kd', 'other'"):
        report(runs=tuple(runs), against="nobody")
    with pytest.raises(ConfigError, match="--against is for several runs"):
        report(runs=(runs[0],), against="kd")


def test_runs_of_one_seed_keep_apart_and_a_model_met_twice_counts_once():
    assert by_seed([(1, ["a"]), (1, ["b"])]) == {0: ["a"], 1: ["b"]}
    assert by_seed([(1, ["a"]), (2, ["b"]), (1, ["a"])]) == {1: ["a"], 2: ["b"]}
    assert by_seed([(None, ["a"]), (None, ["a"])]) == {0: ["a"]}


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda one, two: (two / "run.json").unlink(), "two is no run folder, so its translations are not at hand"),
        (lambda one, two: (two / "kd-3.txt").unlink(), "two kept no translations of flickr by kd"),
        (lambda one, two: (one.parent / "flickr.en").write_text("x\n" * len(REFERENCES)), "is not the text that"),
    ],
)
def test_what_is_missing_is_said_in_a_note(runs, harm, said):
    harm(*map(Path, runs))
    whole = report(runs=tuple(runs))
    assert not whole.data.get("significance")
    assert any(note.startswith("No significance across the runs") and said in note for note in whole.data["notes"])


def test_runs_of_other_texts_are_not_compared(runs, tmp_path):
    texts = [{"name": "train"}, {"name": "dev"}, {"name": "flickr", "target_hash": "ab" * 32}]
    other = made(tmp_path / "three", {"teacher": {None: 0}, "kd": {4: 1}}, setup={"texts": texts})
    assert "no test set in common" in report(runs=(runs[0], other)).markdown()
