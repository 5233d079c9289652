"""study/runner.py, cell.py: one process per cell, failures that stay alone, and going on after any interruption."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilmt import study
from distilmt.errors import ConfigError, ResourceError
from distilmt.state.lock import Lock
from distilmt.study.records import path_of
from distilmt.study.table import outcome_names, save
from study_data import study_file

SMALL = "factors:\n  word: [a, b]\nfixed: {size: 1}"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def calls() -> list[str]:
    """`SIZE WORD` of every call of the tasks, in order."""
    lines = Path("calls").read_text().splitlines() if Path("calls").exists() else []
    return [line.partition(" ")[2] for line in lines]


def records() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in Path("out/cells").glob("*.json")}


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "nothing happened for a minute"
        time.sleep(0.01)


def test_cells_run_once_in_order_each_in_its_own_process(tmp_path, capsys):
    file = study_file(tmp_path, repeats=2, warm_up=1)
    found = study.run(file)
    asked = study.read(file)
    assert str(found) == "toy: 8 of 8 cells done" and found.failures == []
    order = [f"{cell.levels['size']} {cell.levels['word']}" for cell in asked.cells()]
    assert calls() == [name for name in order for _ in range(2)]  # a warm-up and a pass
    processes = {line.split()[0] for line in Path("calls").read_text().splitlines()}
    assert len(processes) == 8 and str(os.getpid()) not in processes
    table = study.rows(asked)
    assert all(row["answer"] == 10 * int(row["size"]) + row["block"] for row in table)  # its seed is the block
    assert outcome_names(asked) == [
        "seconds",
        "cpu_seconds",
        "cpu_utilisation",
        "peak_rss_bytes",
        "answer",
    ]  # what is unknown is absent
    assert all(row["passes"] == 1 and row["attempts"] == 1 and row["error"] is None for row in table)
    assert all(row["load_after"] >= 0 for row in table)
    shares = [row["steal_share"] for row in table]  # None where a cell ended before the kernel's clock struck
    assert all(share is None or 0 <= share <= 1 for share in shares)
    assert "cell 1 of 8: block 1, " in capsys.readouterr().err
    study.run(file)
    assert len(calls()) == 16 and not os.listdir("out/work")
    save(asked)
    with open("out/cells.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [float(line["answer"]) for line in lines] == [row["answer"] for row in table]
    assert lines[0]["error"] == "" and list(lines[0])[:5] == ["block", "position", "size", "word", "status"]


def test_work_is_repeated_until_the_region_is_long_enough(tmp_path):
    study.run(study_file(tmp_path, SMALL, task="tasks:Loaded", repeats=1, min_seconds=0.2))
    for record in records().values():
        word = record["levels"]["word"]
        assert record["usage"]["seconds"] >= 0.2 and record["passes"] == calls().count(f"1 {word}") > 1
        assert record["outcomes"]["seconds"] == pytest.approx(record["usage"]["seconds"] / record["passes"])
    assert calls().count("1 load") == 2  # once for each cell, before the clock runs


def test_a_failing_cell_stops_nothing_and_is_tried_again(tmp_path, capsys):
    file = study_file(tmp_path, task="tasks:fail", repeats=1)
    found = study.run(file)
    assert found.counts == {"done": 2, "failed": 2, "running": 0, "to do": 0}
    failed = records()
    assert failed["001-size=1,word=b"]["error"] == "RuntimeError: no b"
    assert failed["001-size=2,word=b"]["error"] == "killed by SIGSEGV"
    log = Path("out/logs/001-size=1,word=b.log").read_text()
    assert log.startswith("before the end\nTraceback") and "tasks.py" in log
    (tmp_path / "tasks.py").write_text((tmp_path / "tasks.py").read_text().replace('word == "b"', 'word == "c"'))
    assert study.run(file).counts["done"] == 4
    assert records()["001-size=1,word=b"]["attempts"] == 2 and calls().count("1 a") == 1
    assert "error" not in records()["001-size=1,word=b"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("tasks:wrong", {"outcome 'size': is a factor or another column of the table - rename it",
                         "task tasks:wrong: 'answer' must be a finite number or None for unknown, got nan"}),
        ("tasks:metered", {"task tasks:metered: 'seconds' is what the meter says of a pass - rename it",
                           "outcome 'load_before': is a factor or another column of the table - rename it"}),
        ("tasks:call", {"task tasks:call: has no parameter 'wort' - did you mean 'word'?"}),
        ("tasks:gone", {"module 'tasks' has no attribute 'gone'"}),
        ("task:call", {"No module named 'task'"}),
    ],
)  # fmt: skip
def test_bad_functions(tmp_path, task, message):
    word = "wort" if task == "tasks:call" else "word"
    study.run(study_file(tmp_path, f"factors:\n  size: [1, 2]\nfixed: {{{word}: a}}", task=task, repeats=1))
    errors = {record["error"] for record in records().values()}
    assert all(any(part in error for error in errors) for part in message), errors


def test_a_cell_that_takes_too_long_is_ended(tmp_path):
    Path("wait-1-a").touch()
    found = study.run(study_file(tmp_path, SMALL, repeats=1, max_seconds=1), cells=["word=a"])
    assert found.counts["failed"] == 1
    assert records()["001-word=a"]["error"] == "took longer than max_seconds (1)"


def test_a_second_runner_is_refused_on_this_machine_and_a_taken_block_is_left_out(tmp_path, monkeypatch):
    file = study_file(tmp_path, SMALL, repeats=2)
    os.mkdir("out")
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    other = Lock(Path("out") / "lock-here")
    other.acquire()
    with pytest.raises(ResourceError, match=rf"in use by process {os.getpid()} on host here"):
        study.run(file)
    other.release()
    block = Lock(Path("out") / "lock-block-1")
    block.acquire()
    found = study.run(file)
    assert {name[:3] for name in records()} == {"002"} and "/out: in use by process" in str(found)
    block.release()
    assert study.run(file).counts["done"] == 4


def test_other_inputs_of_a_treatment_are_no_part_of_the_study(tmp_path):
    file = study_file(tmp_path, SMALL, repeats=2)
    study.run(file, cells=["block=1"])
    asked = study.read(file)
    first = next(cell for cell in asked.cells() if cell.name == "001-word=a")
    changed = json.loads(path_of(asked, first).read_text()) | {"inputs": {"model": "123"}}
    path_of(asked, first).write_text(json.dumps(changed))
    assert study.run(file).counts["failed"] == 1
    said = records()["002-word=a"]["error"]
    assert said == "model: other contents than in cell 001-word=a - restore them, or begin a new study"


def start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "distilmt", "study", "run", "study.yaml"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.parametrize("at", [1, 3, 4])
def test_killed_in_the_middle_of_a_cell_it_goes_on(tmp_path, at):
    """SIGKILL of the runner in its `at`-th cell: the cell's process dies with it, and that cell alone is run again."""
    file = study_file(tmp_path, SMALL, repeats=2)
    asked = study.read(file)
    victim = asked.cells()[at - 1]
    gate = Path(f"wait-1-{victim.levels['word']}")
    for cell in asked.cells()[: at - 1]:
        study.run(file, cells=[f"block={cell.block}", f"word={cell.levels['word']}"])
    before = records()
    gate.touch()
    runner_process = start()
    wait_for(lambda: len(calls()) == at)
    child = int(Path("calls").read_text().splitlines()[-1].split()[0])
    assert records()[victim.name]["status"] == "running"
    assert study.status(file).counts["running"] == 1
    runner_process.kill()
    runner_process.communicate()
    wait_for(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])
    gate.unlink()
    assert study.run(file).counts["done"] == 4
    after = records()
    assert {name: after[name] for name in before} == before
    assert [after[cell.name]["attempts"] for cell in asked.cells()] == [1 + (cell == victim) for cell in asked.cells()]
    assert len(calls()) == 5 and not os.listdir("out/work")


