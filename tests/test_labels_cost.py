"""What a labelling cost and how fast it is, from the logs of its sessions: made up here, with clocks and kills."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import distilmt
from distilmt.cli import main
from distilmt.energy import Usage
from distilmt.labels.cost import ELSEWHERE, cost, of_store
from distilmt.labels.events import NOTE_SECONDS, Log, events_of
from distilmt.labels.status import status
from distilmt.soft_labels import SoftLabels
from distilmt.text.files import write_lines
from distilmt.train import TrainingOptions
from test_stored_teacher import SOURCES, TARGETS, TINY
from toy_labels import ToyTeacher, command, write_source

RAPL = {"energy_method": "RAPL", "energy_kind": "measured", "energy_samples": 2}


def used(seconds: float, joules: float | None, **more: Any) -> dict[str, Any]:
    """What a session used, with an interval of 10 % about its joules."""
    energy = {} if joules is None else {"joules_low": 0.9 * joules, "joules_high": 1.1 * joules, **RAPL}
    energy |= {"energy_coverage": ["RAPL package-0"]} if joules else {}
    return asdict(Usage(**{"seconds": seconds, "cpu_seconds": 1.0, "peak_rss_bytes": 5, "joules": joules}
                        | {"energy_method": "not measured"} | energy | more))  # fmt: skip


def session(job: Path, name: str, times: tuple[float, ...], *events: dict[str, Any], boot: str = "a") -> None:
    """The log of a process on a machine; the events behind its begin, at these times."""
    owner = {"machine": f"{boot} pid:[{name}]", "pid": 1, "started": "1"}
    whole = [{"event": "begin", "host": "h", "owner": owner, "workers": 2}, *events]
    (job / "events").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"time": at} | event) + "\n" for at, event in zip(times, whole, strict=True)]
    (job / "events" / f"{name}.jsonl").write_text("".join(lines))


def end(usage: dict[str, Any] | None) -> dict[str, Any]:
    return {"event": "end", "worker_seconds": 8.0, "usage": usage}


def test_what_sessions_of_one_machine_used_together_counts_once(tmp_path: Path) -> None:
    session(tmp_path, "one", (1000, 1100), end(used(100, 5000)))
    session(tmp_path, "two", (1050, 1150), end(used(100, 5000)))
    session(tmp_path, "other", (1000, 1100), end(used(100, 1000)), boot="b")
    found = cost(tmp_path)
    # 50 W for 150 s, and 1000 J of the other machine
    assert found["joules"] == pytest.approx(8500) == found["known_joules"]
    usage = found["usage"]
    assert usage["seconds"] == pytest.approx(250) and usage["cpu_seconds"] == 3
    assert (usage["joules_low"], usage["joules_high"]) == pytest.approx((7650, 9350))
    assert found["worker_seconds"] == 24  # of workers: each works for itself


def test_of_three_at_once_each_counts_a_third_and_a_jump_of_the_clock_shares_nothing(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        session(tmp_path, name, (1000, 1100), end(used(100, 3000)))
    assert cost(tmp_path)["joules"] == pytest.approx(3000)
    session(tmp_path, "three", (1100, 1000), end(used(100, 3000)))
    assert cost(tmp_path)["joules"] == pytest.approx(6000)
    session(tmp_path, "three", (2000, 2100), end(used(100, 3000)))
    assert cost(tmp_path)["usage"]["seconds"] == pytest.approx(200)


def test_shares_of_a_machine_add_up(tmp_path: Path) -> None:
    for name in ("one", "two"):
        own = used(100, 2000, energy_coverage=["RAPL package-0 x 0.5 (share declared)"])
        session(tmp_path, name, (1000, 1100), end(own))
    found = cost(tmp_path)
    assert found["joules"] == 4000 and found["usage"]["seconds"] == pytest.approx(100)


def test_a_killed_session_costs_what_it_noted_and_the_interval_says_what_may_be_missing(tmp_path: Path) -> None:
    batch = {"event": "batch", "lines": 9, "tokens": 90, "decoding": 10.0}
    session(tmp_path, "killed", (0, 50, 60), {"event": "cost", "usage": used(50, 500)}, batch)
    session(tmp_path, "whole", (100, 200), end(used(100, 1000)))
    found = cost(tmp_path)
    assert (found["joules"], found["killed_sessions"], found["usage"]["seconds"]) == (1500, 1, 150)
    assert found["usage"]["joules_high"] == pytest.approx(550 + 550 / 50 * (NOTE_SECONDS + 10) + 1100)
    assert any("was killed" in note for note in found["usage"]["energy_missing"])
    session(tmp_path, "silent", (300,))
    found = cost(tmp_path)
    assert (found["usage"], found["joules"], found["known_joules"]) == (None, None, 1500)
    session(tmp_path, "silent", (300, 310), end(used(10, None)))
    found = cost(tmp_path)
    assert (found["usage"]["seconds"], found["joules"], found["known_joules"]) == (160, None, 1500)


def test_notes_are_written_at_the_first_batch_and_then_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, log = [100.0], Log(tmp_path)
    monkeypatch.setattr("distilmt.labels.events.time.monotonic", lambda: now[0])
    for second in range(65):
        now[0] = 100.0 + second
        log.used(Usage.of(used(second, None)))
    assert [event["usage"]["seconds"] for event in events_of(tmp_path)] == [0, 31, 62]


def test_the_speed_of_machines_whose_clocks_differ_and_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilmt.labels.teacher.Teacher", ToyTeacher)
    job = tmp_path / "job"
    assert main(command(write_source(tmp_path / "source.txt", 24), job)) == 0
    for missing in ("done/000001.json", "leases/000001.0"):  # 10 lines
        (job / missing).unlink()
    assert status(job).lines_per_second is None and status(job).seconds_left is None  # nobody is at work
    batch = {"event": "batch", "lines": 100, "tokens": 1000, "decoding": 10.0}
    now = time.time()
    for name, clock in (("right", 0), ("behind", -3600), ("ahead", 86400)):
        session(job, name, tuple(now + clock + at for at in (-30, -20, -10, 0)), batch, batch, batch, boot=name)
    session(job, "jumps", (now, now + 9e4, now - 9e4, now), batch, batch, batch, boot="jumps")
    seen = status(job)
    assert seen.lines_per_second == pytest.approx(80) and seen.tokens_per_second == pytest.approx(800)
    left = seen.total - seen.lines
    assert left > 0 and seen.seconds_left == pytest.approx(left / 80)
    slow = batch | {"decoding": 1200.0}
    session(
        job, "right", tuple(range(6)), batch, batch, batch, slow, slow, boot="right"
    )  # what is long ago counts no more
    assert status(job).lines_per_second == pytest.approx(60 + 2 * 100 / 1200)
    monkeypatch.setattr("distilmt.labels.status.time.time", lambda: now + 700)  # nobody has said a word since
    assert status(job).lines_per_second is None and "lines/s" not in str(status(job))


def test_the_bill_has_the_labelling_that_made_a_store(tiny_model_folder: Path, tmp_path: Path) -> None:
    files, labels = (str(tmp_path / "t.de"), str(tmp_path / "t.en")), tmp_path / "labels"
    for path, lines in zip(files, (SOURCES, TARGETS), strict=True):
        write_lines(path, lines)
    distilmt.label(
        model=str(tiny_model_folder), source=files[0], target=files[1], out=str(labels), soft_labels=4, threads=1,
        beam_size=1, max_length=4, energy="constant", constant_watts=(100.0, 300.0),
    )  # fmt: skip
    job: dict[str, Any] = {
        "train": files, "dev": files, "test": (files,), "student_size": "1x1:16:32:2", "teacher": str(tiny_model_folder),
        "method": "word-kd", "training": TrainingOptions(**TINY), "test_beam_size": 1, "test_repeats": 1,
        "soft_labels": str(labels / "forced"), "out": str(tmp_path / "run"),
    }  # fmt: skip
    report = distilmt.distill(**job).report
    (stage,) = (each for each in report.data["stages"] if each["kind"] == "labelling")
    usage = json.loads((labels / "cost.json").read_text())["usage"]
    assert stage["name"] == ELSEWHERE and stage["work"]["lines"] == len(SOURCES) and stage["joules"] > 0
    assert {key: stage[key] for key in usage} == usage
    made_by = {system["name"]: system["made_by"] for system in report.data["systems"] if "made_by" in system}
    assert made_by == {"student alone": ["student-alone-1"], "student word-kd": [ELSEWHERE, "student-word-kd-1"]}
    assert any(f"translations included, is stage {ELSEWHERE}" in note for note in report.data["notes"])
    store = SoftLabels.open(labels / "forced")
    assert of_store(store)[1] == {"lines": 36, "target_tokens": stage["work"]["target_tokens"]}
    store.hash = "of another labelling that once stood here"
    assert of_store(store) == (None, {})
