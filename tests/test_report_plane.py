"""The plane of quality and cost leaves a weak system out, and is of plain BLEU where no student has a share; report.json has it."""

from __future__ import annotations

import copy
import json

import pytest

from bill_data import billed, told
from distilmt.bill.figures import pareto_front
from distilmt.report import Report, merge
from distilmt.report.plane import plane


def test_share_of_the_gap_over_cost():
    found = plane(billed())
    assert (found.quality, found.cost, found.left_out) == ("share of the gap closed, % (BLEU flickr)", "kg", [])
    assert {each.name: round(each.quality) for each in found.points} == {"alone": 0, "word-kd": 50, "seq-kd": 80}
    hours = {each.name: each.cost for each in plane(billed(joules=False)).points}
    assert hours == {"alone": 0.5, "word-kd": 0.5, "seq-kd": 1.5} and found.front == ["word-kd", "seq-kd"]
    assert pareto_front([(2, 5), (1, 3), (1, 4), (3, 5)]) == [(1, 4), (2, 5)]


def test_a_system_without_a_share_is_left_out_and_named():
    weak = copy.deepcopy(billed())
    weak["title"] = "weak"
    for entry in weak["systems"]:
        entry["parameters"] += 1
        entry["test"]["flickr"]["bleu"] = 29.0 if entry["role"] == "teacher" else 30.0
    both = merge([Report(billed()), Report(weak)])
    found = plane(both.data)
    assert [each.name for each in found.points] == ["alone", "word-kd", "seq-kd"]
    (note,) = found.left_out
    assert note.startswith(
        "Not in the plane: alone (weak), word-kd (weak), seq-kd (weak): the teacher (29.0 BLEU) is not ahead"
    )
    assert f"- {note}" in both.markdown() and "Quality against the cost of making" in both.html()


def test_a_system_that_was_scored_on_another_text_is_named_too():
    other = copy.deepcopy(billed())
    other["title"] = "other"
    for entry in other["systems"]:
        entry["test"] = {"news": entry["test"]["flickr"]}
    (note,) = plane(merge([Report(billed()), Report(other)]).data).left_out
    assert note.startswith("Not in the plane: alone (other), word-kd (other), seq-kd (other): no BLEU of the teacher")


@pytest.mark.parametrize("alone", [True, False])
def test_without_any_share_it_is_of_bleu(alone):
    data = billed()
    if alone:
        data["systems"][2]["test"]["flickr"]["bleu"] = 29.0  # the teacher
    else:
        data["systems"] = [entry for entry in data["systems"] if entry["role"] != "baseline"]
    found = plane(data)
    assert (
        found.quality == "BLEU flickr"
        and {"word-kd": 35.0, "seq-kd": 38.0}.items() <= {each.name: each.quality for each in found.points}.items()
    )
    assert found.left_out[0].startswith("BLEU in place of the share of the gap: ")
    assert found.draw().axes[0].get_ylabel() == "BLEU flickr"
    assert "Quality against the cost of making" in Report(data).html()


def test_nothing_is_drawn_where_no_making_is_recorded():
    data = billed()
    data["stages"] = []
    assert plane(data) is None and "No plane of quality and cost: the report does not say" in Report(data).markdown()


def test_report_json_has_what_the_page_says(tmp_path):
    Report(told()).save(tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    (lead,) = data["summary"]
    assert lead["run"] == "" and len(lead["sentences"]) == 3 and lead["statistics"].startswith("BLEU on flickr")
    (row,) = [row for row in data["payback"] if (row["system"], row["quantity"]) == ("seq-kd", "time")]
    assert row["sentences"] == pytest.approx(5400 / (9e-3 - 0.9e-3)) and row["low"] <= row["sentences"] <= row["high"]
    assert (row["run"], row["never"], row["distillation"]) == ("", False, 5400)
    assert data["front"]["front"] == ["word-kd", "seq-kd"] and data["front"]["cost"] == "kg"
    assert set(data["front"]["points"][0]) == {"name", "quality", "error", "cost"}
    (methods,) = data["methods"]
    assert methods["text"].startswith("Teacher and students were Marian") and "@" in methods["bibtex"]
    # Said anew of what it is of, not carried along.
    (tmp_path / "report.json").write_text(json.dumps(data | {"summary": "stale", "payback": 3}))
    Report(tmp_path).save(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == data


def test_report_json_of_several_runs_has_the_pay_back_of_each(tmp_path):
    merge([Report(told()), Report(told() | {"title": "two"})]).save(tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert {row["run"] for row in data["payback"]} == {"A <b>title</b> & more", "two"}
    assert len(data["summary"]) == 1 and len(data["methods"]) == 1
