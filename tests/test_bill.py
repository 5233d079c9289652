"""The bill: per kind, per label, per point, per served word; old and unfinished runs; the report and the command."""

from __future__ import annotations

import copy
import json
import math

import pytest

from bill_data import billed
from distilmt.bill.bill import kinds, labels, made, points, rates_of, serving
from distilmt.bill.command import bill
from distilmt.bill.rates import Amount, Rates
from distilmt.bill.tables import bill_tables
from distilmt.cli import main
from distilmt.errors import DataError
from distilmt.report import Report, merge, report
from distilmt.report.numbers import systems_of
from report_data import example, rows


def test_each_kind_of_stage_and_all_of_them():
    data = billed()
    found = {line.name: line for line in kinds(data, rates_of(data))}
    assert list(found) == ["teacher-training", "labelling", "student-training", "evaluation", "all"]
    training = found["student-training"]
    assert (training.count, training.cost.hours) == (4, 2.0)
    assert training.cost.kwh == Amount(2.0, pytest.approx(1.8), pytest.approx(2.2))
    assert training.cost.co2e_kg.value == pytest.approx(1.2)  # 2 kWh x 1.2 x 500 g
    assert training.cost.money.value == pytest.approx(8.2)  # 2 x 0.5 + 2 x 3.6
    assert found["all"].cost.kwh.value == pytest.approx(5.1)
    assert found["all"].spent.peak_bytes == 4_000_000_000
    table = rows(bill_tables(data)[0])
    assert table["labelling"] == {
        "Stages": "1", "Time": "1 h 00 min", "CPU time": "2 h 00 min", "Energy": "1.00 kWh (0.900 to 1.10)",
        "CO2e": "600 g (540 to 660)", "Money": "4.10 (4.05 to 4.15) EUR", "Peak memory": "1.5 GB",
    }  # fmt: skip


def test_a_million_labels():
    line = labels(billed(), Rates(grams_per_kwh=500))
    assert line.count == 500_000
    assert (
        line.cost.hours == 2.0
        and line.cost.kwh.value == pytest.approx(2.0)
        and line.cost.co2e_kg.value == pytest.approx(1.0)
    )


def test_making_a_student_is_its_labels_and_its_training_mean_over_seeds_and_never_the_teacher():
    data = billed()
    systems = {system.name: system for system in systems_of(data)}
    assert made(data, systems["word-kd"]).seconds == 1800  # two seeds, each half an hour
    assert made(data, systems["seq-kd"]).seconds == 5400
    assert made(data, systems["seq-kd"]).joules == pytest.approx(1.5 * 3.6e6)


def test_a_point_gained_over_the_student_alone():
    data = billed()
    found = {(point.system, point.measure): point for point in points(data, rates_of(data))}
    assert set(found) == {(name, measure) for name in ("word-kd", "seq-kd") for measure in ("bleu", "chrf")}
    seq = found["seq-kd", "bleu"]
    assert seq.gain == pytest.approx(8.0) and seq.error is None
    assert seq.cost.hours == pytest.approx(1.5 / 8) and seq.cost.kwh.value == pytest.approx(1.5 / 8)
    assert found["word-kd", "chrf"].cost.co2e_kg.value == pytest.approx(0.5 * 1.2 * 0.5 / 5)
    assert "one seed of either" in bill_tables(data)[1].notes[1]


def test_a_gain_has_a_standard_error_where_both_sides_have_seeds():
    data = billed()
    alone = copy.deepcopy(data["systems"][3]) | {"seed": 2}
    alone["test"]["flickr"]["bleu"] = 31.0
    data["systems"].append(alone)
    point = next(point for point in points(data, Rates()) if (point.system, point.measure) == ("word-kd", "bleu"))
    # Means 35 and 30.5, standard deviations sqrt(2) and sqrt(1/2), two seeds each.
    assert point.gain == pytest.approx(4.5) and point.error == pytest.approx(math.sqrt(2 / 2 + 0.5 / 2))
    assert rows(bill_tables(data)[1])["BLEU point, word-kd"]["Of"] == "+4.50 ± 1.12"


