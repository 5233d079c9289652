"""A few hundred lines that stand for a whole text: drawn by length, in one pass and bounded memory.

The lines that a labelling would decode (not empty, fit to be read, new in their shard) fall into classes of lengths within
9 % of each other. From each class of N_h of all N lines the sample has n N_h / N, rounded so that they add up to n: so it
has the text's distribution of lengths, and every line of it stands for N / n lines.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from distilmt.errors import DataError
from distilmt.text.lines import Line, OnInvalidUtf8, read_lines

_CLASSES = 8  # to each doubling of the length


@dataclass(frozen=True)
class Sample:
    """What was drawn and from what.

    Attributes:
        chosen: from the shortest class to the longest, no two texts equal.
        lines: in the file. decoded: of these, lines that the model would be asked for.
        left_out: how many others there are, by reason.
        references: a translation of each chosen line, empty where no reference was given.
    """

    chosen: list[Line]
    lines: int
    decoded: int
    left_out: dict[str, int]
    references: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Sentences for the reader of a forecast."""
        drawn = "all of them" if len(self.chosen) >= self.decoded else f"{len(self.chosen):,} drawn by their length"
        others = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
        return [f"{self.lines:,} lines, {self.decoded:,} to decode{f' ({others})' if others else ''}; sample: {drawn}."]


def draw(
    source: str, size: int, *, shard: int, seed: int = 1, on_invalid_utf8: OnInvalidUtf8 = "error",
    reference: str | None = None,
) -> Sample:  # fmt: skip
    """Draws the sample.

    Args:
        source: text, one sentence a line; compressed or plain.
        size: lines to draw; all there are where they are fewer.
        shard: lines of a shard of the job, within which equal ones are decoded once.
        reference: its translation, line by line.
    Raises: DataError: no line to decode; another number of lines in the reference; what `read_lines` raises.
    """
    chance = random.Random(seed)
    classes: dict[int, list[Line]] = {}
    counts: Counter[int] = Counter()
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    lines = 0
    for line in read_lines(source, on_invalid_utf8=on_invalid_utf8):
        if lines % shard == 0:
            seen.clear()
        lines += 1
        if line.status != "ok" or line.text in seen:
            left_out[line.status if line.status != "ok" else "repeated"] += 1
            continue
        seen.add(line.text)
        of_length = round(_CLASSES * math.log2(len(line.text)))
        counts[of_length] += 1
        kept = classes.setdefault(of_length, [])
        if len(kept) < size:
            kept.append(line)
        elif (place := chance.randrange(counts[of_length])) < size:  # a reservoir: every line is kept with equal chance
            kept[place] = line
    decoded = counts.total()
    if not decoded:
        said = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "empty"
        raise DataError(f"{source}: no line to decode in {lines:,} lines ({said}) - check the file")
    chosen: dict[str, Line] = {}
    for of_length, wanted in _shares(counts, min(size, decoded)).items():
        for line in sorted(chance.sample(classes[of_length], wanted), key=lambda line: line.number):
            chosen.setdefault(line.text, line)
    drawn = list(chosen.values())
    numbers = [line.number for line in drawn]
    references = _lines_of(reference, numbers, lines, source, on_invalid_utf8) if reference else []
    return Sample(drawn, lines, decoded, dict(left_out), references)


def _shares(counts: Counter[int], size: int) -> dict[int, int]:
    """How many to take of each class, shortest first: where the size's equal steps through the sorted lines fall."""
    total = counts.total()
    ends = accumulate(counts[key] for key in sorted(counts))
    # Of the positions (i + 1/2) total / size, those below an end are ceil(end size / total - 1/2).
    below = [math.ceil(end * size / total - 0.5) for end in ends]
    return {key: last - first for key, first, last in zip(sorted(counts), [0, *below], below, strict=False)}


def _lines_of(
    path: str, numbers: Sequence[int], expected: int, source: str, on_invalid_utf8: OnInvalidUtf8
) -> list[str]:
    wanted, found, count = set(numbers), {}, 0
    for line in read_lines(path, on_invalid_utf8=on_invalid_utf8):
        count += 1
        if line.number in wanted:
            found[line.number] = line.text
    if count != expected:
        raise DataError(
            f"{path}: {count:,} lines, but {source} has {expected:,} - both must be the same text, in order"
        )
    return [found[number] for number in numbers]
