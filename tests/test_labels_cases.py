"""Cases 18, 29, 34, 36 and 41 as a labelling meets them: a source that changes, no finite numbers, no memory, no room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import distilmt
from distilmt.cli import main
from distilmt.errors import ConfigError, DataError, DeviceFailed, MemoryExhausted, ResourceError
from distilmt.label import LabelConfig, read_labels
from distilmt.labels.lease import look
from distilmt.labels.manifest import read_manifest
from distilmt.labels.source import read_text
from distilmt.labels.teacher import Teacher
from distilmt.labels.worker import Work, work
from distilmt.soft_labels import decode
from distilmt.text.lines import Line
from distilmt.translate import Hypothesis, Scored, Translation
from distilmt.translator.forced import forced_blobs
from distilmt.translator.model_options import SearchFlags
from test_soft_labels import soft
from toy_labels import ToyTeacher, command


class Translator:
    """Has memory for one short text at a time, and no numbers for one of them."""

    calls: list[int]
    folder = "teacher"

    def __init__(self) -> None:
        self.calls = []

    @property
    def vocab(self) -> Any:
        return self

    def encode_source(self, texts: list[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def encode_target(self, texts: list[str]) -> list[list[int]]:
        return [[7] for _ in texts]

    def score(self, texts: list[str], targets: list[str], **_: Any) -> list[Scored]:
        self.calls.append(len(texts))
        if len(texts) > 2 or "huge" in texts:
            raise MemoryExhausted("memory is exhausted")
        sound = Scored([-0.5, -0.5], -0.5, "ok", soft([[0.5], [0.5]]))
        return [Scored([], 0.0, "not_finite") if text == "nan" else sound for text in texts]

    def translate(self, texts: list[str], **_: Any) -> list[Translation]:
        self.calls.append(len(texts))
        if len(texts) > 2 or "huge" in texts:
            raise MemoryExhausted("memory is exhausted")
        nan = Translation([Hypothesis([], "", 0.0, [])], "not_finite")
        empty = Translation([Hypothesis([], "", -0.1, [-0.1])], "empty_hypothesis")
        known = {"nan": nan, "empty": empty}
        return [known.get(text, Translation([Hypothesis([7], text * 2, -0.5, [-0.5])], "ok")) for text in texts]


def test_case_34_no_memory_halves_the_batch_and_keeps_the_order() -> None:
    teacher = Teacher.__new__(Teacher)
    teacher.config = LabelConfig(model="m", source="s", out="o")
    teacher._search, teacher.translator = {}, Translator()  # type: ignore[assignment]
    texts = ["a", "b", "huge", "nan", "c", "empty"]
    lines = [Line(number, text, "ok") for number, text in enumerate(texts, 1)]
    records = teacher.label([*lines, Line(7, "", "quarantined", "control character U+0001", b"\1")])
    assert [record.line for record in records] == list(range(1, 8))
    verdicts = ["ok", "ok", "quarantined", "quarantined", "ok", "empty_target", "quarantined"]
    assert [record.verdict for record in records] == verdicts
    assert records[2].cause == "no memory for its 4 tokens (memory is exhausted)"
    assert records[3].cause == "the teacher gives no finite numbers for it" and not records[3].candidates
    assert [record.text for record in records[:2]] == ["aa", "bb"] and len(records[5].candidates) == 1
    assert records[6].cause == "control character U+0001"


def test_a_device_that_fails_is_no_want_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fail for every line from then on: none is quarantined for it."""
    teacher = Teacher.__new__(Teacher)
    teacher.config = LabelConfig(model="m", source="s", out="o")
    teacher._search, teacher._eos, teacher.translator = {}, 9, Translator()  # type: ignore[assignment]

    def fail(*_: Any, **__: Any) -> Any:
        raise DeviceFailed("device: kernel: an illegal memory access was encountered")

    for name, targets in (("translate", None), ("score", ["x", "x"])):
        with monkeypatch.context() as patch:
            patch.setattr(Translator, name, fail)
            with pytest.raises(DeviceFailed, match="illegal memory access"):
                teacher.label([Line(1, "a", "ok"), Line(2, "b", "ok")], targets)


