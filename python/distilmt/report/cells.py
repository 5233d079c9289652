"""Cells and tables of finished text: what is not known is a dash, except energy, which is "not measured"."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from distilmt.energy import NOT_MEASURED
from distilmt.report.numbers import Spread

DASH = "–"


@dataclass(frozen=True)
class Table:
    """A table of finished text.

    Attributes:
        title, head, rows, notes: heading, names of the columns, cells, and sentences below.
        left: so many columns are words, the others numbers.
        formula: the column whose text is code and may wrap, none if negative. total: the last row is a sum.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    left: int = 1
    formula: int = -1
    total: bool = False

    def markdown(self, level: int = 2) -> str:
        """As Markdown; `level` is that of its heading."""

        def line(cells: Iterable[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

        rule = ["---" if column < self.left else "---:" for column in range(len(self.head))]
        lines = [f"{'#' * level} {self.title}", "", line(self.head), line(rule), *map(line, self.rows)]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])


def text(value: Spread | None, digits: int, unit: str = "") -> str:
    """A mean with its standard deviation, as in "33.1 ± 0.2" or "7.8× ± 0.1"."""
    if value is None:
        return DASH
    deviation = "" if value.deviation is None else f" ± {value.deviation:,.{digits}f}"
    return f"{value.mean:,.{digits}f}{unit}{deviation}"


def ratio_text(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}×"


def count(value: float | None) -> str:
    if value is None:
        return DASH
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f}"


def sentences(value: float | None) -> str:
    """A number of sentences to serve, "never" for infinitely many."""
    return "never" if value == math.inf else count(value)


def size(bytes: float | None) -> str:
    if bytes is None:
        return DASH
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes >= scale:
            return f"{bytes / scale:.1f} {unit}"
    return f"{bytes:.0f} B"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def energy(joules: float | None) -> str:
    if joules is None:
        return NOT_MEASURED
    for unit, scale in (("MJ", 1e6), ("kJ", 1e3)):
        if joules >= scale:
            return f"{joules / scale:.2f} {unit}"
    return f"{joules:.1f} J"
