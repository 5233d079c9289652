"""Stars of one report are of one family of comparisons, however many tables show them."""

from __future__ import annotations

import pytest

from distilmt import study
from distilmt.statistics.significance import corrected
from study_data import made

pytest.importorskip("scipy", reason="needs the extra `study`")


def row(p: float) -> dict[str, object]:
    return {"p": p, "test": "t"}


def test_holm_is_over_every_row_of_a_table_and_none_has_p_in_a_long_one():
    assert [each["p_holm"] for each in corrected([row(0.02), row(0.03)])] == [0.04, 0.04]
    assert [each["stars"] for each in corrected([row(0.02)] * 3)] == [""] * 3
    assert {(each["p"], each["p_holm"], each["test"]) for each in corrected([row(1e-9)] * 6)} == {(None, None, "")}
    assert corrected(corrected([row(0.02), row(0.03)])) == corrected([row(0.02), row(0.03)])


def test_a_study_corrects_over_all_its_planned_tables(tmp_path):
    first, second = [1.0, 2.0, 3.0, 4.0], [2.1, 3.0, 3.9, 5.0]
    cells = {
        ("a",): [{"seconds": x, "other": x} for x in first],
        ("b",): [{"seconds": x, "other": y} for x, y in zip(second, [9.0, 1.0, 2.0, 7.0], strict=True)],
    }
    plan = [{"outcome": name, "factor": "f0", "pairs": [["b", "a"]]} for name in ("seconds", "other")]
    alone = study.report(made(tmp_path / "one", cells, contrasts=plan[:1])).markdown()
    both = study.report(made(tmp_path / "two", cells, contrasts=plan)).markdown()
    assert "| 0.0001 | 0.0001*** |" in alone and "over 1 planned comparison;" in alone
    assert "| 0.0001 | 0.0003*** |" in both and both.count("over 2 planned comparisons;") == 2
