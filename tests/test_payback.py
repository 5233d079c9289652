"""Pay-back: the worked example of docs/payback.md, intervals, what never pays, and runs that lack something."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest

from distilmt import payback
from distilmt.bill.interval import fieller, t_975
from distilmt.bill.payback import PaybackRow
from distilmt.errors import ConfigError, DataError
from report_data import example, stage, system


def timed(seconds: tuple[float, ...], watts: float | None = None, lines: int = 1000) -> dict[str, Any]:
    """The record of decoding 1,000 sentences of 12 words."""
    repeats = [{"seconds": each, "joules": watts and watts * each, "energy_kind": "measured"} for each in seconds]
    middle = sorted(seconds)[len(seconds) // 2]
    return {
        "beam_size": 5, "threads": 2, "seconds": middle, "lines": lines, "source_words": 12 * lines, "repeats": repeats,
    }  # fmt: skip


def data(
    teacher: tuple[float, ...] = (99, 100, 101), *students: tuple[float, ...], watts: float | None = None
) -> dict[str, Any]:
    """A teacher of 0.1 s a sentence, a student of 0.01 s for each seed, an hour of labelling, two of training."""
    made = example() | {"systems": [system("teacher", "teacher", 40.0, pace=100, decode=timed(teacher, watts))]}
    made["stages"] = [stage("label", watts and 3600 * watts, kind="labelling") | {"seconds": 3600.0}]
    made["stages"].append(stage("teacher", kind="teacher-training") | {"seconds": 7200.0})
    for seed, student in enumerate(students or ((9, 10, 11),), 1):
        own = f"student-seq-kd-{seed}"
        joules = watts and 1.5 * 7200 * watts
        made["stages"].append(stage(own, joules, kind="student-training") | {"seconds": 7200.0})
        made["systems"].append(
            system("seq-kd", "student", 38.0, pace=900, seed=seed, made_by=["label", own], decode=timed(student, watts))
        )
    return made


def found(made: dict[str, Any], folder: Path, **options: Any) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps(made))
    return payback(run=str(folder), **options)


def close(row: PaybackRow, *expected: float) -> None:
    assert (row.distillation, row.teacher, row.student, row.sentences, row.low, row.high) == pytest.approx(expected)


def test_the_worked_example(tmp_path):
    """docs/payback.md, by hand: t(2) = 4.303; the standard error of a difference of such means is sqrt(2 / 3) 0.001 s."""
    out = found(
        data(watts=100.0), tmp_path, serve_per_day=2e6, grams_per_kwh=400, pue=1.5, price_per_kwh=0.3, price_per_hour=2,
        currency="EUR",
    )  # fmt: skip
    half = 4.303 * math.sqrt(2 / 3) * 0.001
    close(out.row("time"), 10_800, 0.1, 0.01, 120_000, 10_800 / (0.09 + half), 10_800 / (0.09 - half))
    assert (round(out.row("time").low), round(out.row("time").high)) == (115_491, 124_875)
    # 0.1 kWh of labels and 0.3 kWh of training; 10 J and 1 J a sentence.
    kwh, half = 0.4, 4.303 * math.sqrt(2 / 3) * 0.1
    close(out.row("energy"), kwh, 10 / 3.6e6, 1 / 3.6e6, 160_000, 1.44e6 / (9 + half), 1.44e6 / (9 - half))
    close(out.row("CO2e"), 0.24, 6e-3 / 3600, 6e-4 / 3600, 160_000, 1.44e6 / (9 + half), 1.44e6 / (9 - half))
    money = out.row("money")
    assert money.distillation == pytest.approx(3 * 2 + 0.4 * 0.3)
    assert money.sentences == pytest.approx(6.12 / (0.09 / 3600 * 2 + 9 / 3.6e6 * 0.3))
    text = str(out)
    assert "| seq-kd | time | 3 h 00 min | 27 h 46 min | 2 h 46 min | 120 k | 115 k to 125 k | 0.06 |" in text
    assert "| seq-kd | money | 6.12 EUR | 56.4 EUR | 5.64 EUR | 121 k | 116 k to 125 k | 0.0603 |" in text
    page = (Path(__file__).parents[1] / "docs" / "payback.md").read_text()
    time = out.row("time")
    for figure in (time.sentences, time.low, time.high, out.row("energy").sentences):
        assert f"{figure:,.0f}" in page
    assert f"E = {money.distillation:.2f} EUR" in page and f"N* = {money.sentences:,.0f}" in page
    assert f"d = {money.teacher - money.student:.8f} EUR" in page
    assert "12.0 words" in text and "keep 2.31 machines" in text and "PUE: 1.5" in text


def test_without_a_counter_time_and_machine_money_are_answered(tmp_path):
    out = found(data(), tmp_path, price_per_hour=2, currency="EUR", country="DEU")
    assert out.row("money").sentences == pytest.approx(out.row("time").sentences)
    assert out.row("energy").sentences is out.row("CO2e").sentences is None
    text = str(out)
    assert "| seq-kd | energy | not measured | not measured | not measured | – | – |" in text
    assert "CO2e |" not in text and "Energy was not measured, so of energy and CO2e nothing is said" in text


@pytest.mark.parametrize(
    ("student", "row", "said"),
    [
        (
            (98, 99, 100),
            "10.8 M | 2.39 M to no upper end |",
            "too near each other for so few timings - delete the run's stages/evaluate-*.json and run",
        ),
        ((199, 200, 201), "| never | never |", "seq-kd never pays back in time: a sentence costs 2 × its teacher's"),
        ((100, 101, 102), "| never | 4.", "it still might, after 4."),
    ],
)
def test_what_hardly_or_never_pays(tmp_path, student, row, said):
    text = str(found(data((99, 100, 101), student), tmp_path))
    assert said in text, text
    assert row in text


def test_one_timing_has_no_interval(tmp_path):
    out = found(data((100,), (10,)), tmp_path)
    assert out.row().sentences == pytest.approx(120_000)
    assert out.row().low is None and "No interval: a decoding was timed once" in str(out)
    assert "delete the run's stages/evaluate-*.json and run the same `distilmt distill` with --test-repeats 3." in str(
        out
    )


def test_seeds_are_units_and_repeats_of_one_are_not(tmp_path):
    made = data((99, 100, 101), (9, 10, 11), (19, 20, 21))
    made["stages"][-1]["seconds"] = 3600.0
    row = found(made, tmp_path).row()
    assert (row.distillation, row.student) == pytest.approx((9000, 0.015))
    # Variances of means: of (10800, 7200), of the teacher's three timings, and of the seeds' (0.01, 0.02); t(1) = 12.706.
    limits = fieller(9000, 3.24e6, 0.085, 1e-6 / 3 + 2.5e-5, 12.706)
    assert (row.low, row.high) == pytest.approx(limits)


def test_the_range_of_a_declared_energy_widens_the_interval(tmp_path):
    made = data(watts=100.0)
    narrow = found(made, tmp_path / "a").row("energy")
    for each in made["stages"]:
        if each["joules"]:
            each |= {"joules_low": 0.5 * each["joules"], "joules_high": 2 * each["joules"], "energy_kind": "estimated"}
    out = found(made, tmp_path / "b")
    wide = out.row("energy")
    assert (wide.sentences, wide.low, wide.high) == pytest.approx((narrow.sentences, narrow.low / 2, narrow.high * 2))
    assert "Energy is estimated" in str(out)


def test_the_teachers_training_counts_on_request_alone(tmp_path):
    assert found(data(), tmp_path, teacher_training=True).row().distillation == 18_000
    made = data()
    del made["stages"][1]
    with pytest.raises(
        DataError, match="the teacher was not trained in this run, so what its training cost is unknown"
    ):
        found(made, tmp_path, teacher_training=True)


def test_a_run_that_lacks_something_says_what(tmp_path):
    made = data()
    made["systems"][0]["decode"] = {"beam_size": 5, "threads": 2, "seconds": 3.0}
    with pytest.raises(DataError, match=r"'teacher' was not timed by sentences.*delete its stages/evaluate-"):
        found(made, tmp_path)
    with pytest.raises(DataError, match="no student in its report"):
        found(data() | {"systems": data()["systems"][:1]}, tmp_path)
    with pytest.raises(DataError, match="no teacher in its report"):
        found(data() | {"systems": data()["systems"][1:]}, tmp_path)
    with pytest.raises(DataError, match="'label' is missing, so what making it cost is unknown"):
        found(data() | {"stages": data()["stages"][1:]}, tmp_path)
    with pytest.raises(ConfigError, match=r"--student x: .* has seq-kd"):
        found(data(), tmp_path, student="x")
    with pytest.raises(DataError, match="no report here"):
        payback(run=str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="--serve-per-day must be a number above 0, got 0"):
        payback(run="x", serve_per_day=0.0)


def test_the_plot_marks_the_crossing(tmp_path):
    out = found(data(), tmp_path, plot=str(tmp_path / "all.svg"))
    assert b"<svg" in (tmp_path / "all.svg").read_bytes()[:500]
    assert "Drawn" not in str(out)
    axes = out.plot()
    teacher, student, crossing = axes.get_lines()
    assert list(teacher.get_ydata()) == pytest.approx([0, 0.1 * 240_000 / 3600])
    assert list(student.get_ydata()) == pytest.approx([3, 3 + 0.01 * 240_000 / 3600])
    assert (*crossing.get_xdata(), *crossing.get_ydata()) == pytest.approx((120_000, 0.1 * 120_000 / 3600))
    assert "never" in found(data((99, 100, 101), (199, 200, 201)), tmp_path).plot().get_title(loc="left")
    with pytest.raises(ConfigError, match="energy of seq-kd is unknown, so there is nothing to draw"):
        out.plot("energy")
    with pytest.raises(ConfigError, match=r"--plot x.txt: expected a name that ends in one of"):
        payback(run=str(tmp_path), plot="x.txt")


def test_fiellers_ends_solve_its_equation():
    for a, va, b, vb, t in ((9.0, 0.4, 2.0, 0.1, 3.0), (9.0, 0.0, 2.0, 0.1, 3.0), (5.0, 1.0, 1.0, 0.3, 2.0)):
        low, high = fieller(a, va, b, vb, t)
        for end in (low, high):
            if math.isfinite(end):
                assert (a - end * b) ** 2 == pytest.approx(t * t * (va + end * end * vb))
        assert low < a / b < high
    assert fieller(9, 0, -2, 0.1, 3) == (math.inf, math.inf)
    assert fieller(1, 4, 0.1, 1, 3) == (0.0, math.inf)
    assert fieller(9, 0, 0, 0, 3)[1] == math.inf


def test_students_t():
    stats = pytest.importorskip("scipy.stats", reason="needs SciPy: pip install 'distilmt[study]'")
    for freedom in (*range(1, 11), 12, 15, 20, 30, 60, 120):
        assert t_975(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=6e-4)
    assert t_975(17) == t_975(15)
    assert t_975(10_000) > NormalDist().inv_cdf(0.975)


def test_a_plot_of_several_students_says_whose_it_is(tmp_path):
    made = data((99, 100, 101), (9, 10, 11), (8, 9, 10))
    made["systems"][-1]["name"] = "other"
    plot = str(tmp_path / "a.svg")
    assert "Drawn: seq-kd; --student draws another." in str(found(made, tmp_path, plot=plot))
    assert "Drawn" not in str(found(made, tmp_path, plot=plot, student="other"))
