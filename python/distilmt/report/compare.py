"""Reports of several runs as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from distilmt.bill.bill import rates_of
from distilmt.bill.rates import Rates, overlaid
from distilmt.report.data import Report
from distilmt.report.numbers import Data

_RUN_KEYS = ("title", "command", "created", "versions", "machine", "direction", "rates", "setup", "significance")
UNLIKE_RATES = "The runs were recorded with different rates: give those that shall hold for all, as in --country DEU."
# Two entries of one name are seeds of one system where these agree.
_SETTINGS = ("role", "method", "objective", "recipe", "parameters")


def gather(runs: Sequence[str], rates: Rates) -> Report:
    """The report of one run, or of several together; `rates` take the place of recorded ones."""
    reports = [Report(run) for run in runs]
    for each in reports:
        for data in (each.data, *(each.data.get("runs") or [])):
            data["rates"] = asdict(overlaid(rates_of(data), rates))
        if len({str(run["rates"]) for run in each.data.get("runs") or []}) == 1:
            each.data["rates"] = each.data["runs"][0]["rates"]
            each.data["notes"] = [note for note in each.data.get("notes") or [] if note != UNLIKE_RATES]
    return reports[0] if len(reports) == 1 else merge(reports)


def merge(reports: list[Report]) -> Report:
    """One report of several runs.

    Systems of one name, with the same settings and test sets, become seeds of one system. Those that differ keep apart,
    with the title of their run behind the name, or its folder where titles are equal. Speed-ups and gaps are always
    those within a run.
    """
    runs: list[Data] = []
    systems: list[Data] = []
    stages: list[Data] = []
    notes: list[str] = []
    titles = [each.data["title"] for each in reports]
    for each in reports:
        name = each.data["title"] if titles.count(each.data["title"]) == 1 else each.name
        own = each.data.get("runs") or [{key: each.data.get(key) for key in _RUN_KEYS}]
        labels = {}
        for run in own:
            old = run.get("label")
            labels[old] = _unused(old or name, [taken["label"] for taken in runs])
            runs.append(run | {"label": labels[old]})
        systems += [entry | {"run": labels[entry.get("run")]} for entry in each.data["systems"]]
        stages += [stage | {"run": labels[stage.get("run")]} for stage in each.data["stages"]]
        notes += [note for note in each.data.get("notes") or [] if note not in notes]
    rates = runs[0].get("rates") or {}
    notes = [note for note in notes if note != UNLIKE_RATES]  # of reports that were merged before
    if any((run.get("rates") or {}) != rates for run in runs):
        rates = {}
        notes.append(UNLIKE_RATES)
    direction = {run["label"]: run.get("direction") for run in runs}
    first: dict[str, Any] = {}
    for entry in systems:
        settings = [direction[entry["run"]], sorted(entry["test"]), *(entry.get(key) for key in _SETTINGS)]
        if first.setdefault(entry["name"], settings) != settings:
            apart = f"{entry['name']} ({entry['run']})"
            for row in next(run for run in runs if run["label"] == entry["run"]).get("significance") or []:
                row |= {key: apart for key in ("name", "against") if row[key] == entry["name"]}
            entry["name"] = apart
    return Report({
        "title": " and ".join(dict.fromkeys(run["title"] for run in runs)),
        "command": "",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {},
        "machine": {},
        "direction": ", ".join(dict.fromkeys(text for text in direction.values() if text)),
        "systems": systems,
        "stages": stages,
        "notes": notes,
        "rates": rates,
        "runs": runs,
    })  # fmt: skip


def _unused(label: str, taken: list[str]) -> str:
    number, unused = 1, label
    while unused in taken:
        number += 1
        unused = f"{label} {number}"
    return unused
