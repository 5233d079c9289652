"""Runs of `distill` whose teachers are several, take turns, or are adapted to a domain; and f-distill's samples."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import distilmt
from conftest import lively_model
from distilmt import models
from distilmt.distilling.methods import named
from distilmt.distilling.recipe_options import LabelSearch, RecipeOptions
from distilmt.energy import EnergyOptions
from distilmt.errors import ConfigError
from distilmt.label import read_labels
from distilmt.marian.weights import identity
from distilmt.quality.gap import top1_agreement
from distilmt.study import distill as study
from distilmt.study.measure import measure
from distilmt.text.files import lines_hash
from distilmt.train import TrainingOptions
from distilmt.training.teachers import TeacherMix
from distilmt.translate import Translator
from distilmt.vocab import Vocab

TINY = TrainingOptions(updates=6, batch_tokens=512, eval_every=2, max_positions=128, threads=1, precision="float32")
WORDS = ["dog", "cat", "house", "tree"]
SOURCES = [f"the {a} sees the {b} ." for a in WORDS for b in WORDS]


@pytest.fixture(scope="module")
def given(tiny_vocab: Vocab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a run of a few updates, and two models for its teachers."""
    folder = tmp_path_factory.mktemp("given")
    files = {
        "text.en": SOURCES,
        "text.de": [s.replace("the ", "") for s in SOURCES],
        "own.en": SOURCES[:5],
        "own.de": SOURCES[:5],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    for seed in (7, 3):
        model = lively_model(tiny_vocab, seed=seed)
        model.final_logits_bias[0, tiny_vocab.eos_id] = 2.5  # most of its sentences end
        models.save(model, tiny_vocab, folder / f"teacher-{seed}")
    pair = (str(folder / "text.en"), str(folder / "text.de"))
    return {
        "train": pair, "dev": pair, "test": (pair,), "student_size": "1x1:32:64:4", "label_beam_size": 2, "test_beam_size": 1,
        "test_repeats": 1, "training": TINY, "teacher_training": TINY, "baseline": False, "teacher": str(folder / "teacher-7"),
    }  # fmt: skip


def two(given: dict[str, Any]) -> list[str]:
    return [given["teacher"], str(Path(given["teacher"]).with_name("teacher-3"))]


def inputs(run: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "stages" / f"{stage}.json").read_text())["inputs"]
    return found


def test_several_teachers_teach_as_one_or_in_turn(given: dict[str, Any], tmp_path: Path) -> None:
    run, teachers = tmp_path / "run", two(given)
    options = given | {
        "teacher": teachers,
        "teacher_weights": (1.0, 3.0),
        "out": str(run),
        "method": "seq-kd+word-kd,continual",
    }
    report = distilmt.distill(**options).report.data
    teacher, together, continual = report["systems"]
    assert teacher["parameters"] == 2 * models.parameters(models.load(teachers[0]))
    ensemble = Translator(teachers, weights=[1, 3], threads=1)
    assert read_labels(run / "label").pseudo == [t.text for t in ensemble.translate(SOURCES, beam_size=2)]
    at_once = inputs(run, "student-seq-kd+word-kd-1")
    assert at_once["teacher"] == identity([Path(t) for t in teachers]) and at_once["mix"]["weights"] == [1, 3]
    assert "WordKD" in together["curve"][-1]["terms"]
    # Alone, then with each teacher what it knows better, each time beside the student of before.
    phases = [inputs(run, f"student-continual-1{n}") for n in (".1", ".2", "")]
    assert [p.get("teacher") for p in phases] == [None, *(identity([Path(t)]) for t in teachers)]
    assert [p["objective"] for p in phases] == [p.objective for p in named("continual").of_run(2, 3).phases]
    for n, after in ((".1", phases[1]), (".2", phases[2])):
        assert after["before"] == models.weights_hash(run / f"student-continual-1{n}" / "best")
    assert {"Inheritance", "SelectiveKD"} <= set(continual["curve"][-1]["terms"])
    assert continual["training"]["updates"] == TINY.updates and "label" not in continual["made_by"]


