"""What the teacher said of one line, as a frame with a checksum (csrc/labels/records.h); and all lines of a job, in order.

for record in read_records("labels"):
    print(record.line, record.verdict, record.text)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from distilmt.errors import DataError

Verdict = Literal[
    "ok", "empty_source", "empty_target", "too_long", "max_length", "repetition", "copy", "length_ratio", "low_score",
    "non_finite_redone", "quarantined",
]  # fmt: skip
VERDICTS: tuple[str, ...] = get_args(Verdict)  # a stored verdict is its place in this list: append, never reorder
USABLE = ("ok", "non_finite_redone")  # what a student learns from


@dataclass(frozen=True)
class Candidate:
    """One of the n best. text: without line ends; ids: without start and end symbols; score: what the search ranked by,
    normalised by the length penalty; log_prob: sum over tokens; both in nats; tokens: the end symbol included."""

    text: str
    ids: Sequence[int]
    score: float
    log_prob: float
    tokens: int


@dataclass(frozen=True)
class Record:
    """One line. line: from 1; candidates: best first, none where nothing was decoded; soft, forced: the soft labels of the
    first candidate and of the gold target (`distilmt.soft_labels.decode`), b"" where not asked for; cause: of a
    quarantine, and why the gold target has no soft labels."""

    line: int
    verdict: Verdict
    candidates: Sequence[Candidate]
    soft: bytes = b""
    forced: bytes = b""
    cause: str = ""

    @property
    def text(self) -> str:
        """Of the best candidate; "" where there is none."""
        return self.candidates[0].text if self.candidates else ""

    @property
    def gold_fault(self) -> str:
        """Why the gold target has no soft labels though it is text: "not_finite", "no_memory"; "" where that is not so."""
        found = re.search(r"(?:^|; )gold (not_finite|no_memory): ", self.cause)
        return found[1] if found else ""


def to_frame(record: Record) -> bytes:
    """The bytes of a record in a segment file."""
    candidates = [(c.text, c.ids, c.score, c.log_prob, c.tokens) for c in record.candidates]
    verdict = VERDICTS.index(record.verdict)
    from distilmt import _native  # the command line starts without

    return _native.encode_record(record.line, verdict, record.cause, candidates, record.soft, record.forced)


def from_frames(data: bytes, offset: int = 0, limit: int = 1 << 20) -> list[tuple[Record, int]]:
    """At most `limit` whole, sound frames from an offset on: records, and the offset behind each.

    Raises:
        DataError: a record has a verdict that this version does not know.
    """
    records = []
    from distilmt import _native  # the command line starts without

    for line, verdict, cause, candidates, soft, forced, end in _native.scan_records(data, offset, limit):
        if verdict >= len(VERDICTS):
            raise DataError(f"line {line}: verdict {verdict} is unknown - a newer distilmt wrote it, use that one")
        name: Verdict = VERDICTS[verdict]  # type: ignore[assignment]
        records.append((Record(line, name, [Candidate(*c) for c in candidates], soft, forced, cause), end))
    return records


def read_records(folder: str | Path) -> Iterator[Record]:
    """Streams the records of a finished job in source order, what was redone in place of what it replaces.

    Raises:
        DataError: the job is unfinished, or a stored record is damaged.
    """
    from distilmt.labels.merge import merged_records

    return merged_records(Path(folder))
