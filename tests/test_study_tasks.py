"""study/decode.py, distill.py, measure.py: what a cell does, in this process and with tiny models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from conftest import lively_model
from distilmt import models
from distilmt.corpus import write_lines
from distilmt.distilling.recipe_options import LabelSearch, RecipeOptions
from distilmt.energy import EnergyOptions
from distilmt.errors import ConfigError, DataError
from distilmt.evaluate import score
from distilmt.quickstart import write_corpus
from distilmt.study import decode, distill, function
from distilmt.study.measure import Work, measure
from distilmt.train import TrainingOptions
from distilmt.translate import Translator
from distilmt.vocab import Vocab

LABEL = import_module("distilmt.label")  # `distilmt.label` is the function
NONE = EnergyOptions(energy="none")
LINES = ["the dog sees the house .", "the cat finds the tree .", "", "the river loves the garden ."]


@pytest.fixture
def test_text(tmp_path: Path) -> tuple[str, str]:
    pair = (str(tmp_path / "test.a"), str(tmp_path / "test.b"))
    for path in pair:
        write_lines(path, LINES)
    return pair


def test_a_measurement_is_of_the_passes_after_the_warm_up() -> None:
    numbers: Iterator[float] = iter([100.0, 100.0, 1.0, 2.0, 6.0])

    def once() -> dict[str, float | None]:
        return {"x": next(numbers), "y": None}

    found = measure(Work(once, lambda seconds: {"rate": 1 / seconds, "z": None}), warm_up=2, min_seconds=0, energy=NONE)
    assert found["passes"] == 1 and found["outcomes"]["x"] == 1.0 and not {"y", "z"} & set(found["outcomes"])
    assert found["outcomes"]["rate"] == pytest.approx(1 / found["usage"]["seconds"])
    numbers = iter([1.0, 2.0, 6.0])
    with pytest.raises(StopIteration):  # goes on until the time is over
        measure(Work(once), warm_up=0, min_seconds=60, energy=NONE)
    constant = EnergyOptions(energy="constant", constant_watts=(10, 20))
    numbers = iter([1.0] * 1000000)
    found = measure(Work(once), warm_up=0, min_seconds=0.05, energy=constant)
    seconds, passes = found["usage"]["seconds"], found["passes"]
    assert passes > 1 and found["outcomes"]["joules_low"] == pytest.approx(10 * seconds / passes, rel=0.05)
    assert found["outcomes"]["joules_high"] == pytest.approx(20 * seconds / passes, rel=0.05)


def test_decode_counts_and_scores_what_the_translator_gives(
    tiny_model_folder: Path, test_text: tuple[str, str]
) -> None:
    task = decode.DecodeTask(model=str(tiny_model_folder), test=test_text, beam_size=2, max_length=20, threads=1)
    found = measure(decode.load(task), warm_up=1, min_seconds=0, energy=NONE)
    translations = Translator(tiny_model_folder, threads=1).translate(LINES, beam_size=2, max_length=20)
    tokens = sum(len(each.hypotheses[0].log_probs) for each in translations if each.hypotheses)
    scores = score([each.text for each in translations], LINES)
    outcomes = found["outcomes"]
    assert outcomes["target_tokens"] == tokens > 0
    assert outcomes["tokens_per_second"] == pytest.approx(tokens / outcomes["seconds"])
    assert outcomes["sentences_per_second"] == pytest.approx(4 / outcomes["seconds"])
    assert (outcomes["bleu"], outcomes["chrf"]) == (scores.bleu, scores.chrf)
    assert any(scores.bleu_signature in note for note in found["notes"]) and "1 empty_source" in str(found["notes"])
    assert set(found["inputs"]) == {"model", "source", "target"}
    short = measure(decode.load(replace(task, lines=2)), warm_up=0, min_seconds=0, energy=NONE)
    assert 0 < short["outcomes"]["target_tokens"] < tokens


def test_decode_refuses_what_it_cannot_score(tiny_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"a\nb\x00\n")
    (tmp_path / "empty").write_bytes(b"")
    for name, message in (("bad", "bad:2: "), ("empty", "empty")):
        pair = (str(tmp_path / name), str(tmp_path / name))
        with pytest.raises(DataError, match=message):
            decode.load(decode.DecodeTask(model=str(tiny_model_folder), test=pair))
    with pytest.raises(ConfigError, match="lines must be 1 or more, got 0"):
        decode.DecodeTask(model="m", test=("a", "b"), lines=0)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Vocab) -> distill.DistillTask:
    teacher = lively_model(tiny_vocab, seed=7)
    teacher.final_logits_bias[0, tiny_vocab.eos_id] = 2.5  # most of its sentences end
    folder = tmp_path_factory.mktemp("teacher")
    models.save(teacher, tiny_vocab, folder)
    text = write_corpus(tmp_path_factory.mktemp("text"), 1, train=60, dev=4, test=4)
    training = TrainingOptions(
        updates=2, batch_tokens=512, eval_every=2, max_positions=64, threads=1, precision="float32"
    )
    label = LabelSearch(beam_size=1, max_length=40)
    return distill.DistillTask(
        train=text["train"], dev=text["dev"], test=text["test"], teacher=str(folder), student_size="1x1:16:32:2",
        training=training, label=label, test_beam_size=1,
    )  # fmt: skip


def test_labels_are_made_once_for_all_cells_that_ask_for_the_same(task: distill.DistillTask, tmp_path: Path) -> None:
    works = [
        distill.load(each, tmp_path / f"cell-{number}", tmp_path / "shared", NONE)
        for number, each in enumerate([
            task,
            replace(task, student_size="1x1:32:32:2"),
            replace(task, training=replace(task.training, seed=2)),
            replace(task, label=replace(task.label, beam_size=2)),
            replace(task, method="word-kd"),
            replace(task, method="alone"),
        ])
    ]  # fmt: skip
    made = sorted((tmp_path / "shared").glob("*/stages/label.json"))
    assert len(made) == 2  # one of each beam size, and none where nothing is learnt from labels
    results = [measure(work, warm_up=0, min_seconds=0, energy=NONE)["outcomes"] for work in works]
    labelled = [result.get("label_seconds") for result in results]
    assert labelled[0] == labelled[1] == labelled[2] != labelled[3] and labelled[4:] == [None, None]
    spent = [sum(each["seconds"] for each in json.loads(path.read_text())["attempts"]) for path in made]
    assert sorted(spent) == sorted({labelled[0], labelled[3]})
    assert results[0]["parameters"] < results[1]["parameters"]
    assert all(result["train_seconds"] > 0 and "bleu" in result and "dev_bleu" in result for result in results)
    assert all(result["train_perplexity"] > 1 and 0 <= result["top1_agreement"] <= 1 for result in results)
    assert len({result["train_seconds"] for result in results}) == 6
    assert works[4].inputs["method"] == "gold: 0.5 * NLL(label_smoothing=0.1) + 0.5 * WordKD()"
    assert works[0].inputs == works[2].inputs and "pseudo" in works[0].inputs and "pseudo" not in works[5].inputs
    # A cell that was killed after its training finds it done.
    again = distill.load(task, tmp_path / "cell-0", tmp_path / "shared", NONE)
    outcomes = measure(again, warm_up=0, min_seconds=0, energy=NONE)["outcomes"]
    assert outcomes["train_seconds"] == results[0]["train_seconds"]


def test_a_labelling_that_was_killed_is_made_again_and_paid_for_twice(task, tmp_path, monkeypatch) -> None:
    def killed(**options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LABEL, "label", killed)
        with pytest.raises(KeyboardInterrupt):
            distill.load(task, tmp_path / "cell", tmp_path / "shared", NONE)
    (record,) = (tmp_path / "shared").glob("*/stages/label.json")
    work = distill.load(task, tmp_path / "cell", tmp_path / "shared", NONE)
    lost, last = (each["seconds"] for each in json.loads(record.read_text())["attempts"])
    outcomes = measure(work, warm_up=0, min_seconds=0, energy=NONE)["outcomes"]
    assert 0 < lost < outcomes["label_seconds"] == pytest.approx(lost + last) and "label_joules" not in outcomes


def test_phases_caches_neighbours_and_further_tests(task: distill.DistillTask, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    more = {"greedy": {"beam_size": 1}, "dev": {"test": list(task.dev)}}
    found = {}
    for name, changes in {
        "cached": {"method": "word-kd", "cache_teacher": 4},
        "neighbours": {"method": "knn-kd", "data": RecipeOptions(knn_k=3)},
        "phases": {"method": "seq-kd/seq-inter+word-kd", "label": replace(task.label, beam_size=2)},
    }.items():
        work = distill.load(replace(task, further=more, **changes), tmp_path / name, tmp_path / "shared", NONE)
        found[name] = measure(work, warm_up=0, min_seconds=0, energy=NONE)["outcomes"]
        assert {key: len(lines) for key, (_, lines) in work.further.items()} == {"greedy": 4, "dev": 4}
        assert work.further["greedy"] == (work.inputs["test target"], work.translations)  # both greedy, of one text
    assert all({"bleu_greedy", "chrf_dev", "label_seconds"} <= set(each) for each in found.values())
    assert all(
        each["bleu_greedy"] == each["bleu"] and 0 < each["own_mode"] < 1 for each in found.values()
    )  # both greedy
    for wrong in ({"a": {"beam": 1}}, {"a": {"test": "x"}}, {"a": {"beam_size": "many"}}, "greedy", {"a": 3}):
        with pytest.raises(ConfigError, match="further"):
            replace(task, further=wrong)
    with pytest.raises(ConfigError, match="keeps what the teacher says of gold and seq-kd, not of seq-inter"):
        distill.load(
            replace(task, method="seq-inter+word-kd", cache_teacher=4, label=replace(task.label, beam_size=2)),
            tmp_path / "no", tmp_path / "shared", NONE,
        )  # fmt: skip


def test_a_teacher_is_adapted_once_for_all_cells_that_ask_for_it(task: distill.DistillTask, tmp_path: Path) -> None:
    given = {"adapt_train": task.train, "teacher_training": task.training}
    each = replace(task, method="distil-adapt-distil", **given)
    works = [
        distill.load(cell, tmp_path / f"cell-{number}", tmp_path / "shared", NONE)
        for number, cell in enumerate([each, replace(each, student_size="1x1:32:32:2"), replace(task, **given)])
    ]
    (adapted,) = (tmp_path / "shared").glob("*/stages/adapted-teacher.json")
    made = [measure(work, warm_up=0, min_seconds=0, energy=NONE)["outcomes"]["label_seconds"] for work in works]
    spent = sum(attempt["seconds"] for attempt in json.loads(adapted.read_text())["attempts"])
    assert made[0] == made[1] > spent > 0  # and the labels of both texts
    assert works[0].inputs == works[1].inputs and {"adapt", "pseudo"} <= set(works[0].inputs)
    assert "adapt" not in works[2].inputs  # seq-kd, which has no use for the text


def test_a_student_that_became_a_teacher_labels_in_its_own_cell(task: distill.DistillTask, tmp_path: Path) -> None:
    """The shared run is another cell's by then."""
    same = tmp_path / "same.en"
    same.write_text("the dog barks .\n" * 60)  # soon learnt: a student's labels have to be sentences
    training = replace(task.training, updates=120, learning_rate=0.02, warmup=5, eval_every=40)
    task = replace(task, train=(task.train[0], str(same)), training=training)
    for number, each in enumerate((task, replace(task, method="noisy-student", data=RecipeOptions(rounds=2)))):
        work = distill.load(each, tmp_path / f"cell-{number}", tmp_path / "shared", NONE)
    stages = [json.loads(path.read_text()) for path in (tmp_path / "cell-1" / "stages").glob("*label.json")]
    shared = [json.loads(path.read_text()) for path in (tmp_path / "shared").glob("*/stages/label.json")]
    assert (len(stages), len(shared)) == (1, 1)
    spent = sum(attempt["seconds"] for stage in stages + shared for attempt in stage["attempts"])
    outcomes = measure(work, warm_up=0, min_seconds=0, energy=NONE)["outcomes"]
    assert outcomes["label_seconds"] == pytest.approx(spent)