def test_distil_adapt_distil(given: dict[str, Any], tmp_path: Path) -> None:
    run, domain = tmp_path / "run", tuple(p.replace("text.", "own.") for p in given["train"])
    options = given | {"out": str(run), "method": "distil-adapt-distil", "adapt_train": domain}
    report = distilmt.distill(**options).report.data
    general, special = (inputs(run, f"student-distil-adapt-distil-1{n}") for n in (".1", ""))
    adapted = inputs(run, "adapted-teacher")
    assert adapted["teacher"] == general["teacher"] == models.weights_hash(given["teacher"])
    assert (
        adapted["training"]["learning_rate"]
        == special["training"]["learning_rate"]
        == pytest.approx(TINY.learning_rate / 10)
    )
    best = run / "adapted-teacher" / "best"
    assert special["teacher"] == models.weights_hash(best) != general["teacher"]
    assert special["before"] == models.weights_hash(run / "student-distil-adapt-distil-1.1" / "best")
    labels = read_labels(run / "adapted-label")
    assert labels.pseudo == [t.text for t in Translator(best, threads=1).translate(SOURCES[:5], beam_size=2)]
    assert special["pseudo target"] == labels.pseudo_hash and special["train source"] == adapted["train source"]
    assert read_labels(run / "label").lines == len(SOURCES) and labels.lines == 5
    student = report["systems"][1]
    assert student["made_by"] == [
        "label", "student-distil-adapt-distil-1.1", "adapted-teacher", "adapted-label", "student-distil-adapt-distil-1",
    ]  # fmt: skip
    kinds = {stage["name"]: stage["kind"] for stage in report["stages"]}
    assert kinds["adapted-teacher"] == "teacher-training" and kinds["adapted-label"] == "labelling"
    assert distilmt.distill(**options).report.data["systems"][1]["test"] == student["test"]  # nothing is done twice


