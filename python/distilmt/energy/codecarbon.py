"""codecarbon as a way to joules: its tracker for the whole machine, with its traps stopped up.

It counts processors by RAPL or by TDP and load, cards by NVML, memory by the number of modules, and says neither an interval
nor which it did: so its figure is an estimate, without an interval. It swallows its own errors and then returns None or 0: both
are unknown here (0 may also be what it knows in its first instant). Its configuration files and environment may set a PUE;
energy here is always without one.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from distilmt.energy.parts import Joules
from distilmt.energy.usage import NOT_MEASURED, Usage
from distilmt.errors import ConfigError

JOULES_PER_KWH = 3.6e6


class CodeCarbon:
    """A `Part` for the machine as codecarbon sees it.

    Args:
        tracker: `codecarbon.OfflineEmissionsTracker` or something like it; None imports it.

    Raises:
        ConfigError: codecarbon is not installed.
    """

    name, method, measured, card = "machine (as codecarbon finds it)", "codecarbon", False, False

    def __init__(self, tracker: Any = None):
        if tracker is None:
            try:
                tracker = import_module("codecarbon").OfflineEmissionsTracker
            except ImportError:
                raise ConfigError("--energy codecarbon needs codecarbon: pip install 'distilmt[codecarbon]'") from None
        logging.getLogger("codecarbon").setLevel(logging.ERROR)  # it talks before its constructor's log_level holds
        self.make, self.samples, self.problem = tracker, 0, ""
        self.kwh: float | None = None

    def start(self, now: float) -> None:
        # At 1000 g/kWh the kilograms that it returns are kilowatt hours: the only figure its public calls give while it runs.
        self.tracker = self.make(
            force_carbon_intensity_g_co2e_kwh=1000.0, pue=1.0, tracking_mode="machine", measure_power_secs=5.0,
            output_methods=[], allow_multiple_runs=True, log_level="error",
        )  # fmt: skip
        self.tracker.start()

    def add(self, now: float) -> None:
        self.kwh = self.tracker.flush()
        self.samples += 1
        if self.kwh is None:
            self.problem = "codecarbon returned None: it failed, and hides why"

    def stop(self) -> None:
        self.tracker.stop()

    def joules(self) -> Joules:
        return Joules((self.kwh or 0.0) * JOULES_PER_KWH, None, None)


def cross_check(measured: Usage, estimated: Usage) -> str:
    """Compares what counters and what codecarbon say of the same work, metered by one meter inside the other.

    Returns: a sentence with the ratio and what either covers, without which it means nothing.
    """
    if not measured.joules or not estimated.joules:
        return f"nothing to compare: energy {NOT_MEASURED}"
    return (
        f"codecarbon says {estimated.joules / measured.joules:.2f} times as much ({estimated.joules:.4g} J, "
        f"{'; '.join(estimated.energy_coverage)}) as {measured.energy_method} ({measured.joules:.4g} J, "
        f"{'; '.join(measured.energy_coverage)})"
    )
