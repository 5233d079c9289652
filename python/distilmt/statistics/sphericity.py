"""Sphericity of repeated measures: Mauchly's test and the Greenhouse-Geisser correction. statsmodels has neither.

With lambda the d largest eigenvalues of the covariance, over blocks, of an effect's values within a block:

    epsilon = (sum lambda)^2 / (d sum lambda^2)         W = prod lambda / (sum lambda / d)^d

Sources: Mauchly 1940 (Ann. Math. Stat. 11:204), p by chi-squared with Box's second term (Anderson 1958, section 10.7);
Greenhouse & Geisser 1959 (Psychometrika 24:95).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from distilmt.statistics.extra import library
from distilmt.statistics.runs import Floats


@dataclass(frozen=True)
class Sphericity:
    """`epsilon` from 1 / d to 1 (spherical); W and its p are None where there are too few blocks for them."""

    epsilon: float
    w: float | None
    p: float | None


def sphericity(effect: Floats, freedom: int) -> Sphericity | None:
    """Of one effect with `freedom` (d) degrees of freedom; None where d is 1, which is always spherical.

    Args:
        effect: [blocks, cells], the effect's values in each block, which sum to 0 along each of its factors.
    """
    if freedom == 1:
        return None
    blocks, d = len(effect), freedom
    roots = np.linalg.eigvalsh(np.atleast_2d(np.cov(effect, rowvar=False)))[-d:].clip(min=0)
    if not roots.any():
        return None
    epsilon = float(roots.sum() ** 2 / (d * (roots**2).sum()))
    if blocks - 1 < d or roots[0] <= 1e-12 * roots[-1]:
        return Sphericity(epsilon, None, None)
    log_w = float(np.log(roots).sum() - d * math.log(roots.mean()))
    factor = 1 - (2 * d**2 + d + 2) / (6 * d * (blocks - 1))
    second = (d + 2) * (d - 1) * (d - 2) * (2 * d**3 + 6 * d**2 + 3 * d + 2) / (288 * ((blocks - 1) * d * factor) ** 2)
    chi2, degrees = -(blocks - 1) * factor * log_w, d * (d + 1) // 2 - 1
    first, next_term = (float(library("scipy.stats").chi2.sf(chi2, degrees + more)) for more in (0, 4))
    return Sphericity(epsilon, math.exp(log_w), min(1.0, max(0.0, first + second * (next_term - first))))
