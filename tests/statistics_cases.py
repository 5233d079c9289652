"""Small tables of runs for the tests of statistics."""

from __future__ import annotations

from typing import Any

from distilmt.statistics import Contrasts, Runs

THREE = {"alone": [1.0, 2.0, 3.0], "seq": [4.0, 5.0, 6.5], "word": [2.0, 3.5, 4.0]}


def rows(cells: dict[str, list[float]]) -> list[dict[str, Any]]:
    """The i-th value of each method is its run in block i."""
    return [
        {"run": f"{name} {i}", "method": name, "block": i, "seconds": value}
        for name, values in cells.items()
        for i, value in enumerate(values)
    ]


def runs(cells: dict[str, list[float]], **options: Any) -> Runs:
    return Runs(rows(cells), outcome="seconds", factors=["method"], **({"block": "block"} | options))


def planned(*pairs: tuple[str, str], test: Any = "welch") -> Contrasts:
    return Contrasts(factor="method", pairs=pairs, test=test)
