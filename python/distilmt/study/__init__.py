"""Studies: factors, randomised blocks, repeats; measured cell by cell, resumable at any instant, reported with intervals.

    import distilmt.study as study
    study.run("study.yaml")               # or a dict of the same keys; again: goes on where it stopped
    print(study.status("study.yaml"))
    study.report("study.yaml")            # tables, planned contrasts, figures, remarks
    study.payback("ladder.yaml", teacher="teachers.yaml")
    frame = study.frame("study.yaml")

spec.py: the study file; runner.py, cell.py, measure.py: how a cell is run; decode.py, distill.py, function.py: the tasks;
table.py, summary.py, plots.py, findings.py: what comes out; worth.py: which method to choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distilmt.study.records import Status, status_of
from distilmt.study.runner import run
from distilmt.study.spec import Source, Study, StudyConfig, read
from distilmt.study.table import frame, rows

if TYPE_CHECKING:
    from distilmt.study.findings import StudyReport
    from distilmt.study.worth import StudyPayback

__all__ = ["Source", "Status", "Study", "StudyConfig", "frame", "payback", "read", "report", "rows", "run", "status"]


def status(source: Source) -> Status:
    """How far a study is; may be asked while it runs.

    Args:
        source: a YAML file, or its keys.
    Raises: ConfigError: the study cannot be read.
    """
    return status_of(read(source))


def report(source: Source) -> StudyReport:
    """Writes tables, contrasts and figures into the study's folder, and returns them; they show themselves in notebooks.

    Args:
        source: a YAML file, or its keys.
    Raises: ConfigError: the study cannot be read, or scipy, statsmodels or pandas are not installed. DataError: no cell is done.
    """
    from distilmt.study.findings import report  # brings matplotlib, which a run does not need

    return report(source)


def payback(source: Source, **options: Any) -> StudyPayback:
    """Which method pays, after how many sentences; options as in worth.py."""
    from distilmt.study.worth import payback

    return payback(source, **options)
