"""Two samples of runs compared: Welch's t, Mann-Whitney, and both in pairs; Holm's correction.

Every test also says the smallest p that its numbers of runs can give: where that is above the level, nothing measured
could have been significant.

Sources: Welch 1947 (Biometrika 34:28); Mann & Whitney 1947; Wilcoxon 1945; shifts and their intervals by Hodges & Lehmann
1963 as in Hollander & Wolfe 1973, sections 3.2-3.3 and 4.2-4.3 (large-sample order statistics); Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from distilmt.statistics.extra import library
from distilmt.statistics.runs import Floats


@dataclass(frozen=True)
class Test:
    """Outcome of one test.

    Attributes:
        estimate: first minus second, in the outcome's unit: of means (t tests), or the Hodges-Lehmann shift (rank tests).
        low, high: its interval; None where n is too small for one.
        p: two-sided; None where `note` says why there is none.
        smallest_p: the least that this test can give with these n; 0 for t tests with a spread.
    """

    __test__ = False  # its name looks like a test's to pytest

    estimate: float
    low: float | None
    high: float | None
    p: float | None
    smallest_p: float
    note: str = ""


def welch(x: Floats, y: Floats, confidence: float = 0.95) -> Test:
    """Welch's t for two independent samples of unequal variances."""
    estimate = float(x.mean() - y.mean())
    if min(len(x), len(y)) < 2:
        return Test(estimate, None, None, None, 1.0, _ONE)
    if np.ptp(x) == 0 == np.ptp(y):
        return Test(estimate, None, None, None, 1.0, _CONSTANT)
    return _t(library("scipy.stats").ttest_ind(x, y, equal_var=False), estimate, confidence)


def paired_t(x: Floats, y: Floats, confidence: float = 0.95) -> Test:
    """Student's t of the differences x[i] - y[i] within blocks."""
    estimate = float((x - y).mean())
    if len(x) < 2:
        return Test(estimate, None, None, None, 1.0, _ONE)
    if np.ptp(x - y) == 0:
        return Test(estimate, None, None, None, 1.0, _CONSTANT)
    return _t(library("scipy.stats").ttest_rel(x, y), estimate, confidence)


def mann_whitney(x: Floats, y: Floats, confidence: float = 0.95) -> Test:
    """Mann-Whitney's U for two independent samples: by up to 9,999 permutations with ties, else exact (n m <= 2,500) or by the
    normal approximation."""
    n, m = len(x), len(y)
    differences = np.sort(np.subtract.outer(x, y), axis=None)
    smallest = min(1.0, 2 / math.comb(n + m, n))
    low, high = _order_interval(differences, n * m / 2, math.sqrt(n * m * (n + m + 1) / 12), confidence)
    estimate = float(np.median(differences))
    values = np.concatenate([x, y])
    if min(n, m) < 2 or np.ptp(values) == 0:
        return Test(estimate, None, None, None, smallest, _ONE if min(n, m) < 2 else _CONSTANT)
    stats = library("scipy.stats")
    method: Any
    method = "exact" if n * m <= 2500 else "asymptotic"
    if len(np.unique(values)) < n + m:
        method = stats.PermutationMethod(n_resamples=9999, rng=np.random.default_rng(12345))
    p = float(
        stats.mannwhitneyu(np.sort(x), np.sort(y), method=method).pvalue
    )  # sorted: the order of runs is no matter
    return Test(estimate, low, high, p, smallest)


def wilcoxon(x: Floats, y: Floats, confidence: float = 0.95) -> Test:
    """Wilcoxon's signed ranks of the differences within blocks; blocks without a difference are left out."""
    differences = x - y
    n = len(differences)
    walsh = np.sort(np.add.outer(differences, differences)[np.triu_indices(n)] / 2)
    spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    low, high = _order_interval(walsh, n * (n + 1) / 4, spread, confidence)
    smallest, estimate = min(1.0, 2 / 2 ** int(np.count_nonzero(differences))), float(np.median(walsh))
    if n < 2 or not differences.any():
        return Test(estimate, None, None, None, smallest, _ONE if n < 2 else _CONSTANT)
    p = float(library("scipy.stats").wilcoxon(x, y).pvalue)
    return Test(estimate, low, high, p, smallest)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over all comparisons that were planned: one without a p counts as p = 1.

    Kept here, for a report without the extra `study` needs it; the same numbers as statsmodels' `multipletests`.
    """
    order = sorted(range(len(p)), key=lambda i: 1.0 if (value := p[i]) is None else value)
    corrected: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, i in enumerate(order):
        if (value := p[i]) is not None:
            largest = max(largest, min(1.0, value * (len(p) - rank)))
            corrected[i] = largest
    return corrected


def stars(p: float | None) -> str:
    """*** below 0.001, ** below 0.01, * below 0.05; give it the corrected p."""
    return "" if p is None else "*" * sum(p < level for level in (0.05, 0.01, 0.001))


_ONE = "one run has no spread: the difference is all that can be said"
_CONSTANT = "every run gave the same number: no spread to test against"


def _t(result: Any, estimate: float, confidence: float) -> Test:
    low, high = result.confidence_interval(confidence)
    return Test(estimate, float(low), float(high), float(result.pvalue), 0.0)


def _order_interval(
    ordered: Floats, mean: float, deviation: float, confidence: float
) -> tuple[float | None, float | None]:
    """The interval between the k-th smallest and the k-th largest difference; none where k would be below 1."""
    k = math.floor(mean - NormalDist().inv_cdf((1 + confidence) / 2) * deviation)
    return (float(ordered[k - 1]), float(ordered[-k])) if k >= 1 else (None, None)
