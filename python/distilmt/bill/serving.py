"""What serving costs: time and energy of decoding, recorded by every evaluation, by the million words of source text.

Words are what blanks separate: the way translation is priced. Where a language writes none, go by lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distilmt import energy
from distilmt.energy import Usage

_SPENT = (
    "cpu_seconds", "peak_rss_bytes", "peak_rss_method", "gpu_peak_bytes", "joules", "joules_low", "joules_high",
    "energy_kind", "energy_method",
)  # fmt: skip


_REPEAT = ("seconds", "joules", "joules_low", "joules_high", "energy_kind")


def decode_facts(
    usages: Sequence[Sequence[Usage]], sources: Sequence[Sequence[str]], target_tokens: int
) -> dict[str, Any]:
    """The `decode` of a report's system (schema: docs/report.md): that of all repeats which took the middle time.

    Args:
        usages: for each test set those of its repeats; loading the model is not in it. sources: its lines.
        target_tokens: decoded, end symbols included.
    """
    repeats = [energy.total(each) for each in zip(*usages, strict=True)]
    whole = sorted(repeats, key=lambda usage: usage.seconds)[(len(repeats) - 1) // 2]
    return {
        "seconds": whole.seconds,
        "lines": sum(map(len, sources)),
        "source_words": sum(len(line.split()) for lines in sources for line in lines),
        "target_tokens": target_tokens,
        "repeats": [{name: getattr(usage, name) for name in _REPEAT} for usage in repeats],
    } | {name: getattr(whole, name) for name in _SPENT}
