"""`distilmt payback`: after how many sentences a distillation has saved what it cost.

    N* = E_distil / (e_teacher - e_student)

E_distil: labelling, selection and training of one student, and on request of its teacher; e_teacher and e_student: what
decoding one sentence of the test sets took. In machine time, energy, CO2e and money, each from what the run recorded; an
interval from the repeats of the decodings and the seeds of the student (interval.py). docs/payback.md has an example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from distilmt.bill.bill import Spent, rates_of, spent
from distilmt.bill.interval import fieller, mean_variance, t_975
from distilmt.bill.rates import Amount, Cost, Rates, cost
from distilmt.bill.tables import KG, KWH, amount, digits
from distilmt.energy import NOT_MEASURED
from distilmt.errors import ConfigError, DataError
from distilmt.interface.config import resolve
from distilmt.report.cells import DASH, Table, count, duration, sentences
from distilmt.report.compare import gather
from distilmt.report.numbers import Data, System, systems_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Quantity = Literal["time", "energy", "CO2e", "money"]
QUANTITIES: dict[Quantity, Callable[[Cost], float | None]] = {
    "time": lambda cost: cost.hours * 3600,
    "energy": lambda cost: cost.kwh.value if cost.kwh else None,
    "CO2e": lambda cost: cost.co2e_kg.value if cost.co2e_kg else None,
    "money": lambda cost: cost.money.value if cost.money else None,
}


# What is finished stays as it was timed: its record has to go.
_TIME_ANEW = "delete the run's stages/evaluate-*.json and run the same `distilmt distill` with"


@dataclass(frozen=True, kw_only=True)
class PaybackConfig:
    """Options of `distilmt payback`."""

    run: str = field(metadata={"help": "a run folder, or its report.json", "metavar": "RUN"})
    serve_per_day: float | None = field(default=None, metadata={"help": "sentences translated a day, as in 2e6"})
    student: str | None = field(default=None, metadata={"help": "this system alone [default: every student]"})
    teacher_training: bool = field(default=False, metadata={"help": "count the training of the teacher too"})
    plot: str | None = field(default=None, metadata={"help": "also draw it: .svg, .png or .pdf", "metavar": "FILE"})
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        if self.serve_per_day is not None and not 0 < self.serve_per_day < math.inf:
            raise ConfigError(f"--serve-per-day must be a number above 0, got {self.serve_per_day:g}")


@dataclass(frozen=True)
class PaybackRow:
    """One student in one quantity. Time in seconds, energy in kWh, CO2e in kg, money in the currency of the rates.

    Attributes:
        system: the student. quantity: time, energy, CO2e or money.
        distillation: E_distil. teacher, student: per sentence, means over the repeats. None is unknown.
        sentences: N*; infinite for never; None where something in it is unknown.
        low, high: its 95 % interval; high may be infinite; None where a decoding was timed once.
    """

    system: str
    quantity: Quantity
    distillation: float | None
    teacher: float | None
    student: float | None
    sentences: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Payback:
    """What `distilmt.payback` found.

    Attributes:
        rows: one for each student and quantity. notes: sentences about how they were found.
        serve_per_day: sentences, as given. currency: of the money, "" where none was named.
    """

    rows: list[PaybackRow]
    notes: list[str]
    serve_per_day: float | None
    currency: str

    def __str__(self) -> str:
        return self.table().markdown() + "\n"

    def row(self, quantity: Quantity = "time", system: str | None = None) -> PaybackRow:
        """One row; of the first student where none is named. Raises: ConfigError: no such row."""
        for row in self.rows:
            if row.quantity == quantity and system in (None, row.system):
                return row
        raise ConfigError(f"payback: no row {quantity!r} of {system!r} - there are {[r.system for r in self.rows]}")

    def table(self) -> Table:
        """As text. What one sentence costs is shown for a million of them."""
        head = ["System", "In", "Distillation", "Teacher, 1 M sentences", "Student, 1 M sentences", "Paid back after"]
        head += ["95 % interval"] + ([f"Days at {count(self.serve_per_day)} a day"] if self.serve_per_day else [])
        rows = []
        for row in self.rows:
            if row.quantity in ("CO2e", "money") and row.distillation is None:
                continue  # the notes say what is missing
            cells = [_figure(row.distillation, row.quantity, self.currency)]
            cells += [
                _figure(None if each is None else each * 1e6, row.quantity, self.currency)
                for each in (row.teacher, row.student)
            ]
            cells += [sentences(row.sentences), _interval(row)]
            if self.serve_per_day:
                known = row.sentences is not None and math.isfinite(row.sentences)
                cells.append(f"{row.sentences / self.serve_per_day:,.3g}" if known else DASH)  # type: ignore[operator]
            rows.append([row.system, row.quantity, *cells])
        return Table("Pay-back", head, rows, self.notes, left=2)

    def plot(self, quantity: Quantity = "time", system: str | None = None, axes: Axes | None = None) -> Axes:
        """Cumulated cost over sentences served, teacher alone against distillation and student; see payback_figure."""
        from distilmt.bill.payback_figure import draw

        return draw(self.row(quantity, system), self.currency, axes)


def payback(config: PaybackConfig | None = None, **options: Any) -> Payback:
    """Says after how many sentences a distillation has saved what it cost, in time, energy, CO2e and money.

    Args:
        config: a PaybackConfig, or its fields as keywords.
    Raises:
        ConfigError: no such student. DataError: no report, or it lacks a teacher, a student or their timings.
        ResourceError: the plot cannot be written.
    """
    config = resolve(PaybackConfig, config, **options)
    data = gather((config.run,), config.rates).data
    if data.get("runs"):
        raise DataError(f"{config.run}: a report of several runs - give one run, whose stages belong to its students")
    found = payback_of(data, config)
    if config.plot is not None:
        from distilmt.bill.payback_figure import save

        save(found, config.plot)
        drawn = found.rows[0].system
        if any(row.system != drawn for row in found.rows):
            found.notes.append(f"Drawn: {drawn}; --student draws another.")
    return found


def payback_of(data: Data, config: PaybackConfig) -> Payback:
    """As `payback`, of the data of a report (docs/report.md); `config.run` names it in messages.

    Raises: ConfigError, DataError: what `payback` raises.
    """
    rates = rates_of(data)
    systems = systems_of(data)
    teachers = [system for system in systems if system.role == "teacher"]
    students = [system for system in systems if system.role == "student"]
    if config.student is not None:
        names = [system.name for system in students]
        students = [system for system in students if system.name == config.student]
        if not students:
            raise ConfigError(f"--student {config.student}: {config.run} has {', '.join(names) or 'no student'}")
    if not teachers or not students:
        lacking = "student" if teachers else "teacher"
        raise DataError(f"{config.run}: no {lacking} in its report - a pay-back compares a student with its teacher")
    teacher = [_served(entry, config.run) for entry in teachers[0].entries]
    rows, notes = [], []
    for system in students:
        student = [_served(entry, config.run) for entry in system.entries]
        made = [_spent(data, entry, config) for entry in system.entries]
        rows += [_row(system.name, quantity, made, teacher, student, rates) for quantity in QUANTITIES]
        notes += _student_notes(system, rows[-len(QUANTITIES) :])
    notes += _notes(data, config, rows, teachers[0], students)
    return Payback(rows, list(dict.fromkeys(notes)), config.serve_per_day, rates.currency or "")


# Seconds and joules; joules are None where unknown.
Sentence = tuple[float, float | None]


def _served(entry: Data, run: str) -> list[Sentence]:
    """What one sentence of the test sets took, in each timed decoding."""
    decode = entry.get("decode") or {}
    if not (decode.get("lines") and decode.get("source_words") and decode.get("repeats")):
        raise DataError(
            f"{run}: the decoding of {entry['name']!r} was not timed by sentences (a run of an older version) - "
            "delete its stages/evaluate-*.json and run the same `distilmt distill` again: it repeats the evaluation alone"
        )
    count = decode["lines"]
    per = [(each["seconds"], each.get("joules")) for each in decode["repeats"]]
    return [(seconds / count, None if joules is None else joules / count) for seconds, joules in per]


def _spent(data: Data, entry: Data, config: PaybackConfig) -> Spent:
    """The stages that made one student, and on request its teacher."""
    stages = {stage["name"]: stage for stage in data["stages"] if stage.get("run") == entry.get("run")}
    names = list(entry.get("made_by") or [])
    if config.teacher_training:
        names += [name for name, stage in stages.items() if stage.get("kind") == "teacher-training"]
        if len(names) == len(entry.get("made_by") or []):
            raise DataError(
                f"{config.run}: the teacher was not trained in this run, so what its training cost is unknown - leave out "
                "--teacher-training"
            )
    for name in names or ["made_by"]:
        if name not in stages:
            raise DataError(f"{config.run}: {entry['name']!r}: {name!r} is missing, so what making it cost is unknown")
    return spent(stages[name] for name in names)


def _row(
    system: str,
    quantity: Quantity,
    made: list[Spent],
    teacher: list[list[Sentence]],
    student: list[list[Sentence]],
    rates: Rates,
) -> PaybackRow:
    def value(seconds: float, joules: float | None) -> float | None:
        return QUANTITIES[quantity](cost(rates, seconds / 3600, joules))

    def all_of(values: Iterable[float | None]) -> list[float] | None:
        values = list(values)
        known = [value for value in values if value is not None]
        return known if len(known) == len(values) else None

    def served(entries: list[list[Sentence]]) -> list[float] | None:
        """The repeats of one model, or of several seeds the mean of each: repeats of one are no independent models."""
        each = [all_of(value(*sentence) for sentence in repeats) for repeats in entries]
        return each[0] if len(each) == 1 else all_of(fmean(repeats) if repeats else None for repeats in each)

    costs = all_of(value(each.seconds, each.joules) for each in made)
    timed = [served(entries) for entries in (teacher, student)]
    means = [mean_variance(values) if values else None for values in (costs, *timed)]
    of_cost, of_teacher, of_student = means
    if of_cost is None or of_teacher is None or of_student is None:
        known = [each[0] if each else None for each in means]
        return PaybackRow(system, quantity, known[0], known[1], known[2], None, None, None)
    gain, variance = of_teacher[0] - of_student[0], of_teacher[1] + of_student[1]
    low = high = None
    if all(len(values or []) > 1 for values in timed):
        freedom = min(len(values) - 1 for values in (costs, *timed) if values and len(values) > 1)
        low, high = fieller(*of_cost, gain, variance, t_975(freedom))
        # The range that an energy meter declares for the distillation comes on top.
        lowest = all_of(value(each.seconds, each.joules_low) for each in made)
        highest = all_of(value(each.seconds, each.joules_high) for each in made)
        if lowest and highest:
            low, high = low * fmean(lowest) / of_cost[0], high * fmean(highest) / of_cost[0]
    after = of_cost[0] / gain if gain > 0 else math.inf
    return PaybackRow(system, quantity, of_cost[0], of_teacher[0], of_student[0], after, low, high)


def _student_notes(system: System, rows: Sequence[PaybackRow]) -> list[str]:
    notes = []
    for row in rows:
        if row.sentences == math.inf and row.teacher and row.student is not None:
            factor = row.student / row.teacher
            notes.append(
                f"{system.name} never pays back in {row.quantity}: a sentence costs {factor:.3g} × its teacher's."
            )
            if row.low is not None and math.isfinite(row.low):
                notes.append(
                    f"Within the spread of its timings it still might, after {sentences(row.low)} at the earliest."
                )
        elif row.high == math.inf:
            notes.append(
                f"{system.name}, {row.quantity}: the interval has no upper end, for teacher and student are too near each "
                f"other for so few timings - {_TIME_ANEW} more --test-repeats"
            )
    return notes


def _notes(
    data: Data, config: PaybackConfig, rows: list[PaybackRow], teacher: System, students: list[System]
) -> list[str]:
    """What the figures are of, and what they lack."""
    rates, decode = rates_of(data), teacher.entries[0]["decode"]
    made_by = dict.fromkeys(
        name for system in students for entry in system.entries for name in entry.get("made_by") or ()
    )
    notes = [
        f"N* = distillation / (teacher − student). Distillation: what made one student, of {', '.join(made_by)}"
        f"{', and the training of its teacher' if config.teacher_training else ''}. A sentence: the mean of the test sets "
        f"({decode['source_words'] / decode['lines']:.1f} words), beam {decode.get('beam_size', DASH)}, "
        f"threads: {decode.get('threads') or 'all'}, {decode.get('compute_type', 'float32')}."
    ]
    repeats = [len(entry["decode"]["repeats"]) for system in (teacher, *students) for entry in system.entries]
    if any(row.low is None and row.sentences is not None for row in rows):
        notes.append(f"No interval: a decoding was timed once, which has no spread - {_TIME_ANEW} --test-repeats 3.")
    else:
        seeds = " and the student's seeds" if any(len(system.entries) > 1 for system in students) else ""
        notes.append(f"Intervals: Fieller's, from at least {min(repeats)} timed decodings of each system{seeds}.")
    if any(row.quantity == "energy" and row.sentences is None for row in rows):
        notes.append("Energy was not measured, so of energy and CO2e nothing is said; time stands for itself alone.")
    if "estimated" in {each.get("energy_kind") for each in (*decode["repeats"], *data["stages"])}:
        notes.append("Energy is estimated (docs/energy.md), not measured.")
    machines = (rows[0].teacher or 0.0) * (config.serve_per_day or 0.0) / 86400
    if machines > 1:
        notes.append(f"So many sentences a day keep {machines:.3g} machines like this one busy with the teacher alone.")
    given = [f"{name}: {text}" for name, text in rates.inputs().items()]
    return notes + [f"Inputs: {'; '.join(given)}."] * bool(given) + [f"{text}." for text in cost(rates, 1, 1).missing]


def _figure(value: float | None, quantity: Quantity, currency: str) -> str:
    """A cost in its unit, as in "2 h 05 min", "1.25 kWh", "0.480 kg", "3.20 EUR"."""
    if value is None:
        return NOT_MEASURED if quantity in ("energy", "CO2e") else DASH
    if quantity == "time":
        return duration(value)
    if quantity == "money":
        return f"{digits(value)} {currency}".rstrip()
    return amount(Amount(value), KWH if quantity == "energy" else KG)


def _interval(row: PaybackRow) -> str:
    if row.low is None or row.high is None:
        return DASH
    if row.low == math.inf:
        return "never"
    return f"{count(row.low)} to {'no upper end' if row.high == math.inf else count(row.high)}"
