"""The folder of a study: what was asked for, and what each cell gave.

OUT/study.json         the study as it was begun; a file that has changed is compared with it
OUT/cells/NAME.json    a cell: begun, done with its outcomes, or failed with its error; written whole or not at all
OUT/logs/NAME.log      what it printed
OUT/shared/            labels that several cells use
OUT/translations/      those of each cell that translates, a line a sentence; NAME/ those of `further` that a contrast asks for
OUT/lock-HOST          the runner at work on a machine; lock-block-N: the block that it has taken
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilmt.errors import ConfigError, DataError
from distilmt.state.stage import flat, short
from distilmt.state.storage import disk_errors, read_json, write_json
from distilmt.study.spec import Cell, Study, file_name

Record = dict[str, Any]
_SHOWN = 12  # lines of a diff


def path_of(study: Study, cell: Cell) -> Path:
    return study.folder / "cells" / f"{cell.name}.json"


def translations_of(folder: Path, cell: str, further: str = "") -> Path:
    """The translations of the cell of this name, of its test text or of one of `further`; without .gz in older folders."""
    path = folder / "translations" / (file_name(further) if further else "") / f"{cell}.txt.gz"
    older = path.with_suffix("")
    return older if older.exists() and not path.exists() else path


def record_of(study: Study, cell: Cell) -> Record:
    """What is known of a cell; `{}` where it was never begun.

    Raises:
        DataError: the file is damaged.
    """
    path = path_of(study, cell)
    if not path.exists():
        return {}
    record = read_json(path, "delete it to run this cell again")
    if record.get("status") not in ("running", "done", "failed"):
        raise DataError(f"{path}: damaged: not the record of a cell - delete it to run this cell again")
    return record


def open_folder(study: Study) -> None:
    """Makes the folder, or proves that it is this study's.

    Raises:
        ConfigError: it holds something else, or the study file has changed in more than added repeats and levels.
    """
    folder, path = study.folder, study.folder / "study.json"
    with disk_errors(folder):
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(("lock", ".")))
        if names and not path.exists():
            raise ConfigError(f"{folder}: holds {names[0]!r} and is no study - choose another `out`")
    require_same(study)
    write_json(path, study.record())
    for name in ("cells", "logs", "translations", "work"):
        (folder / name).mkdir(exist_ok=True)


def require_same(study: Study) -> None:
    """Proves that the study file still says what the cells were run with, and that its contrasts were planned before.

    Raises:
        ConfigError: it has changed in more than added repeats and levels.
    """
    path = study.folder / "study.json"
    if not path.exists():
        return
    if changes := difference(read_json(path, "restore it, or choose another `out`"), study.record()):
        more = [f"  and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
        raise ConfigError(
            f"{study.folder}: was begun with another study file - set it back, or choose another `out`; once begun, only "
            "repeats and levels can be added:\n" + "\n".join(changes[:_SHOWN] + more)
        )


def difference(before: Record, now: Record) -> list[str]:
    """What has changed, line by line, additions of repeats, levels and their treatments aside."""
    known = {name: value for name, value in now["treatments"].items() if name in before["treatments"]}
    old, new = flat(before), flat(now | {"treatments": known})
    lines = []
    for key in dict.fromkeys([*old, *new]):
        added = key not in old and key.startswith("factors.")
        grown = key == "repeats" and new[key] >= old[key]
        if not added and not grown and old.get(key, "(absent)") != new.get(key, "(absent)"):
            lines.append(f"  {key}: {short(old, key)} -> {short(new, key)}")
    return lines


def choose(study: Study, cells: Sequence[str] = (), shard: str | None = None) -> list[Cell]:
    """The cells of the filters and the shard, in the order of the run.

    Args:
        cells: FACTOR=LEVEL, or block=N; several of one factor are alternatives, several factors must all hold.
        shard: I/N, the I-th of N parts, from 1. Blocks are never cut: what is compared has run on one machine.

    Raises:
        ConfigError: an unknown factor or level, a shard out of range, or nothing is left.
    """
    wanted: dict[str, set[str]] = {}
    levels = study.levels | {"block": [str(block) for block in range(1, study.config.repeats + 1)]}
    for text in cells:
        factor, _, level = text.partition("=")
        if factor not in levels:
            raise ConfigError(f"--cells {text}: no factor {factor!r} - write FACTOR=LEVEL, of {', '.join(levels)}")
        if level not in levels[factor]:
            raise ConfigError(f"--cells {text}: {factor} has no level {level!r} - it has {', '.join(levels[factor])}")
        wanted.setdefault(factor, set()).add(level)
    part, _, parts = (shard or "1/1").partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise ConfigError(f"--shard must be I/N with I from 1 to N, as in 1/4, got {shard!r}")
    found = [
        cell
        for cell in study.cells()
        if cell.block % int(parts) == int(part) % int(parts)
        and all((cell.levels | {"block": str(cell.block)})[factor] in names for factor, names in wanted.items())
    ]
    if not found:
        raise ConfigError(f"no cell is left of {len(study.cells())} - there are {study.config.repeats} blocks to share")
    return found


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes:
        name: the study's title.
        counts: cells by `done`, `failed`, `running` (or killed while it ran), `to do`.
        failures: the cells that failed and why, a line each.
        seconds_left: of wall time, by what cells of the same treatment took; None before the first is done.
        notes: what a reader must know, as sentences.
    """

    name: str
    counts: dict[str, int]
    failures: list[str]
    seconds_left: float | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        count = ", ".join(f"{n} {what}" for what, n in self.counts.items() if n and what != "done")
        left = f"; about {duration(self.seconds_left)} left" if self.seconds_left else ""
        lines = [f"{self.name}: {self.counts['done']} of {sum(self.counts.values())} cells done"]
        lines[0] += f", {count}{left}" if count else ""
        return "\n".join([*lines, *self.failures, *self.notes])


def status_of(study: Study, cells: Iterable[Cell] | None = None, notes: Iterable[str] = ()) -> Status:
    """Counts the cells, all by default, and estimates the time left from those that are done."""
    cells = study.cells() if cells is None else list(cells)
    records = {cell.name: record_of(study, cell) for cell in cells}
    found = Counter(record.get("status", "to do") for record in records.values())
    failures = [
        f"failed: {name}: {record['error']} (log: {study.folder / record['log']})"
        for name, record in records.items()
        if record.get("status") == "failed"
    ]
    left = [cell for cell in cells if records[cell.name].get("status") != "done"]
    counts = {key: found[key] for key in ("done", "failed", "running", "to do")}
    return Status(study.config.name, counts, failures, seconds_left(study, left), tuple(notes))


def seconds_left(study: Study, left: Sequence[Cell]) -> float | None:
    """Wall time of the cells `left`: as their treatment took so far, else as all did in the mean; None if none has run."""
    took: dict[str, list[float]] = {}
    for cell in study.cells():
        record = record_of(study, cell)
        if record.get("status") == "done":
            took.setdefault(cell.treatment, []).append(record["wall_seconds"])
    all_of_them = [seconds for each in took.values() for seconds in each]
    if not all_of_them:
        return None
    means = [took.get(cell.treatment, all_of_them) for cell in left]
    return sum(sum(each) / len(each) for each in means) + study.config.cool_down * len(left)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
