"""Runs what is missing of a study: cell by cell, each in a process of its own, in the order of the blocks.

One runner works on a machine at a time, so that cells do not disturb each other; only where the study says `parallel` they run
side by side. Runners on several machines share a folder and take whole blocks. Killed at any instant, the same command goes
on: a cell counts once its record says so.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

from distilmt.errors import ResourceError
from distilmt.run import versions
from distilmt.state.lock import Lock
from distilmt.state.storage import disk_errors, plain, read_json, write_json
from distilmt.study import noise, records
from distilmt.study.records import Record, Status, path_of, record_of
from distilmt.study.spec import COLUMNS, Cell, Source, Study, file_name, read

_running: set[subprocess.Popen[bytes]] = set()
_stopped = threading.Event()  # by Ctrl-C or an error: cells end, and nothing is recorded of them


def run(source: Source, *, cells: Sequence[str] = (), shard: str | None = None) -> Status:
    """Runs every chosen cell that is not done; failed ones are tried again.

    Args:
        source: a YAML file, or its keys.
        cells, shard: as `records.choose`.

    Raises:
        ConfigError: the study cannot be run as it is written, or is not the one that the folder holds.
        ResourceError: another runner works on it on this machine; names its host and process.
    """
    study = read(source)
    chosen = records.choose(study, cells, shard)
    with disk_errors(study.folder):
        study.folder.mkdir(parents=True, exist_ok=True)
    mine = Lock(study.folder / file_name(f"lock-{socket.gethostname()}"))
    _say(study, mine.acquire())
    try:
        records.open_folder(study)
        notes = _run_blocks(study, chosen, mine)
    finally:
        mine.release()
    return records.status_of(study, chosen, notes)


def _run_blocks(study: Study, chosen: list[Cell], mine: Lock) -> list[str]:
    """Returns a note for each block that is another machine's."""
    notes = []
    for block, group in groupby(chosen, key=lambda cell: cell.block):
        lock = Lock(study.folder / f"lock-block-{block}")
        try:
            _say(study, lock.acquire())
        except ResourceError as error:
            if not lock.path.exists():
                raise
            notes.append(f"block {block}: {error}")
            continue
        try:
            with _side_by_side(study.config.parallel) as start:
                for cell in group:
                    if record_of(study, cell).get("status") != "done":
                        start(_announced, study, cell, chosen, mine)
        finally:
            lock.release()
    return notes


def _announced(study: Study, cell: Cell, chosen: list[Cell], mine: Lock) -> None:
    """Runs a cell and says so."""
    mine.check()
    number = chosen.index(cell)
    left = [each for each in chosen[number:] if record_of(study, each).get("status") != "done"]
    seconds = records.seconds_left(study, left)
    eta = f"; about {records.duration(seconds / study.config.parallel)} left" if seconds else ""
    _say(study, f"cell {number + 1} of {len(chosen)}: block {cell.block}, {cell.treatment}{eta}")
    record = run_cell(study, cell)
    if record["status"] == "failed":
        _say(study, f"{cell.name} failed: {record['error']} (log: {study.folder / record['log']})")


@contextmanager
def _side_by_side(most: int) -> Iterator[Callable[..., None]]:
    """A function that starts a call as soon as fewer than `most` run; all have ended behind the block.

    Whatever ends the block early, Ctrl-C too, ends the cells that run.
    """
    _stopped.clear()
    with ThreadPoolExecutor(most) as pool:
        running: set[Future[None]] = set()

        def wait(left: int) -> None:
            nonlocal running
            while len(running) > left:
                done, running = futures.wait(running, return_when=futures.FIRST_COMPLETED)
                for each in done:
                    each.result()

        def start(call: Callable[..., None], *arguments: object) -> None:
            wait(most - 1)
            running.add(pool.submit(call, *arguments))

        try:
            yield start
            wait(0)
        except BaseException:
            _stopped.set()
            for process in list(_running):
                _end(process)
            raise


