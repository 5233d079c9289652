"""The report of a run: report.json (everything), report.md (tables), report.html (tables and plots, one file).

    Report("run")                               # what `distilmt distill` wrote
    Report("run").save("elsewhere")
    report(runs=("run1", "run2"), out="both")   # several beside each other: `distilmt report run1 run2 --out both`

docs/report.md says what every key and every figure means.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from distilmt.bill.bill import rates_of, summary
from distilmt.bill.older import complete
from distilmt.bill.rates import Rates, overlaid
from distilmt.config import resolve
from distilmt.errors import ConfigError, DataError
from distilmt.report_numbers import ROLES, Data
from distilmt.report_tables import markdown
from distilmt.storage import disk_errors, plain, read_json, write_bytes, write_json

_NUMBER, _TEXT = (int, float), (str,)
_MAYBE_NUMBER = (int, float, type(None))
_TOP = {
    "title": _TEXT, "command": _TEXT, "created": _TEXT, "versions": (dict,), "machine": (dict,), "systems": (list,),
    "stages": (list,),
}  # fmt: skip
_SYSTEM = {"name": _TEXT, "role": _TEXT, "parameters": _NUMBER, "file_bytes": _NUMBER, "test": (dict,)}
_SCORES = {"bleu": _NUMBER, "chrf": _NUMBER, "bleu_signature": _TEXT, "chrf_signature": _TEXT}
_STAGE = {
    "name": _TEXT, "seconds": _NUMBER, "cpu_seconds": _MAYBE_NUMBER, "peak_rss_bytes": _MAYBE_NUMBER,
    "joules": _MAYBE_NUMBER, "energy_method": _TEXT,
}  # fmt: skip
_SIGNIFICANCE = {
    "test_set": _TEXT, "measure": _TEXT, "name": _TEXT, "against": _TEXT, "difference": _NUMBER, "low": _NUMBER,
    "high": _NUMBER, "p": _MAYBE_NUMBER, "p_holm": _MAYBE_NUMBER, "test": _TEXT, "stars": _TEXT, "sentences": _NUMBER,
    "seeds": (list,),
}  # fmt: skip
# Keys that may be absent or null: types, [of each item], or (keys of an object that are required, that are not).
_ENERGY = {
    "joules": _NUMBER,
    "joules_low": _NUMBER,
    "joules_high": _NUMBER,
    "energy_kind": _TEXT,
    "energy_method": _TEXT,
}
_REPEAT = ({"seconds": _NUMBER}, _ENERGY)
_DECODE = dict.fromkeys(("beam_size", "threads", "seconds", "lines", "source_words", "target_tokens"), _NUMBER)
_POINT = ({"update": _NUMBER}, {"train_loss": _NUMBER, "dev_bleu": _NUMBER, "seconds": _NUMBER, "terms": (dict,)})
_TRAINED = dict.fromkeys(("updates", "target_tokens", "seconds", "tokens_per_second"), _NUMBER)
_MORE_OF_SYSTEM = {
    "compression": _NUMBER, "method": _TEXT, "objective": _TEXT, "recipe": _TEXT, "seed": (int, str), "run": _TEXT,
    "made_by": [_TEXT], "tokens_per_second": _NUMBER, "decode": ({}, _DECODE | {"repeats": [_REPEAT]}),
    "hypotheses": (dict,), "dev_bleu": _NUMBER, "curve": [_POINT], "training": ({}, _TRAINED),
}  # fmt: skip
_MORE_OF_STAGE = _ENERGY | {
    "kind": _TEXT, "run": _TEXT, "work": ({}, {"lines": _NUMBER, "target_tokens": _NUMBER}), "peak_rss_method": _TEXT,
    "energy_coverage": [_TEXT], "energy_missing": [_TEXT], "gpu_peak_bytes": _NUMBER,
}  # fmt: skip
_RUN = ({key: _TOP[key] for key in _TOP if key not in ("systems", "stages")}, {"label": _TEXT, "direction": _TEXT})
_MORE = {"direction": _TEXT, "notes": [_TEXT], "significance": (list,), "runs": [_RUN]}
_RUN_KEYS = ("title", "command", "created", "versions", "machine", "direction", "rates")
UNLIKE_RATES = "The runs were recorded with different rates: give those that shall hold for all, as in --country DEU."
# Two entries of one name are seeds of one system where these agree.
_SETTINGS = ("role", "method", "objective", "recipe", "parameters")


class Report:
    """One report.

    Args:
        source: a run folder, a report.json, or the data itself (schema: docs/report.md).

    `data` is what report.json holds; numbers that are not finite have become None there, for JSON has none.

    Raises:
        DataError: there is no report, it is damaged, or a required key is missing; the message names it.
    """

    def __init__(self, source: str | os.PathLike[str] | Mapping[str, Any]):
        where = "report"  # in messages
        if isinstance(source, Mapping):
            self.data: Data = plain(dict(source))
            self.name = "run"
        else:
            path = Path(source)
            path = path / "report.json" if path.is_dir() else path
            if not path.exists():
                raise DataError(f"{path}: no report here - `distilmt distill` writes it at its end; has it ended?")
            self.name = path.resolve().parent.name
            where, self.data = str(path), read_json(path, "restore it, or run `distilmt distill` again to rewrite it")
        _check(self.data, where)
        complete(self.data)
        self.saved: Path | None = None

    def markdown(self) -> str:
        """Tables without the plots."""
        return markdown(self.data)

    def html(self) -> str:
        """Tables and plots as one file that loads nothing."""
        from distilmt.report_page import page  # brings matplotlib, which tables do not need

        return page(self.data)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes report.json, report.md and report.html into `folder`.

        Returns: The path of report.html.
        Raises: ResourceError: the disk refuses.
        """
        path = Path(folder)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        write_json(path / "report.json", self.data | {"bill": summary(self.data, rates_of(self.data))})
        write_bytes(path / "report.md", self.markdown().encode())
        self.saved = path / "report.html"
        write_bytes(self.saved, self.html().encode())
        return self.saved

    def __str__(self) -> str:
        return self.markdown() + (f"\nreport: {self.saved}\n" if self.saved else "")

    def _repr_html_(self) -> str:
        from distilmt.report_page import body

        return body(self.data)


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Options of `distilmt report`."""

    runs: tuple[str, ...] = field(metadata={"help": "run folders, or report.json files"})
    out: str | None = field(default=None, metadata={"help": "folder to write to [default: that of a single run]"})
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("report: give at least one run folder")


def report(config: ReportConfig | None = None, **options: Any) -> Report:
    """Shows the report of a run, or of several runs beside each other.

    One run's report is written anew into its folder; that of several is written where `out` says, or nowhere. Rates given
    here take the place of those that a run was recorded with, and CO2e and money are computed anew from its joules.

    Args:
        config: a ReportConfig, or its fields as keywords.

    Raises:
        ConfigError, DataError, ResourceError: no run, no report in it, or no place to write to.
    """
    config = resolve(ReportConfig, config, **options)
    whole = gather(config.runs, config.rates)
    if len(config.runs) == 1:
        own = Path(config.runs[0])
        whole.save(config.out or (own if own.is_dir() else own.parent))
        return whole
    if config.out is not None:
        whole.save(config.out)
    return whole


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
            entry["name"] = f"{entry['name']} ({entry['run']})"
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


def _check(data: Data, where: str) -> None:
    """Compares with the schema of docs/report.md; the first fault is the message."""
    _check_keys(data, _TOP, where, "")
    _check_more(data, _MORE, where, "")
    try:
        rates_of(data)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    if not data["systems"]:
        raise DataError(f"{where}: systems is empty - a report is of at least one system")
    for number, entry in enumerate(data["systems"]):
        at = f"systems[{number}]."
        _check_keys(entry, _SYSTEM, where, at)
        _check_more(entry, _MORE_OF_SYSTEM, where, at)
        if entry["role"] not in ROLES:
            raise DataError(f"{where}: {at}role: expected one of {', '.join(ROLES)}, got {entry['role']!r}")
        for test, scores in entry["test"].items():
            _check_keys(scores, _SCORES, where, f"{at}test.{test}.")
            _check_more(scores, {"exact": _NUMBER}, where, f"{at}test.{test}.")
            for key in ("bleu_signature", "chrf_signature"):
                if not scores[key]:
                    raise DataError(f"{where}: {at}test.{test}.{key}: empty - no score without its signature")
    for number, row in enumerate(data.get("significance") or []):
        _check_keys(row, _SIGNIFICANCE, where, f"significance[{number}].")
    merged = any(isinstance(stage, dict) and "run" in stage for stage in data["stages"])
    for number, stage in enumerate(data["stages"]):
        _check_keys(stage, _STAGE, where, f"stages[{number}].")
        _check_more(stage, _MORE_OF_STAGE, where, f"stages[{number}].")
        if merged:
            _check_keys(stage, {"run": _TEXT}, where, f"stages[{number}].")
        if stage["joules"] == 0:
            raise DataError(f"{where}: stages[{number}].joules: 0 - energy that was not measured is null, never 0")


def _check_more(value: Data, keys: Mapping[str, Any], where: str, at: str) -> None:
    """Checks what is there and not null."""
    for key, kinds in keys.items():
        if value.get(key) is None:
            continue
        found = {key: value[key]}
        if isinstance(kinds, list):
            _check_keys(found, {key: (list,)}, where, at)
            found, kinds = {f"{key}[{number}]": item for number, item in enumerate(value[key])}, kinds[0]
        for name, item in found.items():
            if not isinstance(kinds[0], dict):
                _check_keys(found, {name: kinds}, where, at)
                continue
            _check_keys(item, kinds[0], where, f"{at}{name}.")
            _check_more(item, kinds[1], where, f"{at}{name}.")


def _check_keys(value: Any, keys: Mapping[str, tuple[type, ...]], where: str, at: str) -> None:
    if not isinstance(value, dict):
        raise DataError(f"{where}: {at.rstrip('.') or 'data'}: expected an object, got {type(value).__name__}")
    for key, kinds in keys.items():
        names = " or ".join({"NoneType": "null", "dict": "object"}.get(kind.__name__, kind.__name__) for kind in kinds)
        if key not in value:
            raise DataError(f"{where}: {at}{key}: missing, expected {names} - docs/report.md has the schema")
        if not isinstance(value[key], kinds) or isinstance(value[key], bool):
            got = json.dumps(value[key])[:40]
            raise DataError(f"{where}: {at}{key}: expected {names}, got {got} - docs/report.md has the schema")
