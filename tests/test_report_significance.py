"""The significance section of a report: tested once per run, from kept translations, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distilmt.errors import DataError
from distilmt.report import Report
from distilmt.report.significance import find_significance, significance_tables
from distilmt.run import Run
from report_data import example, rows, system

REFERENCES = [f"the {noun} sees a {other}" for noun in ("dog", "cat", "tree", "man") for other in "abcdefgh"]


def entry(run: Run, name: str, role: str, seed: int | None, wrong: int) -> dict[str, Any]:
    """A system whose first `wrong` lines are wrong."""
    path = run.folder / f"{name}-{seed}.txt"
    path.write_text("".join(f"{'nothing' if i < wrong else line}\n" for i, line in enumerate(REFERENCES)))
    return system(name, role, 30.0, pace=100, seed=seed, hypotheses={"flickr": path.name})


@pytest.fixture
def run(tmp_path: Path):
    with Run.open(tmp_path / "run", {}) as run:
        yield run


def test_students_are_compared_with_the_baseline(run):
    systems = [
        entry(run, "teacher", "teacher", None, 0),
        entry(run, "alone", "baseline", 1, 20),
        entry(run, "seq-kd", "student", 1, 2),
        entry(run, "word-kd", "student", 1, 19),
    ]
    found = find_significance(run, systems, {"flickr": REFERENCES})
    assert [(row["measure"], row["name"], row["against"]) for row in found] == [
        (measure, name, "alone") for measure in ("bleu", "chrf") for name in ("seq-kd", "word-kd")]  # fmt: skip
    assert found[0]["stars"] == "***" and found[1]["stars"] == "" and found[0]["seeds"] == [1, 1]
    (record,) = (run.folder / "stages").glob("significance-*.json")
    before = record.stat().st_mtime_ns
    again = find_significance(run, systems, {"flickr": REFERENCES})
    assert again == found and before == record.stat().st_mtime_ns

    shown = Report(example() | {"significance": found})
    (table,) = significance_tables(shown.data)
    assert (
        rows(table)["seq-kd"]["Measure"] == "chrF"
        and table.rows[0][-1].endswith("***")
        and "*" not in table.rows[1][-1]
    )
    assert "takes several --seeds" in shown.markdown()
    assert "## Significance against the alone" in shown.markdown()
    assert "Significance against" in shown.html() and "approximate randomisation" in shown.html()


def test_a_test_set_whose_references_changed_is_tested_anew_and_in_its_language(run):
    systems = [entry(run, "teacher", "teacher", None, 0), entry(run, "seq-kd", "student", 1, 5)]
    found = find_significance(run, systems, {"flickr": REFERENCES})
    other = find_significance(run, systems, {"flickr": [line.replace("dog", "cow") for line in REFERENCES]})
    assert other[0]["system"] < found[0]["system"]
    find_significance(run, systems, {"flickr": REFERENCES}, {"flickr": "zh"})
    assert len(list((run.folder / "stages").glob("significance-*.json"))) == 3


def test_several_seeds_are_tested_with_the_sentences(run):
    systems = [entry(run, "teacher", "teacher", None, 0)]
    for seed, wrong in ((1, 3), (2, 25), (3, 4)):
        systems += [entry(run, "alone", "baseline", seed, 14), entry(run, "seq-kd", "student", seed, wrong)]
    found = find_significance(run, systems, {"flickr": REFERENCES})
    assert all(row["seeds"] == [3, 3] and row["test"].startswith("bootstrap over seeds") for row in found)
    assert not any(row["stars"] for row in found)
    assert "and 3 seeds together" in Report(example() | {"significance": found}).markdown()


def test_a_student_that_is_added_later_is_tested_too(run):
    systems = [entry(run, "teacher", "teacher", None, 0), entry(run, "seq-kd", "student", 1, 5)]
    first = find_significance(run, systems, {"flickr": REFERENCES})
    more = find_significance(run, [*systems, entry(run, "word-kd", "student", 1, 9)], {"flickr": REFERENCES})
    assert [row["name"] for row in more] == ["seq-kd", "word-kd"] * 2 and more[0]["p"] == first[0]["p"]


def test_without_a_baseline_the_teacher_is_the_measure(run):
    systems = [entry(run, "teacher", "teacher", None, 0), entry(run, "seq-kd", "student", 1, 5)]
    assert {row["against"] for row in find_significance(run, systems, {"flickr": REFERENCES})} == {"teacher"}


def test_where_nothing_can_be_tested_nothing_is(run):
    old = [system("teacher", "teacher", 40.0, pace=100), system("seq-kd", "student", 30.0, pace=100, seed=1)]
    assert find_significance(run, old, {"flickr": REFERENCES}) == []
    assert find_significance(run, [entry(run, "teacher", "teacher", None, 0)], {"flickr": REFERENCES}) == []
    assert significance_tables(example()) == [] == significance_tables(example() | {"significance": []})
    with pytest.raises(DataError, match=r"significance\[0\]\.test_set: missing"):
        Report(example() | {"significance": [{"measure": "bleu"}]})