def run_cell(study: Study, cell: Cell) -> Record:
    """Runs one cell and records it, done or failed; what it printed goes to its log."""
    config, path = study.config, path_of(study, cell)
    log = Path("logs") / f"{cell.name}.log"
    before = noise.read()
    if _stopped.wait(config.cool_down):
        raise KeyboardInterrupt
    start, began = noise.read(), time.monotonic()
    record = {
        "cell": cell.name, "status": "running", "block": cell.block, "position": cell.position, "levels": cell.levels,
        "settings": plain(cell.settings), "attempts": record_of(study, cell).get("attempts", 0) + 1, "began": records.now(),
        "host": platform.node(), "pid": os.getpid(), "log": str(log), "versions": versions(),
        "treatments": len(study.treatments),
    }  # fmt: skip
    write_json(path, record)
    result = _process(study, cell, study.folder / log)
    end = noise.read()
    record |= result | {"wall_seconds": time.monotonic() - began, "noise": noise.columns(before, start, end)}
    if error := _other_inputs(study, cell, record) or _taken_names(cell, record):
        record |= {"status": "failed", "error": error}
    write_json(path, record)
    return record


def _process(study: Study, cell: Cell, log: Path) -> Record:
    """The result of the cell's process, or why there is none."""
    config, work = study.config, study.folder / "work"
    job, result = work / f"{cell.name}.job.json", work / f"{cell.name}.result.json"
    result.unlink(missing_ok=True)
    write_json(job, {
        "runner": os.getpid(), "folder": study.folder, "cell": cell.name, "block": cell.block, "path": study.path,
        "task": config.task, "settings": cell.settings, "warm_up": config.warm_up, "min_seconds": config.min_seconds,
        "metering": vars(config.metering), "keep": sorted({p.text_name for p in study.contrasts if p.text_name}),
    })  # fmt: skip
    error = ""
    with disk_errors(log), log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "distilmt.study.cell", job, result], stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.STDOUT, start_new_session=True,  # Ctrl-C is the runner's, who ends the whole group
        )  # fmt: skip
    _running.add(process)
    try:
        process.wait(config.max_seconds)
    except subprocess.TimeoutExpired:
        error = f"took longer than max_seconds ({config.max_seconds:g})"
    finally:
        _end(process)
        _running.discard(process)
    if _stopped.is_set():
        raise KeyboardInterrupt
    if not error and not result.exists():
        code = process.returncode
        error = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code} and no result"
        error += " - out of memory? The kernel's log would say so" if code == -signal.SIGKILL else ""
    found = {"status": "failed", "error": error} if error else read_json(result, "run the study again")
    job.unlink()
    result.unlink(missing_ok=True)
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a cell with all that it may have left behind, which would disturb the next one."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _other_inputs(study: Study, cell: Cell, record: Record) -> str:
    """Why a cell is none of this study: a model or a text is not the one that its treatment had before."""
    for other in study.cells():
        if other.treatment == cell.treatment and other.block != cell.block:
            earlier = record_of(study, other)
            if earlier.get("status") == "done" and earlier["inputs"] != record.get("inputs", earlier["inputs"]):
                names = dict.fromkeys([*record["inputs"], *earlier["inputs"]])
                changed = [key for key in names if record["inputs"].get(key) != earlier["inputs"].get(key)]
                return f"{', '.join(changed)}: other contents than in cell {other.name} - restore them, or begin a new study"
    return ""


def _taken_names(cell: Cell, record: Record) -> str:
    taken = [name for name in record.get("outcomes", {}) if name in {*cell.levels, *COLUMNS}]
    return f"outcome {taken[0]!r}: is a factor or another column of the table - rename it" if taken else ""


def _say(study: Study, text: str) -> None:
    if text:
        sys.stderr.write(f"distilmt: {study.config.name}: {text}\n")  # at once: several cells may speak