def test_methods_by_name_and_by_their_parts(task: distill.DistillTask) -> None:
    assert replace(task, method="alone").chosen.recipe == "gold"
    assert replace(task, objective="WordKD()").chosen.objective == "WordKD()"
    for changes, message in (
        ({"method": "seq-kt"}, "did you mean seq-kd"),
        ({"recipe": "silver"}, "must be one of gold, seq-kd, .* got 'silver'"),
        ({"student_size": "enormous"}, "enormous"),
        ({"method": "gold-kd-bt"}, "needs --reverse-teacher"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(task, **changes)
    wide = replace(task.label, beam_size=4)
    kept = [replace(task, method=name, label=wide).config("", NONE) for name in ("seq-kd", "seq-inter", "alone")]
    assert [each.label.for_recipes(each.recipes()).n_best for each in kept] == [1, 4, 1]
    assert replace(wide, n_best=3).for_recipes({"seq-inter"}).n_best == 3
    with pytest.raises(ConfigError, match="label_n_best must lie between 1 and the beam size"):
        replace(wide, n_best=5)


def test_labellings_that_turn_out_equal_train_one_student(task: distill.DistillTask, tmp_path: Path) -> None:
    """With beam 1 a length penalty changes no label; a beam of 2 does."""
    shared = replace(task, share_student=True)
    works = [
        distill.load(each, tmp_path / f"cell-{number}", tmp_path / "shared", NONE)
        for number, each in enumerate([
            shared,
            replace(shared, label=replace(task.label, length_penalty=0.5), compute_type="int8"),
            replace(shared, label=replace(task.label, beam_size=2)),
            replace(shared, training=replace(task.training, seed=2)),
        ])
    ]  # fmt: skip
    assert len(list((tmp_path / "shared").glob("*/stages/label.json"))) == 3
    assert len(list((tmp_path / "shared").glob("student-*/stages/student-student.json"))) == 3
    results = [measure(work, warm_up=0, min_seconds=0, energy=NONE)["outcomes"] for work in works]
    assert results[0]["train_seconds"] == results[1]["train_seconds"] and works[0].notes[-1] == works[1].notes[-1]
    assert (
        len({each["train_seconds"] for each in results}) == 3
        and results[0]["label_seconds"] != results[1]["label_seconds"]
    )
    with pytest.raises(ConfigError, match="share_student: labels that are the same text may"):
        replace(shared, cache_teacher=4)


def test_a_function_may_ask_for_its_seed_and_the_name_of_its_cell(tmp_path: Path) -> None:
    (tmp_path / "asking.py").write_text("def call(cell, seed): return {'seed': seed, 'letters': len(cell)}")
    for given, seed in (({}, 7), ({"seed": 3}, 3)):
        assert function.load("asking:call", given, 7, [str(tmp_path)], "007-all").once() == {"seed": seed, "letters": 7}
