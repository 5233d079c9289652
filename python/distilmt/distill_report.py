"""The report of a `distilmt distill` run: what the stages recorded, put together."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.dataset import is_column, parse_column
from distilmt.files import bare_name, language_of

if TYPE_CHECKING:
    from distilmt.distill import DistillConfig
    from distilmt.methods import Method
    from distilmt.report import Report
    from distilmt.run import Run


def set_name(path: str) -> str:
    """Name of a test set: its file name without language and compression suffixes, or dataset and split."""
    if is_column(path):
        column = parse_column(path)
        return f"{Path(column.name).name}.{column.split}"
    name = bare_name(path)
    return name.rsplit(".", 1)[0] if "." in name else name


def _direction(text: tuple[str, str]) -> dict[str, str]:
    """`{"direction": "de-en"}` where the names of the training files or columns end in their languages, else nothing."""
    suffixes = [bare_name(path).replace(":", ".").rpartition(".")[2] for path in text]
    return {"direction": "-".join(suffixes)} if all(2 <= len(suffix) <= 3 for suffix in suffixes) else {}


def system(
    name: str, role: str, method: Method | None, seed: int | None, trained: dict[str, Any], tested: dict[str, Any]
) -> dict[str, Any]:
    """One entry of the report's `systems` (schema: docs/report.md)."""
    facts: dict[str, Any] = {"name": name, "role": role, "seed": seed} | trained | tested
    if method is not None:
        columns = {key: [getattr(phase, key) for phase in method.phases] for key in ("objective", "recipe")}
        facts |= {"method": method.name} | {key: ", then ".join(each) for key, each in columns.items()}
    return facts


def write_report(
    run: Run, config: DistillConfig, systems: list[dict[str, Any]], references: dict[str, list[str]], notes: list[str]
) -> Report:
    """Puts the report together from what the stages recorded, and writes it."""
    from distilmt.report import Report
    from distilmt.report.significance import NOT_KEPT, find_significance
    from distilmt.run import versions

    teacher = systems[0]
    for system in systems:
        system["compression"] = teacher["parameters"] / system["parameters"]
    languages = {set_name(test[0]): language_of(test[1]) for test in config.test}
    significance = find_significance(run, systems, references, languages)
    if any("hypotheses" not in system for system in systems):
        notes = [*notes, NOT_KEPT]
    report = Report({
        "title": config.title,
        "command": " ".join(map(shlex.quote, ["distilmt", *sys.argv[1:]])),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": {"processor": _processor(), "cpus": len(os.sched_getaffinity(0)), "system": platform.platform()},
        "systems": systems,
        "significance": significance,
        "stages": run.stages(),
        "notes": notes,
        "rates": asdict(config.rates),
        **_direction(config.train),
    })  # fmt: skip
    report.save(run.folder)
    return report


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
