"""The bill as tables of text. Process (what making cost) and result (what serving costs) stand in tables of their own.

An amount is "2.00 kWh", with its interval "2.00 kWh (1.80 to 2.20)", and "≈ 2.00 kWh" where it was estimated. "≥ 3.00" is
money of machine hours alone, where electricity has a price and was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from distilmt.bill.bill import OTHER, Line, kinds, labels, points, rates_of, serving
from distilmt.bill.rates import Amount, Cost, Rates
from distilmt.energy import NOT_MEASURED
from distilmt.report.cells import DASH, Table, count, duration, size
from distilmt.report.numbers import MEASURES as NAMES
from distilmt.report.numbers import Data, tests_of

KWH = (("MWh", 1e3), ("kWh", 1.0), ("Wh", 1e-3), ("mWh", 1e-6))
KG = (("t", 1e3), ("kg", 1.0), ("g", 1e-3), ("mg", 1e-6))
_HEAD = ["Time", "Energy", "CO2e", "Money"]


def bill_tables(data: Data, rates: Rates | None = None) -> list[Table]:
    """All tables of a report's bill; by its own rates where none are given."""
    rates = rates or rates_of(data)
    tables = [_kinds_table(data, rates), _units_table(data, rates), _serving_table(data, rates)]
    return [table for table in tables if table is not None]


def _kinds_table(data: Data, rates: Rates) -> Table | None:
    lines = kinds(data, rates)
    if not lines:
        return None
    rows = []
    for line in lines:
        peak = ("≤ " if line.spent.bounded else "") + size(line.spent.peak_bytes)
        card = "" if line.spent.gpu_peak_bytes is None else f" + {size(line.spent.gpu_peak_bytes)} on cards"
        time, *others = _cells(line.cost, rates, line.estimated)
        rows.append([line.name, f"{line.count:.0f}", time, duration(line.spent.cpu_seconds), *others, peak + card])
    notes = _notes(data, rates, lines)
    if any(line.name == "labelling" for line in lines) and labels(data, rates) is None:
        notes.append("Not said: what a million labels cost, since the labelling did not record its lines.")
    if data["systems"] and not serving(data, rates):
        notes.append(
            "Not said: what serving costs, since no decoding of counted words was timed (delete the run's "
            "`stages/evaluate-*.json` and run the same `distilmt distill` again: it repeats the evaluation alone)."
        )
    if any(line.name == OTHER for line in lines):
        notes.append(f'"{OTHER}": stages that were recorded without a kind.')
    head = ["Kind of stage", "Stages", "Time", "CPU time", "Energy", "CO2e", "Money", "Peak memory"]
    return Table("The bill: what making cost", head, rows, notes)


def _units_table(data: Data, rates: Rates) -> Table | None:
    """None where the report says neither how many lines were labelled nor which stages made a student."""
    per_label, per_point = labels(data, rates), points(data, rates)
    rows = []
    if per_label:
        rows.append(
            ["million labels", f"{count(per_label.count)} lines", *_cells(per_label.cost, rates, per_label.estimated)]
        )
    many = len(tests_of(data)) > 1
    for point in per_point:
        unit = f"{NAMES[point.measure][0]} point{f' on {point.test}' if many else ''}, {point.system}"
        error = "" if point.error is None else f" ± {point.error:.2f}"
        gain = DASH if point.gain is None else f"{point.gain:+.2f}{error}"
        cells = _cells(point.cost, rates, point.estimated) if point.cost else [DASH] * 4
        rows.append([unit, gain, *cells])
    if not rows:
        return None
    notes = []
    if per_point:
        notes.append(
            "A point gained over the student alone, at the cost of labelling and training that student (mean over seeds), "
            "its teacher there before. ±: standard error of the gain over seeds; a gain within twice that may be chance."
        )
    if any(point.gain is not None and point.error is None for point in per_point):
        notes.append("Without ±: one seed of either, so how sure the gain is cannot be said.")
    if any(row[2] == DASH for row in rows):
        notes.append(f"{DASH}: no point was gained, or there is no student alone to gain on.")
    return Table("The bill: what one more cost", ["One", "Of", *_HEAD], rows, notes)


def _serving_table(data: Data, rates: Rates) -> Table | None:
    """None where no system was timed on counted words."""
    lines = serving(data, rates)
    if not lines:
        return None
    rows = [[line.name, f"{line.count:,.0f}", *_cells(line.cost, rates, line.estimated)] for line in lines]
    note = "By decoding the test sets, their models loaded before, with beam and threads as above; words of the source."
    return Table("The result: what serving a million words costs", ["System", "Words decoded", *_HEAD], rows, [note])


def _cells(cost: Cost, rates: Rates, estimated: bool) -> list[str]:
    """Time, energy, CO2e and money."""
    about = "≈ " if estimated else ""
    energy = NOT_MEASURED if cost.kwh is None else about + amount(cost.kwh, KWH)
    carbon = about + amount(cost.co2e_kg, KG) if cost.co2e_kg else NOT_MEASURED if cost.kwh is None else DASH
    return [duration(cost.hours * 3600), energy, carbon, money_text(cost, rates, about)]


def money_text(cost: Cost, rates: Rates, about: str = "") -> str:
    unit = f" {rates.currency}" if rates.currency else ""
    if cost.money is not None:
        return (about if cost.energy_money else "") + _money(cost.money) + unit
    if cost.machine_money is not None:
        return f"≥ {_money(cost.machine_money)}{unit}"
    return DASH if rates.price_per_kwh is None else NOT_MEASURED


def amount(value: Amount, units: Iterable[tuple[str, float]]) -> str:
    """A figure with three digits in the unit that suits it, and its interval in the same."""
    name, scale = next((pair for pair in units if value.value >= pair[1]), list(units)[-1])
    ends = (
        ""
        if value.low is None or value.high is None
        else f" ({digits(value.low / scale)} to {digits(value.high / scale)})"
    )
    return f"{digits(value.value / scale)} {name}{ends}"


def _money(value: Amount) -> str:
    interval = value.low is not None and value.high is not None and value.low < value.high
    return digits(value.value) + (f" ({digits(value.low or 0)} to {digits(value.high or 0)})" if interval else "")


def digits(value: float) -> str:
    """Three digits that count: 1,234, 12.3, 0.00123."""
    if value >= 100 or value <= 0:
        return f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(value))}f}"


def _notes(data: Data, rates: Rates, lines: list[Line]) -> list[str]:
    inputs = rates.inputs()
    notes = []
    if inputs:
        notes.append("Inputs: " + "; ".join(f"{name} {value}" for name, value in inputs.items()) + ".")
    missing = lines[-1].cost.missing
    if missing:
        notes.append("Not said: " + "; ".join(missing) + ".")
    methods = ", ".join(
        dict.fromkeys(stage["energy_method"] for stage in data["stages"] if stage["joules"] is not None)
    )
    if any(line.estimated for line in lines):
        notes.append(f"≈: estimated, not measured ({methods}); an order by it is one by that model.")
    if any(line.cost.money is None and line.cost.machine_money is not None for line in lines):
        notes.append("≥: machine hours alone, since the energy was not measured.")
    return notes