def test_no_gain_has_no_price():
    data = billed()
    data["systems"][4]["test"]["flickr"]["bleu"] = 29.0
    table = bill_tables(data)[1]
    assert rows(table)["BLEU point, seq-kd"] == dict.fromkeys(("Time", "Energy", "CO2e", "Money"), "–") | {
        "Of": "-1.00"
    }
    assert "no point was gained" in table.notes[-1]


def test_serving_a_million_words():
    found = {line.name: line for line in serving(billed(), Rates(grams_per_kwh=360))}
    assert found["teacher"].cost.hours == pytest.approx(900 / 3600)  # 9 s for 10,000 words
    assert found["teacher"].cost.kwh.value == pytest.approx(90_000 / 3.6e6)
    assert found["teacher"].cost.co2e_kg.value == pytest.approx(0.009)
    assert found["seq-kd"].cost.hours == pytest.approx(90 / 3600)
    assert found["word-kd"].count == 60_000  # two seeds, three repeats


def test_without_energy_hours_and_machine_money_are_said_and_nothing_is_0():
    data = billed(joules=False)
    table = bill_tables(data)[0]
    assert rows(table)["labelling"]["Energy"] == rows(table)["labelling"]["CO2e"] == "not measured"
    assert rows(table)["labelling"]["Money"] == "≥ 3.60 EUR"
    assert "energy not measured: no kWh, no CO2e, no price of electricity" in table.notes[1]
    data["rates"] = {"price_per_kwh": 0.3}
    assert rows(bill_tables(data)[0])["labelling"]["Money"] == "not measured"
    data["rates"] = {}
    assert rows(bill_tables(data)[0])["labelling"]["Money"] == "–"


def test_one_estimate_makes_the_sum_an_estimate_and_one_hole_makes_it_unknown():
    data = billed()
    data["stages"][1] |= {"energy_kind": "estimated", "energy_method": "model"}
    table = bill_tables(data)[0]
    assert rows(table)["labelling"]["Energy"].startswith("≈ 1.00 kWh") and rows(table)["all"]["CO2e"].startswith("≈ ")
    assert not rows(table)["evaluation"]["Energy"].startswith("≈")
    assert "estimated, not measured (RAPL, model); an order by it is one by that model" in table.notes[-1]
    data["stages"][1]["joules"] = None
    assert rows(bill_tables(data)[0])["all"]["Energy"] == "not measured"


def test_a_report_from_before_the_bill_is_billed_by_the_names_of_its_stages():
    data = billed()
    for stage in data["stages"]:
        del stage["kind"]
    for entry in data["systems"]:
        del entry["made_by"], entry["decode"]
        entry |= {"method": entry["name"], "recipe": "seq-kd" if entry["name"] == "seq-kd" else "gold"}
    data = Report(data).data
    assert data["systems"][4]["made_by"] == ["label", "student-seq-kd-1"]
    assert [line.name for line in kinds(data, Rates())] == [line.name for line in kinds(billed(), Rates())]
    assert made(data, systems_of(data)[-1]).seconds == 5400 and serving(data, Rates()) == []
    assert "what serving costs, since no decoding of counted words was timed" in bill_tables(data)[0].notes[-1]
    del data["stages"][1]["work"]
    assert any("the labelling did not record its lines" in note for note in bill_tables(data)[0].notes)


def test_kinds_that_are_null_are_told_by_names_too():
    data = billed()
    for stage in data["stages"]:
        stage["kind"] = None
    assert [stage["kind"] for stage in Report(data).data["stages"]][:3] == [
        "teacher-training", "labelling", "student-training",
    ]  # fmt: skip


