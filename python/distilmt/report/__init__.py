"""The report of a run: report.json (everything), report.md (tables), report.html (tables and plots, one file).

    Report("run")                               # what `distilmt distill` wrote
    Report("run").save("elsewhere")
    distilmt.report(runs=("run1", "run2"), out="both")   # several beside each other: `distilmt report run1 run2 --out both`

docs/report.md says what every key and every figure means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilmt.report.command import ReportConfig, report
    from distilmt.report.compare import gather, merge
    from distilmt.report.data import Report

__all__ = ["Report", "ReportConfig", "gather", "merge", "report"]


def __getattr__(name: str) -> Any:
    """Late, for the bill uses this folder's numbers and cells, and the report the bill."""
    if name in __all__:
        from distilmt.report import command, compare

        return getattr(command if hasattr(command, name) else compare, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
