"""What every method of a study of task `distill` gained, what it cost, and which one to choose for so many sentences.

    N* = (label + train) / (e_teacher - e_student)

in processor seconds, wall seconds or joules: label and train are a cell's own columns, e_student what serving one
sentence took in it, e_teacher the same of cells of a `decode` study with the same teacher, text and search. The choice
for N sentences: of the methods with N* <= N the best, and of those that cannot be told apart from the best the one
that has cost least by then. Where none has paid back, the teacher serves. docs/payback.md works an example.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from distilmt.bill.interval import fieller, mean_variance, t_975
from distilmt.errors import ConfigError, DataError
from distilmt.report.cells import DASH, count, sentences
from distilmt.state.storage import disk_errors, write_bytes, write_json
from distilmt.statistics import Layout
from distilmt.statistics.layout import number
from distilmt.study.plots import MARKERS, new_axes, pareto
from distilmt.study.records import Record, record_of, require_same
from distilmt.study.sentences import compared
from distilmt.study.spec import Source, Study, read
from distilmt.study.summary import Mean, mean_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cost = Literal["cpu_seconds", "seconds", "joules"]
SERVED = (1e4, 1e6, 1e9)
MANY = 3  # blocks: Student's t of two bounds hardly anything


@dataclass(frozen=True)
class Worth:
    """One treatment; costs in seconds or joules, means over blocks; what is unknown is None.

    Attributes:
        treatment: its name.
        qualities: by block. gain: over the baseline within blocks; None where they have none in common.
        label, train: cost of its data and of its training. sentence: of serving one sentence.
        after: N*, infinite for never; low, high: Fieller's interval of it, None where something was measured once.
    """

    treatment: str
    qualities: dict[int, float]
    gain: Mean | None
    label: float
    train: float
    sentence: float
    after: float
    low: float | None
    high: float | None

    @property
    def quality(self) -> float:
        """Mean over the blocks."""
        return fmean(self.qualities.values())

    def spent(self, served: float) -> float:
        """Cost after so many sentences."""
        return self.label + self.train + served * self.sentence


@dataclass(frozen=True)
class StudyPayback:
    """Which treatments of a study pay, and when.

    Attributes:
        name: of the study. cost: the column that is paid in. quality: the column that is gained.
        baseline: the treatment that gains are over. rows: treatments in the study's order.
        teacher: its quality, None where unknown, and the cost of a sentence.
        choices: numbers of sentences, each with the treatment to take; None is the teacher.
    """

    name: str
    cost: Cost
    quality: str
    baseline: str
    rows: list[Worth]
    teacher: tuple[float | None, float]
    choices: list[tuple[float, Worth | None]]

    def tables(self) -> list[Layout]:
        """What each treatment gained and cost, and which to take for how many sentences."""
        unit = "J" if self.cost == "joules" else {"cpu_seconds": "CPU s", "seconds": "s"}[self.cost]
        own, each = self.teacher
        rows = [
            [row.treatment, str(len(row.qualities)), number(row.quality), _gain(row), number(row.label), number(row.train),
             number(1e6 * row.sentence), sentences(row.after), _interval(row)]
            for row in self.rows
        ]  # fmt: skip
        teacher = ["(teacher)", DASH, number(own), DASH, DASH, DASH, number(1e6 * each), DASH, DASH]
        head = ["Method", "n", self.quality, f"Gain over {self.baseline}", f"Label, {unit}", f"Train, {unit}"]
        head += [f"1 M sentences, {unit}", "N*", "95 % interval"]
        notes = [
            "Gain: mean of the differences within blocks [95 % interval, Student's t]. N*: sentences after which label and train "
            "are paid back against the teacher's serving, with Fieller's interval. Label: in full in every row."
        ]
        if single := [row.treatment for row in self.rows if len(row.qualities) == 1]:
            notes.append(f"**One block** ({', '.join(single)}): no spread, so no gain here is known to be one.")
        chosen = [
            [count(n), row.treatment if row else "(teacher)", number(row.quality if row else own),
             number(row.spent(n) if row else n * each), number(n * each), f"{1 - row.spent(n) / (n * each):.0%}" if row else DASH]
            for n, row in self.choices
        ]  # fmt: skip
        picks = ["Sentences served", "Choice", self.quality, f"Spent, {unit}", f"Teacher alone, {unit}", "Saved"]
        rule = [
            "The best method that has paid back; of those that cannot be told apart from it, the cheapest by then: 95 % interval "
            f"over blocks, or of fewer than {MANY} over seeds and sentences."
        ]
        return [
            Layout(f"What it gained, what it cost: {self.name}", head, [*rows, teacher], notes),
            Layout("Which method for so many sentences", picks, chosen, rule),
        ]

    def plot(self, axes: Axes | None = None) -> Axes:
        """Quality over N*, the best that has paid back by then as a line, and the numbers of sentences asked for."""
        axes = axes or new_axes()
        found = [row for row in self.rows if math.isfinite(row.after)]
        axes.plot([row.after for row in found], [row.quality for row in found], "o", color="C0", alpha=0.6)
        front = [found[i] for i in pareto([(row.after, row.quality) for row in found])]
        axes.plot([row.after for row in front], [row.quality for row in front], drawstyle="steps-post", color="#888888",
                  linewidth=1, zorder=0, label="best by the mean that has paid back")  # fmt: skip
        for place, row in enumerate(front):
            axes.plot(
                [row.after], [row.quality], MARKERS[place % len(MARKERS)], color=f"C{place + 1}", label=row.treatment
            )
        for n, _ in self.choices:
            axes.axvline(n, color="#ccaa33", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", xlabel=f"sentences until it has paid back, N* ({self.cost})", ylabel=self.quality)
        if found:  # what has paid back long before, or after, the last of them needs no room
            axes.set_xlim(min(row.after for row in found) / 2, 4 * max(row.after for row in found))
        axes.legend(frameon=False, fontsize="small", loc="lower right")
        return axes

    def markdown(self) -> str:
        """The tables, and a link to the plot."""
        tables = "\n".join(table.markdown() for table in self.tables())
        return f"# Pay-back: {self.name}\n\n{tables}\n![{self.quality} over N*](figures/payback.svg)\n"

    def __str__(self) -> str:
        return self.markdown()

    def _repr_markdown_(self) -> str:
        return self.markdown()


def payback(
    source: Source, *, teacher: Source, baseline: str = "alone", quality: str = "bleu", cost: Cost = "cpu_seconds",
    serve: Sequence[float] = SERVED,
) -> StudyPayback:  # fmt: skip
    """Compares the methods of a study; writes payback.md, payback.json and figures/payback.svg into its folder.

    Args:
        source: a study of task `distill`. teacher: a study of task `decode` with cells of its teacher on the same text.
        baseline: the treatment whose quality is gained upon, its levels joined by ", ".
        serve: numbers of sentences to choose a method for.
    Raises:
        ConfigError: no such baseline. DataError: no cell, no timing of the teacher, or a cost is unknown.
    """
    study, others = read(source), read(teacher)
    cells = _cells(study)
    if baseline not in cells:
        raise ConfigError(f"{study.folder}: no cell of {baseline!r} is done - there are {', '.join(cells) or 'none'}")
    some = next(iter(cells[baseline].values()))
    timed = _teacher(others, some, study)
    each = [_outcome(record, cost) / _lines(record) for record in timed]
    first = {block: _outcome(record, quality) for block, record in cells[baseline].items()}
    rows = [_worth(name, found, first, each, quality, cost) for name, found in cells.items()]
    scores = [record["outcomes"][quality] for record in timed if quality in record["outcomes"]]
    own = fmean(scores) if scores else None

    @functools.cache
    def alike(one: str, other: str) -> bool:
        return _alike(study, quality, *(next(row for row in rows if row.treatment == name) for name in (one, other)))

    choices = [(n, _choice(rows, n, alike)) for n in serve]
    result = StudyPayback(study.config.name, cost, quality, baseline, rows, (own, fmean(each)), choices)
    _write(result, study.folder)
    return result


def _cells(study: Study) -> dict[str, dict[int, Record]]:
    """Cells that are done, by treatment and block."""
    require_same(study)
    found: dict[str, dict[int, Record]] = {_name(levels): {} for levels, _ in study.treatments}
    for cell in study.cells():
        if (record := record_of(study, cell)).get("status") == "done":
            found[_name(cell.levels)][cell.block] = record
    return {name: blocks for name, blocks in found.items() if blocks}


def _name(levels: dict[str, str]) -> str:
    return ", ".join(levels.values())


def _teacher(study: Study, served: Record, asked: Study) -> list[Record]:
    """The cells that decode a student's text by its teacher with its search."""
    settings, inputs = served["settings"], served["inputs"]
    wanted = (
        inputs["teacher"],
        inputs["test source"],
        settings.get("test_beam_size", 5),
        settings.get("compute_type", "float32"),
    )
    records = [record for blocks in _cells(study).values() for record in blocks.values()]
    found = [
        record for record in records
        if (record["inputs"].get("model"), record["inputs"].get("source"), record["settings"].get("beam_size", 5),
            record["settings"].get("compute_type", "auto")) == wanted
    ]  # fmt: skip
    if not found:
        raise DataError(
            f"{study.folder}: no cell decodes {settings['test'][0]} by {settings['teacher']} with beam {wanted[2]} in {wanted[3]}, "
            f"as {asked.folder} serves - add such a treatment to that study and run it"
        )
    return found


