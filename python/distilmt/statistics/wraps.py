"""Energies from which a counter's wrap-around was subtracted.

RAPL's counter starts at 0 again after 2^18 J (262,144; Linux' powercap names the range of each zone). Who subtracts two
readings without knowing gets a sample of about -262,144 J: the CAIN 2024 study (10.1145/3644815.3644966) met -262,099 J
in two of its runs. The remedy is arithmetic modulo the range, not deletion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distilmt.errors import DataError
from distilmt.statistics.runs import Floats

RANGE_JOULES = 262_144.0


def counter_wraps(joules: Sequence[float], range_joules: float = RANGE_JOULES) -> list[int]:
    """Positions of the values from which a wrap seems to have been subtracted.

    Those are the values that lie more than half the range below the median: samples of a run, or totals of repeated
    runs of one cell.
    """
    values = np.asarray(joules, dtype=float)
    return [int(i) for i in np.flatnonzero(values < np.median(values) - range_joules / 2)] if len(values) else []


def unwrap(joules: Sequence[float], range_joules: float = RANGE_JOULES) -> Floats:
    """The values with one range added where `counter_wraps` finds a wrap.

    Raises: DataError: a value stays negative: it is wrong for another reason.
    """
    values = np.array(joules, dtype=float)
    values[counter_wraps(joules, range_joules)] += range_joules
    if (values < 0).any():
        at = int(np.flatnonzero(values < 0)[0])
        raise DataError(
            f"statistics: value {at + 1} is {joules[at]:,.0f} J, which one wrap of {range_joules:,.0f} J does not explain "
            "- energy is never negative: leave this run out, or give the counter's own range_joules"
        )
    return values
