"""What a report's entries say together: systems, their means over seeds, and comparisons with teacher and baseline.

Entries of one name are runs of one system with several seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]
Get = Callable[[Data], float | None]
ROLES = ("teacher", "baseline", "student")
# Name, scale to points, unit.
MEASURES = {"bleu": ("BLEU", 1.0, ""), "chrf": ("chrF", 1.0, ""), "exact": ("Exact lines", 100.0, "%")}


@dataclass(frozen=True)
class System:
    """All entries of one name."""

    name: str
    role: str
    entries: list[Data]

    def first(self, key: str) -> Any:
        return next((entry[key] for entry in self.entries if entry.get(key) is not None), None)

    @property
    def runs(self) -> set[str | None]:
        return {entry.get("run") for entry in self.entries}


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (None for one value) and number of values."""

    mean: float
    deviation: float | None
    n: int


def systems_of(data: Data) -> list[System]:
    """Systems in the order of their roles, then of their first entries."""
    found: dict[str, System] = {}
    for entry in data["systems"]:
        found.setdefault(entry["name"], System(entry["name"], entry["role"], [])).entries.append(entry)
    return sorted(found.values(), key=lambda system: ROLES.index(system.role))


def tests_of(data: Data) -> list[str]:
    return list(dict.fromkeys(name for entry in data["systems"] for name in entry["test"]))


def spread(entries: Iterable[Data], get: Get) -> Spread | None:
    """Mean and spread over entries; None where no entry has the value.

    The same value from the same seed is one model met twice (a teacher in several merged runs) and counts once.
    """
    values = {(entry.get("seed"), value): value for entry in entries if (value := get(entry)) is not None}.values()
    if not values:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def quality(test: str, measure: str) -> Get:
    """Reads a score, in points."""

    def get(entry: Data) -> float | None:
        value = entry["test"].get(test, {}).get(measure)
        return None if value is None else value * MEASURES[measure][1]

    return get


def measures_of(data: Data, test: str) -> list[str]:
    entries = data["systems"]
    return [measure for measure in MEASURES if any(quality(test, measure)(entry) is not None for entry in entries)]


def speed(entry: Data) -> float | None:
    value = entry.get("tokens_per_second")
    return None if value is None else float(value)


def peer(systems: list[System], system: System, role: str) -> list[Data]:
    """Entries of the teacher or the baseline that `system` is to be compared with: of its own runs, and of its own size
    where there are several; empty where that leaves a choice."""
    found = [other for other in systems if other.role == role and other.runs & system.runs]
    if len(found) > 1:
        found = [other for other in found if other.first("parameters") == system.first("parameters")]
    return [entry for entry in found[0].entries if entry.get("run") in system.runs] if len(found) == 1 else []


def speed_up(systems: list[System], system: System) -> Spread | None:
    """How many times faster than the teacher of the same run, which was timed on the same machine."""
    teachers = peer(systems, system, "teacher")

    def ratio(entry: Data) -> float | None:
        own, teacher = speed(entry), spread((t for t in teachers if t.get("run") == entry.get("run")), speed)
        return None if own is None or teacher is None else own / teacher.mean

    return spread(system.entries, ratio)


def gap_closed(systems: list[System], system: System, get: Get) -> float | None:
    """(method - alone) / (teacher - alone), of means over seeds; None where the teacher is not ahead."""
    teacher, alone = (spread(peer(systems, system, role), get) for role in ("teacher", "baseline"))
    own = spread(system.entries, get)
    if teacher is None or alone is None or own is None or teacher.mean <= alone.mean:
        return None
    return (own.mean - alone.mean) / (teacher.mean - alone.mean)


def runs_of(data: Data) -> list[Data]:
    """The runs of a report, each as a report of its own with its `label`; a report of one run is its only one."""
    return [
        run
        | {key: [each for each in data[key] if each.get("run") == run["label"]] for key in ("systems", "stages")}
        | {"significance": run.get("significance") or []}
        for run in data.get("runs") or []
    ] or [data]
