"""Files that are either whole or absent, and disk errors that name the file and the remedy.

Durable write: a temporary file in the same folder, flush, fsync, rename, fsync of the folder. Killed at any instant,
the old content or the new one is there, never a mixture.
"""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distilmt.errors import DataError, ResourceError, UserError

_REMEDIES = {
    errno.ENOSPC: "free space there and run the same command again",
    errno.EDQUOT: "free space in your quota and run the same command again",
    errno.EFBIG: "raise the file size limit (ulimit -f) and run the same command again",
    errno.EROFS: "it is mounted read-only: choose a folder that can be written",
    errno.EACCES: "change its permissions or choose another folder",
    errno.EPERM: "change its permissions or choose another folder",
    errno.EIO: "the disk or its connection fails: check it, then run the same command again",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def explain(error: OSError, path: str | os.PathLike[str] | None = None, needed_bytes: int | None = None) -> str:
    """An operating system's error as `PATH: what is wrong - what to do`."""
    where = path if path is not None else error.filename
    needed = f" ({needed_bytes:,} bytes were to be written)" if needed_bytes is not None else ""
    remedy = _REMEDIES.get(error.errno or 0)
    text = f"{error.strerror or error}{needed}"
    return (f"{os.fspath(where)}: " if where is not None else "") + text + (f" - {remedy}" if remedy else "")


@contextmanager
def disk_errors(path: str | os.PathLike[str], needed_bytes: int | None = None) -> Iterator[None]:
    """Turns an OSError of the block into a ResourceError that names `path`."""
    try:
        yield
    except UserError:  # ResourceError is an OSError too, and says already what it must
        raise
    except OSError as error:
        raise ResourceError(explain(error, path, needed_bytes)) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file durably.

    Raises:
        ResourceError: the disk refuses; what was at `path` is untouched.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with disk_errors(path, len(data)):
        try:
            _write_durably(part, data)
            os.replace(part, path)
            sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)


def create_bytes(path: Path, data: bytes) -> bool:
    """Creates a file, whole and durably, where there is none yet: of several processes, on several machines, one succeeds.

    Returns:
        Whether this call created it.

    Raises:
        ResourceError: the disk refuses, or its file system has no hard links.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with disk_errors(path, len(data)):
        try:
            _write_durably(part, data)
            try:
                os.link(part, path)
            except FileExistsError:  # NFS may say so of a link that its first, lost answer reported
                if part.stat().st_nlink < 2:
                    return False
            sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)
    return True


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in a folder survive a power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON durably. ASCII, so that paths which are no UTF-8 (surrogate escapes) survive."""
    write_bytes(path, (json.dumps(plain(value), indent=1, allow_nan=False) + "\n").encode("ascii"))


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Reads a JSON object that `write_json` wrote.

    Raises:
        DataError: it is damaged; `remedy` says what to do.
    """
    with disk_errors(path):
        data = path.read_bytes()
    try:
        value = json.loads(data)
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error} - {remedy}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: damaged: not an object - {remedy}")
    return value


def append_event(path: str | os.PathLike[str], event: str, /, *, durable: bool = False, **fields: Any) -> None:
    """Appends `{"time": ..., "event": event, **fields}` to a JSONL log as one line, in one write.

    Numbers that are not finite become null, for JSON has none. A line torn by a crash is cut off first. `durable` waits
    for the disk.

    Raises:
        ResourceError: the disk refuses.
    """
    record = {"time": round(time.time(), 3), "event": event, **fields}
    line = (json.dumps(plain(record), ensure_ascii=True) + "\n").encode("ascii")
    with disk_errors(path, len(line)):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _cut_torn_line(handle)
            written = os.write(handle, line)
            if written < len(line):  # a full disk may take a part; the next append cuts it off
                os.write(handle, line[written:])
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)


def read_events(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads a JSONL event log; a last line without its end was never finished and is left out.

    Raises:
        DataError: a line in the middle is damaged.
    """
    events = []
    with disk_errors(path):
        lines = Path(path).read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{os.fspath(path)}:{number}: damaged event: {error} - delete this line") from None
    return events


def _cut_torn_line(handle: int) -> None:
    end = size = os.fstat(handle).st_size
    while end > 0:
        start = max(0, end - 4096)
        newline = os.pread(handle, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(handle, end)


def plain(value: Any) -> Any:
    """A value as JSON data: tuples are lists, paths text, scalars of numpy and torch numbers, NaN and infinity null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value) if isinstance(value, os.PathLike) else plain(value.item())  # a scalar of numpy or torch
