"""The plot of a pay-back: what was spent after so many sentences, by the teacher alone and by distillation and student.

Where the lines cross the distillation is paid back; a band shows the interval of that point, open where it has no upper end.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from distilmt.bill.payback import Payback, PaybackRow
from distilmt.errors import ConfigError
from distilmt.report.cells import count
from distilmt.report.figures import BLACK, COLOURS, GREY, STYLE
from distilmt.state.storage import disk_errors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNITS = {"time": (1 / 3600, "machine hours"), "energy": (1.0, "kWh"), "CO2e": (1.0, "kg CO2e")}


def draw(row: PaybackRow, currency: str = "", axes: Axes | None = None) -> Axes:
    """Draws one row.

    Args:
        axes: where to; None makes a figure of its own (`axes.figure`).
    Raises: ConfigError: a figure of this row is unknown.
    """
    if row.distillation is None or row.teacher is None or row.student is None or row.sentences is None:
        raise ConfigError(
            f"payback: {row.quantity} of {row.system} is unknown, so there is nothing to draw - draw 'time'"
        )
    with mpl.rc_context(STYLE):
        axes = Figure(figsize=(5.4, 3.4), layout="constrained").subplots() if axes is None else axes
        never = math.isinf(row.sentences)
        # As far as both stories need: to twice the crossing, or to where the teacher has spent what the distillation did.
        reach = 2 * (row.distillation / row.teacher if never else row.sentences)
        scale, unit = _UNITS.get(row.quantity, (1.0, currency or "money"))
        ends = [0.0, reach]
        axes.plot(ends, [scale * row.teacher * n for n in ends], color=BLACK, label="teacher alone")
        axes.plot(
            ends, [scale * (row.distillation + row.student * n) for n in ends], color=COLOURS[0], linestyle="--",
            label=f"distillation and {row.system}",
        )  # fmt: skip
        if not never:
            at = scale * row.teacher * row.sentences
            axes.plot(
                [row.sentences], [at], "o", color=BLACK, label=f"paid back after {count(row.sentences)} sentences"
            )
        if row.low is not None and row.high is not None and row.low < reach:
            axes.axvspan(row.low, min(row.high, reach), color=GREY, alpha=0.2, linewidth=0, label="95 % interval")
        axes.set(
            xlabel="sentences served", ylabel=unit, xlim=(0, reach), title="never paid back" if never else row.quantity
        )
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(mpl.ticker.EngFormatter())
        axes.legend(loc="upper left")
    return axes


def save(found: Payback, path: str) -> None:
    """Draws every quantity that is known of the first student, one panel each, into a file.

    Raises: ConfigError: an unknown kind of file. ResourceError: the disk refuses.
    """
    first = found.rows[0].system
    rows = [row for row in found.rows if row.system == first and row.sentences is not None]
    figure = Figure(figsize=(6.4, 3.2 * len(rows)), layout="constrained")
    for row, axes in zip(rows, figure.subplots(len(rows), 1, squeeze=False).flat, strict=True):
        draw(row, found.currency, axes)
    kinds = figure.canvas.get_supported_filetypes()
    if Path(path).suffix[1:] not in kinds:
        raise ConfigError(f"--plot {path}: expected a name that ends in one of {', '.join(sorted(kinds))}")
    with disk_errors(Path(path)):
        figure.savefig(path)
