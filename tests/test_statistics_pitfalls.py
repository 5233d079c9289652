"""The weak points of the CAIN 2024 energy study, each shown and then refused or mended."""

from __future__ import annotations

import numpy as np
import pytest

from distilmt.errors import DataError
from distilmt.statistics import Runs, counter_wraps, unwrap, welch

pytest.importorskip("scipy", reason="needs the extra `study`")


def samples(rng: np.random.Generator, system: str, runs: int = 5, seconds: int = 30) -> list[dict[str, object]]:
    """Power each second of several runs of one and the same program: every run has its own level."""
    levels = 50 + rng.normal(size=runs)
    return [
        {"run": f"{system} {i}", "system": system, "watts": float(level + 0.5 * rng.normal())}
        for i, level in enumerate(levels)
        for _ in range(seconds)
    ]


def test_samples_within_runs_are_no_repetitions():
    """Two systems that are the same: 5% of comparisons may be "significant". With runs about 5% are; with one-second
    samples taken for observations most are."""
    rng = np.random.default_rng(7)
    found = {"samples": 0, "runs": 0}
    for _ in range(200):
        rows = samples(rng, "a") + samples(rng, "b")
        pooled = [np.array([row["watts"] for row in rows if row["system"] == name]) for name in "ab"]
        found["samples"] += welch(*pooled).p < 0.05
        means = Runs(rows, outcome="watts", factors=["system"], aggregate="mean")
        found["runs"] += welch(means.values({"system": "a"}), means.values({"system": "b"})).p < 0.05
    assert found["samples"] / 200 > 0.6 and found["runs"] / 200 < 0.09


def test_samples_are_refused_until_they_are_made_runs():
    rows = samples(np.random.default_rng(1), "a", runs=2, seconds=3)
    with pytest.raises(DataError, match=r"run a 0 has 3 rows - a row must be a run.*aggregate"):
        Runs(rows, outcome="watts", factors=["system"])
    whole = Runs(rows, outcome="watts", factors=["system"], aggregate="sum").rows
    assert [row["watts"] for row in whole] == pytest.approx([sum(r["watts"] for r in rows[i : i + 3]) for i in (0, 3)])
    rows[1]["system"] = "b"
    with pytest.raises(DataError, match="run a 0 has rows of several cells"):
        Runs(rows, outcome="watts", factors=["system"], aggregate="mean")


def test_the_counter_wraps_of_that_study():
    """-262,099 J in one second is 45 J over a register of 2^18 J."""
    seconds = [44.0, 45.5, -262_099.0, 43.0, 46.0]
    assert counter_wraps(seconds) == [2] and unwrap(seconds).tolist() == [44, 45.5, 45, 43, 46]
    totals = [28_902.0, 28_950.0, 28_880.0 - 262_144, 28_910.0]  # of runs, one of which met the wrap
    assert counter_wraps(totals) == [2] and unwrap(totals)[2] == pytest.approx(28_880)
    long = [400_000.0, 401_000.0, 399_000.0 - 262_144]  # still positive, and 137,000 J would be a lucky run
    assert counter_wraps(long) == [2] and unwrap(long)[2] == pytest.approx(399_000)


def test_what_is_no_wrap_stays():
    assert counter_wraps([44, 45, 43]) == [] == counter_wraps([]) and unwrap([44.0, 100.0]).tolist() == [44, 100]
    with pytest.raises(DataError, match="value 2 is -5 J, which one wrap"):
        unwrap([44.0, -5.0, 45.0])
    assert unwrap([10.0, 12.0, -65_525.0], range_joules=65_536).tolist() == [10, 12, 11]
