"""How long a text takes to decode, from how long a sample of it took.

A call keeps `slots` sentences in flight per worker and steps them together, so that with K steps, of which each costs
something whatever is in flight (the weights are read once), it takes

    T = F K + L,        F: seconds of a step before the first sentence, L: seconds that the lines themselves take

At the end of a call no sentence is left to fill the slots: a small sample has more steps per line than a long text. K is
known: it is what the queue (longest source first, a freed slot is refilled at once) makes of the lengths that came out.
F is found by decoding the sample once more with so few slots that K is three times as large: same L, more steps. A text
of N lines, decoded in blocks of B, then takes

    N / B F K_B + N / n L,        K_B: steps of a block whose lengths are the sample's

The interval holds the spread of the repeats and the luck of the draw: for a sample in order of length, the variance of
the mean is (1 - n/N) sum (c_i - c_{i-1})^2 / (2 n (n - 1)), c being a line's tokens (Wolter 1985, successive differences).
It does not hold what else the machine will be doing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

from distilmt.bill.interval import mean_variance, t_975
from distilmt.bill.rates import Amount
from distilmt.energy import EnergyOptions, Meter, Usage, total

if TYPE_CHECKING:
    from distilmt.labels.records import Record
    from distilmt.labels.teacher import Teacher
    from distilmt.text.lines import Line

_ROWS = 96  # of a step: csrc/engine/scheduler.cpp fills its slots up to it


@dataclass(frozen=True)
class Pace:
    """What labelling a sample showed.

    Attributes:
        records: of the sample's lines.
        lengths: steps of each sentence, longest source first; draws: tokens of each, in the sample's order.
        seconds: of each repeat; step_seconds: F. usage: of all repeats.
        workers, beams: they decide the slots.
    """

    records: list[Record]
    lengths: list[int]
    draws: list[int]
    seconds: list[float]
    step_seconds: float
    usage: Usage
    workers: int
    beams: int

    def of(self, lines: int, block: int) -> Amount:
        """Seconds that so many lines take, decoded in blocks; its interval is None after a single repeat."""
        mean, variance = mean_variance(self.seconds)
        own = self.step_seconds * steps(self.lengths, self.workers, self.beams)
        block = min(block, lines)
        sentences = [self.lengths[i * len(self.lengths) // block] for i in range(block)]
        fixed = self.step_seconds * steps(sentences, self.workers, self.beams)
        value = lines / block * fixed + lines / len(self.lengths) * (mean - own)
        if len(self.seconds) == 1:
            return Amount(value)
        timing = t_975(len(self.seconds) - 1) * math.sqrt(variance) / mean
        error = math.hypot(timing, 1.96 * _draw_error(self.draws, lines))
        return Amount(value, value * max(0.0, 1 - error), value * (1 + error))

    @property
    def drain(self) -> float:
        """Share of the sample's time that its steps took beyond those of full slots."""
        full = sum(self.lengths) / (self.workers * slots(10**9, self.workers, self.beams))
        return max(0.0, self.step_seconds * (steps(self.lengths, self.workers, self.beams) - full)) / fmean(
            self.seconds
        )


def measure(
    teacher: Teacher, lines: Sequence[Line], targets: Sequence[str] | None, repeats: int, metering: EnergyOptions
) -> Pace:
    """Labels the lines, which differ from each other: some to warm up, all `repeats` times, and once with few slots.

    Args:
        targets: gold targets whose soft labels are wanted too; None for none.
    """
    translator = teacher.translator
    beams, workers = teacher.config.search.options()["beam_size"], translator.threads
    some = slice(0, None, max(1, len(lines) // 16))
    label(teacher, lines[some], targets[some] if targets else None, metering)
    timed = [label(teacher, lines, targets, metering) for _ in range(repeats)]
    records, usages = timed[0][0], [usage for _, usage in timed]
    seconds = [usage.seconds for usage in usages]
    sources = translator.vocab.encode_source([line.text for line in lines])
    draws = [record.candidates[0].tokens if record.candidates else 0 for record in records]
    lengths = [draws[i] for i in sorted(range(len(lines)), key=lambda i: -len(sources[i]))]
    step_seconds = 0.0
    few, own = slots(len(lines), workers, beams), steps(lengths, workers, beams)
    while few > 1 and steps(lengths, workers, beams, few) < 3 * own:
        few //= 2
    more = steps(lengths, workers, beams, few) - own
    if translator.engine == "native" and more > 0:  # the other engine decodes fixed batches, which have no queue
        translator.slots, given = few, translator.slots
        longer = label(teacher, lines, targets, metering)[1].seconds
        translator.slots = given
        # Neither less than nothing nor more than all of the time.
        step_seconds = min(max(0.0, (longer - fmean(seconds)) / more), fmean(seconds) / own)
    return Pace(records, lengths, draws, seconds, step_seconds, total(usages), workers, beams)


def label(
    teacher: Teacher, lines: Sequence[Line], targets: Sequence[str] | None, metering: EnergyOptions
) -> tuple[list[Record], Usage]:
    """One metered call."""
    with Meter(metering) as meter:
        records = teacher.label(lines, targets)
    assert meter.usage is not None
    return records, meter.usage


def slots(lines: int, workers: int, beams: int) -> int:
    """Sentences that a worker keeps in flight, as csrc/engine/scheduler.cpp chooses them where memory is no limit."""
    share = -(-lines // workers)
    most = min(share, max(1, _ROWS // beams))
    return -(-share // -(-share // most))


def steps(lengths: Sequence[int], workers: int, beams: int, of_slots: int | None = None) -> int:
    """Steps of a call: a queue of sentences of so many steps each, taken in order by the first slot that is free."""
    free_at = [0] * (workers * (of_slots or slots(len(lengths), workers, beams)))
    for length in lengths:
        heapq.heapreplace(free_at, free_at[0] + length)
    return max(free_at)


def _draw_error(draws: Sequence[int], lines: int) -> float:
    """Standard error of the mean, by the mean."""
    n, mean = len(draws), fmean(draws)
    if n < 2 or not mean:
        return 0.0
    squares = sum((second - first) ** 2 for first, second in pairwise(draws))
    return math.sqrt(max(0.0, 1 - n / lines) * squares / (2 * n * (n - 1))) / mean
