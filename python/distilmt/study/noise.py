"""What else the machine did: load, clock, temperature, and the processor time that others took.

A reading is taken before and after each cell. Two of them give shares of the time between: `steal_share`, what the
hypervisor gave to other guests, and `other_cpu_share`, what other processes used, both of all processors' time, 0 to 1.
What this machine does not tell is None. Source: proc(5), and the kernel's thermal and cpufreq documentation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
COLUMNS = (  # what `columns` says of a cell
    "steal_share", "other_cpu_share", "steal_share_before", "other_cpu_share_before", "load_before", "load_after",
    "mhz_before", "mhz_after", "celsius_before", "celsius_after",
)  # fmt: skip
SHORTEST = 0.2  # seconds; ticks of 10 ms say nothing about less


@dataclass(frozen=True)
class Reading:
    """The machine at one moment.

    Attributes:
        seconds: of a monotonic clock.
        total, idle, steal: ticks of all processors since boot, from /proc/stat; None where it cannot be read.
        own: processor seconds of this process and of its children that have ended.
        load: mean number of runnable tasks over the last minute.
        mhz: mean clock of the processors now; celsius: the hottest sensor.
    """

    seconds: float
    total: int | None
    idle: int | None
    steal: int | None
    own: float
    load: float
    mhz: float | None
    celsius: float | None


def read(root: str | Path = "/") -> Reading:
    """Reads `proc` and `sys` under `root`."""
    root, times = Path(root), os.times()
    ticks = _ticks(root / "proc/stat")
    return Reading(
        seconds=time.monotonic(),
        total=sum(ticks) if ticks else None,
        idle=ticks[3] + ticks[4] if ticks else None,
        steal=ticks[7] if ticks else None,
        own=times.user + times.system + times.children_user + times.children_system,
        load=os.getloadavg()[0],
        mhz=_mhz(root),
        celsius=_hottest(root),
    )


def between(first: Reading, last: Reading) -> dict[str, float | None]:
    """`steal_share` and `other_cpu_share` of the time between; None where that is unknown or too short to say."""
    unknown = {"steal_share": None, "other_cpu_share": None}
    if (
        first.total is None
        or last.total is None
        or last.seconds - first.seconds < SHORTEST
        or last.total <= first.total
    ):
        return dict(unknown)
    total = last.total - first.total
    steal = (last.steal or 0) - (first.steal or 0)
    busy = total - ((last.idle or 0) - (first.idle or 0)) - steal
    own = (last.own - first.own) * TICKS_PER_SECOND
    # Ticks are counted when they strike, own time is exact: a quiet machine may come out a hair below 0.
    return {"steal_share": steal / total, "other_cpu_share": max(0.0, busy - own) / total}


def columns(before: Reading, start: Reading, end: Reading) -> dict[str, float | None]:
    """The noise of one cell as columns: `before` its cool-down, at its `start`, at its `end`."""
    idle = {f"{key}_before": value for key, value in between(before, start).items()}
    return between(start, end) | idle | {
        "load_before": start.load, "load_after": end.load, "mhz_before": start.mhz, "mhz_after": end.mhz,
        "celsius_before": start.celsius, "celsius_after": end.celsius,
    }  # fmt: skip


def _ticks(stat: Path) -> list[int] | None:
    """user, nice, system, idle, iowait, irq, softirq, steal; guests are within user."""
    words = _text(stat).split("\n")[0].split()
    return [int(word) for word in words[1:9]] if words[:1] == ["cpu"] and len(words) > 8 else None


def _mhz(root: Path) -> float | None:
    files = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    clocks = _thousandths(files)  # kHz
    if not clocks:
        lines = _text(root / "proc/cpuinfo").splitlines()
        clocks = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    return sum(clocks) / len(clocks) if clocks else None


def _hottest(root: Path) -> float | None:
    folder = root / "sys/class"
    sensors = [*folder.glob("thermal/thermal_zone*/temp"), *folder.glob("hwmon/hwmon*/temp*_input")]
    return max(_thousandths(sensors), default=None)


def _thousandths(files: Iterable[Path]) -> list[float]:
    """Numbers of the files that hold one, by 1000."""
    words = [_text(file).strip() for file in files]
    return [int(word) / 1000 for word in words if word.lstrip("-").isdigit()]


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
