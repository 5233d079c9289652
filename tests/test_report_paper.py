"""The methods paragraph says what was done, whatever was joined, and with its references."""

from __future__ import annotations

import pytest

from bill_data import told
from distilmt.distilling.methods import METHODS, named
from distilmt.report import Report
from distilmt.report.citations import bibtex, cited
from distilmt.report.paper import paragraphs


def test_what_a_joined_method_says_of_its_data_is_true():
    data = told()
    for entry in data["systems"]:
        if entry["name"] == "seq-kd":
            entry |= {"method": "seq-kd+word-kd", "objective": "0.5 * NLL() + 0.5 * WordKD()"}
    (found,) = paragraphs(data)
    assert (
        "in place of the references (Kim & Rush 2016, section 3.2); the teacher's distribution at every" in found.text
    )


@pytest.mark.parametrize("loss", [name for name, m in METHODS.items() if m.recipe == "gold" and not m.then])
def test_no_loss_speaks_of_gold_where_the_data_is_not(loss):
    assert "gold" not in named(f"seq-kd+{loss}").summary.replace("never on gold", "")
    assert named(loss).summary == METHODS[loss].summary


def test_the_methods_paragraph_is_of_what_was_run():
    (found,) = paragraphs(told())
    text = found.text
    for words in (
        "6 encoder layers and 6 decoder layers, width 512", "3 encoder layers and 1 decoder layer, width 128",
        "500,000 pairs of train",
        "word-kd: recipe gold, objective 0.5 * NLL() + 0.5 * WordKD() - gold pairs; the teacher's "
        "distribution at every token (Kim & Rush 2016, section 3.1) (Hinton et al. 2015).",
        "beam search of size 5", "peak learning rate 0.002, linear warm-up over 250 updates, then linear decay",
        "1,250 updates of 2,048 padded tokens", "Seeds: 1, 2.", "decoded in float32 with a beam of 4",
        "bfloat16 autocast; dev BLEU", "Energy: RAPL.", "nrefs:1|case:mixed|eff:no|tok:13a",
        "approximate randomisation over sentences, with Holm's correction (Holm 1979; Riezler & Maxwell 2005)",
        "On 50% of batches targets were the student's own", "distilmt 0.1.0",
    ):  # fmt: skip
        assert words in text, words
    names = [each.split(".")[0] for each in found.references]
    assert {"Kim & Rush 2016", "Post 2018", "Koehn 2004", "Lin et al"} <= set(names)
    assert not {"Wang et al", "Jafari et al"} & set(names)
    assert text in Report(told()).markdown()
    assert paragraphs({key: value for key, value in told().items() if key != "setup"}) == []


def test_every_method_that_names_a_publication_cites_one():
    lacking = {"mixed", "hybrid", "n-best"}  # a program's ratios; a preprint that is in no list yet
    for method in METHODS.values():
        text = f"{method.name} {method.summary} {method.objective}"
        assert method.name in lacking or cited(text), method.name


def test_precision_and_energy_are_those_that_the_run_recorded():
    data = told(joules=False)
    for entry in data["systems"]:
        entry["decode"]["compute_type"] = "int8"
        if entry["training"]:
            del entry["training"]["precision"]  # a run of an older version: what was asked for
    text = paragraphs(data)[0].text
    assert "decoded in int8 with" in text and "Energy was not measured." in text and "autocast" not in text
    for number, stage in enumerate(data["stages"]):
        stage |= {"joules": 1.0, "energy_method": "RAPL"}
        stage["energy_coverage"] = [f"RAPL package-0 x 0.{number}5 (share of CPU time)"]
    assert "Energy: RAPL, over RAPL package-0 x share of CPU time." in paragraphs(data)[0].text
    data["setup"]["training"]["precision"] = "float32"
    assert "; float32; dev BLEU chose the checkpoint" in paragraphs(data)[0].text
    data["setup"]["training"]["precision"] = "auto"
    assert "auto;" not in paragraphs(data)[0].text
    for entry in data["systems"]:
        del entry["decode"]["compute_type"]
    assert "Test sets were decoded with a beam of 4" in paragraphs(data)[0].text


def test_every_reference_stands_there_as_bibtex_too():
    (found,) = paragraphs(told())
    assert found.bibtex.count("\n@") + 1 == len(found.references) and found.bibtex.startswith("@")
    kim = next(entry for entry in found.bibtex.split("\n\n") if "{kim2016," in entry)
    assert kim.splitlines()[1:3] == [
        "  author = {Kim, Yoon and Rush, Alexander M.},", "  title = {{Sequence-Level Knowledge Distillation}},",
    ]  # fmt: skip
    assert "Kim & Rush 2016. Sequence-Level Knowledge Distillation. EMNLP. arXiv:1606.07947." in found.references
    assert f"```bibtex\n{found.bibtex}\n```" in Report(told()).markdown()
    assert "<summary>BibTeX</summary><pre>@" in Report(told()).html()


def test_two_papers_of_one_name_and_year_are_told_apart():
    assert [each.name for each in cited(METHODS["continual"].summary)] == ["Zhang et al. 2023b"]
    assert "Continual" in bibtex(cited("Inheritance()")) and "Continual" not in bibtex(cited("Ranking()"))
