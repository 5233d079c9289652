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

from distilmt.study.records import Status as Status
from distilmt.study.records import status_of
from distilmt.study.runner import run as run
from distilmt.study.spec import Source as Source
from distilmt.study.spec import Study as Study
from distilmt.study.spec import StudyConfig as StudyConfig
from distilmt.study.spec import read as read
from distilmt.study.table import frame as frame
from distilmt.study.table import rows as rows

if TYPE_CHECKING:
    from distilmt.study.findings import StudyReport
    from distilmt.study.worth import StudyPayback


def status(source: Source) -> Status:
    """How far a study is; may be asked while it runs."""
    return status_of(read(source))


def report(source: Source) -> StudyReport:
    """Writes tables, contrasts and figures into the study's folder (findings.py)."""
    from distilmt.study.findings import report  # brings matplotlib, which a run does not need

    return report(source)


def payback(source: Source, **options: Any) -> StudyPayback:
    """Which method pays, after how many sentences; options as in worth.py."""
    from distilmt.study.worth import payback

    return payback(source, **options)
