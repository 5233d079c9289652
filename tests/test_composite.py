"""The composite: its formula by hand, what it must not do, terms left out, the front, the weights, its plots."""

from __future__ import annotations

import math

import pytest

from bill_data import billed
from distilmt.bill.bill import rates_of
from distilmt.bill.command import bill
from distilmt.bill.composite import Candidate, Scales, candidates, composite, dominated_by
from distilmt.cli import main
from distilmt.errors import ConfigError, DataError
from distilmt.report import Report

RICH = Candidate("rich", kept=0.8, kg=3.0, money=30.0, hours=24.0, gigabytes=16.0)
THRIFTY = Candidate("thrifty", kept=0.4, kg=1.0, money=10.0, hours=8.0, gigabytes=16.0)
ALONE = Candidate("alone", kept=0.0, kg=0.0, money=0.0, hours=1.0, gigabytes=1.0)


def test_the_formula_by_hand():
    found = composite([RICH, THRIFTY])
    rich = next(each for each in found.rated if each.candidate is RICH)
    assert rich.terms == pytest.approx({"quality": 0.8, "carbon": 0.25, "money": 0.25, "access": 0.5})
    assert rich.score == pytest.approx((0.8 * 0.25 * 0.25 * 0.5) ** 0.25)
    thrifty = next(each for each in found.rated if each.candidate is THRIFTY)
    assert thrifty.terms == pytest.approx(
        {"quality": 0.4, "carbon": 0.5, "money": 0.5, "access": math.sqrt(0.75 * 0.5)}
    )
    only = composite([RICH, THRIFTY], weights=(3, 0, 0, 1))
    assert only.rated[0].candidate is RICH and only.rated[0].score == pytest.approx(0.8**0.75 * 0.5**0.25)


def test_thrift_buys_no_quality_and_more_than_all_is_not_kept():
    found = composite([ALONE, RICH, Candidate("better", 1.3, 3.0, 30.0, 24.0, 16.0)])
    scores = {each.candidate.name: each for each in found.rated}
    assert scores["alone"].score == 0 and scores["alone"].first == 0
    assert scores["better"].terms["quality"] == 1.0 and scores["better"].candidate.kept == 1.3
    below = composite([Candidate("worse", -0.5, 0.1, 1.0, 1.0, 1.0), RICH])
    assert below.rated[-1].score == 0


def test_a_further_system_changes_no_score_and_a_scale_says_what_one_half_is():
    pair = {each.candidate.name: each.score for each in composite([RICH, THRIFTY]).rated}
    three = {each.candidate.name: each.score for each in composite([RICH, THRIFTY, ALONE]).rated}
    assert all(three[name] == pytest.approx(score) for name, score in pair.items())
    assert composite([RICH], scales=Scales(kg=3.0)).rated[0].terms["carbon"] == 0.5


def test_the_share_of_weights_under_which_each_is_first():
    # Two terms: quality 0.8 against 0.4, hours 1/2 against 3/4. rich is first where (0.8/0.4)^w > (0.75/0.5)^(1-w).
    pair = [Candidate("rich", 0.8, None, None, 24.0, None), Candidate("thrifty", 0.4, None, None, 8.0, None)]
    found = composite(pair)
    turn = math.log(1.5) / (math.log(2) + math.log(1.5))
    assert found.rated[0].first == pytest.approx(1 - turn, abs=1 / 39)
    four = composite(
        [RICH, THRIFTY]
    )  # log ratios d of their factors: the simplex's part on one side is d0^3 / prod(d0 - dj)
    ratio = [math.log(0.5), math.log(2), math.log(2), math.log(math.sqrt(0.375) / 0.5)]
    share = ratio[0] ** 3 / math.prod(ratio[0] - other for other in ratio[1:])
    assert four.rated[1].first == pytest.approx(share, abs=0.003)
    assert sum(each.first for each in found.rated) == pytest.approx(1)
    assert [(each.best, each.worst) for each in found.rated] == [(1, 2), (1, 2)]
    twins = composite([RICH, Candidate("twin", *list(vars(RICH).values())[1:])])
    assert [each.first for each in twins.rated] == [0.5, 0.5] and [each.worst for each in twins.rated] == [1, 1]


def test_what_some_system_lacks_is_left_out_for_all_and_said():
    found = composite([RICH, Candidate("unmetered", 0.5, None, None, 1.0, 1.0)], weights=(2, 1, 1, 1))
    assert found.weights == pytest.approx({"quality": 2 / 3, "access": 1 / 3})
    assert [reason.split(":")[0] for reason in found.left_out] == ["carbon", "money"]
    assert "measured or declared energy" in found.left_out[0]
    with pytest.raises(ConfigError, match="leave nothing to rate by: known are quality, access"):
        composite([Candidate("unmetered", 0.5, None, None, 1.0, 1.0)], weights=(0, 1, 1, 0))


