"""study/summary.py, plots.py, table.py, findings.py: figures worked out by hand, and what is said beside them."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from distilmt import study
from distilmt.corpus import load_corpus, write_lines
from distilmt.errors import ConfigError, DataError
from distilmt.evaluate import score
from distilmt.state.storage import write_json
from distilmt.study.findings import outcome_table
from distilmt.study.plots import pareto, plot_outcome, plot_quality_cost
from distilmt.study.records import path_of, translations_of
from distilmt.study.sentences import by_sentences
from distilmt.study.summary import mean_of, means
from distilmt.study.table import outcome_names, save
from study_data import made, record

pytest.importorskip("scipy", reason="needs the extra `study`")


def numbers(values: list[float | None], key: str = "seconds") -> list[dict[str, float] | None]:
    return [None if value is None else {key: value} for value in values]


def test_means_are_over_blocks_with_students_interval(tmp_path: Path) -> None:
    # 1, 2, 3, 4, 5: mean 3, s = sqrt(2.5); t(0.975, 4) = 2.776445; half = 2.776445 * sqrt(2.5 / 5) = 1.963243
    found = mean_of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.n, found.mean, found.deviation) == (5, 3.0, pytest.approx(math.sqrt(2.5)))
    assert (found.low, found.high) == (pytest.approx(3 - 1.963243, abs=1e-6), pytest.approx(3 + 1.963243, abs=1e-6))
    assert mean_of([2.0]) == type(found)([2.0], 2.0, None, None, None)
    made_up = made(tmp_path, {
        ("a", "x"): numbers([1, 2, 3]), ("a", "y"): numbers([3, 4, 5]),
        ("b", "x"): numbers([10, 20, None]), ("b", "y"): numbers([30, 40, 50]),
    })  # fmt: skip
    assert means(made_up, "seconds", ["f0", "f1"])["b", "x"].values == [10, 20]
    by_first = means(made_up, "seconds", ["f0"])
    assert by_first["a",].values == [2, 3, 4]
    assert by_first["b",].values == [20, 30]  # the third block lacks one of the two and would be 50
    assert means(made_up, "seconds", [])[()].values == [11, 16.5]
    with pytest.raises(DataError, match="no block has 'bleu' in full"):
        means(made_up, "bleu", ["f0"])


def test_the_pareto_front() -> None:
    assert pareto([(1, 10), (2, 9), (2, 12), (3, 12), (4, 20), (0.5, 1), (4, 20)]) == [5, 0, 2, 4, 6]
    assert pareto([]) == []


def test_plots_show_every_level_and_leave_the_axes_to_the_caller(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    cells = {
        (beam, kind): [{"seconds": s * int(beam) + b, "bleu": q} for b in (0.0, 0.1)]
        for beam, q in (("1", 30.0), ("4", 33.0))
        for kind, s in (("int8", 1.0), ("float32", 2.0))
    }
    made_up = made(tmp_path, cells)
    mine = Figure().subplots()
    axes = plot_outcome(made_up, "seconds", "f0", by="f1", axes=mine)
    assert axes is mine and [label.get_text() for label in axes.get_xticklabels()] == ["1", "4"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("f0", "seconds")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["f1 int8", "f1 float32"]
    front = plot_quality_cost(made_up).get_lines()[-1]
    assert list(front.get_xdata()) == [pytest.approx(1.05), pytest.approx(4.05)] and list(front.get_ydata()) == [30, 33]
    with pytest.raises(ConfigError, match="no factor 'beam' - the study has f0, f1"):
        plot_outcome(made_up, "seconds", "beam")


def test_the_table_has_one_row_per_cell_and_money_at_todays_prices(tmp_path: Path) -> None:
    made_up = made(tmp_path, {("a",): numbers([1, 2]), ("b",): numbers([3, None])}, price_per_hour=9, currency="EUR")
    table = study.rows(made_up)
    assert len(table) == 3 and len({tuple(row) for row in table}) == 1
    assert table[0]["money"] == pytest.approx(9 * 40 / 3600 / 4)  # 40 s for 4 passes
    assert "kwh" not in table[0] and outcome_names(made_up) == ["seconds", "money"]
    pandas = pytest.importorskip("pandas", reason="needs the extra `study`")
    pytest.importorskip("pyarrow", reason="needs the extra `study`")
    written = save(made_up)
    assert [path.name for path in written] == ["cells.csv", "cells.parquet"]
    for frame in (pandas.read_csv(written[0]), pandas.read_parquet(written[1]), study.frame(made_up)):
        assert list(frame.columns) == list(table[0]) and sorted(frame["seconds"]) == [1, 2, 3]
        assert frame["celsius_after"].isna().all()
    with pytest.raises(ConfigError, match="outcomes: no cell has 'blue' - there are seconds"):
        outcome_names(made(tmp_path / "other", {("a",): numbers([1]), ("b",): numbers([1])}, outcomes=["blue"]))


def test_without_the_extra_the_table_is_written_and_the_command_is_named(tmp_path, monkeypatch) -> None:
    made_up = made(tmp_path, {("a",): numbers([1, 2]), ("b",): numbers([3, 4])})
    monkeypatch.setitem(sys.modules, "scipy.stats", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"needs scipy .* - pip install 'distilmt\[study\]'"):
        study.report(made_up)
    assert (tmp_path / "made/cells.csv").read_text().count("\n") == 5


def contrast(outcome: str = "seconds", **more: Any) -> dict[str, Any]:
    return {"contrasts": [{"outcome": outcome, "factor": "f0", "pairs": [["b", "a"]]} | more]}


def test_a_contrast_that_was_not_planned_before_the_run_is_refused(tmp_path: Path) -> None:
    cells = {("a",): numbers([1, 2]), ("b",): numbers([2, 3])}
    made(tmp_path, cells)
    later = {
        "name": "made",
        "out": str(tmp_path / "made"),
        "task": "tasks:call",
        "repeats": 2,
        "factors": {"f0": ["a", "b"]},
    }
    assert len(study.rows(later)) == 4
    for change in (contrast(), {"min_seconds": 1}):
        for show in (study.report, study.rows, study.frame):
            with pytest.raises(ConfigError, match=r"was begun with another study file .* only repeats and levels"):
                show(later | change)


def test_the_report_of_a_balanced_study(tmp_path: Path) -> None:
    cells = {("a",): numbers([1, 2, 3, 4]), ("b",): numbers([2.1, 3.0, 3.9, 5.0]), ("c",): numbers([1, 1, 2, 2])}
    found = study.report(made(tmp_path, cells, **contrast(), price_per_hour=1))
    text = found.markdown()
    # differences 1.1, 1, 0.9, 1: mean 1, s = 0.0816497, t = 24.4949 with 3 degrees, p = 0.000149
    assert "| b − a | 4 / 4 | 1 | 0.8701 to 1.13 | 0.0001 | 0.0001*** |" in text
    assert "**seconds: repeated measures over 4 blocks (block)**" in text
    assert "12 of 12 cells: 3 treatments in 4 randomised blocks (seed 1)" in text and "Unbalanced" not in text
    assert "**Energy was not measured** (RAPL: none): no ranking by energy is claimed, only by time." in text
    assert "machine 1 per hour" in text and "![seconds-by-f0](figures/seconds-by-f0.svg)" in text
    latex = found.latex()
    assert latex.count(r"\begin{table}") == 3 == latex.count(r"\end{table}") and r"2.5 $\pm$ 1.3" in latex
    for path in found.paths:
        assert path.exists(), path
    assert (tmp_path / "made/report.md").read_text() == text and str(found).startswith(text)


def test_what_is_missing_is_said_with_what_can_still_be_said(tmp_path: Path) -> None:
    cells = {("a",): numbers([1, 2, 3]), ("b",): numbers([2, 3, None])}
    text = study.report(made(tmp_path, cells, **contrast())).markdown()
    assert "**Unbalanced**: 1 cells are missing (0 failed), in blocks 3." in text
    assert "| b − a | 2 / 2 | 1 |" in text and "Incomplete blocks are left out: 3." in text
    one = study.report(made(tmp_path / "one", {("a",): numbers([1]), ("b",): numbers([2])}, **contrast())).markdown()
    assert "**One repetition**: no spread, no interval, no test" in one and "| a | 1 | 1 |" in one
    nothing = made(tmp_path / "none", {("a",): numbers([None]), ("b",): numbers([None])})
    with pytest.raises(DataError, match="no cell is done - `distilmt study run` makes them"):
        study.report(nothing)


def test_energy_noise_and_conditions_are_said(tmp_path: Path) -> None:
    made_up = made(tmp_path, {("a",): numbers([1, 2]), ("b",): numbers([3, 4])})
    text = study.report(made_up).markdown()
    assert "Noise" not in text and "Hosts" not in text  # made without noise: nothing is said of it
    usage = record(1, {})["usage"] | {"energy_kind": "estimated", "energy_method": "model", "joules": 800.0}
    busy = record(1, {})["noise"] | {"other_cpu_share": 0.25, "mhz_after": 3000.0, "celsius_after": 71.0}
    cell = made_up.cells()[0]
    odd = {
        "levels": cell.levels,
        "notes": ["odd"],
        "host": "g",
        "usage": usage,
        "noise": busy,
        "attempts": 2,
        "versions": {"distilmt": "2"},
        "treatments": 1,
    }
    write_json(path_of(made_up, cell), record(cell.block, {"seconds": 1.0, "train_seconds": 3.0}, **odd))
    text = study.report(made_up).markdown()
    for said in (
        "in 1 of 4 cells other processes took more than 5% of the processors' time (median 0%, at most 25%)",
        "clock lay between 2000 and 3000 MHz", "Hottest sensor after a cell: 71 to 71 °C.",
        "Hosts: g, h; **block 1 ran on several**", "Versions of packages changed", "Levels were added",
        "1 cells were begun more than once",
        "Some trainings took less than 30 s", f"- odd ({cell.treatment})\n", "Energy was not measured",
    ):  # fmt: skip
        assert said in text, said
    for other in made_up.cells():
        write_json(path_of(made_up, other), record(other.block, {"seconds": 1.0}, usage=usage))
    text = study.report(made_up).markdown()
    assert "**Energy is estimated** (model): no ranking by energy is claimed, only by time and by this model" in text
    row = study.rows(made_up)[0]
    assert row["kwh"] == pytest.approx(800 / 3.6e6 / 4)


def test_the_outcome_table_by_hand(tmp_path: Path) -> None:
    layout = outcome_table(made(tmp_path, {("a",): numbers([1, 2, 3]), ("b",): numbers([5, None, None])}), ["seconds"])
    assert layout.head == ["f0", "n", "seconds"]
    # s = 1, t(0.975, 2) = 4.302653, half = 2.484138
    assert layout.rows == [["a", "3", "2 ± 1 [-0.4841 to 4.484]"], ["b", "1", "5"]]


def test_quality_is_compared_over_sentences_and_equal_blocks_count_once(tmp_path: Path) -> None:
    gold = [f"the dog number {i} sees the house and the garden of tree {i * 7} ." for i in range(40)]
    worse = [line.replace("house", "cat") if i % 2 else line for i, line in enumerate(gold)]
    for name, lines in (("src", gold), ("ref", gold)):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    fixed = {"model": "m", "test": (str(tmp_path / "src"), str(tmp_path / "ref"))}
    plan = [{"outcome": "bleu", "factor": "beam_size", "pairs": [["4", "1"]], "test": "sentences"}]
    keys = {"task": "decode", "fixed": fixed, "contrasts": plan, "factors": {"beam_size": [1, 4]}}
    made_up = made(tmp_path, {("1",): numbers([1, 1]), ("4",): numbers([2, 2])}, **keys)
    (tmp_path / "made/translations").mkdir(exist_ok=True)
    hashes = {"target": load_corpus(fixed["test"]).target_hash}
    for cell in made_up.cells():
        lines = gold if cell.levels["beam_size"] == "4" else worse
        write_lines(translations_of(made_up.folder, cell.name), lines)
        write_json(path_of(made_up, cell), record(cell.block, {"seconds": 1.0}, inputs=hashes))
    tested = by_sentences(made_up, made_up.contrasts[0])
    table = tested.layout(tested.ps, 1)
    name, seeds, sentences, difference, _, p, p_holm = table.rows[0]
    gap = score(gold, gold).bleu - score(worse, gold).bleu
    assert (name, seeds, sentences) == ("4 − 1", "1 / 1", "40") and float(difference) == pytest.approx(gap, rel=1e-3)
    assert p == p_holm.strip("*") and p_holm.endswith("*")
    assert "Planned: bleu by beam_size, over sentences" in study.report(made_up).markdown()
    (tmp_path / "ref").write_text("other\n" * 40)
    with pytest.raises(DataError, match="ref: has changed since the cells ran"):
        by_sentences(made_up, made_up.contrasts[0])
    for cell in made_up.cells():
        translations_of(made_up.folder, cell.name).unlink()
    text = study.report(made_up).markdown()
    assert "Planned contrast of bleu by beam_size: " in text and "is missing - only cells that" in text
    with pytest.raises(ConfigError, match=r"test sentences is of bleu or chrf, .* got 'seconds'"):
        study.read({"name": "n", "out": "o", **keys, "contrasts": [plan[0] | {"outcome": "seconds"}]})


def test_factors_that_change_no_translation_are_named_by_hashes(tmp_path: Path) -> None:
    cells = {(beam, slots): [{"seconds": 1.0}] * 2 for beam in ("1", "4") for slots in ("8", "64")}
    study_ = made(tmp_path, cells)  # type: ignore[arg-type]

    def said(*odd: str) -> str:
        for cell in study_.cells():
            found = "other" if cell.name in odd else "beam " + cell.levels["f0"]
            write_json(
                path_of(study_, cell), record(cell.block, {"seconds": 1.0}, levels=cell.levels, translations=found)
            )
        return study.report(study_).markdown()

    assert "- Translations by their SHA-256: 2 distinct in 8 cells; f0 change them; f1 change no bit.\n" in said()
    assert "3 distinct in 8 cells; f0, f1 change them.\n" in said("002-f0=4,f1=64")
