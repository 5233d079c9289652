"""Who works at a shard: a file per attempt, created exclusively; nothing is ever locked, renamed or taken away.

`leases/000012.0` is the first attempt at shard 12. Whoever finds it dead creates `000012.1`: the one who can is the next
holder, and the number of files is the number of attempts. The holder rewrites its file with a counter that rises; an
observer judges by its own monotonic clock whether the content changed, so clocks of machines are never compared, and a
file system needs to know no more than exclusive creation (NFS does). A process of this very machine is asked directly.

A holder that sleeps (SIGSTOP, a hung mount) and wakes after another took over does no harm: each attempt writes to a
segment file of its own, and the shard's done record names the one that counts.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilmt.errors import ResourceError
from distilmt.state.lock import identity, process_lives
from distilmt.state.storage import create_bytes, disk_errors

SIZE = 1024  # bytes of a lease file: a constant, so that one write replaces all of it


@dataclass(frozen=True)
class Seen:
    """A lease as another process sees it. state: held, released, failed or done; "" where it cannot be read."""

    raw: bytes
    content: dict[str, Any]

    @property
    def state(self) -> str:
        return str(self.content.get("state", ""))

    @property
    def gone(self) -> bool:
        """Whether its process is known to have ended; False also where that cannot be known."""
        return process_lives(self.content.get("owner", {})) is False


def look(path: Path) -> Seen:
    """Reads a lease. One torn by a crash has no content."""
    with disk_errors(path):
        raw = path.read_bytes()
    with suppress(ValueError):
        content = json.loads(raw)
        if isinstance(content, dict) and isinstance(content.get("owner"), dict):
            return Seen(raw, content)
    return Seen(raw, {})


class Lease:
    """An attempt of this process, from `take` to `end`.

    Attributes:
        lost: another attempt has begun, because this process did not answer for too long.
        facts: plain data for observers (lines done so far); written with each beat.
    """

    def __init__(self, path: Path, beat_seconds: float, facts: dict[str, Any]) -> None:
        self.path, self.beat_seconds, self.facts = path, beat_seconds, facts
        self.owner = {key: value for key, value in identity().items() if key != "command"}
        self.lost, self._beats = False, 0
        self._ended, self._writing = threading.Event(), threading.Lock()

    @property
    def shard(self) -> int:
        return int(self.path.name.split(".")[0])

    @property
    def attempt(self) -> int:
        return int(self.path.name.split(".")[1])

    @classmethod
    def take(cls, folder: Path, shard: int, attempt: int, beat_seconds: float, facts: dict[str, Any]) -> Lease | None:
        """Begins an attempt, or returns None where another process was quicker.

        Raises:
            ResourceError: the disk refuses.
        """
        lease = cls(folder / f"{shard:06}.{attempt}", beat_seconds, facts)
        if not create_bytes(lease.path, lease._content("held")):
            return None
        threading.Thread(target=lease._beat, name="distilmt-lease", daemon=True).start()
        return lease

    def superseded(self) -> bool:
        """Whether a later attempt exists."""
        self.lost = self.lost or self.path.with_name(f"{self.shard:06}.{self.attempt + 1}").exists()
        return self.lost

    def note(self, **facts: Any) -> None:
        """Writes facts for observers now. Raises: ResourceError: the disk refuses."""
        self.facts |= facts
        with disk_errors(self.path):
            self._write("held")

    def end(self, state: str) -> None:
        """Stops the heartbeat and says how it ended. A disk that refuses makes this a death, which others find out."""
        self._ended.set()
        with suppress(OSError):
            self._write(state)

    def _write(self, state: str) -> None:
        with self._writing:
            if state == "held" and self._ended.is_set():
                return  # a beat that was under way when the attempt ended
            data = self._content(state)
            handle = os.open(self.path, os.O_WRONLY)  # opened each time: closing is what NFS shows to others
            try:
                os.pwrite(handle, data, 0)
            finally:
                os.close(handle)

    def _content(self, state: str) -> bytes:
        self._beats += 1
        content = {"state": state, "beats": self._beats, "owner": self.owner, **self.facts}
        return json.dumps(content, ensure_ascii=True).encode("ascii").ljust(SIZE)

    def _beat(self) -> None:
        while not self._ended.wait(self.beat_seconds):
            with suppress(OSError):  # a disk that fails for a moment; the worker will meet it if it stays
                if self.superseded():
                    return
                self._write("held")


class Watch:
    """Tells leases whose holder answers from those of the dead.

    Args:
        patience: seconds without a heartbeat after which a holder on another machine counts as dead.
        clock: monotonic seconds.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience, self.clock = patience, clock
        self._seen: dict[Path, tuple[bytes, float]] = {}

    def free(self, path: Path) -> bool:
        """Whether the shard of this lease, the latest of its shard, is free to be taken."""
        try:
            seen = look(path)
        except ResourceError as error:
            if isinstance(error.__cause__, FileNotFoundError):  # moved aside since it was listed
                return False
            raise
        if seen.state in ("released", "failed", "done") or seen.gone:
            self._seen.pop(path, None)
            return True
        raw, since = self._seen.get(path, (None, 0.0))
        if raw != seen.raw:
            self._seen[path] = (seen.raw, self.clock())
            return False
        return self.clock() - since > self.patience
