"""One worker of a job: takes a shard, labels its lines batch by batch, records it as done, takes the next.

As a process (`python -m distilmt.labels.worker`, started by pool.py) it reads its work as a line of JSON from standard
input, writes what it has done as lines of JSON to standard output, and stops when standard input ends: the process that
started it is gone or wants it to.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from distilmt.errors import DataError, DeviceFailed, ResourceError, UserError
from distilmt.interface.config import resolve, to_dict
from distilmt.label import LabelConfig
from distilmt.labels.lease import Lease
from distilmt.labels.records import Record, from_frames, to_frame
from distilmt.labels.segments import Writer, read_segment
from distilmt.labels.shards import STRIKES, Place, Shards
from distilmt.labels.source import Reader, Text
from distilmt.text.lines import Line

POLL_SECONDS = 0.5  # between two looks at shards that others hold
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Work:
    """What a worker needs to know. folder: of leases, segments and done; job: id, in hex; lines: of each shard that are to
    be labelled, None for all; threads: of this worker."""

    folder: str
    job: str
    text: Text
    target: Text | None
    config: LabelConfig
    lines: dict[int, list[int]] | None = None
    threads: int | None = None

    @property
    def shards(self) -> Shards:
        return Shards(Path(self.folder), bytes.fromhex(self.job), len(self.text.starts), self.config.lease_seconds)

    def wanted(self, everyone: bool = False) -> Sequence[int]:
        """Numbers of the shards that this worker may take; of all there are for `everyone`."""
        index, count = (0, 1) if everyone else self.config.share()
        every = range(len(self.text.starts)) if self.lines is None else self.lines
        return [shard for shard in every if shard % count == index]

    def numbers(self, shard: int) -> Sequence[int]:
        """Numbers of the lines of a shard, rising."""
        if self.lines is not None:
            return self.lines[shard]
        first = shard * self.text.shard_lines + 1
        return range(first, min(first + self.text.shard_lines, self.text.lines + 1))


def work(job: Work, teacher: Any, report: Report) -> None:
    """Labels shards until all that are wanted are done, by this worker or others.

    Args:
        teacher: has `label(lines, targets)` (teacher.py).
        report: called after each batch.
    """
    shards, wanted = job.shards, job.wanted()
    shards.make()
    sources, targets = Reader(job.text), Reader(job.target) if job.target else None
    while lease := _next(shards, wanted, report):
        try:
            _label_shard(job, shards, lease, sources, targets, teacher, report)
        except BaseException as error:
            # What ends a worker in good order is no strike against the shard; a device that fails is one, as a death.
            failed = "held" if isinstance(error, DeviceFailed) else "failed"
            lease.end(failed if isinstance(error, Exception) else "released")
            raise


def _next(shards: Shards, wanted: Sequence[int], report: Report) -> Lease | None:
    waiting = 0.0  # asleep: to look for a shard is work
    while True:
        lease = shards.take(wanted, {"records": 0, "single": False})
        if lease is not None or shards.finished().issuperset(wanted):
            report({"waiting": waiting})
            return lease
        began = time.perf_counter()
        time.sleep(min(POLL_SECONDS, shards.patience / 6))
        waiting += time.perf_counter() - began


def _label_shard(
    job: Work, shards: Shards, lease: Lease, sources: Reader, targets: Reader | None, teacher: Any, report: Report
) -> None:
    shard, numbers = lease.shard, job.numbers(lease.shard)
    place = shards.place(lease, numbers)
    single = place.deaths >= STRIKES
    lease.note(records=place.records, single=single)
    pairs = _pairs(sources, targets, shard, frozenset(numbers) if job.lines is not None else None)
    known: dict[tuple[str, str], bytes] = {}
    writer = Writer(shards.segment(shard, lease.attempt), shards.head(shard))
    try:
        repeated = _copy(shards, shard, place, writer, pairs, known)
        report({"shard": shard, "attempt": lease.attempt, "lines": place.records, "kept": True})
        if single and place.suspect and place.records < len(numbers):
            line, target = next(pairs)
            given_up = Record(
                line.number, "quarantined", [], cause=f"{place.deaths} workers died while they worked at it"
            )
            known[(line.text, target)] = to_frame(given_up)
            writer.append(to_frame(given_up))
            report(_batch(shard, [given_up], 0.0))
            single = False
        done = place.records
        left = job.config.batch_lines if single else 0  # how many lines are still taken one by one
        while batch := list(islice(pairs, 1 if left > 0 else job.config.batch_lines)):
            left -= 1
            if lease.superseded():  # another works at it since this process did not answer; what it writes is the same
                lease.end("released")
                return
            began = time.perf_counter()
            records, repeats = _label(batch, known, teacher, job.target is not None)
            decoding = time.perf_counter() - began
            writer.append(b"".join(map(to_frame, records)))
            repeated += repeats
            done += len(records)
            lease.facts["records"] = done  # told with the next heartbeat
            report(_batch(shard, records, decoding))
        for text in filter(None, (job.text, job.target)):
            text.verify_unchanged()
        shards.finish(lease, numbers, repeated)
        report({"shard": shard, "attempt": lease.attempt, "done": True, "repeated": repeated})
    finally:
        writer.close()


def _pairs(
    sources: Reader, targets: Reader | None, shard: int, chosen: frozenset[int] | None
) -> Iterator[tuple[Line, str]]:
    """(source line, gold target or "") of the lines that are to be labelled."""
    others = targets.shard(shard) if targets else None
    for line in sources.shard(shard):
        target = next(others) if others else None
        if chosen is None or line.number in chosen:
            yield line, target.text if target is not None and target.status == "ok" else ""


def _copy(
    shards: Shards, shard: int, place: Place, writer: Writer, pairs: Iterator[Any], known: dict[Any, bytes]
) -> int:
    """Takes over what an earlier attempt wrote, and reads as many lines of the text; returns how many are repeated."""
    if place.source is None:
        return 0
    repeated, frames = 0, []
    path = shards.segment(shard, place.source)
    for (record, _), (line, target) in zip(
        read_segment(path, shards.head(shard), place.bytes), islice(pairs, place.records), strict=False
    ):
        if record.line != line.number:
            raise DataError(f"{path}: changed while it was read - run the same command again")
        frames.append(to_frame(record))
        if line.status != "quarantined":
            repeated += (line.text, target) in known
            known.setdefault((line.text, target), frames[-1])
        if len(frames) >= 1000:
            writer.append(b"".join(frames))
            frames.clear()
    writer.append(b"".join(frames))
    return repeated


def _label(
    batch: Sequence[tuple[Line, str]], known: dict[tuple[str, str], bytes], teacher: Any, forced: bool
) -> tuple[list[Record], int]:
    """Records of a batch; a text that the shard has seen before is not decoded again."""
    new = {}
    for line, target in batch:
        if line.status == "quarantined":
            new[line.number] = (line, target)
        elif (line.text, target) not in known:
            known[(line.text, target)] = b""
            new[line.number] = (line, target)
    lines = [line for line, _ in new.values()]
    fresh = {each.line: each for each in teacher.label(lines, [t for _, t in new.values()] if forced else None)}
    records = []
    for line, target in batch:
        record = fresh.get(line.number)
        if record is None:
            record = replace(from_frames(known[(line.text, target)])[0][0], line=line.number)
        elif line.status != "quarantined":
            known[(line.text, target)] = to_frame(record)
        records.append(record)
    return records, len(batch) - len(new)


def _batch(shard: int, records: Sequence[Record], decoding: float) -> dict[str, Any]:
    return {
        "shard": shard, "lines": len(records), "decoding": decoding,
        "tokens": sum(record.candidates[0].tokens for record in records if record.candidates),
        "verdicts": dict(Counter(record.verdict for record in records)),
    }  # fmt: skip


def to_json(job: Work) -> str:
    """Work as one line of JSON."""
    return json.dumps({
        "folder": job.folder, "job": job.job, "text": job.text.plain(), "target": job.target and job.target.plain(),
        "config": to_dict(job.config), "lines": job.lines and list(job.lines.items()), "threads": job.threads,
    })  # fmt: skip


def from_json(text: str) -> Work:
    """The reverse of `to_json`."""
    data = json.loads(text)
    return Work(
        data["folder"], data["job"], Text(**data["text"]), data["target"] and Text(**data["target"]),
        resolve(LabelConfig, data["config"]), data["lines"] and dict(data["lines"]), data["threads"],
    )  # fmt: skip


def main() -> int:
    """The worker as a process."""
    for each in (signal.SIGINT, signal.SIGTERM):  # in good order: the shard is given back
        signal.signal(each, signal.default_int_handler)
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not mix with the reports

    def say(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    def stop_with_parent() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGINT)

    try:
        job = from_json(sys.stdin.readline())
        threading.Thread(target=stop_with_parent, daemon=True).start()
        from distilmt.labels.teacher import Teacher

        teacher = Teacher(job.config, job.threads)
        say({"ready": True})
        try:
            work(job, teacher, say)
        except DeviceFailed as error:  # said as a death is, by the exit code: another process takes this one's place
            print(f"distilmt: {error}", file=sys.stderr)
            return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 130
    except UserError as error:
        say({"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    except Exception as error:  # another worker would meet it too: no death that one would be started for
        traceback.print_exc()
        say({"error": f"a worker failed: {error!r} - see above where; nothing that is labelled is lost",
             "exit_code": ResourceError.exit_code})  # fmt: skip
        return ResourceError.exit_code
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a thread waits for standard input, which may never end
