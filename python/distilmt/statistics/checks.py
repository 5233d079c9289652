"""What the t tests and the analysis of variance assume, checked as in the CAIN 2024 study: normality, equal variances.

With few runs these checks have little power: a large p is no proof. Welch's t needs no equal variances, and the rank
tests need neither.

Sources: Shapiro & Wilk 1965 (Biometrika 52:591); Brown & Forsythe 1974 (JASA 69:364), Levene's test about medians.
Mauchly's test of sphericity stands beside its analysis in anova.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distilmt.statistics.extra import library
from distilmt.statistics.runs import Floats, Runs


@dataclass(frozen=True)
class Check:
    """One check of an assumption, by `name`, `of` what; `statistic` and `p` are None where `note` says why."""

    name: str
    of: str
    statistic: float | None
    p: float | None
    note: str = ""


def normality(runs: Runs) -> list[Check]:
    """Shapiro-Wilk of every cell with three runs or more, and of all residuals from the cells' means together."""
    cells = {", ".join(key): values for key, values in runs.cells().items() if len(values)}
    residuals = np.concatenate([values - values.mean() for values in cells.values()])
    return [_shapiro(name, values) for name, values in cells.items()] + [_shapiro("residuals", residuals)]


def equal_variances(runs: Runs) -> Check:
    """Brown-Forsythe over all cells that have three runs or more: two are always equally far from their median."""
    cells = [values for values in runs.cells().values() if len(values) > 2]
    if len(cells) < 2:
        return Check("Brown-Forsythe", "variances", None, None, "needs two cells with three runs each")
    if all(np.ptp(values) == 0 for values in cells):
        return Check("Brown-Forsythe", "variances", None, None, "no cell has a spread")
    result = library("scipy.stats").levene(*cells, center="median")
    return Check("Brown-Forsythe", "variances", float(result.statistic), float(result.pvalue))


def _shapiro(name: str, values: Floats) -> Check:
    if len(values) < 3:
        return Check("Shapiro-Wilk", name, None, None, f"needs 3 runs, has {len(values)}")
    if np.ptp(values) == 0:
        return Check("Shapiro-Wilk", name, None, None, "every run gave the same number")
    result = library("scipy.stats").shapiro(values)
    return Check("Shapiro-Wilk", name, float(result.statistic), float(result.pvalue))
