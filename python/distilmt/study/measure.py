"""The timed region of a cell: work that is ready is done again and again until the clock has something to measure.

Loading, warm-up and scoring lie outside. Passes of one cell share a process, its caches and its luck: they are one
observation, their mean, and never several.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from distilmt.energy import EnergyOptions, Meter, Usage

Numbers = Mapping[str, float | None]
METERED = (  # what the meter says of a pass, whatever the task
    "seconds", "cpu_seconds", "cpu_utilisation", "joules", "joules_low", "joules_high", "peak_rss_bytes", "gpu_peak_bytes",
)  # fmt: skip
MODELLED = ("joules_model", "train_joules_model", "label_joules_model")  # what a study's table adds by declared watts


@dataclass
class Work:
    """A task that has been loaded.

    Attributes:
        once: one pass; returns numbers of this pass.
        outcomes: from the wall seconds of a pass (mean), what else the cell's row holds; not timed.
        inputs: hashes of the files that were used, by name: the same in every cell of a treatment.
        notes: what a reader should know of this cell.
        translations: of the last pass, for tests over sentences; empty where the task has none.
        further: of other texts, by name: the hash of their references, and the translations.
    """

    once: Callable[[], Numbers]
    outcomes: Callable[[float], Numbers] = lambda seconds: {}
    inputs: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    translations: list[str] = field(default_factory=list)
    further: dict[str, tuple[str, list[str]]] = field(default_factory=dict)


def measure(work: Work, *, warm_up: int, min_seconds: float, energy: EnergyOptions) -> dict[str, Any]:
    """Warms up, then repeats the work for at least `min_seconds`, once at least.

    Returns:
        outcomes: of one pass: seconds, cpu_seconds, joules with low and high, means of what the passes returned, and
            `work.outcomes`; peak_rss_bytes of the region. What is unknown is absent.
        usage: of the whole timed region; passes: their number; inputs, notes: the work's.
    """
    for _ in range(warm_up):
        work.once()
    passes: list[Numbers] = []
    with Meter(energy) as meter:
        start = time.monotonic()
        while not passes or time.monotonic() - start < min_seconds:
            passes.append(work.once())
    usage = meter.usage
    assert usage is not None
    outcomes = _per_pass(usage, len(passes))
    for name in {name: None for each in passes for name in each}:
        values = [value for each in passes if (value := each.get(name)) is not None]
        outcomes[name] = sum(values) / len(values) if values else None
    outcomes |= work.outcomes(outcomes["seconds"] or 0.0)
    known = {name: value for name, value in outcomes.items() if value is not None}
    return {
        "outcomes": known, "usage": asdict(usage), "passes": len(passes), "inputs": work.inputs, "notes": work.notes,
    }  # fmt: skip


def _per_pass(usage: Usage, passes: int) -> dict[str, float | None]:
    sums = {name: getattr(usage, name) for name in ("seconds", "cpu_seconds", "joules", "joules_low", "joules_high")}
    each = {name: None if value is None else value / passes for name, value in sums.items()}
    return each | {
        "cpu_utilisation": usage.cpu_utilisation, "peak_rss_bytes": usage.peak_rss_bytes, "gpu_peak_bytes": usage.gpu_peak_bytes,
    }  # fmt: skip
