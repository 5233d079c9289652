"""`distilmt report`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distilmt.bill.rates import Rates
from distilmt.errors import ConfigError
from distilmt.interface.config import resolve
from distilmt.report.across import test_across
from distilmt.report.compare import gather
from distilmt.report.data import Report


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Options of `distilmt report`."""

    runs: tuple[str, ...] = field(metadata={"help": "run folders, or report.json files", "metavar": "RUN"})
    out: str | None = field(default=None, metadata={"help": "folder to write to [default: that of a single run]"})
    against: str | None = field(
        default=None,
        metadata={"help": "of several runs: the system that students are tested against [default: the student alone]"},
    )
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("report: give at least one run folder")
        if self.against is not None and len(self.runs) == 1:
            raise ConfigError("--against is for several runs: a run alone was tested against its student alone")


def report(config: ReportConfig | None = None, **options: Any) -> Report:
    """Shows the report of a run, or of several runs beside each other.

    One run's report is written anew into its folder; that of several is written where `out` says, or nowhere, and its
    systems are tested against each other where all runs were scored on the same text. Rates given
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
    test_across(whole, config.runs, config.against)
    if config.out is not None:
        whole.save(config.out)
    return whole
