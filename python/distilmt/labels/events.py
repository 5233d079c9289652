"""What happened in a job, when, and what it cost: JSON lines, one file per process that was started, so that no two ever
write to the same. Nothing that a result depends on is in them.

    {"time": ..., "event": "begin", "host": ..., "pid": ..., "workers": ..., "shards": ...}
    {"time": ..., "event": "batch", "shard": 3, "lines": 1000, "decoding": 4.2, "tokens": 23456, "verdicts": {"ok": 1000}}
    {"time": ..., "event": "cost", "usage": {...}}         what the process has used so far (energy.Usage), as "end" has it
    {"time": ..., "event": "done" | "died" | "redo_shard" | "merged" | "end", ...}
"""

from __future__ import annotations

import json
import math
import os
import platform
import secrets
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distilmt.energy import Usage
from distilmt.state.lock import identity, process_lives
from distilmt.state.storage import append_event, disk_errors

# Fields without which an event of a kind is not whole.
_FIELDS = {"batch": {"lines", "tokens", "decoding"}, "cost": {"usage"}, "end": {"worker_seconds", "usage"}}

NOTE_SECONDS = 30.0  # between two notes of what a process has used: so much of its cost a kill may take, and a batch's


class Log:
    """The events of this process."""

    def __init__(self, folder: Path) -> None:
        with disk_errors(folder):
            (folder / "events").mkdir(parents=True, exist_ok=True)
        self.path = folder / "events" / f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self.noted = -math.inf

    def add(self, event: str, **fields: Any) -> None:
        """Appends an event. Raises: ResourceError: the disk refuses."""
        append_event(self.path, event, **fields)

    def begin(self, workers: int, threads: int | None, shards: int) -> None:
        """This process begins to work."""
        owner = {key: value for key, value in identity().items() if key != "command"}
        self.add(
            "begin", host=platform.node(), pid=os.getpid(), owner=owner, workers=workers, threads=threads, shards=shards
        )

    def used(self, usage: Usage) -> None:
        """What this process has used so far; written every NOTE_SECONDS alone."""
        if time.monotonic() > self.noted + NOTE_SECONDS:
            self.add("cost", usage=asdict(usage))
            self.noted = time.monotonic()

    def tell(self, message: dict[str, Any]) -> None:
        """Appends what a worker reports (worker.py), where it is an event."""
        if "decoding" in message:
            self.add("batch", **message)
        elif "done" in message:
            self.add("done", shard=message["shard"], attempt=message["attempt"], repeated=message["repeated"])
        elif "died" in message:
            self.add("died", code=message["died"])


@dataclass
class Session:
    """What the log of one process says; a summary, for logs grow with the text.

    Attributes:
        begin, end: these events; {} and None where there is none.
        usage: what it had used when it last said so (energy.Usage as plain data).
        first, last: times of its first and last event, by its own clock.
        decoding, longest: seconds of all batches together, and of the longest.
        latest: the last batches.
        damaged: lines that are no whole events, left out.
        written: when the log last grew, by the clock of the file's server.
    """

    written: float
    begin: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    first: float = 0.0
    last: float = 0.0
    decoding: float = 0.0
    longest: float = 0.0
    latest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=100))
    damaged: int = 0

    @property
    def lives(self) -> bool | None:
        """Whether it goes on; None where that cannot be known from this machine."""
        return False if self.end else process_lives(self.begin.get("owner", {}))

    def add(self, event: dict[str, Any]) -> None:
        """Takes the next event."""
        self.first, self.last = self.first or event["time"], event["time"]
        if event["event"] == "begin":
            self.begin = event
        elif event["event"] == "batch":
            self.decoding += event["decoding"]
            self.longest = max(self.longest, event["decoding"])
            self.latest.append(event)
        elif event["event"] in ("cost", "end"):
            self.usage = event["usage"]
            self.end = event if event["event"] == "end" else self.end


def sessions(folder: Path) -> Iterator[Session]:
    """The logs of a job. No result depends on them, so damage stops no job."""
    for path in _logs(folder):
        with disk_errors(path):
            session = Session(path.stat().st_mtime)
        for event in _events(path):
            if event is None:
                session.damaged += 1
            else:
                session.add(event)
        yield session


def events_of(folder: Path) -> Iterator[dict[str, Any]]:
    """All events of a job, process by process; damaged lines are left out."""
    return (event for path in _logs(folder) for event in _events(path) if event)


def decoding_seconds(folder: Path) -> float | None:
    """Seconds of decoding, over all workers; None where no event tells."""
    return sum(session.decoding for session in sessions(folder)) or None


def _logs(folder: Path) -> list[Path]:
    return sorted((folder / "events").glob("*.jsonl"))


def _events(path: Path) -> Iterator[dict[str, Any] | None]:
    """The events of a log, None for one that is damaged."""
    with disk_errors(path), path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):  # being written
                return
            try:
                event = json.loads(line)
                whole = {"time", "event"} <= event.keys() and _FIELDS.get(event["event"], set()) <= event.keys()
            except (ValueError, AttributeError, TypeError):
                whole = False
            yield event if whole else None
