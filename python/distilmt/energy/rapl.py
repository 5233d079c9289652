"""RAPL, the energy counters of Intel's and AMD's processors, through Linux powercap.

Source: Intel Software Developer's Manual, volume 3, "Platform specific power management support": the counters are
renewed about every millisecond.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from distilmt.energy.parts import Counter, why

POWERCAP_ROOT = "/sys/class/powercap"


def rapl_counters(powercap_root: str | Path = POWERCAP_ROOT) -> tuple[list[Counter], list[str]]:
    """Finds processor packages, and memory where it is counted apart.

    Cores and graphics are parts of a package and `psys` contains it, so adding those would count twice.

    Returns:
        The counters, and reasons why there are none.
    """
    counters, missing = [], []
    for zone in sorted(Path(powercap_root).glob("intel-rapl:*")):  # AMD's zones carry the same name
        try:
            name = (zone / "name").read_text().strip()
            if not name.startswith("package") and name != "dram":
                continue
            reach = int((zone / "max_energy_range_uj").read_text())
        except (OSError, ValueError) as error:
            missing.append(f"RAPL {zone.name}: {why(error)}")
            continue
        if name == "dram":  # intel-rapl:1:0 is the memory of package intel-rapl:1
            name = f"dram-{zone.name.split(':')[1]}"
        counters.append(Counter(f"RAPL {name}", partial(_read, zone / "energy_uj"), reach))
    if not counters and not missing:
        missing.append(f"RAPL: no zones under {powercap_root}")
    return counters, missing


def _read(energy: Path) -> int:
    return int(energy.read_text())
