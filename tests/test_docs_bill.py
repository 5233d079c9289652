"""The worked examples of docs/bill.md are what the code computes."""

from __future__ import annotations

import doctest
from pathlib import Path

import distilmt

ROOT = Path(__file__).parents[1]
DOC = ROOT / "docs" / "bill.md"


def test_the_worked_examples_hold():
    found = doctest.testfile(str(DOC), module_relative=False, encoding="utf-8")
    assert found.failed == 0 and found.attempted > 15


def test_the_real_run_is_what_the_shipped_report_gives():
    text = DOC.read_text(encoding="utf-8")
    found = distilmt.bill(runs=(str(ROOT / "docs" / "results" / "multi30k"),), scales=(1.0, 10.0, 0.25, 16.0))
    *_, points, rating = found.tables
    shown = [line for line in rating.markdown().splitlines() if line.startswith("|")]
    assert len(shown) == 6 and all(line in text for line in shown)
    times = {row[0]: row[2] for row in points.rows}
    for system in ("word-kd", "seq-kd", "seq-kd+word-kd"):
        assert times[f"BLEU point on multi30k.test_2016_flickr, student {system}"] in " ".join(text.split())
    day = distilmt.bill(runs=(str(ROOT / "docs" / "results" / "multi30k"),))
    assert day.composite.rated[0].first > 0.9
