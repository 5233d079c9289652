"""Confidence intervals of means and of a ratio of means, from few repeats.

    mean     m ± t s / sqrt(n)
    ratio    Fieller: all N for which a - N b is no further from 0 than t times its standard error,
             (b^2 - t^2 vb) N^2 - 2 a b N + (a^2 - t^2 va) <= 0,     va, vb: variances of the means a and b

Fieller's interval is exact for normal a and b and says so where b may be 0: then no N is too large. A bootstrap of three
to five repeats has few distinct samples, is too narrow, and is always bounded.
Source: Fieller 1954, Some problems in interval estimation, J. R. Stat. Soc. B 16(2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

# Student's t at 97.5 %, as printed in every textbook; between two lines the upper one holds, which is cautious.
_T = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 12: 2.179,
    15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980,
}  # fmt: skip


def t_975(freedom: int) -> float:
    """Student's t at 97.5 % for so many degrees of freedom (1 or more): 95 % lie between it and its negative."""
    return _T[max(known for known in _T if known <= freedom)]


def mean_variance(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and the variance of that mean: 0 for a single value, of which no spread is known."""
    return fmean(values), variance(values) / len(values) if len(values) > 1 else 0.0


def fieller(a: float, va: float, b: float, vb: float, t: float) -> tuple[float, float]:
    """The numbers N of 0 or more that a / b may be, as (lowest, highest); highest may be infinite.

    Args:
        a: mean above 0; b: mean; va, vb: their variances; t: quantile.
    Returns:
        (inf, inf): a / b is negative throughout, so no N is reached.
    """
    square, product, rest = b * b - t * t * vb, a * b, a * a - t * t * va
    under = product * product - square * rest
    if square > 0:  # b differs from 0: one interval, on one side of 0 where a differs from 0 too
        low, high = ((product + sign * math.sqrt(max(under, 0.0))) / square for sign in (-1, 1))
        return (math.inf, math.inf) if high < 0 else (max(low, 0.0), high)
    if square == 0:
        return (rest / (2 * product), math.inf) if product > 0 and rest > 0 else (0.0, math.inf)
    if under < 0 or rest < 0:
        return 0.0, math.inf
    return (product - math.sqrt(under)) / square, math.inf  # all but what lies between a negative root and this one
