"""The microscope: its divergence against the exact one, what it says of two real models, and how it is shown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bill_data import told
from conftest import lively_model
from distilmt import models
from distilmt.corpus import Corpus
from distilmt.report import Report
from distilmt.report.gap import binned, gap_figure, gap_tables, ranked
from distilmt.report.microscope import Microscope, divergence, spread
from distilmt.report.numbers import systems_of
from distilmt.run import Run
from distilmt.soft_labels import SoftLabels
from distilmt.text.files import lines_hash
from distilmt.translate import Translator
from report_data import rows

SOURCES = ["the dog sees the house .", "the Katze liebt the tree .", "3 Uhr 21", "the cat finds the cat ."] * 3
TARGETS = ["the Hund sieht the Haus .", "the cat loves the tree .", "3 Uhr 21", "the garden sees the river ."] * 3


def top(log_probs: np.ndarray, k: int) -> SoftLabels:
    ids = np.argsort(-log_probs, axis=1)[:, :k].astype(np.int32)
    kept = np.take_along_axis(log_probs, ids, 1).astype(np.float32)
    return SoftLabels(ids, kept, (1 - np.exp(kept).sum(1)).astype(np.float32), np.full(len(ids), np.nan, np.float32))


@pytest.fixture(scope="module")
def two() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    both = [random.normal(size=(300, 50)) * 2 for _ in range(2)]
    both[1] += both[0]  # a student like its teacher
    teacher, student = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in both)
    return teacher, student, random.integers(0, 50, 300)


def test_the_divergence_is_exact_where_all_ids_are_told_apart_and_else_a_lower_bound(two):
    teacher, student, gold = two
    exact = (np.exp(teacher) * (teacher - student)).sum(1)
    of_gold = [x[np.arange(300), gold] for x in two[:2]]
    kl, covered = divergence(top(teacher, 50), top(student, 50), gold, *of_gold)
    assert kl == pytest.approx(exact, abs=1e-4) and covered == pytest.approx(1, abs=1e-5)
    means = []
    for k in (1, 8, 32):
        kl, covered = divergence(top(teacher, k), top(student, k), gold, *of_gold)
        assert (kl <= exact + 1e-4).all() and (kl >= 0).all() and (covered < 1).any()
        means.append(kl.mean())
    assert means == sorted(means) and means[-1] > 0.8 * exact.mean()


def test_two_lines_are_spread_evenly():
    assert spread(3, 5) == [0, 1, 2] and spread(10, 5) == [0, 2, 4, 6, 8]


@pytest.fixture(scope="module")
def seen(tiny_model_folder: Path, tiny_vocab, tmp_path_factory):
    """What the microscope saw of one untrained model, whose teacher is another, and its run folder."""
    folder = tmp_path_factory.mktemp("microscope")
    student = folder / "student"
    models.save(lively_model(tiny_vocab, seed=2), tiny_vocab, student)
    text = Corpus(SOURCES, TARGETS, ["ok"] * 12, lines_hash(SOURCES), lines_hash(TARGETS))
    config = SimpleNamespace(training=SimpleNamespace(threads=1))
    with Run.open(folder / "run", {}) as run:
        for name, lines in (("teacher", TARGETS), ("student", [*TARGETS[:10], SOURCES[10], " ".join(["cat"] * 9)])):
            (run.folder / name).write_text("".join(f"{line}\n" for line in lines))
        materials = SimpleNamespace(
            run=run, config=config, text=text, teacher=tiny_model_folder, teachers=[tiny_model_folder]
        )
        microscope = Microscope(materials, {"test": text}, {"test": "teacher"})
        found = microscope.look("x-1", student, {"test": "student"})
        record = run.folder / "stages" / "microscope-x-1.json"
        before = record.stat().st_mtime_ns
        assert microscope.look("x-1", student, {"test": "student"}) == found and record.stat().st_mtime_ns == before
        yield found, student


def test_losses_and_agreement_are_those_of_the_translator(seen, tiny_model_folder):
    found, student = seen
    scored = Translator(student, compute_type="float32").score(SOURCES, TARGETS, soft_labels=1)
    taught = Translator(tiny_model_folder, compute_type="float32").score(SOURCES, TARGETS, soft_labels=1)
    losses = [-lp for each in scored for lp in each.log_probs]
    assert found["student_loss"] == pytest.approx(np.mean(losses)) and found["tokens"] == len(losses)
    same = [a.soft_labels.ids[:, 0] == b.soft_labels.ids[:, 0] for a, b in zip(scored, taught, strict=True)]
    assert found["agreement"] == pytest.approx(np.concatenate(same).mean())
    assert (
        found["int8_loss"] == pytest.approx(found["student_loss"], rel=0.05)
        and found["int8_loss"] != found["student_loss"]
    )
    assert found["kl"] > 0 and found["k"] == 32
    own = [
        np.exp(sum(each.log_probs))
        for each in Translator(tiny_model_folder, compute_type="float32").score(SOURCES, TARGETS)
    ]
    assert found["teacher_mode"] == pytest.approx(np.mean(own))


def test_bins_add_up_to_the_whole(seen):
    found, _ = seen
    for bins in found["by"].values():
        assert sum(row["tokens"] for row in bins) == found["tokens"]
        for key in ("kl", "agreement", "student_loss"):
            assert sum(row["tokens"] * row[key] for row in bins) / found["tokens"] == pytest.approx(found[key])
    assert [row["name"] for row in found["by"]["position"]][:3] == ["1", "2", "3-4"]


def test_what_is_wrong_is_counted_and_sentences_are_ranked(seen):
    found, _ = seen
    assert found["counts"]["teacher"] == {"copy": 0, "repetition": 0, "oscillating": 0, "detached": 0}
    student = found["counts"]["student"]
    assert (student["oscillating"], student["detached"], student["repetition"]) == (1, 1, 1)
    worst, *others = found["ranked"]
    assert worst["line"] == 12 and worst["student"] == " ".join(["cat"] * 9) and worst["difference"] > 50
    assert others[-1]["difference"] <= others[0]["difference"] and {each["test"] for each in others} == {"test"}


@pytest.fixture
def shown(seen):
    data = told()
    for entry in data["systems"]:
        if entry["role"] == "student":
            entry["microscope"] = seen[0]
    return data


def test_it_is_shown(shown, seen):
    overview, bins, wrong = gap_tables(shown)
    assert rows(overview)["seq-kd"]["Same best token"] == f"{100 * seen[0]['agreement']:.1f}%"
    assert rows(wrong)["word-kd"]["oscillating"] == "1" and rows(wrong)["teacher"]["oscillating"] == "0"
    assert bins.rows[0][:2] == ["position", "1"]
    word_kd = next(system for system in systems_of(shown) if system.name == "word-kd")
    assert binned(word_kd, "position", "kl")["1"] == pytest.approx(seen[0]["by"]["position"][0]["kl"])
    assert len(gap_figure(shown).axes) == 6
    for axes in gap_figure(shown).axes:
        low, high = axes.get_ylim()
        assert all(low <= value <= high for line in axes.lines for value in line.get_ydata())
    students = ranked(shown, "seq-kd")
    assert [*students] == ["seq-kd", "word-kd"] and [*ranked(shown, "word-kd")] == ["word-kd", "seq-kd"]
    assert students["seq-kd"][0]["where"] == "test, line 12" and len(students["word-kd"]) == 12  # those of both seeds
    assert [row["where"] for row in students["word-kd"][:2]] == ["test, line 12, seed 1", "test, line 12, seed 2"]
    html, text = Report(shown).html(), Report(shown).markdown()
    assert html.count("<li><p") == 24 and html.count('type="radio"') == 2 and html.count(" checked>") == 1
    assert 'type="search"' in html and "<script" not in html
    assert "### Where the gap lies" in text and "lower bound" in text
    ten = text.partition("### Sentences, by how much better the teacher is than ")[2].partition("\n\n\n")[0]
    assert "| test, line 12 | " in ten and ten.count("| test, line ") == 10


def test_what_was_not_looked_at_is_not_shown(shown):
    for entry in shown["systems"]:
        if "microscope" in entry:
            entry["microscope"] = {"sentences": 0, "tokens": 0}
    assert gap_tables(shown) == [] and "microscope" not in Report(shown).html()
