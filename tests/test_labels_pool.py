"""Workers that fail, die or are told to stop; leases and reports of theirs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from distilmt.cli import main
from distilmt.errors import DeviceFailed
from distilmt.labels import pool, ray, worker
from distilmt.labels.cost import cost
from distilmt.labels.events import events_of
from distilmt.labels.job import _Show
from distilmt.labels.lease import Lease, Watch, look
from distilmt.labels.pool import _Pool
from distilmt.labels.source import read_text
from distilmt.labels.status import status
from distilmt.labels.worker import LabelConfig, Work
from distilmt.translator.model_options import ModelOptions
from toy_labels import ToyTeacher, command, write_source

WORKER = """#!{python}
import os, sys, time
sys.path[:0] = {path!r}
from toy_labels import ToyTeacher
from distilmt.labels import teacher, worker
class Teacher(ToyTeacher):
    def label(self, lines, targets=None):
        {body}
teacher.Teacher = Teacher
os._exit(worker.main())
"""


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> int:
    """A job of two workers whose teacher does this; its exit code."""
    program = folder / "worker"
    program.write_text(WORKER.format(python=sys.executable, path=sys.path, body=body))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return main(command(write_source(folder / "source.txt", 24), folder / "job", "--workers", "2"))


def states(folder: Path) -> set[str]:
    return {look(path).state for path in (folder / "leases").iterdir()}


def test_a_teacher_that_raises_ends_the_job_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, monkeypatch, "raise RuntimeError('broken')") == 4
    said = capfd.readouterr().err
    assert "a worker failed: RuntimeError('broken') - " in said and "in label" in said


def test_deaths_have_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pool, "DEATHS", 1)
    assert run(tmp_path, monkeypatch, "os._exit(7)") == 4
    assert "2 workers died, the last of exit code 7 - " in capfd.readouterr().err and ray.DEATHS == 100


def test_a_worker_whose_device_fails_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It counts as a death: a strike against the place where it happened."""
    failed = tmp_path / "failed"
    monkeypatch.setenv("FAILED", str(failed))
    body = (
        "from distilmt.errors import DeviceFailed; first = not os.path.exists(os.environ['FAILED']); "
        "open(os.environ['FAILED'], 'a').close()\n"
        "        if first: raise DeviceFailed('device: kernel: unspecified launch failure')\n"
        "        return super().label(lines, targets)"
    )
    assert run(tmp_path, monkeypatch, body) == 0
    said = capfd.readouterr().err
    assert "distilmt: device: kernel: unspecified launch failure" in said
    assert "a worker died (exit code 4); another takes its place" in said
    assert [event["code"] for event in events_of(tmp_path / "job") if event["event"] == "died"] == [4]
    assert "held" in states(tmp_path / "job")


def test_sigterm_to_the_workers_gives_their_shards_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, monkeypatch, "os.kill(os.getpid(), 15); time.sleep(9)") == 130
    assert states(tmp_path / "job") == {"released"}
    assert not any(event["event"] == "died" for event in events_of(tmp_path / "job"))


def test_workers_have_one_deadline_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waited = [0.0], []

    class Process:
        """One that does not listen."""

        stdin = stdout = None
        killed = False

        def poll(self) -> None: ...

        def kill(self) -> None:
            self.killed = True

        def wait(self, timeout: float | None = None) -> None:
            if timeout is not None:
                waited.append(timeout)
                now[0] += timeout
                raise subprocess.TimeoutExpired("worker", timeout)
            assert self.killed

    monkeypatch.setattr(pool.time, "monotonic", lambda: now[0])
    crew = _Pool(Work("f", "", None, None, None), print)  # type: ignore[arg-type]
    crew.processes = [Process() for _ in range(9)]  # type: ignore[misc]
    crew.__exit__()
    assert sum(waited) == pytest.approx(pool.GRACE_SECONDS)


def test_a_late_beat_does_not_undo_the_end(tmp_path: Path) -> None:
    lease = Lease.take(tmp_path, 0, 0, 1000.0, {})
    assert lease is not None
    lease.end("released")
    lease._write("held")
    assert look(lease.path).state == "released"
    assert not Watch(1.0).free(tmp_path / "000009.0")  # moved aside since it was listed


def toy_work(folder: Path) -> Work:
    text = read_text(str(write_source(folder / "source.txt", 24)), 10, "error")
    config = LabelConfig(model="m", source="s", out="o", shard_lines=10, batch_lines=5, threads=1, lease_seconds=1.0)
    return Work(str(folder / "job"), bytes(32).hex(), text, None, config)


