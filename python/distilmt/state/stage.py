"""One stage of a run folder: its record, its files and what it cost over all attempts (run.py opens it)."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, Literal

from distilmt import energy
from distilmt.energy import EnergyOptions, Meter, Usage
from distilmt.errors import ConfigError, DataError
from distilmt.state.lock import BEAT_SECONDS
from distilmt.state.storage import disk_errors, plain, read_json, sync_folder, write_json

Kind = Literal["teacher-training", "labelling", "selection", "student-training", "evaluation", "serving"]


class Stage:
    """A stage that was opened with `run.stage(name, inputs, kind)`.

    Attributes:
        done: finished, now or by an earlier command.
        folder: for its files; exists.
        outputs: paths by name, once done.
        hashes: sha256 of the outputs by name, once done; of a folder, over the names and hashes of its files.
        facts: plain data, once done.
    """

    def __init__(
        self,
        run: Path,
        name: str,
        inputs: Mapping[str, Any],
        may_write: Callable[[], None],
        metering: EnergyOptions,
        kind: Kind | None = None,
    ):
        self.run, self.name, self.folder = run, name, run / _file_name(name)
        self.may_write = may_write  # raises if the run folder has become another process's
        self.metering = metering
        self.path = run / "stages" / f"{_file_name(name)}.json"
        self.record: dict[str, Any] = {"stage": name, "status": "running", "inputs": plain(inputs), "attempts": []}
        self.record["kind"] = kind
        self.outputs: dict[str, Path] = {}
        self.hashes: dict[str, str] = {}
        self.facts: dict[str, Any] = {}
        self._writing = threading.Lock()
        if self.path.exists():
            recorded = read_record(self.path)
            _refuse_other(run, name, recorded["inputs"], self.record["inputs"])
            self.record = recorded | {"kind": kind or recorded.get("kind")}
            for attempt in self.record["attempts"]:
                attempt["ended"] = attempt["ended"] or "killed"
        if self.done:
            self._open_outputs()

    @property
    def done(self) -> bool:
        """Whether the work was finished and recorded."""
        return bool(self.record["status"] == "done")

    @property
    def usage(self) -> Usage:
        """Cost so far, interrupted attempts included."""
        return total(self.record["attempts"])

    def begin(self) -> None:
        """Starts an attempt: a meter, and a record that says so."""
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.path.parent.mkdir(exist_ok=True)
        self._meter = Meter(self.metering)
        self._meter.__enter__()
        attempt = {"began": time.time(), "host": platform.node(), "pid": os.getpid(), "ended": None}
        self.record["attempts"].append(attempt)
        self.record["status"] = "running"
        self.save()

    def save(self) -> None:
        """Writes the record with the cost up to now, so that a kill loses one heartbeat of it and not the whole."""
        with self._writing:
            if self.record["attempts"][-1]["ended"] is None:
                self.record["attempts"][-1].update(asdict(self._meter.so_far()))
                write_json(self.path, self.record)

    def finish(
        self, outputs: Mapping[str, str | Path], facts: Mapping[str, Any] | None = None, usage: Usage | None = None
    ) -> None:
        """Ends the stage: hashes the outputs, makes them durable, then records the stage as done.

        Args:
            outputs: files or folders by name.
            facts: what later stages and the report want to know, as plain data; `work` is what was done, in counts.
            usage: of work that was done elsewhere, in place of what this attempt used.

        Raises:
            ResourceError: the disk refuses, or another process has taken the run over.
        """
        self.may_write()
        entries = {name: self._entry(Path(path)) for name, path in outputs.items()}  # may raise: not finished then
        self.end("finished")
        with self._writing:
            if usage is not None:
                self.record["attempts"][-1].update(asdict(usage))
            self.record |= {"status": "done", "outputs": entries, "facts": plain(facts or {})}
            write_json(self.path, self.record)
        self._open_outputs()

    def end(self, how: str) -> None:
        """Stops the meter and keeps what this attempt cost."""
        with self._writing:
            if self.record["attempts"][-1]["ended"] is not None:
                return
            self._meter.__exit__(None, None, None)
            assert self._meter.usage is not None
            self.record["attempts"][-1].update(asdict(self._meter.usage), ended=how)
            if how != "finished":
                self.record["status"] = how
                write_json(self.path, self.record)

    def verify(self) -> None:
        """Compares the outputs with their recorded hashes.

        Raises:
            DataError: one has changed.
        """
        for name, entry in self.record["outputs"].items():
            for relative, file in self._entry(self.run / entry["path"])["files"].items():
                if file != entry["files"].get(relative):
                    path = self.run / entry["path"] / relative
                    raise DataError(f"{path}: output {name!r} of stage {self.name!r} has changed - {self._remedy()}")

    def _entry(self, path: Path) -> dict[str, Any]:
        from distilmt.corpus import file_hash

        with disk_errors(path):
            found = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
            files = {}
            for file in found:
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
                relative = str(file.relative_to(path))  # "." for a single file
                files[relative] = {"bytes": file.stat().st_size, "sha256": file_hash(file)}
            for folder in {file.parent for file in found}:
                sync_folder(folder)
        inside = path.resolve().is_relative_to(self.run.resolve())
        return {
            "path": str(path.resolve().relative_to(self.run.resolve()) if inside else path.resolve()),
            "sha256": files["."]["sha256"] if "." in files else hash_of({k: v["sha256"] for k, v in files.items()}),
            "files": files,
        }

    def _open_outputs(self) -> None:
        for name, entry in self.record["outputs"].items():
            path = self.run / entry["path"]
            for relative, file in entry["files"].items():
                bytes = (path / relative).stat().st_size if (path / relative).exists() else None
                if bytes != file["bytes"]:
                    got = "is missing" if bytes is None else f"has {bytes:,} bytes"
                    raise DataError(
                        f"{path / relative}: output {name!r} of stage {self.name!r} {got}, recorded were "
                        f"{file['bytes']:,} bytes - {self._remedy()}"
                    )
            self.outputs[name], self.hashes[name] = path, entry["sha256"]
        self.facts = self.record["facts"]

    def _remedy(self) -> str:
        return f"restore it, or delete {self.path} to do this stage again, or start over with --new-run"


def read_record(path: Path) -> dict[str, Any]:
    """Reads stages/NAME.json."""
    remedy = "delete it to do this stage again, or start over with --new-run"
    record = read_json(path, remedy)
    sound = isinstance(record.get("stage"), str) and isinstance(record.get("inputs"), dict) and _attempted(record)
    parts = ("outputs", "facts") if record.get("status") == "done" else ()
    if not sound or "status" not in record or not all(isinstance(record.get(part), dict) for part in parts):
        raise DataError(f"{path}: damaged: not the record of a stage - {remedy}")
    return record


def _attempted(record: dict[str, Any]) -> bool:
    """Whether there are attempts, each with its begin and what a meter says at least."""
    attempts = record.get("attempts")
    required = [each.name for each in fields(Usage) if each.default is each.default_factory is MISSING]
    return isinstance(attempts, list) and bool(attempts) and all(
        isinstance(attempt, dict)
        and {"ended", *required} <= set(attempt)
        and all(isinstance(attempt.get(key), (int, float)) for key in ("began", "seconds", "cpu_seconds"))
        for attempt in attempts
    )  # fmt: skip


def total(attempts: list[dict[str, Any]]) -> Usage:
    """Cost of several attempts together, from their records."""
    usages = []
    for attempt in attempts:
        usage = Usage.of(attempt)
        usages.append(energy.killed(usage, BEAT_SECONDS) if attempt.get("ended") == "killed" else usage)
    return energy.total(usages)


def hash_of(value: Any) -> str:
    """sha256 of the canonical JSON of plain data: sorted keys, no spaces."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _file_name(name: str) -> str:
    """A stage's name where it can name a file, and else a readable part of it with a hash."""
    safe = re.sub(r"[^\w.+-]+", "_", name, flags=re.ASCII)[:80]
    return name if safe == name and not name.startswith(".") else f"{safe.lstrip('.')}-{hash_of(name)[:8]}"


def _refuse_other(run: Path, name: str, recorded: dict[str, Any], given: dict[str, Any]) -> None:
    if lines := differences(recorded, given):
        raise ConfigError(
            f"{run}: stage {name!r} was begun with other inputs - set them back, choose another --out, or start over "
            f"with --new-run (the old run is kept):\n" + "\n".join(lines)
        )


def differences(recorded: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """What differs between two nested objects of plain data, a line each: `  key.inner: old -> new`."""
    old, new = flat(recorded), flat(given)
    return [
        f"  {key}: {short(old, key)} -> {short(new, key)}"
        for key in list(dict.fromkeys([*old, *new]))
        if key not in old or key not in new or old[key] != new[key]
    ]


def flat(value: dict[str, Any], above: str = "") -> dict[str, Any]:
    """The leaves of nested objects by their dotted paths."""
    leaves: dict[str, Any] = {}
    for key, item in value.items():
        leaves |= flat(item, f"{above}{key}.") if isinstance(item, dict) and item else {f"{above}{key}": item}
    return leaves


def short(leaves: dict[str, Any], key: str) -> str:
    """A leaf in a message: its JSON, cut at 60 letters."""
    if key not in leaves:
        return "(absent)"
    text = json.dumps(leaves[key], ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
