"""Peak memory of a piece of work, of this process and on its cards; work inside other work does not disturb the outer peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

from distilmt.energy.machine import reset_resident_peak, resident_peak
from distilmt.energy.nvml import Cards

_running: list[
    PeakMemory
] = []  # one inside another resets the kernel's and torch's peak, so the outer ones note it before


class PeakMemory:
    """The most memory held between `start` and `stop`.

    Attributes:
        rss_bytes: of this process.
        rss_method: "VmHWM", or "ru_maxrss" where the kernel lets nobody reset the peak: since the process began.
        cards_bytes: on its NVIDIA cards, by torch's allocator where it is in use and else by NVML as often as `note` is called.
        cards_method: "torch.cuda", "NVML" or "".
    """

    def __init__(self, cards: Cards, proc: Path):
        self.cards, self.proc = cards, proc

    def start(self) -> None:
        for outer in list(_running):
            outer.note()
        self.rss_bytes, self.cards_method = 0, ""
        self.cards_bytes: int | None = None
        self.rss_method = "VmHWM" if reset_resident_peak(self.proc) else "ru_maxrss"
        if cuda := _cuda():
            for device in range(cuda.device_count()):
                cuda.reset_peak_memory_stats(device)
        _running.append(self)

    def note(self) -> None:
        """Takes the peak so far."""
        peak = resident_peak(self.proc) if self.rss_method == "VmHWM" else None
        if peak is None:
            self.rss_method = "ru_maxrss"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts it in KiB
        self.rss_bytes = max(self.rss_bytes, peak)
        held: int | None = None
        method = "torch.cuda"
        if cuda := _cuda():
            held = sum(cuda.max_memory_allocated(device) for device in range(cuda.device_count()))
        if not held:
            method, held = "NVML", self.cards.memory_bytes()
        if held is not None and held >= (self.cards_bytes or 0):
            self.cards_bytes, self.cards_method = held, method

    def stop(self) -> None:
        self.note()
        _running.remove(self)


def _cuda() -> Any:
    """torch.cuda where this process has used it already; asking must neither import torch nor open a device."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
