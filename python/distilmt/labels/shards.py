"""The shards of a job: which are done, which are taken, and by which attempt (files: lease.py, segments.py).

leases/000012.0     the first attempt at shard 12
segments/000012.0   what it wrote
done/000012.json    shard 12 is done, and by which attempt; created once, so of two attempts one counts
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distilmt.labels import segments
from distilmt.labels.lease import Lease, Watch, look
from distilmt.state.stage import hash_of
from distilmt.state.storage import create_bytes, disk_errors, sync_folder

STRIKES = 3  # deaths of workers at one place before the line is suspected, and before it is given up


@dataclass(frozen=True)
class Done:
    """What the done record of a shard promises: the first `bytes` of segments/SHARD.ATTEMPT are `records` records and have
    this SHA-256. tokens: of the best hypotheses; repeated: lines whose text stood in the shard before; verdicts: lines by
    verdict."""

    job: str
    shard: int
    attempt: int
    records: int
    bytes: int
    sha256: str
    tokens: int
    repeated: int
    verdicts: dict[str, int]


@dataclass(frozen=True)
class Place:
    """Where an attempt begins: behind `records` records, `bytes` of the segment file of attempt `source` (None: nothing).

    deaths: how many workers died there; suspect: one of them while it worked line by line.
    """

    records: int
    bytes: int
    source: int | None
    deaths: int
    suspect: bool


class Shards:
    """The shards of one generation of a job.

    Args:
        folder: of leases, segments and done.
        job: id of the job, 32 bytes.
        count: number of shards.
        patience: seconds without a heartbeat after which a worker on another machine counts as dead.
    """

    def __init__(self, folder: Path, job: bytes, count: int, patience: float) -> None:
        self.folder, self.job, self.count, self.patience = folder, job, count, patience
        self.watch = Watch(patience)

    def make(self) -> None:
        """Makes the folders where they are absent."""
        with disk_errors(self.folder):
            for name in ("leases", "segments", "done"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)

    def head(self, shard: int) -> bytes:
        """How every segment file of a shard begins."""
        return segments.header(self.job, shard)

    def segment(self, shard: int, attempt: int) -> Path:
        return self.folder / "segments" / f"{shard:06}.{attempt}"

    def finished(self) -> set[int]:
        """Numbers of the shards that have a done record."""
        names = _names(self.folder / "done")
        return {int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()}

    def attempts(self) -> dict[int, int]:
        """The latest attempt at each shard that was ever taken."""
        latest: dict[int, int] = {}
        for name in _names(self.folder / "leases"):
            shard, _, attempt = name.partition(".")
            if shard.isdigit() and attempt.isdigit():
                latest[int(shard)] = max(latest.get(int(shard), 0), int(attempt))
        return latest

    def take(self, wanted: Sequence[int], facts: dict[str, Any]) -> Lease | None:
        """Takes the first shard of `wanted` that is neither done nor in the hands of a living worker; None if there is
        none. facts: of the worker, for observers."""
        done, latest = self.finished(), self.attempts()
        for shard in wanted:
            if shard in done:
                continue
            attempt = latest.get(shard, -1)
            if attempt >= 0 and not self.watch.free(self._lease(shard, attempt)):
                continue
            lease = Lease.take(self.folder / "leases", shard, attempt + 1, self.patience / 6, facts)
            if lease is None:
                continue
            if (self.folder / "done" / f"{shard:06}.json").exists():  # finished between the two looks
                lease.end("done")
                continue
            return lease
        return None

    def place(self, lease: Lease, lines: Sequence[int]) -> Place:
        """Where this attempt begins: behind the longest sound segment of those before it."""
        best, best_end, source, dead = 0, segments.HEADER_BYTES, None, []
        for attempt in range(lease.attempt):
            count, end = segments.sound(self.segment(lease.shard, attempt), self.head(lease.shard), lines)
            seen = look(self._lease(lease.shard, attempt))
            if seen.state == "held":
                dead.append((count, bool(seen.content.get("single"))))
            if count > best:
                best, best_end, source = count, end, attempt
        at_best = [single for count, single in dead if count == best]
        return Place(best, best_end, source, len(at_best), any(at_best))

    def finish(self, lease: Lease, lines: Sequence[int], repeated: int) -> None:
        """Reads the segment back and records the shard as done.

        Raises:
            ResourceError: the disk gives back something else than what was written.
        """
        done = self._proof(lease.shard, lease.attempt, lines, repeated)
        record = asdict(done)
        data = (json.dumps(record | {"check": hash_of(record)}, indent=1) + "\n").encode("ascii")
        create_bytes(self.folder / "done" / f"{lease.shard:06}.json", data)
        lease.end("done")

    def done(self, shard: int) -> Done | None:
        """The done record of a shard; None where it is missing, damaged or another job's."""
        path = self.folder / "done" / f"{shard:06}.json"
        try:
            with disk_errors(path):
                data = path.read_bytes() if path.exists() else b""
            record = json.loads(data)
            check = record.pop("check")
            if check != hash_of(record) or record["job"] != self.job.hex() or record["shard"] != shard:
                return None
            return Done(**record)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def reopen(self, shard: int) -> None:
        """Takes a shard's done record back: what it promises is not there."""
        path = self.folder / "done" / f"{shard:06}.json"
        with disk_errors(path):
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def _lease(self, shard: int, attempt: int) -> Path:
        return self.folder / "leases" / f"{shard:06}.{attempt}"

    def _proof(self, shard: int, attempt: int, lines: Sequence[int], repeated: int) -> Done:
        path = self.segment(shard, attempt)
        verdicts: dict[str, int] = {}
        tokens = count = 0
        end = segments.HEADER_BYTES
        for (record, behind), line in zip(segments.read_segment(path, self.head(shard)), lines, strict=False):
            if record.line != line:
                break
            end = behind
            verdicts[record.verdict] = verdicts.get(record.verdict, 0) + 1
            tokens += record.candidates[0].tokens if record.candidates else 0
            count += 1
        if count != len(lines):
            raise segments.damaged(path, lines[count])
        return Done(
            self.job.hex(), shard, attempt, count, end, hash_of_first(path, end), tokens, repeated,
            dict(sorted(verdicts.items())),
        )  # fmt: skip


def _names(folder: Path) -> list[str]:
    with disk_errors(folder):
        return os.listdir(folder) if folder.is_dir() else []


def hash_of_first(path: Path, size: int) -> str:
    """SHA-256 (hex) of the first `size` bytes of a file; of all there are where it is shorter."""
    digest = hashlib.sha256()
    with disk_errors(path), path.open("rb") as stream:
        while size > 0 and (block := stream.read(min(size, segments.BLOCK))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()