def test_f_distill_learns_from_samples_of_both(given: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    report = distilmt.distill(**given, out=str(run), method="f-js", sample_top_k=5).report.data
    teacher = Translator(given["teacher"], threads=1)
    drawn = [t.text for t in teacher.translate(SOURCES, beam_size=2, sample=True, top_k=5, seed=1)]
    assert read_labels(run / "label-sampled").pseudo == drawn
    assert drawn != [t.text for t in teacher.translate(SOURCES, beam_size=2)]
    assert {"SkewKD", "own_SkewReverseKD"} <= set(report["systems"][1]["curve"][-1]["terms"])
    assert inputs(run, "student-f-js-1")["own"]["beside"] is True
    assert report["systems"][1]["made_by"] == ["label-sampled", "student-f-js-1"]


def test_what_does_not_go_together_is_said_at_once(given: dict[str, Any], tmp_path: Path) -> None:
    several = {"teacher": two(given)}
    for changes, message in (
        ({"method": "distil-adapt-distil"}, "--adapt-train and --method distil-adapt-distil go together"),
        (
            {"method": "seq-kd", "adapt_train": given["train"]},
            "--adapt-train and --method distil-adapt-distil go together",
        ),
        ({"method": "f-js", "own_share": 0.5}, "--own-share: f-, imitkd and gkd say themselves"),
        ({"method": "f-reverse-kl", "cache_teacher": 4}, "f-, imitkd and gkd ask about the student's own words"),
        (
            {"method": "f-js", "teacher_by_nll": "batch"} | several,
            "f-, imitkd and gkd ask about the student's own words",
        ),
        ({"method": "seq-kd", "sample_top_k": 3}, "--sample-top-k is of sampled, which this run has not"),
        ({"method": "word-kd", "cache_teacher": 4} | several, "--cache-teacher: is of one teacher, got 2"),
        ({"method": "layers"} | several, "begins with the teacher's layers: is of one teacher, got 2"),
        ({"method": "word-kd", "teacher_by_nll": "batch"}, "are of several teachers, got one"),
        ({"objective": "NLL() + Inheritance()"}, r"the first phase begins with nothing - put a\s+training before it"),
        ({"method": "knn-kd"} | several, "a datastore is of one teacher, got 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            distilmt.distill(**given | {"out": str(tmp_path / "x")} | changes)


def test_a_noisy_student_labels_for_the_next(given: dict[str, Any], tmp_path: Path) -> None:
    run, same = tmp_path / "run", tmp_path / "same.de"
    same.write_text("dog sees cat .\n" * len(SOURCES))  # soon learnt: a student's labels have to be sentences
    training = replace(TINY, updates=120, learning_rate=0.02, warmup=5, eval_every=40)
    options = given | {"out": str(run), "method": "noisy-student", "rounds": 3, "subset": 0.5, "training": training}
    options["train"] = (given["train"][0], str(same))
    report = distilmt.distill(**options).report.data
    name = "student-noisy-student-1"
    rounds = [inputs(run, name + n) for n in (".1", ".2", "")]
    students = [run / (name + n) / "best" for n in (".1", ".2")]
    assert [r["teacher"] for r in rounds] == [identity([Path(t)]) for t in (given["teacher"], *students)]
    assert not any("before" in r for r in rounds)  # each begins anew
    assert len({json.dumps(r["train source"]) for r in rounds}) == 1  # the same half of the text
    for label, teacher in (("noisy-student-1.2-label", students[0]), ("noisy-student-1-label", students[1])):
        said = [t.text for t in Translator(teacher, threads=1).translate(text_of(run), beam_size=2)]
        assert read_labels(run / label).pseudo == said
    assert report["systems"][1]["made_by"] == [
        "label", name + ".1", "noisy-student-1.2-label", name + ".2", "noisy-student-1-label", name,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="--rounds must be at least 2, got 1 - one round is --method gold-kd"):
        distilmt.distill(**options | {"rounds": 1})
    with pytest.raises(ConfigError, match="--rounds is of noisy-student, which this run has not"):
        distilmt.distill(**options | {"method": "gold-kd", "rounds": 4})


def test_a_student_is_pre_trained_and_then_distilled(given: dict[str, Any], tmp_path: Path) -> None:
    run, more = tmp_path / "run", tmp_path / "more"
    more.write_text("dog sees house .\n\ncat sees dog .\n")
    options = given | {"out": str(run), "method": "well-read", "monolingual_target": str(more)}
    report = distilmt.distill(**options).report.data
    first, then = (inputs(run, f"student-well-read-1{n}") for n in (".1", ""))
    assert (first["recipe"], then["recipe"]) == ("denoise", "seq-kd")
    assert then["before"] == models.weights_hash(run / "student-well-read-1.1" / "best")
    assert then["training"]["learning_rate"] == TINY.learning_rate
    assert first["pseudo target"] == lines_hash(
        [s.replace("the ", "") for s in SOURCES] + more.read_text().split("\n")[:3]
    )
    assert report["systems"][1]["made_by"] == ["student-well-read-1.1", "label", "student-well-read-1"]


def text_of(run: Path) -> list[str]:
    return (run / "gold-sources.txt").read_text().splitlines()


def test_an_ensemble_is_a_cell_of_a_study(given: dict[str, Any], tmp_path: Path) -> None:
    names = ("train", "dev", "student_size", "training", "test_beam_size")
    task = study.DistillTask(
        **{name: given[name] for name in names}, test=given["test"][0], teacher=tuple(two(given)), label=LabelSearch(beam_size=2),
    )  # fmt: skip
    wise = replace(task, method="word-kd", mix=TeacherMix(by_nll="batch"))
    none, found = EnergyOptions(energy="none"), {}
    for name, each in {"labels": replace(task, mix=TeacherMix(weights=(1, 3))), "wise": wise}.items():
        work = study.load(each, tmp_path / name, tmp_path / "shared", none)
        found[name] = measure(work, warm_up=0, min_seconds=0, energy=none)["outcomes"]
        assert work.inputs["teacher"] == identity([Path(t) for t in two(given)])
    (labels,) = (tmp_path / "shared").glob("*/label")
    said = Translator(two(given), weights=[1, 3], threads=1).translate(SOURCES, beam_size=2)
    assert read_labels(labels).pseudo == [t.text for t in said]
    assert inputs(tmp_path / "wise", "student-student")["mix"]["by_nll"] == "batch"
    both = Translator(two(given), compute_type="float32", threads=1)
    student = Translator(tmp_path / "wise/student-student/best", compute_type="float32", threads=1)
    text = [Path(path).read_text().splitlines() for path in given["test"][0]]
    assert found["wise"]["top1_agreement"] == top1_agreement(student, both, *text)
    assert [p.teacher for p in replace(task, method="continual").chosen.phases] == [None, 0, 1]
    assert len(replace(task, method="noisy-student", data=RecipeOptions(rounds=4)).chosen.phases) == 4
    with pytest.raises(ConfigError, match="are of several teachers, got one"):
        replace(wise, teacher=given["teacher"])
