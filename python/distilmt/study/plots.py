"""Plots of a study. Each returns matplotlib's `Axes`, draws into yours if you give one, and shows nothing.

axes = plot_outcome("study.yaml", "seconds", "beam_size", by="compute_type")
axes = plot_quality_cost("study.yaml", quality="bleu", cost="seconds")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distilmt.errors import ConfigError
from distilmt.study.spec import Source, read
from distilmt.study.summary import Mean, means

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX"  # seven, and ten colours: seventy looks


def plot_outcome(source: Source, outcome: str, factor: str, *, by: str | None = None, axes: Axes | None = None) -> Axes:
    """Mean of an outcome by the levels of a factor, with 95 % intervals and every run as a dot.

    Args:
        by: another factor, a line for each of its levels; the factors left over are averaged within a block.

    Raises:
        ConfigError: no such factor. DataError: no cell has the outcome.
    """
    study = read(source)
    for name in (factor, *([by] if by else [])):
        if name not in study.levels:
            raise ConfigError(f"no factor {name!r} - the study has {', '.join(study.levels) or 'none'}")
    axes = axes or new_axes()
    lines = [None] if by is None else study.levels[by]
    table = means(study, outcome, [factor] if by is None else [factor, by])
    for number, line in enumerate(lines):
        points = [(place, found) for place, level in enumerate(study.levels[factor])
                  if (found := table.get((level,) if line is None else (level, line)))]  # fmt: skip
        shift = 0.12 * (number - (len(lines) - 1) / 2)
        colour = f"C{number}"
        axes.errorbar(
            [place + shift for place, _ in points], [found.mean for _, found in points],
            yerr=_bars([found for _, found in points]), fmt=f"{_MARKERS[number % len(_MARKERS)]}-", capsize=3,
            color=colour, label=line and f"{by} {line}",
        )  # fmt: skip
        for place, found in points:
            axes.plot([place + shift] * found.n, found.values, ".", color=colour, alpha=0.35, markersize=5)
    axes.set_xticks(range(len(study.levels[factor])), study.levels[factor])
    axes.set(xlabel=factor, ylabel=outcome)
    if by:
        axes.legend()
    return axes


def plot_quality_cost(
    source: Source, quality: str = "bleu", cost: str = "seconds", *, axes: Axes | None = None
) -> Axes:
    """Quality over cost, one point for each treatment with 95 % intervals, and the Pareto front as a line.

    Raises:
        DataError: no cell has the outcomes.
    """
    study, axes = read(source), axes or new_axes()
    factors = list(study.levels)
    costs, qualities = means(study, cost, factors), means(study, quality, factors)
    keys = [key for key in costs if key in qualities]
    for number, key in enumerate(keys):
        axes.errorbar(
            costs[key].mean, qualities[key].mean, xerr=_bars([costs[key]]), yerr=_bars([qualities[key]]),
            fmt=_MARKERS[number % len(_MARKERS)], capsize=2, label=", ".join(key) or "all",
        )  # fmt: skip
    front = pareto([(costs[key].mean, qualities[key].mean) for key in keys])
    axes.plot(
        [costs[keys[i]].mean for i in front], [qualities[keys[i]].mean for i in front], color="#888888", linewidth=1,
        drawstyle="steps-post", zorder=0, label="Pareto front",
    )  # fmt: skip
    axes.set(xlabel=cost, ylabel=quality)
    axes.legend(fontsize="small")
    return axes


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, quality) that no other one beats, cheapest first.

    A point is beaten by one that costs no more and is no worse, and is better in one of the two.
    """
    best, front = float("-inf"), list[int]()
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        cost, quality = points[index]
        if quality > best or (front and points[front[-1]] == (cost, quality)):
            best = quality
            front.append(index)
    return front


def _bars(found: list[Mean]) -> Any:
    """Error bars down and up; none where no interval can be had."""
    lows = [0.0 if each.low is None else each.mean - each.low for each in found]
    highs = [0.0 if each.high is None else each.high - each.mean for each in found]
    return [lows, highs]


def new_axes() -> Axes:
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, 4.0), layout="constrained").subplots()
