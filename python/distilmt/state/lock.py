"""One process at a time in a run folder: a lock file that says who holds it, and a heartbeat that says he lives.

The lock is a file created exclusively (`flock` does not hold on every network file system); its modification time is
the heartbeat. Age is measured against a file made just now in the same folder: both times come from the file server's
clock, and the clocks of the hosts do not matter. On the same machine the process itself is asked instead.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from distilmt.errors import ResourceError
from distilmt.state.storage import disk_errors

BEAT_SECONDS = 10.0
STALE_SECONDS = 120.0


class Lock:
    """A lock file, held from `acquire` to `release`.

    Args:
        path: of the lock file.
        on_beat: called from the heartbeat's thread at each beat.
    """

    def __init__(self, path: Path, on_beat: Callable[[], None] = lambda: None):
        self.path, self.on_beat = path, on_beat
        self.owner = identity()
        self._ended = threading.Event()

    def acquire(self) -> str:
        """Takes the lock.

        Returns:
            "" or a note about the dead owner it was taken from.

        Raises:
            ResourceError: another process holds it; names its host and pid.
        """
        note = ""
        with disk_errors(self.path):
            for _ in range(10):  # again when the owner lets go between two looks
                try:
                    handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                except FileExistsError:
                    with suppress(FileNotFoundError):
                        note = self._take_over()
                        break
                else:
                    with open(handle, "wb") as stream:
                        stream.write(json.dumps(self.owner).encode())
                    break
            else:
                raise ResourceError(f"{self.path}: changes hands faster than it can be read - try again")
        threading.Thread(target=self._beat, name="distilmt-heartbeat", daemon=True).start()
        return note

    def check(self) -> None:
        """Raises ResourceError if another process has taken the lock over meanwhile (this one slept too long)."""
        with disk_errors(self.path):
            holder = _read(self.path) if self.path.exists() else {}
        if holder.get("token") != self.owner["token"]:
            raise ResourceError(
                f"{self.path}: lost to {_name(holder)} while this process did not answer - let that one finish"
            )

    def release(self) -> None:
        """Lets go; does nothing in a forked child or when the lock is another's by now."""
        self._ended.set()
        if os.getpid() == self.owner["pid"]:
            with suppress(OSError):
                if _read(self.path).get("token") == self.owner["token"]:
                    self.path.unlink()

    def _take_over(self) -> str:
        holder = _read(self.path)
        mine = self.path.with_name(f"{self.path.name}.{self.owner['token']}")
        claim = self.path.with_name(f"{self.path.name}.claim-{holder.get('token', 'unreadable')}")
        try:
            mine.write_bytes(json.dumps(self.owner).encode())
            age = mine.stat().st_mtime - self.path.stat().st_mtime
            if _lives(holder, age):
                raise ResourceError(
                    f"{self.path.parent}: in use by {_name(holder)}; last sign of life {max(age, 0):.0f} s ago - "
                    f"wait for it or end it (a dead one is forgotten {STALE_SECONDS:.0f} s after that sign)"
                )
            # Of all who see this dead owner one may follow: the name of the claim is unique to him, and whoever comes
            # late with an old view finds another owner in the lock.
            try:
                os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                raise ResourceError(
                    f"{self.path.parent}: another takes over from {_name(holder)} now - if none does, delete {claim}"
                ) from None
            try:
                if _read(self.path) != holder:
                    raise ResourceError(
                        f"{self.path.parent}: in use by {_name(_read(self.path))} - wait for it or end it"
                    )
                os.replace(mine, self.path)
            finally:
                claim.unlink()
        finally:
            mine.unlink(missing_ok=True)
        return f"continues a run that {_name(holder)} left without notice"

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # a disk that fails for a moment; the main thread will meet it if it stays
                if _read(self.path).get("token") != self.owner["token"]:
                    return
                os.utime(self.path)
                self.on_beat()


def identity() -> dict[str, Any]:
    """Who this process is, so that `process_lives` can find it again."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "token": secrets.token_hex(8),
        "machine": _machine(),
        "started": _start(os.getpid()),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv,
    }


def _name(owner: dict[str, Any]) -> str:
    if not owner:
        return "an unknown process (its lock file is empty or gone)"
    return f"process {owner.get('pid')} on host {owner.get('host')}, started {owner.get('since')}"


def _read(path: Path) -> dict[str, Any]:
    try:
        owner = json.loads(path.read_bytes())
    except ValueError:  # created a moment ago and not written yet, or torn by a crash: its age decides
        return {}
    return owner if isinstance(owner, dict) else {}


def _machine() -> str:
    """This boot of this machine and its process numbers: containers may share a host name and not see each other."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" for a zombie or where it is hidden. Tells a pid used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def process_lives(owner: dict[str, Any]) -> bool | None:
    """Whether the process of an `identity` is alive; None where that cannot be known from here: another machine, boot or
    container, or another user's process."""
    if not owner.get("machine") or owner["machine"] != _machine():
        return None
    alike = _start(int(owner["pid"])) == str(owner["started"])
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's: alive, and perhaps hidden from /proc
        return alike or None
    return alike


def _lives(owner: dict[str, Any], age: float) -> bool:
    known = process_lives(owner)
    return age < STALE_SECONDS if known is None else known
