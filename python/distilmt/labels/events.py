"""What happened in a job, when, and what it cost: JSON lines, one file per process that was started, so that no two ever
write to the same. Nothing that a result depends on is in them.

    {"time": ..., "event": "begin", "host": ..., "pid": ..., "workers": ..., "shards": ...}
    {"time": ..., "event": "batch", "shard": 3, "lines": 1000, "decoding": 4.2, "tokens": 23456, "verdicts": {"ok": 1000}}
    {"time": ..., "event": "done" | "died" | "redo_shard" | "merged" | "end", ...}
"""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distilmt.lock import identity, process_lives
from distilmt.storage import append_event, disk_errors

# Fields without which an event of a kind is not whole.
_FIELDS = {"batch": {"lines", "tokens", "decoding"}, "end": {"worker_seconds", "usage"}}


class Log:
    """The events of this process."""

    def __init__(self, folder: Path) -> None:
        with disk_errors(folder):
            (folder / "events").mkdir(parents=True, exist_ok=True)
        self.path = folder / "events" / f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"

    def add(self, event: str, **fields: Any) -> None:
        """Appends an event. Raises: ResourceError: the disk refuses."""
        append_event(self.path, event, **fields)

    def begin(self, workers: int, threads: int | None, shards: int) -> None:
        """This process begins to work."""
        owner = {key: value for key, value in identity().items() if key != "command"}
        self.add(
            "begin", host=platform.node(), pid=os.getpid(), owner=owner, workers=workers, threads=threads, shards=shards
        )

    def tell(self, message: dict[str, Any]) -> None:
        """Appends what a worker reports (worker.py), where it is an event."""
        if "decoding" in message:
            self.add("batch", **message)
        elif "done" in message:
            self.add("done", shard=message["shard"], attempt=message["attempt"], repeated=message["repeated"])
        elif "died" in message:
            self.add("died", code=message["died"])


def events_of(folder: Path) -> Iterator[dict[str, Any]]:
    """All events of a job, process by process; damaged lines are left out."""
    for path in sorted((folder / "events").glob("*.jsonl")):
        yield from _read(path)[0]


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole events of a log, and how many lines are damaged: no result depends on a log, so it stops no job."""
    events, damaged = [], 0
    with disk_errors(path):
        lines = path.read_bytes().split(b"\n")[:-1]
    for line in lines:
        try:
            event = json.loads(line)
            whole = {"time", "event"} <= event.keys() and _FIELDS.get(event["event"], set()) <= event.keys()
        except (ValueError, AttributeError, TypeError):
            whole = False
        if whole:
            events.append(event)
        damaged += not whole
    return events, damaged


def decoding_seconds(folder: Path) -> float | None:
    """Seconds of decoding, over all workers; None where no event tells."""
    found = [event["decoding"] for event in events_of(folder) if event["event"] == "batch"]
    return sum(found) if found else None


def cost(folder: Path) -> dict[str, Any]:
    """What the job has cost: seconds of workers, of these in decoding and in everything else (waiting for shards of others
    left out), and joules, null where a process did not live to tell or its energy was not measured; ended_joules: of the
    sessions that have ended and were measured, null where there is none. A session without an end was killed unless its
    process is known to live."""
    sessions: dict[str, dict[str, Any]] = {}
    damaged = 0
    for path in sorted((folder / "events").glob("*.jsonl")):
        events, lost = _read(path)
        damaged += lost
        ends = [event for event in events if event["event"] == "end"]
        decoding = sum(event["decoding"] for event in events if event["event"] == "batch")
        runs = not ends and any(e["event"] == "begin" and process_lives(e.get("owner", {})) for e in events)
        end = ends[-1] if ends else {"worker_seconds": None, "usage": None}
        sessions[path.name] = {"decoding": decoding, "runs": runs, **end}
    known = [each for each in sessions.values() if each["worker_seconds"] is not None]
    busy, decoding = sum(each["worker_seconds"] for each in known), sum(each["decoding"] for each in known)
    joules = [(each["usage"] or {}).get("joules") for each in sessions.values()]
    measured = [each for each in joules if each is not None]
    running = sum(each["runs"] for each in sessions.values())
    return {
        "sessions": len(sessions),
        "running_sessions": running,
        "killed_sessions": len(sessions) - len(known) - running,
        "damaged_events": damaged,
        "worker_seconds": busy,
        "decoding_seconds": decoding,
        "other_seconds": busy - decoding,
        "other_share": (busy - decoding) / busy if busy else None,
        "joules": None if not joules or None in joules else sum(measured),
        "ended_joules": sum(measured) if measured else None,
    }