def test_what_no_name_tells_stays_other_and_what_can_be_said_is_said(tmp_path):
    old = Report(example())
    (table,) = bill_tables(old.data)
    assert list(rows(table)) == ["labelling", "other", "all"]
    assert "recorded without a kind" in table.notes[-1]
    old.save(tmp_path)
    found = bill(runs=(str(tmp_path),))
    assert found.composite is None and "which stages made its students" in found.problem


def test_the_report_recomputes_money_from_its_joules(tmp_path):
    Report(billed()).save(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["bill"]["inputs"]["grid"] == "500 g CO2e per kWh (given)"
    assert main(["report", str(tmp_path), "--country", "FRA", "--price-per-kwh", "1"]) == 0
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["rates"] == {
        "country": "FRA", "grams_per_kwh": None, "pue": 1.2, "price_per_kwh": 1.0, "price_per_hour": 3.6, "currency": "EUR",
    }  # fmt: skip
    whole = next(line for line in data["bill"]["kinds"] if line["name"] == "labelling")["cost"]
    assert whole["co2e_kg"]["value"] == pytest.approx(1.2 * 0.056039) and whole["money"]["value"] == pytest.approx(4.6)
    assert 'aria-label="The bill: what making cost"' in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("rates", "message"), [({"pue": 0.5}, "--pue must be"), ({"speed": 1}, "speed: unknown option")]
)
def test_recorded_rates_that_cannot_be_are_bad_data(rates, message):
    with pytest.raises(DataError, match=f"report: rates: .*{message}"):
        Report(example() | {"rates": rates})


def test_runs_with_unlike_rates_have_none_together(tmp_path):
    other = copy.deepcopy(billed())
    other["rates"]["pue"] = 2.0
    both = merge([Report(billed()), Report(other)])
    assert both.data["rates"] == {} and "different rates" in both.data["notes"][-1]
    assert merge([Report(billed()), Report(billed())]).data["rates"]["pue"] == 1.2
    for name, data in (("one", billed()), ("two", other)):
        Report(data).save(tmp_path / name)
    whole = report(runs=(str(tmp_path / "one"), str(tmp_path / "two")), pue=1.1)
    assert whole.data["rates"]["pue"] == 1.1


def test_rates_that_are_given_hold_for_the_runs_of_a_merged_report_too(tmp_path):
    for name, country in (("one", "DEU"), ("two", "FRA"), ("three", "POL")):
        Report(billed() | {"title": name, "rates": {"country": country}}).save(tmp_path / name)
    report(runs=(str(tmp_path / "one"), str(tmp_path / "two")), out=str(tmp_path / "both"))
    for runs in (("both", "three"), ("both",)):
        found = report(
            runs=tuple(str(tmp_path / name) for name in runs), rates=Rates(country="SWE"), out=str(tmp_path / "x")
        )
        assert found.data["rates"]["country"] == "SWE" and "different rates" not in found.markdown()


def test_a_run_that_has_not_ended_has_the_bill_of_its_stages(tmp_path):
    from distilmt.run import Run

    recorded = {"rates": {"country": "DEU", "price_per_hour": 3.0, "currency": "EUR"}}
    with Run.open(tmp_path / "run", recorded) as run, run.stage("label", {}) as stage:  # by a version without kinds
        stage.finish({}, {"work": {"lines": 1000}})
    assert "machine 3 EUR per hour" in str(bill(runs=(str(tmp_path / "run"),)))
    found = bill(runs=(str(tmp_path / "run"),), price_per_hour=2)
    assert "machine 2 EUR per hour" in str(found) and "Germany" in str(found)
    assert list(rows(found.tables[0])) == ["labelling", "all"] and "1 k lines" in str(found)
    assert "has not ended" in found.problem
    with Run.open(tmp_path / "empty", {}):
        pass
    with pytest.raises(DataError, match="no stage was begun"):
        bill(runs=(str(tmp_path / "empty"),))
    with pytest.raises(DataError, match="no report here"):
        bill(runs=(str(tmp_path),))
