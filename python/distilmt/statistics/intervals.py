"""Bootstrap intervals of any statistic of runs.

Source: Efron 1987 (JASA 82:171), bias-corrected and accelerated (BCa), by scipy.stats.bootstrap.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from distilmt.errors import DataError
from distilmt.statistics.extra import library
from distilmt.statistics.runs import Floats


def bootstrap_interval(
    values: Floats, statistic: Callable[..., Any] = np.mean, *, confidence: float = 0.95, resamples: int = 9999,
    seed: int = 12345,
) -> tuple[float, float]:  # fmt: skip
    """The BCa interval of `statistic(values, axis=...)`.

    Raises: DataError: fewer than two values, none that differ, or too few for this statistic.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        what = f"{len(values)} run{'s' * (len(values) != 1)}" if len(values) < 2 else "runs of one and the same outcome"
        raise DataError(f"statistics: no interval from {what} - repeat the run; its value is all that can be said")
    rng = np.random.default_rng(seed)
    bootstrap = library("scipy.stats").bootstrap
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an interval that cannot be had is NaN
        found = bootstrap(
            (values,), statistic, confidence_level=confidence, n_resamples=resamples, method="BCa", rng=rng
        )
    low, high = map(float, found.confidence_interval)
    if math.isnan(low + high):
        raise DataError(
            f"statistics: {len(values)} runs are too few for the BCa interval of this statistic - repeat the run"
        )
    return low, high
