"""What stands in a report, in which order: the one list behind Markdown and page."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from distilmt.bill.tables import bill_tables
from distilmt.errors import UserError
from distilmt.report.cells import Table
from distilmt.report.lead import Lead, leads
from distilmt.report.numbers import Data, runs_of, tests_of
from distilmt.report.paper import Methods, paragraphs
from distilmt.report.significance import significance_tables
from distilmt.report.story import runs_table, story_of
from distilmt.report.tables import (
    gap_table,
    hashes_table,
    making_table,
    provenance,
    results_tables,
    stages_table,
    training_table,
    verdicts_table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure, drawn when it is shown: matplotlib is not needed before. `draw` returns None where there is nothing to see."""

    draw: Callable[[], Figure | None]
    title: str
    caption: str


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    pairs: list[tuple[str, str]]


@dataclass(frozen=True)
class Sentences:
    """Translations of each student beside its teacher's, to choose from and to search: keys of `ranked` in docs/report.md."""

    students: dict[str, list[Data]]


Part = str | Table | Picture | Methods | Facts | Sentences


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; never empty."""

    title: str
    parts: list[Part]


def sections(data: Data) -> list[Section]:
    """All sections that have something to say."""
    found: list[tuple[str, list[Part | None]]] = [
        ("The runs beside each other", [runs_table(data)]),
        ("Results", [*results_tables(data), *significance_tables(data), gap_table(data)]),
        ("Quality, speed and cost", _quality_and_cost(data)),
        ("Training", [_curves(data), training_table(data), making_table(data)]),
        ("The gap under the microscope", _gap(data)),
        ("Labels", [verdicts_table(data)]),
        ("The bill", [_making(data), stages_table(data), *bill_tables(data)]),
        ("Pay-back", _payback(data)),
        ("Methods, to paste into a paper", list(paragraphs(data))),
        ("Notes", list(data.get("notes") or [])),
        ("How this was made", [*map(Facts, provenance(data)), hashes_table(data)]),
    ]
    whole = [(title, [part for part in parts if part is not None]) for title, parts in found]
    return [Section(title, parts) for title, parts in whole if parts]


def head(data: Data) -> tuple[str, list[Lead]]:
    """What the report is of, and what stands above everything."""
    facts = [data.get("direction"), ", ".join(tests_of(data)), data["created"]]
    return " · ".join(fact for fact in facts if fact), leads(data)


def said(data: Data) -> dict[str, Any]:
    """What the report says besides its tables, as report.json has it (docs/report.md)."""
    from distilmt.bill.payback import PaybackConfig, payback_of
    from distilmt.report.plane import plane

    paid = []
    for run in runs_of(data):
        with suppress(UserError):  # the section on pay-back says why
            found = payback_of(run, PaybackConfig(run=data["title"]))
            paid += [
                {"run": run.get("label", "")} | asdict(row) | {"never": row.sentences == math.inf} for row in found.rows
            ]
    front = plane(data)
    return {
        "summary": [asdict(lead) for lead in leads(data)],
        "payback": paid,
        "front": front.data() if front else None,
        "methods": [asdict(each) for each in paragraphs(data)],
    }


def markdown(data: Data) -> str:
    """The report as Markdown, without its pictures."""
    meta, lead = head(data)
    blocks = [f"# {data['title']}", meta]
    for each in lead:
        blocks += [each.text, each.statistics]
    for section in sections(data):
        shown = [text for part in section.parts if (text := _text(part, section.title))]
        if shown:
            blocks += [f"## {section.title}", *shown]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _text(part: Part, above: str) -> str:
    match part:
        case Table():
            text = part.markdown(level=3)
            return text.partition("\n\n")[2] if part.title == above else text
        case Methods():
            references = "\n".join(f"- {each}" for each in part.references)
            return "\n\n".join([part.text, references, f"```bibtex\n{part.bibtex}\n```"])
        case Facts():
            return "\n".join(f"- {name}: {value}" for name, value in part.pairs)
        case Sentences():
            return _ten(part).markdown(level=3)
        case Picture():
            return ""
        case _:
            return f"- {part}"


def _ten(part: Sentences) -> Table:
    """The first ten of the first student."""
    student, rows = next(iter(part.students.items()))
    texts = ("source", "reference", "teacher", "student")
    head = ["Line", "Source", "Reference", "Teacher", "Student", "chrF, teacher − student"]
    cells = [[row["where"], *(row[key] for key in texts), f"{row['difference']:+.1f}"] for row in rows[:10]]
    return Table(f"Sentences, by how much better the teacher is than {student}", head, cells, left=5)


def _quality_and_cost(data: Data) -> list[Part | None]:
    def speed() -> Figure | None:
        from distilmt.report.figures import quality_speed

        return quality_speed(data)

    pace = Picture(
        speed, "Quality against speed",
        "BLEU over target tokens decoded per second; up and to the right is better. Bars: one standard deviation.",
    )  # fmt: skip
    return [pace, *_plane(data)]


def _plane(data: Data) -> list[Part | None]:
    if not any(system["role"] == "student" for system in data["systems"]):
        return []
    from distilmt.report.plane import plane

    found = plane(data)
    if found is None:
        return [
            "No plane of quality and cost: the report does not say which stages made its students (it was written before that "
            "was recorded): run `distilmt distill` again in its folder to write it anew."
        ]
    caption = (
        f"{found.quality[0].upper()}{found.quality[1:]}, over what making the student cost; up and to the left is better. The "
        "line joins the Pareto front: what nothing else beats in both. Bars: one standard error over seeds."
    )
    return [Picture(found.draw, "Quality against the cost of making", caption), *found.left_out]


def _curves(data: Data) -> Picture:
    def draw() -> Figure | None:
        from distilmt.report.figures import training_curves

        return training_curves(data)

    return Picture(
        draw, "Learning curves",
        "Dev BLEU and training loss at each evaluation, one line per seed. Losses of different objectives are different "
        "quantities: only their shapes compare.",
    )  # fmt: skip


def _gap(data: Data) -> list[Part | None]:
    if not any(system.get("microscope") for system in data["systems"]):
        return []
    from distilmt.report.gap import gap_figure, gap_tables, ranked

    figure = Picture(
        lambda: gap_figure(data), "Agreement and divergence along the references",
        "Above: share of tokens at which teacher and student find the same token likeliest. Below: KL of teacher from student, "
        "a lower bound.",
    )  # fmt: skip
    story = story_of(data)
    sentences = ranked(data, story.best.name if story else None)
    tables = gap_tables(data)
    return [*tables[:1], figure, *tables[1:], Sentences(sentences) if sentences else None]


def _making(data: Data) -> Picture:
    def draw() -> Figure | None:
        from distilmt.report.figures import making_bars

        return making_bars(data)

    return Picture(draw, "What making each system took", "Machine hours by kind of stage, mean over seeds.")


def _payback(data: Data) -> list[Part | None]:
    """With the curve of the best student, where the runs are of the same systems; of several runs that of each besides."""
    from distilmt.bill.payback import PaybackConfig, payback_of

    story, each = story_of(data), _payback_of_runs(data) if data.get("runs") else []
    if story is None:
        return each
    try:
        found = payback_of(data, PaybackConfig(run=data["title"]))
    except UserError as error:
        return each or [f"Not said: {error}"]
    row = found.row("time", story.best.name)

    def draw() -> Figure | None:
        known = None not in (row.distillation, row.teacher, row.student, row.sentences)
        return found.plot("time", story.best.name).figure if known else None  # type: ignore[return-value]

    caption = (
        f"Machine hours over sentences served: the teacher alone, and {story.best.name} with its distillation before."
    )
    return [Picture(draw, "Pay-back in machine time", caption), found.table(), *each]


def _payback_of_runs(data: Data) -> list[Part | None]:
    """One table, each row of one run; and for what runs it cannot be said."""
    from distilmt.bill.payback import PaybackConfig, payback_of

    tables: dict[str, Table] = {}
    missing: list[Part | None] = []
    for run in runs_of(data):
        try:
            tables[run["label"]] = payback_of(run, PaybackConfig(run=run["label"])).table()
        except UserError as error:
            missing.append(f"Not said: {error}")
    if not tables:
        return missing
    notes: dict[str, list[str]] = {}
    for label, table in tables.items():
        for note in table.notes:
            notes.setdefault(note, []).append(label)
    head = ["Run", *next(iter(tables.values())).head]
    rows = [[label, *row] for label, table in tables.items() for row in table.rows]
    shown = [note if len(of) == len(tables) else f"{', '.join(of)}: {note}" for note, of in notes.items()]
    return [Table("Pay-back of each run", head, rows, shown, left=3), *missing]
