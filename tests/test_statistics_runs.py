"""What cannot be analysed gets a sentence that says what is missing and what can still be said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distilmt.errors import ConfigError, DataError
from distilmt.statistics import Runs, blocked, bootstrap_interval, paired_t, repeated_measures
from statistics_cases import THREE, planned, rows, runs

pytest.importorskip("scipy", reason="needs the extra `study`")
pytest.importorskip("statsmodels", reason="needs the extra `study`")


def test_an_unbalanced_study():
    gap = [row for row in rows(THREE) if row["run"] != "seq 1"]
    table = Runs(gap, outcome="seconds", factors=["method"], block="block")
    with pytest.raises(DataError, match=r"block 1 has no run of method=seq .*complete_blocks\(\).*blocked\(\)"):
        repeated_measures(table)
    with pytest.raises(DataError, match=r"block 1 has 0 runs of seq and 1 of alone .*Welch"):
        planned(("seq", "alone"), test="wilcoxon").compare(table)
    assert planned(("seq", "alone")).compare(table).rows[0].n == (2, 3)
    assert table.complete_blocks().levels("block") == ["0", "2"] and blocked(table).terms[0].freedom == 2
    with pytest.raises(DataError, match="no block has a run of every cell"):
        Runs(gap[:3], outcome="seconds", factors=["method", "block"], block="block").complete_blocks()


def test_one_repetition():
    once = runs({"alone": [2.0], "seq": [3.0]})
    for test in ("welch", "mann-whitney", "paired-t", "wilcoxon"):
        table = planned(("seq", "alone"), test=test).compare(once)
        assert table.rows[0].test.p is None and table.rows[0].test.estimate == 1 and table.rows[0].effect.value is None
        assert "the difference is all that can be said" in table.markdown()
    with pytest.raises(DataError, match="one repetition"):
        repeated_measures(once)
    with pytest.raises(DataError, match="estimate the error from - repeat the runs"):
        blocked(once)
    with pytest.raises(DataError, match="no interval from 1 run "):
        bootstrap_interval([1.0])
    with pytest.raises(DataError, match="3 runs are too few for the BCa interval"):
        bootstrap_interval([1.0, 2.0, 2.0], np.max)


def test_an_empty_cell():
    table = Runs(
        [{"run": str(i), "a": a, "b": b, "y": i} for i, (a, b) in enumerate(["xp", "xq", "yp", "xp", "yp"])],
        outcome="y", factors=["a", "b"],
    )  # fmt: skip
    with pytest.raises(DataError, match=r"no run of a=y, b=q .* contrasts between the cells"):
        blocked(table)


@pytest.mark.parametrize("value", [math.nan, None, np.float32("nan")])
def test_a_missing_value(value):
    with pytest.raises(DataError, match=r"row 2 \(run a 1, method=a\): seconds is missing - repeat this run"):
        runs({"a": [1.0, value]})


@pytest.mark.parametrize("value", [math.inf, "3.0", True, [1]])
def test_an_outcome_that_is_no_number(value):
    with pytest.raises(DataError, match=r"row 1 .* must be a finite number"):
        runs({"a": [value]})


def test_a_constant_outcome():
    same = runs({"alone": [2.0] * 4, "seq": [2.0] * 4})
    for test in ("welch", "mann-whitney", "paired-t", "wilcoxon"):
        table = planned(("seq", "alone"), test=test).compare(same)
        assert table.rows[0].test.p is None and "every run gave the same number" in table.markdown()
    for analysis in (blocked, repeated_measures):
        with pytest.raises(DataError, match="repeat the runs"):
            analysis(same)
    with pytest.raises(DataError, match="one and the same outcome"):
        bootstrap_interval([2.0] * 4)


def test_other_refusals(monkeypatch):
    with pytest.raises(DataError, match="no rows"):
        runs({})
    with pytest.raises(DataError, match="no column 'joules'"):
        Runs(rows(THREE), outcome="joules", factors=["method"])
    with pytest.raises(DataError, match=r"no column 'trial' \(a row must say which run"):
        Runs(rows(THREE), outcome="seconds", factors=["method"], run="trial")
    with pytest.raises(DataError, match="no run of method=lost - there are alone, seq, word"):
        planned(("lost", "alone")).compare(runs(THREE))
    with pytest.raises(DataError, match="needs a block - name its column"):
        repeated_measures(runs(THREE, block=None))
    with pytest.raises(DataError, match="one level"):
        blocked(runs({"a": [1, 2, 3]}))
    monkeypatch.setattr(
        "distilmt.statistics.extra.import_module", lambda name: (_ for _ in ()).throw(ImportError(name))
    )
    with pytest.raises(ConfigError, match=r"needs scipy .* pip install 'distilmt\[study\]'"):
        paired_t(np.array([1.0, 2]), np.array([2.0, 4]))
