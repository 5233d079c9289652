"""Means of outcomes over blocks, with the 95 % interval of Student's t: a block is one observation."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from distilmt.errors import DataError
from distilmt.statistics.extra import library
from distilmt.study.spec import Study
from distilmt.study.table import rows

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """Of one group: its `values`, their `mean`, standard `deviation` and interval `low` to `high`, None with a single block."""

    values: list[float]
    mean: float
    deviation: float | None
    low: float | None
    high: float | None

    @property
    def n(self) -> int:
        """How many values."""
        return len(self.values)


def mean_of(values: list[float]) -> Mean:
    """Mean, standard deviation and interval: mean ± t(n - 1) s / sqrt(n).

    Raises:
        ConfigError: SciPy is not installed.
    """
    if len(values) < 2:
        return Mean(values, fmean(values), None, None, None)
    middle, deviation = fmean(values), stdev(values)
    half = library("scipy.stats").t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * deviation / math.sqrt(len(values))
    return Mean(values, middle, deviation, middle - float(half), middle + float(half))


def means(study: Study, outcome: str, factors: Sequence[str]) -> dict[tuple[str, ...], Mean]:
    """The mean by levels of `factors`, of cells that are done; factors left over are averaged within a block first.

    A block that lacks one of the cells to average is left out: it would compare unlike things.

    Raises:
        DataError: no block has the outcome in all of them.
    """
    groups: dict[tuple[str, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows(study):
        if row["status"] == "done" and row.get(outcome) is not None:
            groups[tuple(row[factor] for factor in factors)][row["block"]].append(row[outcome])
    wanted = Counter(tuple(levels[factor] for factor in factors) for levels, _ in study.treatments)
    found = {key: [fmean(own) for own in groups[key].values() if len(own) == size] for key, size in wanted.items()}
    if not any(found.values()):
        raise DataError(f"{study.folder}: no block has {outcome!r} in full - run the study, or name another outcome")
    return {key: mean_of(values) for key, values in found.items() if values}
