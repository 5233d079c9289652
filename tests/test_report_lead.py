"""What stands above everything: plain sentences, no more than was tested, and their statistics in a line of their own."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bill_data import told
from distilmt.report import Report, merge
from distilmt.report.lead import leads
from distilmt.report.story import headline
from report_data import compared


def timed(student: list[float], teacher: list[float] | None = None) -> dict[str, Any]:
    """Decodings of so many seconds."""
    data = told()
    for entry in data["systems"]:
        seconds = (teacher or [9.0, 9.0, 9.0]) if entry["role"] == "teacher" else student
        entry["decode"]["repeats"] = [{"seconds": each} for each in seconds]
    return data


def test_three_plain_sentences_and_a_line_of_statistics():
    (lead,) = leads(told())
    quality, cost, payback = lead.sentences
    assert quality == (
        "The best of 2 distilled students, seq-kd, closes 80% of the gap in quality between the student trained alone and its "
        "teacher; that is more than chance, for these two trainings."
    )
    assert cost == (
        "It has 12% of its teacher's parameters and translates 5.0× as fast; making it took 1 h 30 min of one machine and "
        "1.50 kWh (1.35 to 1.65)."
    )
    assert payback.startswith(
        "Serving it in its teacher's place pays back the machine time of making it after 667,000 sentences"
    )
    assert all(len(sentence.split()) <= 35 for sentence in lead.sentences)
    assert not any(word in lead.text for word in ("flickr", "Holm", "p =", "95%"))
    assert lead.statistics == (
        "BLEU on flickr: seq-kd 38.0, its teacher 40.0, student alone 30.0; 80% of the gap; +8.0 against alone, 95% interval +6.5 "
        "to +9.5; p = 0.004 after Holm's correction; of two trainings, not of their methods; pay-back with its 95% interval."
    )
    assert "(its energy was not measured)" in leads(told(joules=False))[0].text


def test_the_line_of_statistics_is_smaller_on_the_page():
    data = told()
    (lead,) = leads(data)
    html, text = Report(data).html(), Report(data).markdown()
    start = lead.statistics[:40]
    assert f'<p class="note">{start}' in html and '<p class="lead">The best of 2' in html
    assert f"\n\n{lead.statistics}\n\n" in text


@pytest.mark.parametrize(
    ("significance", "said"),
    [
        ([], "and its teacher; whether that is more than chance was not tested."),
        ([compared("seq-kd", 0.2, seeds=[3, 3])], "; that may be chance."),
        ([compared("seq-kd", 0.01, seeds=[3, 3])], "; that is more than chance."),
        ([compared("seq-kd", None)] * 6, "; the gain is likely between +6.5 and +9.5 BLEU."),
        ([compared("word-kd", 0.001)], "was not tested."),
    ],
)
def test_a_gain_is_told_with_how_sure_it_is(significance, said):
    assert leads(told() | {"significance": significance})[0].sentences[0].endswith(said)


def test_a_student_that_closes_nothing():
    data = told()
    for entry in data["systems"]:
        entry["test"]["flickr"]["bleu"] = 40.0 if entry["role"] == "teacher" else 30.0
    assert (
        leads(data)[0]
        .sentences[0]
        .endswith("closes none of the gap in quality between the student trained alone and its teacher.")
    )


@pytest.mark.parametrize(
    ("student", "teacher", "said"),
    [
        ([9.0], [9.0], "does not pay back the machine time of making it, for it is no faster than its teacher."),
        (
            [9.5, 9.6, 9.7],
            [8.0, 9.0, 10.0],
            "no faster than its teacher; within the spread of its timings it might, after",
        ),
        ([1.0], [9.0], "sentences; timed once, so how sure that is is not known."),
        ([8.5, 8.6, 8.7], [8.0, 9.0, 10.0], "; it is not sure that it ever does."),
        ([0.9, 1.0, 1.1], [8.9, 9.0, 9.1], ",000 sentences (between "),
    ],
)
def test_a_pay_back_is_told_with_its_interval(student, teacher, said):
    assert said in leads(timed(student, teacher))[0].sentences[-1]


def test_a_student_that_is_no_faster_never_pays_back():
    assert headline(timed([9.0] * 3))[-1][:2] == ("Pays back after", "never")


def test_runs_of_unlike_systems_have_a_line_each_and_their_own_pay_back():
    other = copy.deepcopy(told())
    other["title"] = "bigger"
    for entry in other["systems"]:
        if entry["role"] != "teacher":
            entry["parameters"] = 2_000_000
    del other["systems"][-1]["decode"]["repeats"]  # of its seq-kd
    both = merge([Report(told()), Report(other)])
    first, second = leads(both.data)
    assert (first.run, second.run) == ("A <b>title</b> & more", "bigger")
    assert (
        second.text.startswith("bigger: The best of 2") and "667,000" in first.text and "sentences" not in second.text
    )
    text = both.markdown()
    assert "### Pay-back of each run" in text and "| A <b>title</b> & more | word-kd | time |" in text
    assert "Not said: bigger: the decoding of 'seq-kd (bigger)' was not timed by sentences" in text


def test_runs_of_the_same_systems_have_one_lead_and_one_pay_back_over_all():
    other = timed([1.0, 1.0, 1.0])
    for entry in other["systems"]:
        entry["seed"] = None if entry["role"] == "teacher" else entry["seed"] + 2
    other["stages"] = [stage | {"seconds": 2 * stage["seconds"]} for stage in other["stages"]]
    both = merge([Report(told()), Report(other)])
    (lead,) = leads(both.data)
    # 1.5 h and 3 h of making; a sentence takes 9 ms of the teacher, 0.9 and 1 ms of the student.
    assert f"after {round(2.25 * 3600 / (9e-3 - 0.95e-3), -4):,.0f} sentences" in lead.sentences[-1]
    assert "### Pay-back of each run" in both.markdown()