def _outcome(record: Record, name: str) -> float:
    if name not in record["outcomes"]:
        raise DataError(
            f"cell {record['cell']}: {name} is unknown - choose another cost, or run it where that is measured"
        )
    return float(record["outcomes"][name])


def _lines(record: Record) -> float:
    """Sentences of a pass."""
    return round(_outcome(record, "sentences_per_second") * _outcome(record, "seconds"))


def _label(record: Record, cost: Cost) -> float:
    """What its data took: nothing where none was made."""
    return _outcome(record, f"label_{cost}") if "label_seconds" in record["outcomes"] else 0.0


def _worth(
    name: str, blocks: dict[int, Record], first: dict[int, float], teacher: list[float], quality: str, cost: Cost
) -> Worth:
    records = list(blocks.values())
    qualities = {block: _outcome(record, quality) for block, record in blocks.items()}
    gains = [value - first[block] for block, value in qualities.items() if block in first]
    gain = mean_of(gains) if gains else None
    label, train = (
        [_label(record, cost) for record in records],
        [_outcome(record, f"train_{cost}") for record in records],
    )
    each = [_outcome(record, cost) / _lines(record) for record in records]
    (made, of_made), (own, of_own), (theirs, of_theirs) = (
        mean_variance(values) for values in ([a + b for a, b in zip(label, train, strict=True)], each, teacher)
    )
    low = high = None
    if min(len(records), len(teacher)) > 1:
        freedom = min(len(records), len(teacher)) - 1
        low, high = fieller(made, of_made, theirs - own, of_own + of_theirs, t_975(freedom))
    after = made / (theirs - own) if theirs > own else math.inf
    return Worth(name, qualities, gain, fmean(label), fmean(train), own, after, low, high)


