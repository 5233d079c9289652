"""The plots of a report: training curves, and quality against speed. Figures are returned, never shown.

A system keeps its colour and its marker in all of these (the plane's points have their names beside them); grey scales and
colour-blind eyes have the marker, and from the seventh student on, where colours repeat, the line is another.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

from distilmt.report.numbers import Data, System, quality, speed, spread, systems_of, tests_of

# Each at least 3:1 against the page, light and dark (WCAG 1.4.11), and at least 17 apart (CIE 1976) from any other, also as
# colour-blind eyes see them (Machado et al. 2009).
COLOURS = ("#097afd", "#7b1a01", "#288943", "#cb60bf", "#1c39a3", "#9c8314")
BLACK, GREY = "#222222", "#767676"  # the teacher, and what is trained alone
_LINES = ("-", "--", ":", "-.")
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
    "axes.prop_cycle": cycler(linestyle=_LINES) * cycler(color=COLOURS),
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
                look = looks[system.name] | {"linestyle": "none"}
                axes.errorbar(
                    pace.mean, score.mean, xerr=pace.deviation, yerr=score.deviation, markersize=7, elinewidth=1.2,
                    label=system.name, **look,
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
                for number, entry in enumerate(system.entries):
                    points = [point for point in entry.get("curve") or [] if point.get(key) is not None]
                    axes.plot(
                        [point["update"] for point in points], [point[key] for point in points], markersize=3.5,
                        linewidth=1.3 if len(system.entries) == 1 else 0.9, markevery=max(1, len(points) // 8),
                        label="_" if number else system.name, **looks[system.name],
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
    kinds = dict.fromkeys(kind for each in bars.values() for kind in each)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.8, 0.9 + 0.34 * len(bars) + 0.2 * (len(kinds) > 3)), layout="constrained")
        axes = figure.subplots()
        left = dict.fromkeys(bars, 0.0)
        for kind, colour, hatch in zip(kinds, COLOURS, ("", "///", "...", "xxx", "\\\\", "++"), strict=False):
            widths = [each.get(kind, 0.0) for each in bars.values()]
            axes.barh(
                list(bars), widths, left=list(left.values()), color=colour, label=kind, height=0.6, hatch=hatch,
                edgecolor="white", linewidth=0.5,
            )  # fmt: skip
            left = {name: left[name] + width for name, width in zip(left, widths, strict=True)}
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="machine hours")
        figure.legend(loc="outside upper left", ncols=3)
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
    size = (5.4 if panels == 1 else 4.2 * columns, 3.0 * rows + 0.5)  # inches, with room for the legend
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.set_visible(False)
    return figure, axes[:panels]


def _legend(figure: Figure, panels: list[Any]) -> None:
    """One legend for all panels, since a system may be missing from one; on the left, where a phone begins to show it."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    fit = int(13 * figure.get_figwidth()) // (8 + max(map(len, handles)))  # about 13 letters to the inch
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=min(3, max(1, fit)))


def looks_of(systems: list[System]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line by name, as matplotlib takes them."""
    looks: dict[str, dict[str, Any]] = {}
    students, others = 0, 0
    for system in systems:
        if system.role == "student":
            colour, marker = COLOURS[students % len(COLOURS)], _MARKERS[students % len(_MARKERS)]
            line = _LINES[students // len(COLOURS) % len(_LINES)]
            students += 1
        else:
            colour, marker = (BLACK, "s") if system.role == "teacher" else (GREY, "oph8"[others % 4])
            line = "-"
            others += system.role == "baseline"
        looks[system.name] = {"color": colour, "marker": marker, "linestyle": line}
    return looks
