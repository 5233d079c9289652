"""lock.py, and case 42 of the faults that must be survived: two processes on one run folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distilmt.errors import ResourceError
from distilmt.run import Run
from distilmt.state import lock as module
from distilmt.state.lock import Lock

CONFIG = {"seed": 1}
# Opens the run folder argv[1], says so, and then does what standard input tells: nothing, or the end.
WORKER = """
import sys
from distilmt.cli import _fail
from distilmt.run import Run
try:
    with Run.open(sys.argv[1], {"seed": 1}) as run:
        with run.stage("train", {"seed": 1}) as stage:
            (stage.folder / "part").write_text("half")
            print("working", flush=True)
            sys.stdin.readline()
            stage.finish({"part": stage.folder / "part"})
except Exception as error:
    sys.exit(_fail(error))
"""


def worker(folder: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", WORKER, folder], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def started(folder: Path) -> subprocess.Popen[str]:
    process = worker(folder)
    assert process.stdout and process.stdout.readline() == "working\n"
    return process


def test_case_42_the_second_process_names_the_first(tmp_path: Path) -> None:
    import socket

    with started(tmp_path / "run") as first:
        with worker(tmp_path / "run") as second:
            out, err = second.communicate(timeout=60)
        assert second.returncode == 4 and out == ""
        assert err.startswith(
            f"distilmt: {tmp_path / 'run'}: in use by process {first.pid} on host {socket.gethostname()}"
        )
        assert "Traceback" not in err and err.count("\n") == 1
        with pytest.raises(ResourceError, match=f"process {first.pid}"):
            Run.open(tmp_path / "run", CONFIG, new_run=True)
        first.communicate("\n", timeout=60)
    assert first.returncode == 0
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == ["run.json", "stages", "train"]


def test_case_42_a_killed_owner_is_forgotten_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with started(tmp_path / "run") as first:
        first.send_signal(signal.SIGKILL)
        first.wait(60)
    assert (tmp_path / "run/lock").exists()
    with Run.open(tmp_path / "run", CONFIG) as run:
        assert f"continues a run that process {first.pid} on host" in capsys.readouterr().err
        with run.stage("train", {"seed": 1}) as stage:
            assert not stage.done and (stage.folder / "part").read_text() == "half"
            assert [attempt["ended"] for attempt in stage.record["attempts"]] == ["killed", None]
            stage.finish({})
            assert stage.usage.joules is None and "the attempt was killed" in str(stage.usage.energy_missing)
    assert not (tmp_path / "run/lock").exists()


def test_case_42_interruption_lets_go_of_the_lock(tmp_path: Path) -> None:
    with started(tmp_path / "run") as first:
        first.send_signal(signal.SIGINT)
        first.wait(60)
    assert not (tmp_path / "run/lock").exists()
    record = json.loads((tmp_path / "run/stages/train.json").read_text())
    assert record["status"] == "interrupted" and record["attempts"][0]["ended"] == "interrupted"


def foreign(path: Path, age: float, **changes: Any) -> None:
    """Writes the lock of another machine, `age` seconds after its last heartbeat."""
    path.parent.mkdir(exist_ok=True)
    owner = {"host": "elsewhere", "pid": 77, "token": "t", "machine": "other boot", "started": "5", "since": "then"}
    path.write_text(json.dumps(owner | changes))
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))


def test_case_42_another_host_is_judged_by_its_heartbeat(tmp_path: Path) -> None:
    foreign(tmp_path / "run/lock", module.STALE_SECONDS - 10)
    with pytest.raises(ResourceError, match="in use by process 77 on host elsewhere"):
        Lock(tmp_path / "run/lock").acquire()
    foreign(tmp_path / "run/lock", module.STALE_SECONDS + 10)
    lock = Lock(tmp_path / "run/lock")
    assert "process 77 on host elsewhere" in lock.acquire()
    lock.check()
    lock.release()
    assert list((tmp_path / "run").iterdir()) == []


def test_case_42_clocks_of_hosts_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock an hour wrong changes nothing: both times come from the file system."""
    for hours in (-1, 1):
        monkeypatch.setattr(module.time, "time", lambda hours=hours: 1.7e9 + hours * 3600)
        foreign(tmp_path / "run/lock", 1)
        with pytest.raises(ResourceError, match="last sign of life 1 s ago"):
            Lock(tmp_path / "run/lock").acquire()
    foreign(tmp_path / "run/lock", -3600)  # a file server's clock that was set back
    with pytest.raises(ResourceError, match="last sign of life 0 s ago"):
        Lock(tmp_path / "run/lock").acquire()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_case_42_an_unreadable_lock_is_judged_by_its_age(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lock"
    path.write_text(content)
    with pytest.raises(ResourceError, match="an unknown process"):
        Lock(path).acquire()
    os.utime(path, (1, 1))
    lock = Lock(path)
    lock.acquire()
    lock.release()


def test_case_42_a_process_number_used_again_is_another_process(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    foreign(tmp_path / "lock", 0, machine=lock.owner["machine"], pid=os.getpid(), started="0")
    assert lock.acquire()
    lock.release()


def test_case_42_only_one_takes_over(tmp_path: Path) -> None:
    """Two who saw the same dead owner: the claim lets one through, and a late one finds another owner."""
    foreign(tmp_path / "lock", 1e4)
    (tmp_path / "lock.claim-t").touch()
    with pytest.raises(ResourceError, match=r"another takes over.*delete .*lock\.claim-t"):
        Lock(tmp_path / "lock").acquire()
    (tmp_path / "lock.claim-t").unlink()
    words, pipe = [sys.executable, "-c", RACE, tmp_path / "lock"], subprocess.PIPE
    racers = [subprocess.Popen(words, stdin=pipe, stdout=pipe) for _ in range(6)]
    said = [process.stdout.readline() for process in racers if process.stdout]  # the winner lives until all have tried
    for process in racers:
        process.communicate(timeout=60)
    assert sorted(said) == [b"lost\n"] * 5 + [b"won\n"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]


RACE = """
import sys
import time
from pathlib import Path
from distilmt.errors import ResourceError
from distilmt.state.lock import Lock
try:
    Lock(Path(sys.argv[1])).acquire()
    print("won", flush=True)
    sys.stdin.read()
except ResourceError:
    print("lost", flush=True)
"""


def test_case_42_an_owner_that_slept_too_long_notices(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        with pytest.raises(ResourceError, match=r"lost to process 77 on host elsewhere"), run.stage("a", {}) as stage:
            foreign(tmp_path / "run/lock", 0)
            stage.finish({})
        with pytest.raises(ResourceError, match="lost to"), run.stage("b", {}):
            pass
    assert (tmp_path / "run/lock").exists()  # the other's, so not ours to remove


def test_case_42_the_heart_beats_and_saves_what_a_stage_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event

    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    beaten = Event()
    lock = Lock(tmp_path / "lock", beaten.set)
    lock.acquire()
    os.utime(lock.path, (1, 1))
    assert beaten.wait(60) and lock.path.stat().st_mtime > 1e9
    lock.release()
    with Run.open(tmp_path / "run", CONFIG) as run, run.stage("a", {}) as stage:
        before = stage.path.read_bytes()
        deadline = time.monotonic() + 60
        while stage.path.read_bytes() == before:
            assert time.monotonic() < deadline, "no heartbeat rewrote the record"
        assert json.loads(stage.path.read_bytes())["attempts"][0]["seconds"] > 0
        stage.finish({})
