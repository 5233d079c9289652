"""Bootstrap intervals of any statistic of runs.

Source: Efron 1987 (JASA 82:171), bias-corrected and accelerated (BCa), by scipy.stats.bootstrap.
"""

from __future__ import annotations

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

    Raises: DataError: fewer than two values, or none that differ.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        what = f"{len(values)} run{'s' * (len(values) != 1)}" if len(values) < 2 else "runs of one and the same outcome"
        raise DataError(f"statistics: no interval from {what} - repeat the run; its value is all that can be said")
    rng = np.random.default_rng(seed)
    bootstrap = library("scipy.stats").bootstrap
    found = bootstrap((values,), statistic, confidence_level=confidence, n_resamples=resamples, method="BCa", rng=rng)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
