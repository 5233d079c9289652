"""The bill of a distillation, from a report's data: what making cost, by kind of stage and by thing gained; what serving costs.

    made        = stages that a student needed: labelling, selection, its own training; mean over its seeds
    per point   = made / (score of the student - score of the student alone), of means over seeds
    per label   = all labelling stages / lines labelled
    per word    = decoding of the test sets / words of their source side

The teacher's training stands among the kinds and never in `made`: a teacher serves many students. What is spent together
(seconds, joules and the ends of their intervals) is added before it is converted; a sum with a hole is unknown.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from distilmt.bill.rates import Cost, Rates, cost
from distilmt.energy import holes
from distilmt.errors import ConfigError, DataError
from distilmt.interface.config import resolve
from distilmt.report.numbers import Data, System, peer, quality, spread, systems_of, tests_of
from distilmt.state.stage import Kind

KINDS: tuple[str, ...] = typing.get_args(Kind)
OTHER = "other"  # stages recorded without a kind
MEASURES = ("bleu", "chrf")


@dataclass(frozen=True)
class Spent:
    """What some stages or decodings used together; None is unknown.

    Attributes:
        seconds, cpu_seconds: sums. peak_bytes: most memory of the process; gpu_peak_bytes: on its cards.
        bounded: some peak is that since the process began, so `peak_bytes` is an upper bound.
        joules, joules_low, joules_high: known where each part's is, and none lost a component that another counted.
        energy_kind: "measured" where each part's is, "estimated" or "unknown".
    """

    seconds: float
    cpu_seconds: float | None
    peak_bytes: int | None
    gpu_peak_bytes: int | None
    bounded: bool
    joules: float | None
    joules_low: float | None
    joules_high: float | None
    energy_kind: str

    def cost(self, rates: Rates, share: float = 1.0) -> Cost:
        """Converted; `share` of it, 0 or more."""
        joules = [None if end is None else end * share for end in (self.joules, self.joules_low, self.joules_high)]
        return cost(rates, self.seconds / 3600 * share, *joules)


@dataclass(frozen=True)
class Line:
    """A line of the bill: `count` things (stages, points, lines, words) and what all of them cost, or one of them."""

    name: str
    count: float
    spent: Spent
    cost: Cost

    @property
    def estimated(self) -> bool:
        """Whether some of its energy is a model's and not a meter's."""
        return self.spent.energy_kind == "estimated"


def rates_of(data: Data) -> Rates:
    """Rates recorded in a report.

    Raises: DataError: there are some that cannot be.
    """
    try:
        rates: Rates = resolve(Rates, data.get("rates") or {})
        return rates
    except ConfigError as error:
        raise DataError(f"rates: {error}") from None


def spent(parts: Iterable[Data]) -> Spent:
    """Adds up stages, or decodings, of a report."""
    parts = list(parts)

    def total(key: str) -> float | None:
        values = [part.get(key) for part in parts]
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) > 0 else None

    def most(key: str) -> int | None:
        return max((part[key] for part in parts if part.get(key) is not None), default=None)

    coverage = [(part.get("energy_coverage") or [], part.get("energy_missing") or []) for part in parts]
    low, joules, high = [None if holes(coverage) else total(key) for key in ("joules_low", "joules", "joules_high")]
    # Before there were kinds, all joules were counters'.
    measured = all(part.get("energy_kind", "measured") == "measured" for part in parts)
    return Spent(
        seconds=sum(part["seconds"] for part in parts),
        cpu_seconds=total("cpu_seconds"),
        peak_bytes=most("peak_rss_bytes"),
        gpu_peak_bytes=most("gpu_peak_bytes"),
        bounded=any(part.get("peak_rss_method") == "ru_maxrss" for part in parts),
        joules=joules,
        joules_low=low,
        joules_high=high,
        energy_kind="unknown" if joules is None else "measured" if measured else "estimated",
    )


def kinds(data: Data, rates: Rates) -> list[Line]:
    """What making cost, one line for each kind of stage that there was, and "all"."""
    found: dict[str, list[Data]] = {}
    for stage in data["stages"]:
        kind = stage.get("kind")
        found.setdefault(kind if kind in KINDS else OTHER, []).append(stage)
    lines = [_line(kind, found[kind], rates) for kind in (*KINDS, OTHER) if kind in found]
    return [*lines, _line("all", data["stages"], rates)] if lines else []


def made(data: Data, system: System) -> Spent | None:
    """What making a system took once its teacher was there, mean over its seeds; None where the report does not say.

    Each seed counts the labels it learnt from in full, as if it had been the only one.
    """
    stages = {(stage.get("run"), stage["name"]): stage for stage in data["stages"]}
    named = [[(entry.get("run"), name) for name in entry.get("made_by") or []] for entry in system.entries]
    if not all(named) or any(key not in stages for keys in named for key in keys):
        return None
    whole = spent(stages[key] for keys in named for key in keys)
    sums = ("seconds", "cpu_seconds", "joules", "joules_low", "joules_high")
    values = {
        key: value / len(named) if key in sums and value is not None else value for key, value in asdict(whole).items()
    }
    return Spent(**values)


@dataclass(frozen=True)
class Point:
    """What a student gained over the student alone, in points.

    Attributes:
        gain: difference of the means over seeds; None without a student alone.
        error: its standard error, sqrt(sd^2 / n + sd_alone^2 / n_alone); None with one seed of either.
        cost: of one point; None where nothing was gained.
    """

    system: str
    test: str
    measure: str
    gain: float | None
    error: float | None
    estimated: bool
    cost: Cost | None


def points(data: Data, rates: Rates) -> list[Point]:
    """What a point of quality cost: for each student whose making is recorded, each test set and measure."""
    systems, found = systems_of(data), []
    for system in systems:
        whole = made(data, system)
        if system.role != "student" or whole is None:
            continue
        for test in tests_of(data):
            for measure in MEASURES:
                get = quality(test, measure)
                own, alone = spread(system.entries, get), spread(peer(systems, system, "baseline"), get)
                gain = None if own is None or alone is None else own.mean - alone.mean
                error = None
                if own and alone and own.deviation is not None and alone.deviation is not None:
                    error = math.hypot(own.deviation / math.sqrt(own.n), alone.deviation / math.sqrt(alone.n))
                price = whole.cost(rates, 1 / gain) if gain is not None and gain > 0 else None
                estimated = whole.energy_kind == "estimated"
                found.append(Point(system.name, test, measure, gain, error, estimated, price))
    return found


def labels(data: Data, rates: Rates) -> Line | None:
    """What a million labelled lines cost, by all labelling of the report; None where no stage says how many it labelled."""
    stages = [stage for stage in data["stages"] if stage.get("kind") == "labelling"]
    lines = [int((stage.get("work") or {}).get("lines") or 0) for stage in stages]
    if not stages or not all(lines):
        return None
    whole = spent(stages)
    return Line("million labels", sum(lines), whole, whole.cost(rates, 1e6 / sum(lines)))


def serving(data: Data, rates: Rates) -> list[Line]:
    """What a million words of source text cost, for each system that was timed; all its seeds and repeats together.

    Words are what blanks separate, the way translation is priced; a language that writes no blanks has its lines as words.
    """
    lines = []
    for system in systems_of(data):
        found = [entry.get("decode") or {} for entry in system.entries]
        timed = [
            (decode["source_words"], part)
            for decode in found
            if decode.get("source_words")
            for part in decode.get("repeats") or []
        ]
        if timed:
            words, whole = sum(each for each, _ in timed), spent(part for _, part in timed)
            lines.append(Line(system.name, words, whole, whole.cost(rates, 1e6 / words)))
    return lines


def summary(data: Data, rates: Rates) -> dict[str, Any]:
    """The bill as plain data, as report.json has it."""
    per_label = labels(data, rates)
    return {
        "inputs": rates.inputs(),
        "kinds": [asdict(line) for line in kinds(data, rates)],
        "per_million_labels": asdict(per_label) if per_label else None,
        "per_point": [asdict(point) for point in points(data, rates)],
        "per_million_words": [asdict(line) for line in serving(data, rates)],
    }


def _line(name: str, stages: list[Data], rates: Rates) -> Line:
    whole = spent(stages)
    return Line(name, len(stages), whole, whole.cost(rates))