def test_looking_for_a_shard_is_no_waiting(tmp_path: Path) -> None:
    job, said = toy_work(tmp_path), []
    worker.work(job, ToyTeacher(job.config, 1), said.append)
    assert [each["waiting"] for each in said if "waiting" in each] == [0.0] * 4


def test_a_ray_actor_tells_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilmt.labels.teacher.Teacher", ToyTeacher)
    ray._Actor().run(worker.to_json(toy_work(tmp_path)))
    events = list(events_of(tmp_path / "job"))
    assert [events[0]["event"], events[-1]["event"]] == ["begin", "end"]
    assert sum(event["lines"] for event in events if event["event"] == "batch") == 24
    found = cost(tmp_path / "job")
    assert found["decoding_seconds"] > 0 and found["worker_seconds"] > 0 and found["joules"] is None


@pytest.mark.parametrize(("device", "gpus", "actors"), [("cpu", 0, "cpu"), ("cuda", 1, "cuda"), ("cuda:3", 1, "cuda")])
def test_ray_gives_each_actor_a_gpu_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, actors: str
) -> None:
    """Of which it sees no other; and one whose device fails gets a successor."""
    asked: list[Any] = []
    errors = {name: type(name, (Exception,), {"cause": None}) for name in ("RayActorError", "RayTaskError")}

    class Fake(ModuleType):
        exceptions = SimpleNamespace(**errors)

        def is_initialized(self) -> bool:
            return True

        def remote(self, **options: Any) -> Any:
            asked.append(options)
            run = SimpleNamespace(remote=lambda data: asked.append(worker.from_json(data)) or len(asked))
            return lambda _: SimpleNamespace(remote=lambda: SimpleNamespace(run=run))

        def wait(self, tasks: list[Any]) -> Any:
            return tasks[:1], tasks[1:]

        def get(self, task: Any) -> None:
            if len(asked) == 2:
                error = errors["RayTaskError"]()
                error.cause = DeviceFailed("device: kernel")
                raise error

    job = toy_work(tmp_path)
    job = replace(job, config=replace(job.config, asked=ModelOptions(device=device)))
    monkeypatch.setitem(sys.modules, "ray", Fake("ray"))
    monkeypatch.setattr(ray, "prepare", lambda config: job)
    monkeypatch.setattr(ray, "_merged", lambda *_: None)
    ray.label(job.config, threads_each=2)
    assert asked[0] == {"num_cpus": 2, "num_gpus": gpus, "max_restarts": 0}
    assert [each.config.asked.device for each in asked[1:]] == [actors] * 2


def test_lines_that_an_attempt_keeps_are_shown_once(tmp_path: Path) -> None:
    class Count:
        """Of a bar, what counts; of a log and a meter, nothing."""

        joules, lines = None, 0

        def update(self, lines: int) -> None:
            self.lines += lines

        def __getattr__(self, _: str) -> Any:
            return lambda *a, **k: self

    bar = Count()
    show = _Show(toy_work(tmp_path), bar, bar)  # type: ignore[arg-type]
    show.bar = bar  # type: ignore[assignment]
    batch = {"decoding": 1.0, "verdicts": {}, "tokens": 1, "shard": 0}
    show({"shard": 0, "kept": True, "lines": 3})  # of a session before this one
    show(batch | {"lines": 5})
    show({"shard": 0, "kept": True, "lines": 6})  # that worker died; two lines were lost
    show(batch | {"lines": 4})
    assert bar.lines == 10


def test_status_of_a_job_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilmt.labels.teacher.Teacher", ToyTeacher)
    out = tmp_path / "job"
    main(command(write_source(tmp_path / "source.txt", 24), out))
    (path,) = (out / "events").glob("*.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    events[-1]["usage"] = (events[-1]["usage"] or {}) | {"joules": 7.0}

    def write(name: str, some: list[Any]) -> None:
        (out / "events" / name).write_text("".join(json.dumps(event) + "\n" for event in some))

    write(path.name, events)
    write("runs.jsonl", events[:1])  # by this very process
    write("dead.jsonl", [events[0] | {"owner": events[0]["owner"] | {"started": "1"}}])
    found = cost(out)
    assert (found["running_sessions"], found["killed_sessions"], found["joules"]) == (1, 1, None)
    assert "energy so far: 7 J, and what other sessions used" in str(status(out))
    write(path.name, [event | {"time": event["time"] + 3600} for event in events])  # a clock that is ahead
    (out / "done" / "000001.json").unlink()
    seen = status(out)
    assert seen.lines_per_second is None and seen.tokens_per_second is None and "speed" not in str(seen)