def test_the_front():
    better = Candidate("better", 0.8, 2.0, 30.0, 24.0, 16.0)
    assert dominated_by([RICH, THRIFTY, better, ALONE]) == ["better", "", "", ""]
    assert dominated_by([RICH, Candidate("equal", *list(vars(RICH).values())[1:])]) == ["", ""]


@pytest.mark.parametrize("weights", [(1, 1, 1), (-1, 1, 1, 1), (math.inf, 1, 1, 1)])
def test_weights_that_cannot_be(weights):
    with pytest.raises(ConfigError, match="--weights must be four numbers of 0 or more"):
        composite([RICH], weights)
    with pytest.raises(ConfigError, match="--scales must be above 0"):
        composite([RICH], scales=Scales(kg=0))


def test_candidates_of_a_report():
    data = billed()
    found = {each.name: each for each in candidates(data, rates_of(data))}
    assert list(found) == ["alone", "word-kd", "seq-kd"]
    assert found["seq-kd"].kept == pytest.approx(0.8) and found["word-kd"].kept == pytest.approx(0.5)
    assert found["seq-kd"].kg == pytest.approx(1.5 * 1.2 * 0.5) and found["seq-kd"].hours == 1.5
    assert found["seq-kd"].money == pytest.approx(1.5 * 0.5 + 1.5 * 3.6) and found["seq-kd"].gigabytes == 1.5
    alone = data["systems"][3]
    data["systems"].append(alone | {"seed": 2, "test": {"flickr": alone["test"]["flickr"] | {"bleu": 32.0}}})
    data["stages"].append(data["stages"][4] | {"name": "student-alone-2"})
    data["systems"][-1]["made_by"] = ["student-alone-2"]
    word = candidates(data, rates_of(data))[1]
    # Means 35 and 31 of two seeds each, standard deviations sqrt(2): standard errors 1; the teacher at 40, so a gap of 9.
    assert word.kept == pytest.approx(4 / 9) and word.error == pytest.approx(math.hypot(1, 5 / 9) / 9)
    data["systems"].pop()
    data["systems"][2]["test"]["flickr"]["bleu"] = 29.0
    with pytest.raises(DataError, match=r"teacher \(29.0 BLEU\) is not ahead of the student alone \(30.0\)"):
        candidates(data, rates_of(data))
    assert candidates(data, rates_of(data), measure="chrf")
    with pytest.raises(ConfigError, match="--test-set news: the report has flickr"):
        candidates(data, rates_of(data), test="news")
    data["systems"] = [entry for entry in data["systems"] if entry["role"] != "baseline"]
    with pytest.raises(DataError, match=r"no BLEU of the student alone.* the bill stands"):
        candidates(data, rates_of(data))


def test_the_command_prints_formula_scales_and_a_worked_example(tmp_path, capsys):
    Report(billed()).save(tmp_path / "run")
    out = str(tmp_path / "bill")
    assert (
        main(
            [
                "bill",
                str(tmp_path / "run"),
                "--weights",
                "2",
                "1",
                "1",
                "0",
                "--scales",
                "1",
                "5",
                "24",
                "16",
                "--out",
                out,
            ]
        )
        == 0
    )
    text = capsys.readouterr().out
    assert "quality^0.5 × carbon^0.25 × money^0.25 × access^0" in text
    assert "carbon = 1 / (1 + 0.9 / 1) = 0.526; money = 1 / (1 + 6.15 / 5) = 0.448" in text
    assert "1 kg CO2e, 5 EUR, 24 machine hours, 16 GB" in text
    assert sorted(path.name for path in (tmp_path / "bill").iterdir()) == ["bill.md", "pareto.svg", "sensitivity.svg"]


def test_without_energy_the_composite_drops_it_and_says_so(tmp_path):
    Report(billed(joules=False)).save(tmp_path)
    found = bill(runs=(str(tmp_path),))
    assert list(found.composite.weights) == ["quality", "access"]
    assert "Left out: carbon" in str(found) and "Left out: money" in str(found)
    assert found.pareto().get_xlabel() == "machine hours to make it"
    with pytest.raises(ConfigError, match="kg is not known of every system - can be drawn: hours, gigabytes"):
        found.pareto("kg")


def test_the_plots(tmp_path):
    Report(billed()).save(tmp_path)
    found = bill(runs=(str(tmp_path),))
    axes = found.pareto()
    assert axes.get_xlabel() == "kg CO2e to make it"
    assert sorted(text.get_text() for text in axes.texts) == ["alone", "seq-kd", "word-kd"]
    front = axes.lines[0]
    assert list(front.get_ydata()) == pytest.approx([50.0, 80.0])  # the student alone costs no less than word-kd
    lines = {line.get_label(): line for line in found.sensitivity().lines}
    at_quarter = {name: line.get_ydata()[25] for name, line in lines.items() if name in ("alone", "seq-kd", "word-kd")}
    assert at_quarter == pytest.approx({each.candidate.name: each.score for each in found.composite.rated})
