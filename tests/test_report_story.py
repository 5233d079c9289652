"""What a reader sees first: three sentences, four figures, a paragraph for a paper, several runs at a glance."""

from __future__ import annotations

import copy

import pytest

from bill_data import told
from distilmt.report import Report, merge
from distilmt.report.citations import cited
from distilmt.report.paper import paragraphs
from distilmt.report.story import headline, runs_table, summary
from distilmt.report.tables import hashes_table, provenance, verdicts_table
from report_data import compared, rows


def test_three_sentences_tell_quality_speed_and_cost():
    quality, speed, cost = summary(told()).split(". ")
    assert quality.startswith("On flickr the teacher reaches 40.0 BLEU, the student trained alone 30.0; the best of")
    assert "(seq-kd) reaches 38.0, which closes 80% of that gap" in quality
    assert speed == "It has 12% of the teacher's parameters and translates 5.0× as fast as its teacher"
    assert cost.startswith("Making it took 1 h 30 min of one machine and 1.50 kWh (1.35 to 1.65)")
    assert cost.endswith("paid back in machine time after 667 k sentences.")  # 1.5 h / (9 ms - 0.9 ms)
    assert "(its energy was not measured)" in summary(told(joules=False))


@pytest.mark.parametrize(
    ("significance", "said"),
    [
        ([], "reaches 38.0, which closes 80% of that gap (whether that is more than chance was not tested)"),
        (
            [compared("seq-kd", 0.001)],
            "+8.0 BLEU against the student alone is more than chance explains (p = 0.001, for these",
        ),
        ([compared("seq-kd", 0.2, seeds=[3, 3])], "may be chance (p = 0.20, over 3 seeds)"),
        ([compared("seq-kd", None)] * 6, "+8.0 BLEU against the student alone has a 95% interval of +6.5 to +9.5"),
        ([compared("word-kd", 0.001)], "was not tested"),
    ],
)
def test_a_gain_is_told_with_how_sure_it_is(significance, said):
    assert said in summary(told() | {"significance": significance})


def test_a_student_that_closes_nothing():
    data = told()
    for entry in data["systems"]:
        entry["test"]["flickr"]["bleu"] = 40.0 if entry["role"] == "teacher" else 30.0
    assert "which closes none of that gap" in summary(data)


def test_a_student_that_is_no_faster_never_pays_back():
    data = told()
    for entry in data["systems"]:
        for repeat in entry["decode"]["repeats"]:
            repeat["seconds"] = 9.0
    assert "serving does not pay back, for it is no faster than its teacher" in summary(data)
    assert headline(data)[-1][:2] == ("Pays back after", "never")


def test_the_headline():
    assert [figure for _, figure, _ in headline(told())] == ["38.0 BLEU", "12%", "5.0×", "667 k"]
    data = told()
    data["systems"] = [entry for entry in data["systems"] if entry["role"] == "teacher"]
    assert headline(data) == [] and summary(data) == ""


def test_the_methods_paragraph_is_of_what_was_run():
    ((text, references),) = paragraphs(told())
    for words in (
        "6 encoder and 6 decoder layers, width 512", "3 encoder and 1 decoder layers, width 128", "500,000 pairs of train",
        "word-kd: data by recipe gold, minimising 0.5 * NLL() + 0.5 * WordKD() - gold pairs; the teacher's "
        "distribution at every token (Kim & Rush 2016, section 3.1) (Hinton et al. 2015).",
        "beam search of size 5", "peak learning rate 0.002, linear warm-up over 250 updates, then linear decay",
        "1,250 updates of 2,048 padded tokens", "Seeds: 1, 2.", "with a beam of 4", "nrefs:1|case:mixed|eff:no|tok:13a",
        "approximate randomisation over sentences, with Holm's correction (Holm 1979; Riezler & Maxwell 2005)",
        "On 50% of batches targets were the student's own", "distilmt 0.1.0",
    ):  # fmt: skip
        assert words in text, words
    names = [each.split(".")[0] for each in references]
    assert {"Kim & Rush 2016", "Post 2018", "Koehn 2004", "Lin et al"} <= set(names)
    assert not {"Wang et al", "Jafari et al"} & set(names)
    assert text in Report(told()).markdown()
    assert paragraphs({key: value for key, value in told().items() if key != "setup"}) == []


def test_every_method_that_names_a_publication_cites_one():
    from distilmt.methods import METHODS

    lacking = {"mixed", "hybrid", "n-best"}  # a program's ratios; a preprint that is in no list yet
    for method in METHODS.values():
        text = f"{method.name} {method.summary} {method.objective}"
        assert method.name in lacking or cited(text), method.name


def test_verdicts_and_hashes():
    assert rows(verdicts_table(told()))["label"] == {"Lines": "500,000", "ok": "498,000", "copy": "2,000"}
    assert ["train, source", "12" * 8] in hashes_table(told()).rows
    assert ["teacher, weights", "ef" * 8] in hashes_table(told()).rows and ["label, pseudo", "ab" * 8] in hashes_table(
        told()
    ).rows


def test_the_page_has_the_plane_and_the_curve():
    html = Report(told()).html()
    for title in ("Quality against the cost of making", "What making each system took", "Pay-back in machine time"):
        assert f'alt="{title}: ' in html
    data = told()
    for entry in data["systems"]:
        del entry["decode"]["repeats"]
    assert "Not said: A &lt;b&gt;title" in Report(data).html() and "was not timed by sentences" in Report(data).html()


def unlike():
    data = copy.deepcopy(told())
    data |= {"title": "bigger", "versions": data["versions"] | {"sacrebleu": "2.5.0"}}
    for entry in data["systems"]:
        if entry["role"] != "teacher":
            entry["parameters"] = 2_000_000
    return data


def test_runs_stand_beside_each_other():
    both = merge([Report(told()), Report(unlike()), Report(unlike() | {"title": "third"})]).data
    found = rows(runs_table(both))
    assert list(found) == ["A <b>title</b> & more", "bigger", "third"]
    assert found["bigger"] == {
        "Best student": "seq-kd (bigger)", "BLEU": "38.0", "Teacher": "40.0", "Alone": "30.0",
        "Gap closed": "80%", "Parameters": "2 M", "Speed-up": "5.0×", "Made in": "1 h 30 min", "Paid back after": "667 k",
    }  # fmt: skip
    assert runs_table(told()) is None and summary(both) == ""
    shared, first, second, _ = provenance(both)
    assert ("processor", "Some CPU") in shared
    assert first[0] == ("run", "A <b>title</b> & more") and "sacrebleu 2.6.0" in dict(first)["versions"]
    assert "sacrebleu 2.5.0" in dict(second)["versions"]
    both["runs"][1]["setup"]["teacher"]["weights"] = "00" * 32  # a teacher of its own
    assert len(paragraphs(both)) == 1
    both["runs"][1]["setup"]["training"]["updates"] = 9
    (first, _), (second, _) = paragraphs(both)
    assert second.startswith("bigger: Teacher and students") and "9 updates" in second and "third" in first


def test_each_run_keeps_its_significance_under_the_names_of_the_comparison():
    from distilmt.report.significance import significance_tables

    both = merge([Report(told()), Report(unlike())])
    (table,) = significance_tables(both.data)
    assert ["bigger", "seq-kd (bigger)", "BLEU"] in [row[:3] for row in table.rows]
    assert "over all 4 rows of a run" in " ".join(table.notes)
    assert "Significance against the alone" in Report(both.data).html()
