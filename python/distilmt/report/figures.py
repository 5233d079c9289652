"""The plots of a report: training curves, and quality against speed. Figures are returned, never shown.

A system keeps its colour and its marker in all of them; grey scales and colour-blind eyes have the marker.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from distilmt.report.numbers import Data, System, quality, speed, spread, systems_of, tests_of

# Tol's bright scheme (personal.sron.nl/~pault): told apart by colour-blind eyes and in print.
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccbb44")
_MARKERS = ("^", "D", "v", "P", "X", "<", ">")
_INK = "#333333"
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "distilmt",  # equal data, equal bytes
}


def quality_speed(data: Data) -> Figure | None:
    """BLEU over target tokens per second, one panel per test set; None where no system was timed.

    Bars are one standard deviation over seeds.
    """
    tests = tests_of(data)
    looks = looks_of(systems_of(data))
    timed = [(system, pace) for system in systems_of(data) if (pace := spread(system.entries, speed))]
    if not timed:
        return None
    with mpl.rc_context(STYLE):
        figure, panels = _figure(len(tests))
        for axes, test in zip(panels, tests, strict=True):
            for system, pace in timed:
                score = spread(system.entries, quality(test, "bleu"))
                if score is None:
                    continue
                colour, marker = looks[system.name]
                axes.errorbar(
                    pace.mean, score.mean, xerr=pace.deviation, yerr=score.deviation, fmt=marker, color=colour,
                    markersize=7, elinewidth=1.2, label=system.name,
                )  # fmt: skip
            paces = [pace.mean for _, pace in timed]
            if max(paces) > 5 * min(paces):
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(mpl.ticker.LogLocator(10, (1, 2, 5)))
                axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.margins(0.12)
            axes.set(xlabel="target tokens per second", ylabel="BLEU", title=test)
        _legend(figure, panels)
    return figure


def training_curves(data: Data) -> Figure | None:
    """Dev BLEU and training loss over updates, one line per seed; None where nothing was trained."""
    systems = [system for system in systems_of(data) if any(entry.get("curve") for entry in system.entries)]
    if not systems:
        return None
    looks = looks_of(systems_of(data))
    with mpl.rc_context(STYLE):
        figure, panels = _figure(2)
        for axes, key, title in zip(panels, ("dev_bleu", "train_loss"), ("dev BLEU", "training loss"), strict=True):
            for system in systems:
                colour, marker = looks[system.name]
                for number, entry in enumerate(system.entries):
                    points = [point for point in entry.get("curve") or [] if point.get(key) is not None]
                    axes.plot(
                        [point["update"] for point in points], [point[key] for point in points], color=colour,
                        marker=marker, markersize=3.5, linewidth=1.3, alpha=1 if len(system.entries) == 1 else 0.7,
                        markevery=max(1, len(points) // 8), label="_" if number else system.name,
                    )  # fmt: skip
            axes.set(xlabel="updates", title=title)
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator("auto", integer=True))
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
        _legend(figure, panels)
    return figure


def making_bars(data: Data) -> Figure | None:
    """Machine hours by kind of stage that made each system, means over seeds; None where no making is recorded."""
    stages = {(stage.get("run"), stage["name"]): stage for stage in data["stages"]}
    bars: dict[str, dict[str, float]] = {}
    for system in systems_of(data):
        for entry in system.entries:
            for name in entry.get("made_by") or []:
                if stage := stages.get((entry.get("run"), name)):
                    own, kind = bars.setdefault(system.name, {}), stage.get("kind") or "other"
                    own[kind] = own.get(kind, 0.0) + stage["seconds"] / 3600 / len(system.entries)
    if not bars:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 0.9 + 0.34 * len(bars)), layout="constrained")
        axes = figure.subplots()
        left = dict.fromkeys(bars, 0.0)
        kinds = dict.fromkeys(kind for each in bars.values() for kind in each)
        for kind, colour, hatch in zip(kinds, _COLOURS, ("", "///", "...", "xxx", "\\\\", "++"), strict=False):
            widths = [each.get(kind, 0.0) for each in bars.values()]
            axes.barh(
                list(bars), widths, left=list(left.values()), color=colour, label=kind, height=0.6, hatch=hatch,
                edgecolor="white", linewidth=0.5,
            )  # fmt: skip
            left = {name: left[name] + width for name, width in zip(left, widths, strict=True)}
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="machine hours")
        figure.legend(loc="outside upper left", ncols=len(kinds))
    return figure


def svg(figure: Figure) -> bytes:
    """The figure as a file that needs nothing else: letters are outlines."""
    out = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def _figure(panels: int) -> tuple[Figure, list[Any]]:
    columns = min(panels, 2)
    rows = -(-panels // columns)
    size = (6.4, 3.2) if panels == 1 else (4.2 * columns, 3.0 * rows + 0.5)  # inches, with room for the legend
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.set_visible(False)
    return figure, axes[:panels]


def _legend(figure: Figure, panels: list[Any]) -> None:
    """One legend for all panels, since a system may be missing from one; beside a single panel, below several."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    fit = 110 // (8 + max(map(len, handles)))  # about 110 letters are as wide as two panels
    place, columns = ("outside right upper", 1) if len(panels) == 1 else ("outside lower center", min(3, max(1, fit)))
    figure.legend(handles.values(), handles.keys(), loc=place, ncols=columns)


def looks_of(systems: list[System]) -> dict[str, tuple[str, str]]:
    """Colour and marker by name."""
    looks, students, others = {}, 0, 0
    for system in systems:
        if system.role == "student":
            looks[system.name] = (_COLOURS[students % len(_COLOURS)], _MARKERS[students % len(_MARKERS)])
            students += 1
        else:
            looks[system.name] = ("#222222", "s") if system.role == "teacher" else ("#999999", "oph8"[others % 4])
            others += system.role == "baseline"
    return looks
