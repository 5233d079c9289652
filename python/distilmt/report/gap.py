"""What the microscope saw (microscope.py), as tables and a figure."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from distilmt.report.cells import DASH, Table, text
from distilmt.report.figures import STYLE, looks_of
from distilmt.report.numbers import Data, System, spread, systems_of

_PLACES = {
    "position": "position in the sentence", "frequency": "frequency in the training text, per million",
    "length": "tokens of the reference",
}  # fmt: skip


def looked_at(data: Data) -> list[System]:
    """Systems that the microscope saw tokens of."""
    return [system for system in systems_of(data) if any(_seen(entry) for entry in system.entries)]


def _seen(entry: Data) -> Data:
    found = entry.get("microscope") or {}
    return found if found.get("tokens") and found.get("counts") else {}


def gap_tables(data: Data) -> list[Table]:
    """Agreement, loss and own mode of each student; where the gap lies; what is wrong with translations."""
    systems = looked_at(data)
    return [_overview(systems), _bins(systems), _wrong(systems)] if systems else []


def _overview(systems: list[System]) -> Table:
    def cell(system: System, key: str, digits: int, scale: float = 1.0, unit: str = "") -> str:
        values = spread(system.entries, lambda entry: None if (v := _seen(entry).get(key)) is None else v * scale)
        return text(values, digits, unit)

    rows = [
        [
            system.name, cell(system, "agreement", 1, 100, "%"), cell(system, "kl", 3), cell(system, "teacher_loss", 3),
            cell(system, "student_loss", 3), cell(system, "int8_loss", 3), cell(system, "teacher_mode", 2, 100, "%"),
            cell(system, "student_mode", 2, 100, "%"),
        ]
        for system in systems
    ]  # fmt: skip
    seen = _seen(systems[0].entries[0]) or next(found for entry in systems[0].entries if (found := _seen(entry)))
    covered = min(_seen(entry).get("covered", 1.0) for system in systems for entry in system.entries if _seen(entry))
    notes = [
        f"Teacher and student forced along the references of the test sets: {seen['sentences']:,} sentences, "
        f"{seen['tokens']:,} tokens (at most 1,000 sentences of each set, spread evenly). Loss: nats per token.",
        f"KL is a lower bound, in nats per token: the ids among the {seen.get('k', DASH)} likeliest of both are told apart, all "
        f"others count as one. They hold at least {covered:.1%} of the teacher's mass, in the mean of each student.",
        "Own mode: probability that a model gives its own beam output, mean over sentences (Kim & Rush 2016, section 5): "
        "where it is high, little is lost by searching less.",
    ]
    head = [
        "System",
        "Same best token",
        "KL",
        "Loss ladder: teacher",
        "→ student",
        "→ student in int8",
        "Own mode: teacher",
        "own mode: student",
    ]
    return Table("How far each student is from its teacher", head, rows, notes)


def binned(system: System, place: str, key: str) -> dict[str, float]:
    """A mean by bin, over the tokens of all seeds."""
    sums: dict[str, list[float]] = {}
    for entry in system.entries:
        for row in (_seen(entry).get("by") or {}).get(place) or []:
            whole = sums.setdefault(row["name"], [0.0, 0.0])
            whole[0] += row[key] * row["tokens"]
            whole[1] += row["tokens"]
    return {name: total / tokens for name, (total, tokens) in sums.items()}


def _bins(systems: list[System]) -> Table:
    rows = []
    for place in _PLACES:
        values = [[binned(system, place, key) for key in ("agreement", "kl")] for system in systems]
        for name in dict.fromkeys(name for agreement, _ in values for name in agreement):
            cells = [
                cell
                for agreement, kl in values
                for cell in (
                    f"{agreement[name]:.1%}" if name in agreement else DASH,
                    f"{kl[name]:.3f}" if name in kl else DASH,
                )
            ]
            rows.append([place, name, *cells])
    head = ["By", "Tokens", *(f"{system.name}: {what}" for system in systems for what in ("same", "KL"))]
    return Table(
        "Where the gap lies", head, rows, ["Position, frequency per million training tokens, and length."], left=2
    )


def _wrong(systems: list[System]) -> Table:
    first = next(found for entry in systems[0].entries if (found := _seen(entry)))
    sides: list[tuple[str, list[Data]]] = [("teacher", [first["counts"]["teacher"]])]
    sides += [(s.name, [found["counts"]["student"] for entry in s.entries if (found := _seen(entry))]) for s in systems]
    names = dict.fromkeys(name for _, counts in sides for each in counts for name in each)
    rows = [
        [name, *(f"{fmean(each.get(key, 0) for each in counts):,.1f}".removesuffix(".0") for key in names)]
        for name, counts in sides
    ]
    notes = [
        "Lines, means over seeds, by the verdicts of labels (docs/labelling.md).",
        "Suspicions besides: oscillating, a 4-gram stands there at least twice more often than any does in the source (Raunak "
        "et al. 2021); detached, chrF below 10: perhaps a hallucination, perhaps just wrong. Look at the sentences.",
    ]
    return Table("What is wrong with translations", ["System", *names], rows, notes)


def gap_figure(data: Data) -> Figure | None:
    """Agreement above, KL below, by position, frequency and length; None where nothing was looked at."""
    systems = looked_at(data)
    if not systems:
        return None
    looks = looks_of(systems_of(data))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.4), layout="constrained")
        panels: Any = figure.subplots(2, 3, sharex="col", sharey="row")
        for column, (place, title) in enumerate(_PLACES.items()):
            for row, (key, label) in enumerate((("agreement", "same best token, %"), ("kl", "KL, nats"))):
                axes = panels[row][column]
                for system in systems:
                    values = binned(system, place, key)
                    scale = 100 if key == "agreement" else 1
                    axes.plot(
                        list(values), [scale * value for value in values.values()], markersize=4.5, linewidth=1.3,
                        label=system.name, **looks[system.name],
                    )  # fmt: skip
                if not column:
                    axes.set_ylabel(label)
                if row:
                    axes.set_xlabel(title)
                    axes.tick_params(axis="x", labelrotation=30)
                    mpl.artist.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
        panels[1][0].set_ylim(bottom=0)  # of the whole row, when all of it is drawn
        handles, names = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=min(4, len(names)))
    return figure


def ranked(data: Data, best: str | None) -> dict[str, list[Data]]:
    """Sentences of each student by how much better the teacher is, `best` first; of several seeds as many as of one.

    Rows are those of `ranked` in docs/report.md, and say `where` they stand.
    """
    found = {}
    for system in sorted(looked_at(data), key=lambda system: system.name != best):
        seeds = [entry for entry in system.entries if _seen(entry).get("ranked")]
        rows: list[Data] = []
        for entry in seeds:
            seed = f", seed {entry.get('seed')}" if len(seeds) > 1 else ""
            rows += [row | {"where": f"{row['test']}, line {row['line']}{seed}"} for row in _seen(entry)["ranked"]]
        most = max((len(_seen(entry)["ranked"]) for entry in seeds), default=0)
        found[system.name] = sorted(rows, key=lambda row: -abs(row["difference"]))[:most]
    return {name: sorted(rows, key=lambda row: -row["difference"]) for name, rows in found.items() if rows}