def test_the_forced_pass_has_the_same_rules() -> None:
    teacher = Teacher.__new__(Teacher)
    teacher.config = LabelConfig(model="m", source="s", out="o", target="t", soft_labels=1)
    teacher._search, teacher._eos, teacher.translator = {}, 9, Translator()  # type: ignore[assignment]
    lines = [Line(number, text, "ok") for number, text in enumerate(["a", "huge", "b", "nan", "c"], 1)]
    records = teacher.label(lines, ["x", "x", "", "x", "x"])
    assert [len(decode(record.forced)[0]) if record.forced else 0 for record in records] == [2, 0, 0, 0, 2]
    assert [record.gold_fault for record in records] == ["", "no_memory", "", "not_finite", ""]
    assert records[0].cause == "" == records[2].cause and "; gold not_finite: teacher gives" in records[3].cause
    found = forced_blobs(teacher.translator, [(text, "x") for text in ("a", "b", "c", "nan")], 1, 0.0, 9)
    assert found[0] == found[1] == found[2] and isinstance(found[3], DataError)
    (alone,) = forced_blobs(teacher.translator, [("huge", "x")], 1, 0.0, 9)
    assert isinstance(alone, ResourceError) and "no memory for it alone (memory is exhausted)" in str(alone)
    told = teacher._forced([Line(1, "nan", "ok")], ["x"])
    assert "teacher gives no finite numbers" in str(told[0])


def test_gold_lines_without_numbers_are_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Translator):
        def __init__(self, folder: Path, **_: Any) -> None:
            super().__init__()
            self.folder = folder  # type: ignore[assignment]

    monkeypatch.setattr("distilmt.translate.Translator", Broken)
    source = tmp_path / "source"
    source.write_text("a\nnan\nb\nnan\nhuge\n")
    assert main([*command(source, tmp_path / "job", "--soft-labels", "1"), "--target", str(source)]) == 0
    assert "; gold lines without soft labels: 1 no_memory, 2 not_finite; " in capsys.readouterr().out
    assert read_labels(tmp_path / "job").gold_faults == {"no_memory": 1, "not_finite": 2}


def test_case_18_a_source_that_changes_is_refused_and_its_shard_given_back(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a\nb\nc\nd\n")
    text = read_text(str(path), 2, "error")
    config = LabelConfig(model="m", source="s", out="o", shard_lines=2)

    class Meddler(ToyTeacher):
        def label(self, lines: Any, targets: Any = None) -> Any:
            path.write_text("a\nb\nc\nd\ne\n")
            return super().label(lines, targets)

    job = Work(str(tmp_path / "job"), bytes(32).hex(), text, None, config)
    with pytest.raises(DataError, match="text: changed while it was read"):
        work(job, Meddler(config, 1), lambda message: None)
    assert not job.shards.finished() and look(tmp_path / "job" / "leases" / "000000.0").state == "failed"


def test_case_41_no_place_to_write(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "text").write_text("a\n")
    with pytest.raises(ResourceError, match="/proc/labels: "):
        distilmt.label(model=str(tiny_model_folder), source=str(tmp_path / "text"), out="/proc/labels")


def test_the_beam_holds_the_n_best_that_are_asked_for(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "text").write_text("the dog .\n")
    out = tmp_path / "job"
    distilmt.label(
        model=str(tiny_model_folder), source=str(tmp_path / "text"), out=str(out), n_best=8, max_length=4, threads=1
    )
    assert (out / "nbest.tsv").read_text().count("\n") == 8
    assert read_manifest(out)[0]["options"]["search"]["beam_size"] == 8
    for given, beam in (
        ({"n_best": 8, "patience": 2.0}, 5),
        ({"n_best": 99, "sample": True}, 5),
        ({"beam_size": 2}, 2),
    ):
        assert SearchFlags(**given).options()["beam_size"] == beam  # type: ignore[arg-type]


def test_what_cannot_be_is_said_before_a_folder_is_bound_to_it(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "text").write_text("a\n")
    options: dict[str, Any] = {"source": str(tmp_path / "text"), "out": str(tmp_path / "job")}
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "m2m_100"}')
    for wrong, kind, said in (
        (
            {"model": str(tiny_model_folder), "n_best": 9, "beam_size": 5},
            ConfigError,
            "n_best: expected a whole number from 1 to beam_size",
        ),
        ({"model": str(other), "soft_labels": 4}, ConfigError, "for Marian teachers alone"),
        ({"model": str(tiny_model_folder), "soft_labels": 4, "soft_floor": 2.0}, ConfigError, "--soft-floor must be"),
        ({"model": str(tiny_model_folder), "soft_labels": 1025}, ConfigError, "--soft-labels must be from 0 to 1024"),
        ({"model": str(tiny_model_folder), "threads": 0}, ConfigError, "--threads must be from 1 to 1024, got 0"),
        ({"model": str(tiny_model_folder), "threads": -3}, ConfigError, "--threads must be from 1 to 1024"),
        ({"model": str(tmp_path)}, DataError, "no model \\(config.json is missing"),
        ({"model": str(tiny_model_folder), "source": str(tmp_path)}, DataError, "is a directory"),
    ):
        with pytest.raises(kind, match=said):
            distilmt.label(**{**options, **wrong})
    assert not os.path.exists(tmp_path / "job")
