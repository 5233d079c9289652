"""Where two files of different line counts go out of step, judged by the lengths of their lines.

Translations of each other have lengths of a nearly constant ratio (Gale & Church 1993, J93-1004). Of all places where
the surplus lines could have been inserted in one go, the likeliest splits the files so that lines before it fit their
neighbours unshifted and lines behind it fit them shifted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distilmt.errors import DataError

LINES_TO_JUDGE = 12  # on a side of the shift; fewer say nothing
CERTAIN = 4.0  # standard errors by which one alignment must fit better than the other


def require_aligned(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    source_lengths: Sequence[int],
    target_lengths: Sequence[int],
) -> None:
    """Raises DataError with both counts, and the place of the shift where it shows, if the files differ in line count.

    Args:
        source: Path, for the message; target too.
        source_lengths: Characters of each line; target_lengths too.
    """
    if len(source_lengths) == len(target_lengths):
        return
    line = shift_line(np.asarray(source_lengths), np.asarray(target_lengths))
    place = ""
    if line is not None:
        command = f"sed -s -n '{max(1, line - 2)},{line + 2}p' {source} {target}"
        place = f"; from about line {line} on they are shifted (see: {command})"
    raise DataError(
        f"{source}: {len(source_lengths)} lines, but {target} has {len(target_lengths)}{place} - "
        "line N of both must be translations of each other; mend the files"
    )


def shift_line(source: NDArray[np.integer], target: NDArray[np.integer]) -> int | None:
    """The first line (from 1) that has no partner in place, or None where lengths do not tell.

    Args:
        source: [lines] characters of each line.
        target: [other number of lines].
    """
    longer, shorter = (source, target) if len(source) > len(target) else (target, source)
    shift, lines = len(longer) - len(shorter), len(shorter)
    if lines == 0:
        return None
    log_longer, log_shorter = np.log1p(longer.astype(np.float64)), np.log1p(shorter.astype(np.float64))
    ratio = np.median(log_longer) - np.median(log_shorter)
    in_place = np.abs(log_longer[:lines] - log_shorter - ratio)
    shifted = np.abs(log_longer[shift:] - log_shorter - ratio)
    gain = in_place - shifted  # > 0 where the shifted partner fits better
    before = np.concatenate([[0.0], np.cumsum(gain)])  # gain lost by shifting the first k lines too
    cut = int(np.argmin(before))
    if not (_certain(-gain[:cut]) and _certain(gain[cut:])) or max(cut, lines - cut) < LINES_TO_JUDGE:
        return None
    return cut + 1


def _certain(gain: NDArray[np.float64]) -> bool:
    """Whether lines fit better by far more than chance; a side of few lines cannot speak against it."""
    if len(gain) < LINES_TO_JUDGE:
        return True
    error = gain.std() / np.sqrt(len(gain))
    return bool(gain.mean() > CERTAIN * error)
