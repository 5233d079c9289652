"""Reports: arithmetic of the tables, what is unknown, several runs as one, and data that is refused."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from distilmt.errors import ConfigError, DataError
from distilmt.report import Report, merge, report
from distilmt.report.cells import duration, energy, size
from distilmt.report.figures import quality_speed
from distilmt.report.lead import leads
from distilmt.report.tables import gap_table, results_tables, stages_table
from report_data import SIGNATURES, example, rows, stage


@pytest.fixture
def data() -> dict[str, Any]:
    return example()


def test_results_are_means_over_seeds_with_their_spread(data):
    (table,) = results_tables(data)
    found = rows(table)
    assert list(found) == ["teacher", "alone", "word-kd", "seq-kd"]
    assert found["word-kd"] == {
        "n": "2", "BLEU": "35.0 ± 1.4", "chrF": "55.0 ± 1.4", "Parameters": "1 M", "Compression": "8.0×",
        "Model file": "4.0 MB", "Tokens/s": "1,000 ± 141", "Speed-up": "10.0× ± 1.4",
    }  # fmt: skip
    assert found["seq-kd"]["Speed-up"] == "5.0×"
    assert found["teacher"]["BLEU"] == "40.0"
    notes = "\n".join(table.notes)
    assert SIGNATURES["bleu_signature"] in notes and SIGNATURES["chrf_signature"] in notes
    assert "beam 5, 2 threads" in notes


def test_gap_closed(data):
    found = rows(gap_table(data))
    assert found == {"word-kd": {"BLEU": "50%", "chrF": "50%"}, "seq-kd": {"BLEU": "110%", "chrF": "110%"}}
    (lead,) = leads(data)
    assert lead.sentences[0].startswith("The best of 2 distilled students, seq-kd, closes all of the gap in quality")
    assert "seq-kd 41.0, its teacher 40.0, student alone 30.0; 110% of the gap" in lead.statistics


@pytest.mark.parametrize("teacher", [30.0, 29.0])
def test_no_gap_is_a_dash(data, teacher):
    data["systems"][2]["test"]["flickr"]["bleu"] = teacher
    table = gap_table(data)
    assert rows(table)["word-kd"] == {"BLEU": "–", "chrF": "50%"}
    assert "no gap" in table.notes[1]
    assert "closes" not in leads(data)[0].text


def test_exact_lines_stand_in_the_tables_where_they_were_counted(data):
    for entry, exact in zip(data["systems"], (0.7, 0.8, 0.95, 0.55, 0.9), strict=True):
        entry["test"]["flickr"]["exact"] = exact
    assert rows(results_tables(data)[0])["word-kd"]["Exact lines"] == "75.0% ± 7.1"
    assert rows(gap_table(data))["word-kd"]["Exact lines"] == "50%"


def test_several_test_sets_have_columns_of_their_own_and_the_signatures_their_names(data):
    for entry in data["systems"]:
        entry["test"]["news"] = entry["test"]["flickr"] | {"bleu": 20.0, "bleu_signature": "other"}
    first, second = results_tables(data)
    assert rows(first)["seq-kd"]["BLEU news"] == "20.0"
    assert rows(second)["seq-kd"]["Speed-up"] == "5.0×"
    assert f"BLEU on flickr: `{SIGNATURES['bleu_signature']}`; BLEU on news: `other`" in first.notes
    assert len(quality_speed(data).axes) == 2


def test_energy_is_not_measured_or_a_figure_with_its_method_and_never_0(data):
    table = stages_table(data)
    assert rows(table)["label"]["Energy"] == "not measured"
    assert rows(table)["all"] == {
        "Time": "3 min 20 s", "CPU time": "6 min 20 s", "Peak memory": "1.5 GB", "Energy": "not measured",
    }  # fmt: skip
    assert "RAPL: no zones" in table.notes[0]
    data["stages"][0] = stage("label", 5_250.0, energy_coverage=["RAPL package-0"], peak_rss_method="ru_maxrss")
    table = stages_table(data)
    assert rows(table)["label"]["Energy"] == "5.25 kJ"
    assert rows(table)["label"]["Peak memory"] == "≤ 1.5 GB"
    assert rows(table)["all"]["Energy"] == "not measured in 1 of 2"
    assert "RAPL package-0" in table.notes[0]
    data["stages"][1] |= {
        "joules": 750.0,
        "energy_kind": "estimated",
        "energy_method": "model",
        "energy_coverage": ["x 0.5"],
    }
    table = stages_table(data)
    assert [rows(table)[name]["Energy"] for name in list(rows(table))[1:]] == ["≈ 750.0 J", "≈ 6.00 kJ"]
    assert table.notes[0].startswith("Energy by RAPL, model (estimated), over RAPL package-0, x 0.5")
    data["stages"][1]["joules"] = 0
    with pytest.raises(DataError, match=r"stages\[1\].joules: 0 - energy that was not measured is null"):
        Report(data)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (duration(59.94), "59.9 s"), (duration(3599.6), "1 h 00 min"), (duration(None), "–"), (energy(12.34), "12.3 J"),
        (energy(None), "not measured"), (size(1_234_567), "1.2 MB"),
    ],
)  # fmt: skip
def test_units(shown, expected):
    assert shown == expected


def test_saved_and_read_again(data, tmp_path):
    data["systems"][0]["curve"][0]["train_loss"] = float("nan")
    saved = Report(data).save(tmp_path / "a b" / "ü")
    assert sorted(path.name for path in saved.parent.iterdir()) == ["report.html", "report.json", "report.md"]
    again = Report(saved.parent)
    assert again.data == json.loads((saved.parent / "report.json").read_text())
    assert again.data["systems"][0]["curve"][0]["train_loss"] is None
    assert again.html() == saved.read_text(encoding="utf-8")


def test_seeds_in_several_runs_become_one_system_and_a_teacher_met_twice_counts_once(data):
    other = copy.deepcopy(data)
    other["systems"] = [entry for entry in other["systems"] if entry["name"] in ("teacher", "alone")]
    other["systems"][1] |= {"seed": 2, "tokens_per_second": 400}
    other["systems"][1]["test"]["flickr"]["bleu"] = 32.0
    other["systems"][0]["tokens_per_second"] = 200  # the machine was another
    both = merge([Report(data), Report(other)])
    found = rows(results_tables(both.data)[0])
    assert found["teacher"]["n"] == "1"
    assert found["teacher"]["BLEU"] == "40.0"
    assert found["alone"]["BLEU"] == "31.0 ± 1.4"
    assert found["alone"]["Speed-up"] == "6.0× ± 5.7"  # 1000 / 100 and 400 / 200
    assert rows(gap_table(both.data))["word-kd"]["BLEU"] == "50%"  # against the baseline of its own run
    assert [row[0] for row in stages_table(both.data).rows] == ["run", "run", "run 2", "run 2", "all"]
    assert "- run: run 2" in both.markdown()
    three = merge([both, Report(data)])
    assert [run["label"] for run in three.data["runs"]] == ["run", "run 2", "run 3"]
    assert 'aria-label="What it cost"' in three.html()


def test_unlike_systems_of_one_name_stay_apart(data):
    other = copy.deepcopy(data)
    other["title"] = "bigger"
    for entry in other["systems"]:
        if entry["role"] != "teacher":
            entry["parameters"] = 2_000_000
    both = merge([Report(data), Report(other)])
    assert [row[0] for row in results_tables(both.data)[0].rows] == [
        "teacher", "alone", "alone (bigger)", "word-kd", "seq-kd", "word-kd (bigger)", "seq-kd (bigger)",
    ]  # fmt: skip
    assert rows(gap_table(both.data))["word-kd (bigger)"]["BLEU"] == "50%"


def test_the_command(data, tmp_path):
    for name in ("one", "two"):
        Report(data).save(tmp_path / name)
    (tmp_path / "one" / "report.html").unlink()
    result = report(runs=(str(tmp_path / "one"),))
    assert (tmp_path / "one" / "report.html").exists()
    assert str(tmp_path / "one" / "report.html") in str(result)
    report(runs=(str(tmp_path / "one"), str(tmp_path / "two")), out=str(tmp_path / "both"))
    assert [run["label"] for run in Report(tmp_path / "both").data["runs"]] == ["one", "two"]
    with pytest.raises(DataError, match="no report here"):
        report(runs=(str(tmp_path),))
    with pytest.raises(ConfigError, match="at least one run"):
        report(runs=())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["title"], None, "title: expected str, got null"),
        (["systems"], [], "systems is empty"),
        (["systems", 1, "role"], "boss", r"systems\[1\].role: expected one of teacher, baseline, student"),
        (["systems", 0, "parameters"], "many", r"systems\[0\].parameters: expected int or float, got \"many\""),
        (["systems", 0, "test", "flickr", "bleu"], ..., r"systems\[0\].test.flickr.bleu: missing, expected int or"),
        (["systems", 0, "test", "flickr", "chrf_signature"], "", "no score without its signature"),
        (["stages", 0, "joules"], ..., r"stages\[0\].joules: missing, expected int or float or null - docs/report.md"),
        (["stages", 1], "train", r"stages\[1\]: expected an object, got str"),
    ],
)
def test_data_that_is_not_a_report_is_refused(data, tmp_path: Path, path, value, message):
    *above, last = path
    inner = data
    for key in above:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    with pytest.raises(DataError, match=message):
        Report(data)
    (tmp_path / "report.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path / 'report.json'))}: "):
        Report(tmp_path)
