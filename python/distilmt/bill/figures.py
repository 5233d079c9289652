"""Plots of the bill: what quality cost, and what the weights do to the ranking. Each returns its Axes and shows nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distilmt.bill.composite import Composite, pareto_front, reweighted
from distilmt.errors import ConfigError
from distilmt.report.figures import COLOURS, GREY, STYLE

LABELS = {
    "kg": "kg CO2e to make it",
    "money": "money to make it",
    "hours": "machine hours to make it",
    "gigabytes": "peak memory to make it, GB",
}


def pareto_plot(
    found: Composite, cost: Literal["kg", "money", "hours", "gigabytes"] | None = None, axes: Axes | None = None
) -> Axes:
    """Quality kept over one cost of making; the line joins those that none beats in both. Bars: one standard error over seeds.

    Args:
        cost: None is CO2e where it is known and else hours.
        axes: where to draw; None makes a figure.
    Raises: ConfigError: that cost is not known of every system.
    """
    candidates = [each.candidate for each in found.rated]
    known = [key for key in LABELS if all(getattr(each, key) is not None for each in candidates)]
    cost = cost or ("kg" if "kg" in known else "hours")
    if cost not in known:
        raise ConfigError(f"pareto: {cost} is not known of every system - can be drawn: {', '.join(known)}")
    guess = " (estimated)" if cost in ("kg", "money") and any(each.estimated for each in candidates) else ""
    points = [
        (float(getattr(each, cost)), 100 * each.kept, each.name, 100 * (each.error or 0) or None) for each in candidates
    ]
    return plane_plot(points, LABELS[cost] + guess, f"quality kept, % ({found.quality})", axes)


def plane_plot(
    points: Sequence[tuple[float, float, str, float | None]], cost: str, quality: str, axes: Axes | None = None
) -> Axes:
    """Points (cost, quality, name, error) with their Pareto front; `cost` and `quality` are labels."""
    points = sorted(points, key=lambda point: (point[0], -point[1], point[2]))
    front = pareto_front(point[:2] for point in points)
    with mpl.rc_context(STYLE):
        axes = axes or _axes()
        axes.plot(
            *zip(*front, strict=True), color=COLOURS[0], linewidth=1.2, drawstyle="steps-post", label="Pareto front"
        )
        for x, y, name, error in points:
            on = (x, y) in front
            axes.errorbar(
                [x], [y], yerr=error, fmt="o" if on else "x", color=COLOURS[0] if on else GREY, markersize=7,
                elinewidth=1.0,
            )  # fmt: skip
            far = x > (points[0][0] + points[-1][0]) / 2  # there its name stands on the left, inside the axes
            place: dict[str, Any] = {"xytext": (-7, 6), "ha": "right"} if far else {"xytext": (7, -11)}
            axes.annotate(name, (x, y), textcoords="offset points", **place)
        if min(point[0] for point in points) > 0 and points[-1][0] > 5 * points[0][0]:
            axes.set_xscale("log")
        axes.margins(0.18)
        axes.set(xlabel=cost, ylabel=quality)
        axes.legend(loc="lower right")
    return axes


def sensitivity_plot(found: Composite, axes: Axes | None = None) -> Axes:
    """Score of every system over the weight of quality, the other terms sharing the rest in their given proportions."""
    others = {term: weight for term, weight in found.weights.items() if term != "quality"}
    rest = sum(others.values())
    # Where all weight was given to quality, the others share alike.
    parts = {term: weight / rest if rest else 1 / len(others) for term, weight in others.items()}
    steps = np.linspace(0.0, 1.0, 101)
    lines: dict[str, list[float]] = {each.candidate.name: [] for each in found.rated}
    for step in steps:
        weights = {"quality": float(step)} | {term: float(1 - step) * part for term, part in parts.items()}
        for name, score in reweighted(found, weights).items():
            lines[name].append(score)
    with mpl.rc_context(STYLE):
        axes = axes or _axes()
        for name, scores in lines.items():
            axes.plot(steps, scores, linewidth=1.4, label=name)
        axes.axvline(found.weights["quality"], color=GREY, linewidth=0.8, linestyle=":", label="weight as given")
        axes.set(xlabel="weight of quality", ylabel="score", ylim=(0, 1.02))
        axes.legend(loc="best")
    return axes


def _axes() -> Any:
    return Figure(figsize=(5.4, 3.4), layout="constrained").subplots()
