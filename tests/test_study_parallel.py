"""study/runner.py: cells side by side, where a study of quality says so."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distilmt import study
from study_data import study_file


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def statuses() -> dict[str, str]:
    return {path.stem: json.loads(path.read_text())["status"] for path in Path("out/cells").glob("*.json")}


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "nothing happened for a minute"
        time.sleep(0.02)


def test_one_cell_that_takes_long_stops_no_other_of_its_block(tmp_path: Path) -> None:
    file = study_file(tmp_path, repeats=2, parallel=2)
    Path("wait-1-a").touch()
    runner = threading.Thread(target=study.run, args=(file,))
    runner.start()
    wait_for(lambda: list(statuses().values()).count("done") == 3)
    assert statuses()["001-size=1,word=a"] == "running" and len(statuses()) == 4  # the next block waits for this one
    Path("wait-1-a").unlink()
    runner.join(60)
    assert study.status(file).counts["done"] == 8


def test_interrupted_it_ends_all_that_run_and_records_nothing_of_them(tmp_path: Path) -> None:
    file = study_file(tmp_path, repeats=1, parallel=3)
    for name in ("1-a", "1-b", "2-a", "2-b"):
        Path(f"wait-{name}").touch()
    process = subprocess.Popen([sys.executable, "-m", "distilmt", "study", "run", file], stderr=subprocess.PIPE)
    wait_for(lambda: Path("calls").exists() and len(Path("calls").read_text().splitlines()) == 3)
    pids = [int(line.split()[0]) for line in Path("calls").read_text().splitlines()]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert list(statuses().values()) == ["running"] * 3  # as after a kill: they are run again
    assert not [pid for pid in pids if Path(f"/proc/{pid}/stat").exists()]


def test_an_error_of_the_runner_ends_the_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = study_file(tmp_path, repeats=1, parallel=2)
    Path("wait-1-a").touch()
    monkeypatch.setattr(study.runner, "_other_inputs", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        study.run(file)
    assert "done" not in statuses().values()
