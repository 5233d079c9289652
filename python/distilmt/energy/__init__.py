"""What a piece of work cost: wall and processor seconds, peak memory, and joules where a counter exists or the user declares.

    with Meter() as meter:
        work()
    print(meter.usage)      # 12.3 s, 20.1 CPU s, 512 MiB peak, energy not measured (RAPL: no zones under ...)

Counters (RAPL, NVML) count a whole component, whoever uses it, which is why every figure carries the components it covers.
What could not be read is unknown: `None` in Python, `null` in JSON, "not measured" in print, never 0; what was estimated is
never called measured. docs/energy.md has the formulas.
"""

from distilmt.energy.codecarbon import cross_check
from distilmt.energy.meter import Meter, idle, meters_found
from distilmt.energy.options import EnergyOptions
from distilmt.energy.usage import NOT_MEASURED, Usage, holes, killed, total

__all__ = [
    "NOT_MEASURED",
    "EnergyOptions",
    "Meter",
    "Usage",
    "cross_check",
    "holes",
    "idle",
    "killed",
    "meters_found",
    "total",
]
