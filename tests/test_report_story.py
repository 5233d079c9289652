"""What a reader sees first: three sentences, four figures, a paragraph for a paper, several runs at a glance."""

from __future__ import annotations

import copy

from bill_data import told
from distilmt.report import Report, merge
from distilmt.report.lead import leads
from distilmt.report.paper import paragraphs
from distilmt.report.story import headline, runs_table
from distilmt.report.tables import hashes_table, provenance, verdicts_table
from report_data import rows


def test_the_headline():
    assert [figure for _, figure, _ in headline(told())] == ["38.0 BLEU", "12%", "5.0×", "667 k"]
    data = told()
    data["systems"] = [entry for entry in data["systems"] if entry["role"] == "teacher"]
    assert headline(data) == [] == leads(data)


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
        "Gap closed": "80%", "Parameters": "2 M", "Speed-up": "5.0×", "Made in": "1 h 30 min",
        "Paid back after": "667 k (667 k to 667 k)",
    }  # fmt: skip
    assert runs_table(told()) is None and [lead.run for lead in leads(both)] == list(found)
    shared, first, second, _ = provenance(both)
    assert ("processor", "Some CPU") in shared
    assert first[0] == ("run", "A <b>title</b> & more") and "sacrebleu 2.6.0" in dict(first)["versions"]
    assert "sacrebleu 2.5.0" in dict(second)["versions"]
    both["runs"][1]["setup"]["teacher"]["weights"] = "00" * 32  # a teacher of its own
    assert len(paragraphs(both)) == 1
    both["runs"][1]["setup"]["training"]["updates"] = 9
    first, second = (each.text for each in paragraphs(both))
    assert second.startswith("bigger: Teacher and students") and "9 updates" in second and "third" in first


def test_each_run_keeps_its_significance_under_the_names_of_the_comparison():
    from distilmt.report.significance import significance_tables

    both = merge([Report(told()), Report(unlike())])
    (table,) = significance_tables(both.data)
    assert ["bigger", "seq-kd (bigger)", "BLEU"] in [row[:3] for row in table.rows]
    assert "over all 4 rows of a run" in " ".join(table.notes)
    assert "Significance against the alone" in Report(both.data).html()
