"""The main job end to end, small: stages, resume, refusal, labels, report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import distilmt
from distilmt import corpus
from distilmt.bill.rates import Rates
from distilmt.distill import DistillConfig, set_name
from distilmt.distilling.methods import named
from distilmt.distilling.recipe_options import LabelSearch
from distilmt.errors import ConfigError, DataError
from distilmt.label import Labels, read_labels
from distilmt.quickstart import write_corpus
from distilmt.recipes.seq_kd import seq_kd
from distilmt.train import TrainingOptions

TINY = TrainingOptions(updates=4, batch_tokens=512, eval_every=2, max_positions=48, threads=1, precision="float32")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    return write_corpus(tmp_path_factory.mktemp("text"), 1, train=200, dev=8, test=8)


def config(text: dict[str, tuple[str, str]], out: Path, **changes: object) -> DistillConfig:
    options = {
        "train": text["train"], "dev": text["dev"], "test": (text["test"],), "out": str(out), "student_size": "1x1:16:32:2",
        "teacher_size": "1x1:32:64:2", "vocab_size": 300, "method": "word-kd,seq-kd,seq-kd+word-kd",
        "label": LabelSearch(beam_size=2), "test_beam_size": 2, "exact": True, "training": TINY,
        "teacher_training": replace(TINY, updates=150, eval_every=75, learning_rate=5e-3, warmup=20, batch_tokens=1024),
    }  # fmt: skip
    return DistillConfig(**(options | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(text, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    distilmt.distill(config(text, folder))
    return folder


def test_every_room_is_walked_through(run, text):
    report = json.loads((run / "report.json").read_text())
    names = [system["name"] for system in report["systems"]]
    assert names == ["teacher", "student alone", "student word-kd", "student seq-kd", "student seq-kd+word-kd"]
    for system in report["systems"]:
        scores = system["test"]["test"]
        assert {"bleu", "chrf", "exact", "bleu_signature", "chrf_signature"} <= set(scores)
        assert system["tokens_per_second"] > 0 and system["file_bytes"] > 0
    assert report["command"].startswith(f"distilmt.distill(train={text['train']!r}, dev={text['dev']!r}, test=")
    assert "exact=True" in report["command"] and "seeds=" not in report["command"]
    assert json.loads((run / "run.json").read_text())["commands"][0]["command"] == report["command"]
    teacher, student = report["systems"][0], report["systems"][1]
    assert student["compression"] == pytest.approx(teacher["parameters"] / student["parameters"])
    assert (run / "report.md").exists() and (run / "report.html").exists()
    students = [name for name in names if name.startswith("student ") and name != "student alone"]
    assert [row["name"] for row in report["significance"]] == students * 2  # BLEU, then chrF
    for system in report["systems"]:
        assert len((run / system["hypotheses"]["test"]).read_text().split("\n")) == 8 + 1
    looked = [system.get("microscope", {}).get("sentences") for system in report["systems"]]
    assert looked[0] is None and all(4 < sentences <= 8 for sentences in looked[1:])  # some are too long for the models
    assert {"processor", "cpus", "memory", "system"} <= set(report["machine"])
    assert [text["name"] for text in report["setup"]["texts"]] == ["train", "dev", "test"]
    assert report["setup"]["texts"][0]["pairs"] == 200 and report["setup"]["student"]["hidden"] == 16
    label = next(stage for stage in report["stages"] if stage["name"] == "label")
    assert sum(label["verdicts"].values()) == 200 and len(label["outputs"]["pseudo"]) == 64
    stages = {stage["name"] for stage in report["stages"]}
    assert {"teacher", "label", "student-alone-1", "student-seq-kd+word-kd-1", "evaluate-teacher"} <= stages
    assert "microscope-seq-kd-1" in stages


def test_the_bill_knows_what_made_each_student_and_rates_may_change_at_any_time(run, text):
    distilmt.distill(config(text, run, rates=Rates(country="DEU", price_per_hour=2.0)))
    report = json.loads((run / "report.json").read_text())
    kinds = {stage["name"]: stage["kind"] for stage in report["stages"]}
    assert kinds["teacher"] == "teacher-training" and kinds["label"] == "labelling"
    assert kinds["student-seq-kd-1"] == "student-training" and kinds["evaluate-alone-1"] == "evaluation"
    made_by = {entry["name"]: entry["made_by"] for entry in report["systems"]}
    assert made_by["student word-kd"] == ["student-word-kd-1"]
    assert made_by["student seq-kd"] == ["label", "student-seq-kd-1"] and made_by["teacher"] == ["teacher"]
    assert report["bill"]["per_million_labels"]["count"] == 200
    words = sum(len(line.split()) for line in Path(text["test"][0]).read_text().splitlines())
    assert report["systems"][0]["decode"]["source_words"] == words
    assert report["bill"]["per_million_words"][0]["name"] == "teacher"
    assert report["bill"]["kinds"][0]["cost"]["machine_money"]["value"] > 0


def test_decodings_are_repeated_and_a_pay_back_reads_them(run):
    report = json.loads((run / "report.json").read_text())
    decode = report["systems"][0]["decode"]
    assert len(decode["repeats"]) == 3 and decode["seconds"] in [each["seconds"] for each in decode["repeats"]]
    assert (decode["lines"], decode["target_tokens"] > 8) == (8, True)
    found = distilmt.payback(run=str(run))
    stages = {stage["name"]: stage["seconds"] for stage in report["stages"]}
    assert found.row("time", "student word-kd").distillation == pytest.approx(stages["student-word-kd-1"])
    assert found.row("time", "student seq-kd").distillation == pytest.approx(
        stages["label"] + stages["student-seq-kd-1"]
    )
    assert "Distillation: what made one student" in str(found)


def test_the_same_command_again_does_nothing_twice(run, text):
    before = {path: path.stat().st_mtime_ns for path in (run / "stages").iterdir()}
    result = distilmt.distill(config(text, run))
    assert result._repr_html_() == result.report._repr_html_()
    assert {path: path.stat().st_mtime_ns for path in (run / "stages").iterdir()} == before
    assert set(result.models) == {"alone-1", "word-kd-1", "seq-kd-1", "seq-kd+word-kd-1"}


def test_decodings_that_were_timed_less_often_than_asked_are_said(run, text, capsys):
    distilmt.distill(config(text, run))
    assert "evaluate-" not in capsys.readouterr().err
    distilmt.distill(config(text, run, test_repeats=5))
    said = capsys.readouterr().err
    assert "evaluate-teacher is done, timed 3 of 5 times - to time it anew delete" in said
    assert f"{run / 'stages' / 'evaluate-teacher.json'} and run the same command" in said


def test_threads_may_change_and_other_options_are_refused_with_a_diff(run, text):
    distilmt.distill(config(text, run, training=replace(TINY, threads=2)))
    with pytest.raises(ConfigError, match=r"(?s)--new-run.*learning_rate: 0\.001 -> 0\.01"):
        distilmt.distill(config(text, run, training=replace(TINY, learning_rate=0.01)))


def test_labels_are_line_aligned_and_proven(run, text):
    labels = read_labels(run / "label")
    source = corpus.load_corpus(text["train"])
    assert len(labels.pseudo) == len(source) == 200 and labels.source_hash == source.source_hash
    pseudo = run / "label" / "pseudo.txt"
    lines = pseudo.read_text().split("\n")
    pseudo_before = pseudo.read_bytes()
    try:
        pseudo.write_text("\n".join(lines[1:]))
        with pytest.raises(DataError, match="199 lines"):
            _ = read_labels(run / "label").pseudo
    finally:
        pseudo.write_bytes(pseudo_before)


def test_a_killed_labelling_goes_on_inside_its_stage(run, text, tmp_path, monkeypatch):
    out = tmp_path / "run"
    given = config(text, out, teacher=str(run / "teacher" / "best"), teacher_size=None, method="seq-kd", baseline=False)
    given = replace(given, microscope=False)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("distilmt.labels.merge.merge", interrupt)
        distilmt.distill(given)
    segments = {path: path.stat().st_mtime_ns for path in (out / "label" / "segments").iterdir()}
    distilmt.distill(given)
    assert segments and {path: path.stat().st_mtime_ns for path in (out / "label" / "segments").iterdir()} == segments
    report = json.loads((out / "report.json").read_text())
    notes = report["notes"]
    assert not [stage for stage in report["stages"] if stage["name"].startswith("microscope")]
    assert f"labels: {read_labels(out / 'label').summary}" in notes


def test_seq_kd_keeps_lines_in_place_and_leaves_doubtful_ones_out(text):
    gold = corpus.load_corpus(text["dev"])
    statuses = ["ok"] * 5 + ["non_finite_redone", "max_length", "too_long"]
    labels = Labels(Path("x"), 8, {}, "", "h", 1, 1.0, {})
    labels.__dict__.update(pseudo=[f"p{i}" for i in range(8)], statuses=statuses)
    out = seq_kd(gold, labels)
    assert [(i, t) for i, _, t in out.pairs()] == [(i, f"p{i}") for i in range(6)]
    assert out.sources == gold.sources and out.statuses[6:] == ["label_max_length", "label_too_long"]
    with pytest.raises(DataError, match="3 labels for 8 source lines"):
        labels.__dict__["pseudo"] = ["a"] * 3
        seq_kd(gold, labels)


def test_method_names():
    both = named("seq-kd+word-kd")
    assert both.recipe == "seq-kd" and "WordKD" in both.objective
    assert named("word-kd").recipe == "gold"
    with pytest.raises(ConfigError, match="did you mean word-kd"):
        named("wordkd")
    with pytest.raises(ConfigError, match="of one kind"):
        named("seq-kd+seq-kd")


def test_a_teacher_is_named_once(text, tmp_path):
    with pytest.raises(ConfigError, match="either --teacher MODEL or --teacher-size"):
        config(text, tmp_path, teacher="x")


def test_two_test_sets_of_one_name_are_refused(text, tmp_path):
    with pytest.raises(ConfigError, match="one name"):
        config(text, tmp_path, test=(text["test"], text["test"]))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/multi30k.test_2016_flickr.de.gz", "multi30k.test_2016_flickr"),
        ("test.de", "test"),
        ("plain", "plain"),
        ("hf:wmt/wmt14:de-en:test:translation.de", "wmt14.test"),
    ],
)
def test_a_test_set_is_named_by_its_file(path, name):
    assert set_name(path) == name


def test_train_writes_a_model_folder(text, tmp_path):
    result = distilmt.train(
        train=text["train"],
        dev=text["dev"],
        out=str(tmp_path / "model"),
        size="1x1:16:32:2",
        vocab_size=300,
        training=TINY,
    )
    assert result.fit.updates == 4
    assert distilmt.Translator(tmp_path / "model").translate(["Maria hofft."])[0].status in (
        "ok",
        "max_length",
        "repetition",
    )
    again = distilmt.train(
        train=text["train"], dev=text["dev"], out=str(tmp_path / "more"), size="1x1:16:32:2", training=TINY,
        init_from=str(tmp_path / "model"), energy="constant", constant_watts=(100.0, 300.0),
    )  # fmt: skip
    assert (
        again.usage.joules == pytest.approx(200 * again.usage.seconds, rel=0.01)
        and again.usage.seconds >= again.fit.seconds
    )
    assert result.usage.seconds > 0 and "\ncost  " in str(result)
    assert [path.name for path in (tmp_path / "more.training").glob("*cost*")] == ["finished-cost.json"]
    assert again.model == tmp_path / "more"
    with pytest.raises(ConfigError, match="expected a student of 1 to 1 layers, as its teacher has, got 2"):
        distilmt.train(
            train=text["train"],
            dev=text["dev"],
            out=str(tmp_path / "x"),
            size="2x2:16:32:2",
            init_from=str(tmp_path / "model"),
        )