def test_killed_at_any_write_it_goes_on(tmp_path, monkeypatch):
    """Every rename of the runner fails once, as if the process had died there; what comes out is the same."""

    class Died(BaseException):
        pass

    rename, count, limit = os.replace, 0, 0

    def dying(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == limit:
            raise Died
        rename(*arguments)

    monkeypatch.setattr(os, "replace", dying)
    for limit in range(1, 20):
        count = 0
        out = tmp_path / f"out-{limit}"
        file = study_file(tmp_path, SMALL, repeats=1, out=out)
        try:
            study.run(file)
        except Died:
            assert study.run(file).counts["done"] == 2
        else:
            break
    assert limit == 8  # the study, and for both cells: begun, its job, its end


def test_interrupted_it_ends_the_cell_and_says_so(tmp_path):
    study_file(tmp_path, SMALL, repeats=1)
    Path("wait-1-a").touch()
    Path("wait-1-b").touch()
    process = start()
    wait_for(calls)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"run the same command again to continue" in said
    child = Path("calls").read_text().split()[0]
    assert not Path(f"/proc/{child}").exists() and not list(Path("out").glob("lock*"))


def test_the_command_line(tmp_path, capsys):
    from distilmt.cli import main

    study_file(tmp_path, SMALL, task="tasks:fail", repeats=1)
    assert main(["study", "run", "study.yaml", "--cells", "word=a", "block=1", "--shard", "1/1"]) == 0
    assert capsys.readouterr().out == "toy: 1 of 1 cells done\n"
    assert main(["study", "run", "study.yaml"]) == 1
    assert main(["study", "status", "study.yaml"]) == 0
    assert "toy: 1 of 2 cells done, 1 failed" in capsys.readouterr().out
    assert main(["study", "run", "no.yaml"]) == ConfigError.exit_code
    assert "no.yaml: No such file or directory - name an existing YAML file" in capsys.readouterr().err
