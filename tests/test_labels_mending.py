"""What is damaged, missing or cut off in a finished labelling is noticed, and mended by the command that its message names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilmt.errors import ConfigError, DataError
from distilmt.label import LabelConfig, Labels, label
from distilmt.labels import job as jobs
from distilmt.labels import merge as merging
from distilmt.labels.lease import Lease
from distilmt.labels.records import Candidate, read_records
from distilmt.labels.redo import redo
from distilmt.labels.status import status, verify
from distilmt.labels.teacher import Teacher
from distilmt.soft_labels import SoftLabels, encode
from distilmt.text.lines import Line
from distilmt.translate import Hypothesis, Translation
from distilmt.translator.long_lines import join
from toy_labels import ToyTeacher, write_source


def soft_labels(ids: Sequence[int]) -> SoftLabels:
    count = len(ids)
    log_probs, tail = np.full((count, 1), -0.01, np.float32), np.full(count, 0.01, np.float32)
    return SoftLabels(np.array(ids, np.int32)[:, None], log_probs, tail, np.zeros(count, np.float32))


class Sure(ToyTeacher):
    """Has soft labels of every line; some lines are copies, until they are labelled once more with a beam of 2."""

    def __init__(self, config: Any, threads: int | None) -> None:
        self.seconds, self.soft, self.again = 0.0, False, config.search.beam_size == 2

    def label(self, lines: Sequence[Any], targets: Sequence[str] | None = None) -> list[Any]:
        found = []
        for record in super().label(lines, targets):
            if record.verdict == "ok":
                record = replace(record, soft=encode([5, 0], soft_labels([5, 0]), 0.0))
                if self.again:
                    record = replace(record, candidates=[Candidate("NEW", [5], 0.0, 0.0, 2)])
                elif record.line % 3 == 0:
                    record = replace(record, verdict="copy")
            found.append(record)
        return found


@dataclass
class Job:
    """A finished job of three shards. `run` is the same command again, `redo` labels the copies anew."""

    out: Path
    options: dict[str, Any]

    def run(self, **more: Any) -> Labels:
        found = label(**self.options | more)
        assert isinstance(found, Labels)
        return found

    def redo(self, **more: Any) -> Any:
        return redo(labels=str(self.out), where="status=copy", **{"beam_size": 2} | more)

    def results(self) -> dict[str, bytes]:
        names = [self.out / name for name in ("pseudo.txt", "statuses.txt", "labels.json")]
        paths = [*names, *(path for path in (self.out / "soft").rglob("*") if path.is_file())]
        return {str(path.relative_to(self.out)): path.read_bytes() for path in paths}


@pytest.fixture
def job(tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return started(tmp_path, tiny_model_folder, monkeypatch, soft_labels=1)


def started(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Job:
    monkeypatch.setattr("distilmt.labels.teacher.Teacher", Sure)
    source = write_source(tmp_path / "source.txt", 24)
    options = {
        "model": str(model),
        "source": str(source),
        "out": str(tmp_path / "job"),
        "shard_lines": 10,
        "threads": 1,
    }
    made = Job(tmp_path / "job", options | {"lease_seconds": 1.0} | more)
    made.run()
    return made


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def test_a_merge_that_slept_leaves_what_another_put_there(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, real, asleep = job.results(), merging._put_in_place, [True]
    shutil.rmtree(job.out / "soft")

    def sleepy(folder: Path, name: str, lease: Lease) -> None:
        if asleep.pop() if asleep else False:
            other = Lease.take(folder / "leases", 3, lease.attempt + 1, 10, {})
            assert other is not None
            merging.merge(folder, Path(job.options["model"]), "", other)
            other.end("done")
            assert merging._beside(folder, name, lease).exists()  # its owner lives
        real(folder, name, lease)

    monkeypatch.setattr(merging, "_put_in_place", sleepy)
    job.run()
    assert job.results() == expected and not verify(job.out).problems and not list(job.out.glob(".soft.*"))


@pytest.mark.parametrize(
    "name", ["soft", "soft/soft_labels.json", "soft/index.bin", "soft/sentences.bin", "segments/000001.0", "done/000002.json"]
)  # fmt: skip
def test_each_part_alone_is_noticed_and_mended(job: Job, name: str) -> None:
    expected, path = job.results(), job.out / name
    if path.is_dir():
        shutil.rmtree(path)
    elif name.startswith("soft"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    else:
        cut(path)
    assert any(str(path) in problem for problem in verify(job.out).problems)
    job.run()
    assert job.results() == expected and not verify(job.out).problems


@pytest.mark.parametrize("command", ["run", "redo"])
def test_a_redo_killed_before_its_merge_is_merged(job: Job, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    def killed(*_: Any) -> Labels:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs.merging, "merge", killed)
        with pytest.raises(KeyboardInterrupt):
            job.redo()
    assert any("not merged" in problem for problem in verify(job.out).problems)
    found = getattr(job, command)()
    assert found.pseudo == [record.text for record in read_records(job.out)] and found.pseudo.count("NEW") == 7
    assert not verify(job.out).problems and [path.name for path in (job.out / "redo").iterdir()] == ["1"]
    assert job.redo() == f"{job.out}: no line has the verdict copy"


@pytest.mark.parametrize("name", ["segments/000001.0", "done/000001.json"])
def test_a_damaged_redo_is_mended_by_the_same_redo(job: Job, name: str) -> None:
    job.redo()
    expected = job.results()
    cut(job.out / "redo" / "1" / name)
    assert name in verify(job.out).problems[0]
    with pytest.raises(DataError, match=r"labels redo` again, or delete .*redo/1"):
        job.run()
    with pytest.raises(ConfigError, match=r"redo/1: was begun with other options"):
        job.redo(beam_size=3)
    job.redo()
    assert job.results() == expected and not verify(job.out).problems
    cut(job.out / "segments" / "000000.0")
    job.redo()  # a damaged shard of the job itself
    assert job.results() == expected and not verify(job.out).problems


def test_an_unfinished_redo_is_told_and_finished(job: Job) -> None:
    job.redo()
    expected = job.results()
    (job.out / "redo" / "1" / "done" / "000001.json").unlink()
    assert "redo/1: unfinished - run the same `distilmt labels redo` again" in verify(job.out).problems[0]
    job.redo()
    assert job.results() == expected and not verify(job.out).problems


def test_damaged_events_stop_nothing_and_are_counted(job: Job) -> None:
    path = next((job.out / "events").glob("*.jsonl"))
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes(50) + data[150:] + b'7\n{"event": "batch", "time": 1}\n')
    job.run()
    assert status(job.out).cost["damaged_events"] == 3


def test_redo_knows_the_teacher(tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model_folder, model)
    job = started(tmp_path, model, monkeypatch)
    (model / "extra.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"(?s)name it with --model.*model.extra.json: \(absent\) ->"):
        job.redo()
    assert job.redo(model=str(model)).pseudo.count("NEW") == 7


def test_soft_labels_are_of_one_teacher(job: Job, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(job.options["model"], other)
    assert job.redo(model=str(other)).pseudo.count("NEW") == 7  # the same files elsewhere
    (other / "extra.json").write_text("{}")
    with pytest.raises(ConfigError, match="soft labels are bound to one teacher"):
        job.redo(model=str(other))


def test_pieces_of_a_line_have_no_soft_labels_of_the_whole() -> None:
    ended = Translation([Hypothesis([1, 2], "a b", -1.0, [-0.1] * 3, soft_labels([1, 2, 9]))], "redone_float32")
    cut_off = Translation([Hypothesis([3, 4], "c d", -1.0, [-0.1] * 2, soft_labels([3, 4]))], "max_length")
    options = {"length_penalty": 1.0, "length_penalty_form": "x"}
    teacher = Teacher.__new__(Teacher)
    teacher.config, teacher._eos = LabelConfig(model="m", source="s", out="o", soft_labels=1), 9
    joined, whole = join([ended, cut_off, ended], [2, 1], ["split", "ok"], options)
    line = Line(1, "x y", "ok")
    assert teacher._record(line, joined, b"").soft == b"" and teacher._record(line, whole, b"").soft != b""


def test_the_first_broken_generation_is_the_one_that_is_mended(job: Job) -> None:
    job.redo()
    redo(labels=str(job.out), where="status=empty_source", beam_size=3)
    expected = job.results()
    cut(job.out / "redo" / "1" / "segments" / "000001.0")
    (job.out / "redo" / "1" / "done" / "000002.json").unlink()
    job.redo()
    assert (
        job.results() == expected and not verify(job.out).problems and "redo 2 (empty_source)" in str(status(job.out))
    )


def test_another_redo_that_was_quicker_is_not_mixed_with(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(path: Path, data: bytes) -> bool:
        return path.write_bytes(data.replace(b'"beam_size": 2', b'"beam_size": 4')) < 0

    monkeypatch.setattr("distilmt.labels.redo.create_bytes", late)
    with pytest.raises(ConfigError, match="beam_size: 4 -> 2"):
        job.redo()


def test_a_proof_of_something_else_is_none(job: Job) -> None:
    expected, path = job.results(), job.out / "labels.json"
    record = json.loads(path.read_bytes())
    for wrong in ({"lines": 24}, record | {"job": "0" * 64}, record | {"hashes": {}}, record | {"counts": {"ok": 1}}):
        path.write_text(json.dumps(wrong))
        assert verify(job.out).problems == [f"{path}: not the proof of these labels"]
    job.run()
    assert job.results() == expected


def test_excluded_lines_have_no_soft_labels_to_learn(job: Job) -> None:
    statuses, store = job.run().statuses, SoftLabels.open(job.out / "soft")
    assert [len(store[i][0]) for i in range(24)] == [2 * (verdict == "ok") for verdict in statuses]
    assert all(record.soft for record in read_records(job.out) if record.verdict == "copy")