def _choice(rows: Sequence[Worth], served: float, alike: Callable[[str, str], bool]) -> Worth | None:
    paid = sorted((row for row in rows if row.after <= served), key=lambda row: row.spent(served))
    if not paid:
        return None
    best = max(paid, key=lambda row: row.quality)
    return next(row for row in paid if row is best or alike(row.treatment, best.treatment))


def _alike(study: Study, quality: str, row: Worth, best: Worth) -> bool:
    """Whether 0 lies in the 95 % interval of the mean difference."""
    blocks = [block for block in row.qualities if block in best.qualities]
    if len(blocks) < MANY and quality.partition("_")[0] in ("bleu", "chrf"):
        levels = {_name(each): each for each, _ in study.treatments}
        found = compared(study, quality, levels[best.treatment], levels[row.treatment])
        return found.low <= 0
    return (
        len(blocks) > 1 and (mean_of([best.qualities[block] - row.qualities[block] for block in blocks]).low or 0) <= 0
    )


def _gain(row: Worth) -> str:
    if row.gain is None:
        return DASH
    spread = f" [{row.gain.low:+.2f} to {row.gain.high:+.2f}]" if row.gain.low is not None else ""
    return f"{row.gain.mean:+.2f}{spread}"


def _interval(row: Worth) -> str:
    if row.low is None or row.high is None:
        return DASH
    end = f" to {sentences(row.high)}" if math.isfinite(row.high) else " or more"
    return "never" if math.isinf(row.low) else sentences(row.low) + end


def _write(found: StudyPayback, folder: Path) -> None:
    def known(value: Any) -> Any:
        return None if isinstance(value, float) and math.isinf(value) else value

    rows = [
        {key: known(value) for key, value in asdict(row).items()} | {"never": math.isinf(row.after)}
        for row in found.rows
    ]
    with disk_errors(folder):
        (folder / "figures").mkdir(exist_ok=True)
    write_json(folder / "payback.json", {
        "name": found.name, "cost": found.cost, "quality": found.quality, "baseline": found.baseline, "rows": rows,
        "teacher": {"quality": found.teacher[0], "sentence": found.teacher[1]},
        "choices": [{"sentences": n, "choice": row.treatment if row else None} for n, row in found.choices],
    })  # fmt: skip
    write_bytes(folder / "payback.md", found.markdown().encode())
    image = io.BytesIO()
    figure: Any = found.plot().figure
    figure.savefig(image, format="svg", metadata={"Date": None})
    write_bytes(folder / "figures" / "payback.svg", image.getvalue())
