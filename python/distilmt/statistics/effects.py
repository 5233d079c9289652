"""Effect sizes with intervals: how large a difference is, beside how sure.

    Hedges' g      difference of means in standard deviations, corrected for small samples    (t tests)
    Cliff's delta  P(x > y) - P(x < y), from -1 to 1                                         (rank tests)
    eta squared    share of the outcome's variation that a factor explains: anova.py

Sources: Hedges 1981 (J. Educ. Stat. 6:107), exact correction; interval by the noncentral t (Cumming & Finch 2001, Educ.
Psychol. Meas. 61:532); Cliff 1993 (Psychol. Bull. 114:494), asymmetric interval as in Feng & Cliff 2004.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from distilmt.statistics.extra import library
from distilmt.statistics.runs import Floats


@dataclass(frozen=True)
class Effect:
    """An effect size by `name`: `value` with its interval `low` to `high`.

    All three are None where the samples have no spread or a single run.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None


def hedges_g(x: Floats, y: Floats, confidence: float = 0.95) -> Effect:
    """Hedges' g of two independent samples, over their pooled standard deviation."""
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return Effect("Hedges' g", None, None, None)
    pooled = math.sqrt(((n - 1) * x.var(ddof=1) + (m - 1) * y.var(ddof=1)) / (n + m - 2))
    return _g(x.mean() - y.mean(), pooled, n + m - 2, math.sqrt(1 / n + 1 / m), confidence)


def paired_g(x: Floats, y: Floats, confidence: float = 0.95) -> Effect:
    """Hedges' g of the differences within blocks, over the standard deviation of those differences."""
    if len(x) < 2:
        return Effect("Hedges' g", None, None, None)
    return _g((x - y).mean(), (x - y).std(ddof=1), len(x) - 1, math.sqrt(1 / len(x)), confidence)


def cliffs_delta(x: Floats, y: Floats, confidence: float = 0.95) -> Effect:
    """Cliff's delta of two independent samples: +1 where every x lies above every y.

    Where the samples do not overlap at all, Cliff's variance is 0 and says nothing. There the interval is Clopper and
    Pearson's for min(n, m) disjoint pairs that all point one way.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return Effect("Cliff's delta", None, None, None)
    signs = np.sign(np.subtract.outer(x, y))
    delta = float(signs.mean())
    if abs(delta) == 1:
        return Effect("Cliff's delta", delta, *_one_way(delta, min(n, m), confidence))
    rows, columns = ((signs.mean(axis=axis) - delta) ** 2 for axis in (1, 0))
    variance = (m**2 * rows.sum() + n**2 * columns.sum() - ((signs - delta) ** 2).sum()) / (n * m * (n - 1) * (m - 1))
    variance = max(float(variance), (1 - delta**2) / (n * m - 1))
    t2 = float(library("scipy.stats").t.ppf((1 + confidence) / 2, n + m - 2)) ** 2
    reach = math.sqrt(t2 * variance * ((1 - delta**2) ** 2 + t2 * variance))
    low, high = ((delta - delta**3 + sign * reach) / (1 - delta**2 + t2 * variance) for sign in (-1, 1))
    return Effect("Cliff's delta", delta, max(-1.0, low), min(1.0, high))


def paired_delta(x: Floats, y: Floats, confidence: float = 0.95) -> Effect:
    """Cliff's delta within blocks: share of blocks where x is above y, less the share where it is below.

    The interval is Clopper and Pearson's, of the blocks that differ.
    """
    signs = np.sign(x - y)
    above, differing = int((signs > 0).sum()), int((signs != 0).sum())
    if len(x) < 2 or not differing:
        return Effect("Cliff's delta (pairs)", None, None, None)
    share = library("scipy.stats").binomtest(above, differing).proportion_ci(confidence)
    scale = differing / len(x)
    ends = (scale * (2 * float(end) - 1) for end in (share.low, share.high))
    return Effect("Cliff's delta (pairs)", float(signs.mean()), *ends)


def _one_way(delta: float, pairs: int, confidence: float) -> tuple[float, float]:
    bound = delta * (2 * ((1 - confidence) / 2) ** (1 / pairs) - 1)
    return min(delta, bound), max(delta, bound)


def _g(difference: float, deviation: float, freedom: int, scale: float, confidence: float) -> Effect:
    """`scale` is the standard error of the difference in standard deviations: t = difference / (deviation * scale)."""
    if deviation == 0 or freedom < 2:  # with one degree of freedom the correction is infinite
        return Effect("Hedges' g", None, None, None)
    correction = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    t = float(difference / (deviation * scale))
    low, high = (_noncentrality(t, freedom, tail) for tail in ((1 + confidence) / 2, (1 - confidence) / 2))
    return Effect("Hedges' g", correction * t * scale, correction * low * scale, correction * high * scale)


def _noncentrality(t: float, freedom: int, tail: float) -> float:
    """The noncentral t distribution whose share `tail` lies below t.

    T <= t means Z + noncentrality <= t sqrt(chi2 / freedom): the share is a mean of normal shares over chi2's quantiles,
    which holds for any t, where SciPy's own function ends in NaN (from t of 100,000: runs that hardly scatter).
    """
    chi2 = library("scipy.stats").chi2
    roots = t * np.sqrt(chi2.ppf((np.arange(2000) + 0.5) / 2000, freedom) / freedom)
    normal = library("scipy.special").ndtr
    reach = 10 + abs(float(roots[-1])) + abs(float(roots[0]))
    return float(library("scipy.optimize").brentq(lambda shift: normal(roots - shift).mean() - tail, -reach, reach))
