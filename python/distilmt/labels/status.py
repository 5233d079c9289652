"""`distilmt labels status` and `verify`: how far a job is, from any shell; and whether all of it is what was recorded."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from distilmt.errors import DataError
from distilmt.labels.cost import cost
from distilmt.labels.events import Session, sessions
from distilmt.labels.lease import look
from distilmt.labels.merge import RESULT, Damaged, Stored, read_redo, redo_folders, shard_records
from distilmt.labels.proof import faults
from distilmt.labels.shards import Shards

RECENT_SECONDS = 600.0  # what the present speed is judged by


@dataclass
class JobStatus:
    """How far a job is. lines: labelled, in done shards and under way; at_work: a line about each worker that holds a shard;
    verdicts: of done shards; speeds: of the sessions at work, None where none of them has said anything for ten minutes."""

    folder: Path
    lines: int
    total: int
    shards: int
    all_shards: int
    merged: bool
    verdicts: dict[str, int]
    at_work: list[str]
    lines_per_second: float | None
    tokens_per_second: float | None
    cost: dict[str, object] = field(default_factory=dict)
    redone: list[str] = field(default_factory=list)

    @property
    def seconds_left(self) -> float | None:
        """At the present speed; None where it is unknown."""
        return max(0, self.total - self.lines) / self.lines_per_second if self.lines_per_second else None

    def __str__(self) -> str:
        share = 100 * self.lines / self.total
        said = [
            f"{self.folder}: {self.lines:,} of {self.total:,} lines ({share:.1f} %), {self.shards:,} of {self.all_shards:,} shards"
            + (", merged" if self.merged else ""),
            "verdicts: " + (", ".join(f"{n:,} {name}" for name, n in self.verdicts.items()) or "none yet"),
        ]
        if self.seconds_left:
            said.append(
                f"speed: {self.lines_per_second:,.1f} lines/s, {self.tokens_per_second:,.0f} tokens/s; "
                f"{self.seconds_left / 3600:,.2f} h left"
            )
        joules, unknown = self.cost["known_joules"], self.cost["joules"] is None
        rest = ", and what other sessions used" if unknown else ""
        said.append(f"energy so far: {f'{joules:,.0f} J{rest}' if joules is not None else 'not measured'}")
        return "\n".join([*said, *self.at_work, *self.redone])


def status(folder: str | Path) -> JobStatus:
    """How far the job in a folder is. Nothing in it is changed. Raises: DataError: no job, or a damaged manifest."""
    folder = Path(folder)
    stored = Stored(folder)
    shards = stored.base
    finished = {shard for shard in shards.finished() if shard < shards.count}
    verdicts: Counter[str] = Counter()
    lines = 0
    for shard in finished:
        if done := shards.done(shard):
            lines += done.records
            verdicts.update(done.verdicts)
    at_work = []
    for shard, attempt in sorted(shards.attempts().items()):
        if shard in finished or shard >= shards.count:
            continue
        seen = look(folder / "leases" / f"{shard:06}.{attempt}")
        lines += int(seen.content.get("records", 0))
        if seen.state == "held":
            owner = seen.content["owner"]
            how = "is gone" if seen.gone else "works"
            at_work.append(
                f"shard {shard}, attempt {attempt + 1}: process {owner.get('pid')} on {owner.get('host')} {how}; "
                f"{int(seen.content.get('records', 0)):,} lines"
            )
    speeds = [speed for session in sessions(folder) if (speed := _speed(session))]
    return JobStatus(
        folder, lines, stored.lines, len(finished), shards.count, (folder / RESULT).exists(), dict(verdicts.most_common()),
        at_work, sum(lines for lines, _ in speeds) if speeds else None, sum(tokens for _, tokens in speeds) if speeds else None,
        cost(folder), list(map(_redone, redo_folders(folder))),
    )  # fmt: skip


def _speed(session: Session) -> tuple[float, float] | None:
    """Lines and tokens a second of a session at work: its workers times the mean of its latest batches by their own
    stopwatch, for the clocks of machines differ and jump; None where it has ended or is silent."""
    if session.lives is False or abs(time.time() - session.written) > RECENT_SECONDS:
        return None
    lines = tokens = seconds = 0.0
    workers = session.begin.get("workers", 1)
    for batch in reversed(session.latest):
        if seconds > workers * RECENT_SECONDS:
            break
        lines, tokens = lines + batch["lines"], tokens + batch["tokens"]
        seconds += batch["decoding"]
    return (workers * lines / seconds, workers * tokens / seconds) if seconds else None


def _redone(folder: Path) -> str:
    """A line about a generation of redone lines."""
    manifest, job = read_redo(folder)
    done = Shards(folder, job, 0, 60.0).finished() & {int(shard) for shard in manifest["lines"]}
    return (
        f"redo {folder.name} ({', '.join(manifest['where'])}): {sum(map(len, manifest['lines'].values())):,} lines, "
        f"{len(done):,} of {len(manifest['lines']):,} shards"
    )


@dataclass
class Verified:
    """What `verify` found. problems: a sentence each."""

    folder: Path
    records: int
    problems: list[str]

    def __str__(self) -> str:
        if not self.problems:
            return f"{self.folder}: {self.records:,} records whole, every line once; results as recorded"
        remedy = "run the same `distilmt label` again, or the command that a line names"
        return "\n".join([*self.problems, f"{self.folder}: {len(self.problems)} problems - {remedy}"])


def verify(folder: str | Path) -> Verified:
    """Reads everything a job holds and compares it with what was recorded: checksums, line numbers, counts, hashes.

    Raises: DataError: no job, or a damaged manifest.
    """
    folder = Path(folder)
    stored = Stored(folder)
    problems: list[str] = []
    records = 0
    for shards, chosen in [(stored.base, None), *stored.redone]:
        for shard in sorted(shards.finished() if chosen is None else chosen):
            if shard >= shards.count:
                continue
            try:
                lines = stored.numbers(shard) if chosen is None else chosen[shard]
                records += sum(1 for _ in shard_records(shards, shard, lines))
            except Damaged as error:
                problems.append(str(error))
    if missing := stored.unfinished():
        problems.append(f"{folder}: {missing} of {stored.base.count} shards are not labelled yet")
    problems += [
        f"{path}: unfinished - run the same `distilmt labels redo` again, or delete it" for path in stored.begun
    ]
    try:
        problems += faults(stored)
    except DataError as error:
        problems.append(str(error))
    return Verified(folder, records, problems)
