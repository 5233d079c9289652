"""Studies for tests: a module of tasks, files of studies, and cells that were never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distilmt.state.storage import write_json
from distilmt.study import noise, read
from distilmt.study.records import open_folder, path_of
from distilmt.study.spec import Study

TASKS = '''
import os, pathlib, signal, time

def call(word, size, seed=0):
    """Notes every call, so that tests can count them."""
    with open("calls", "a") as file:
        file.write(f"{os.getpid()} {size} {word}\\n")
    gate = pathlib.Path(f"wait-{size}-{word}")
    while gate.exists():
        time.sleep(0.01)
    return {"answer": 10 * size + seed, "unknown": None}

class Loaded:
    def __init__(self, size, word):
        call("load", size)
        self.size, self.word = size, word
    def __call__(self):
        return call(self.word, self.size)

def fail(word, size, seed=0):
    print("before the end")
    if word == "b" and size == 1:
        raise RuntimeError("no b")
    if word == "b" and size == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    return call(word, size)

def wrong(word, size):
    return {"size": 3} if size == 1 else {"answer": float("nan")}

def metered(word, size):
    return {"seconds": 7.0} if size == 1 else {"load_before": 5.0}
'''


def study_file(folder: Path, text: str = "", task: str = "tasks:call", **keys: Any) -> Path:
    """Writes tasks.py and study.yaml into `folder`: sizes 1, 2 by words a, b, three blocks, nothing waited for."""
    (folder / "tasks.py").write_text(TASKS)
    values = {"name": "toy", "out": folder / "out", "task": task, "repeats": 3}
    values |= {"cool_down": 0, "min_seconds": 0, "warm_up": 0}
    lines = [f"{key}: {value}" for key, value in (values | keys).items()]
    lines += [text or "factors:\n  size: [1, 2]\n  word: [a, b]"]
    (folder / "study.yaml").write_text("\n".join(lines) + "\n")
    return folder / "study.yaml"


def made(folder: Path, cells: dict[tuple[str, ...], list[dict[str, float] | None]], **keys: Any) -> Study:
    """A study whose cells have these outcomes by (levels of the factors): a list over blocks, None for a cell not run."""
    names = [f"f{number}" for number in range(len(next(iter(cells))))]
    levels = {name: list(dict.fromkeys(key[i] for key in cells)) for i, name in enumerate(names)}
    repeats = len(next(iter(cells.values())))
    config = {"name": "made", "out": str(folder / "made"), "task": "tasks:call", "repeats": repeats, "factors": levels}
    study = read(config | keys)
    study.folder.mkdir(parents=True)
    open_folder(study)
    for cell in study.cells():
        found = cells[tuple(cell.levels.values())][cell.block - 1]
        if found is not None:
            write_json(path_of(study, cell), record(cell.block, found, levels=cell.levels))
    return study


def record(block: int, outcomes: dict[str, float], **changes: Any) -> dict[str, Any]:
    """What the runner writes of a cell that is done."""
    still = noise.Reading(0.0, 0, 0, 0, 0.0, 0.5, 2000.0, None)
    later = noise.Reading(10.0, 1000, 900, 0, 1.0, 0.5, 2000.0, None)
    usage = {
        "seconds": 40.0, "cpu_seconds": 80.0, "peak_rss_bytes": 1 << 20, "joules": None, "energy_method": "not measured",
        "energy_missing": ["RAPL: none"], "energy_coverage": [], "energy_kind": "unknown",
    }  # fmt: skip
    return {
        "status": "done", "block": block, "position": 1, "attempts": 1, "began": "2026-01-01T00:00:00Z", "host": "h",
        "log": "logs/x.log", "versions": {"distilmt": "1"}, "outcomes": outcomes, "usage": usage, "passes": 4, "inputs": {},
        "notes": [], "treatments": 2, "wall_seconds": 50.0, "noise": noise.columns(still, still, later),
    } | changes  # fmt: skip
