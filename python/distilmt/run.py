"""The run folder: what was done, from which inputs, at what cost; the same command again goes on where it stopped.

    RUN/run.json            resolved configuration with its hash, versions, every command or call that worked on it
    RUN/stages/NAME.json    a stage: its inputs, its attempts with their cost, and once done its outputs and facts
    RUN/NAME/               files of a stage
    RUN/lock                who works here now (lock.py)

A stage is done once its record says so; the record is written last, durably, and carries the hashes of the outputs.
Inputs that differ from the recorded ones are refused with a diff, for a stage half done as well: its files belong to
the old inputs.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from distilmt.energy import EnergyOptions
from distilmt.errors import ConfigError
from distilmt.state.lock import Lock
from distilmt.state.stage import Kind, Stage, hash_of, read_record, total
from distilmt.state.storage import append_event, disk_errors, read_events, read_json, write_json

__all__ = ["Kind", "Run", "Stage", "append_event", "hash_of", "read_events", "stages_of", "versions"]
_PACKAGES = (
    "distilmt", "torch", "transformers", "accelerate", "sentencepiece", "sacrebleu", "safetensors", "numpy",
    "ctranslate2", "datasets",
)  # fmt: skip


class Run:
    """An open run folder; use as `with Run.open(folder, config) as run:`."""

    def __init__(self, folder: Path, metering: EnergyOptions | None = None, command: str = ""):
        self.folder, self.metering, self.command = folder, metering or EnergyOptions(), command
        self._stage: Stage | None = None
        self._lock = Lock(folder / "lock", self._beat)

    def __fspath__(self) -> str:
        """Its folder: a run stands wherever a path to one does, as in `Report(run)`."""
        return str(self.folder)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        config: Mapping[str, Any],
        new_run: bool = False,
        metering: EnergyOptions | None = None,
        command: str = "",
    ) -> Run:
        """Creates the folder or goes on in it.

        Args:
            config: the resolved configuration, plain data.
            new_run: start over; what is there is moved to FOLDER.old-N.
            metering: how every stage's energy is found out; no input of any stage.
            command: what the user wrote (invocation.py), for the record.

        Raises:
            ConfigError: the folder holds something that is not a run.
            ResourceError: another process works in it, or the disk refuses.
        """
        folder = Path(folder)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            foreign = [entry.name for entry in folder.iterdir() if not entry.name.startswith(("lock", "."))]
        if foreign and not (folder / "run.json").exists():
            raise ConfigError(f"{folder}: holds {sorted(foreign)[0]!r} and is no run folder - choose another --out")
        run = cls(folder, metering, command)
        if note := run._lock.acquire():
            print(f"distilmt: {folder}: {note}", file=sys.stderr)
        try:
            if new_run and (folder / "run.json").exists():
                run._move_aside()
                run = cls(folder, metering, command)
                run._lock.acquire()
            run._write_manifest(dict(config))
        except BaseException:
            run.close()
            raise
        return run

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets other processes in."""
        self._lock.release()

    @contextmanager
    def stage(self, name: str, inputs: Mapping[str, Any], kind: Kind | None = None) -> Iterator[Stage]:
        """Opens a stage; its block does the work unless `.done`, and then calls `.finish`.

        Args:
            name: unique in the run.
            inputs: everything its result depends on, as plain data: hashes of files and models, options, seeds.
            kind: what it is on the bill.

        Raises:
            ConfigError: the stage is recorded with other inputs.
            DataError: an output of a finished stage is missing or has another size.
        """
        self._lock.check()
        stage = Stage(self.folder, name, inputs, self._lock.check, self.metering, kind)
        if stage.done:
            yield stage
            return
        stage.begin()
        self._stage = stage
        try:
            yield stage
            if not stage.done:
                raise RuntimeError(f"stage {name!r} ended without finish()")
        except (KeyboardInterrupt, SystemExit):
            stage.end("interrupted")
            raise
        except BaseException:
            stage.end("failed")
            raise
        finally:
            self._stage = None

    def stages(self) -> list[dict[str, Any]]:
        """All stages, as `stages_of` reads them."""
        return stages_of(self.folder)

    def _beat(self) -> None:
        if self._stage is not None:
            self._stage.save()

    def _move_aside(self) -> None:
        number = 1
        while (old := self.folder.with_name(f"{self.folder.name}.old-{number}")).exists():
            number += 1
        with disk_errors(old):
            os.rename(self.folder, old)
            (old / "lock").unlink()
            self.folder.mkdir(exist_ok=True)
        self._lock.release()
        print(f"distilmt: the old run is kept in {old}", file=sys.stderr)

    def _write_manifest(self, config: dict[str, Any]) -> None:
        path = self.folder / "run.json"
        remedy = "start over with --new-run"
        manifest: dict[str, Any] = {"created": _now(), "commands": []}
        if path.exists():
            manifest |= read_json(path, remedy)
        command = {"time": _now(), "command": self.command, "host": platform.node(), "pid": os.getpid()}
        manifest |= {"config": config, "config_hash": hash_of(config)}
        manifest["commands"].append(command | {"config_hash": hash_of(config), "versions": versions()})
        write_json(path, manifest)


def stages_of(folder: Path) -> list[dict[str, Any]]:
    """Stages of a run folder in the order they were begun: name, kind, status, attempts, work, verdicts, hashes
    of outputs, and what `energy.Usage` has.

    Raises: DataError: a record is damaged.
    """
    with disk_errors(folder):
        records = [read_record(path) for path in (folder / "stages").glob("*.json")]
    records.sort(key=lambda record: float(record["attempts"][0]["began"]))
    return [
        {
            "name": record["stage"],
            "kind": record.get("kind"),
            "status": record["status"],
            "attempts": len(record["attempts"]),
            "work": record.get("facts", {}).get("work"),
            "verdicts": record.get("facts", {}).get("counts"),  # of a labelling: lines by verdict
            "outputs": {name: entry["sha256"] for name, entry in record.get("outputs", {}).items()},
        }
        | asdict(total(record["attempts"]))
        for record in records
    ]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on; those not installed are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
