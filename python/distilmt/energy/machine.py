"""What Linux tells of processors and memory: /proc/stat, /proc/self and resource usage."""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Processor time of this process, all threads, and of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def busy_seconds(proc: Path) -> tuple[float, float] | None:
    """Seconds since boot that all processors together worked, and worked or idled; None where /proc/stat cannot be read.

    Time that a hypervisor gave to others ("steal") counts as neither.
    """
    try:
        line = (proc / "stat").read_text().partition("\n")[0].split()
        user, nice, system, idle, iowait, irq, softirq = (int(word) / TICKS_PER_SECOND for word in line[1:8])
    except (OSError, ValueError):
        return None
    busy = user + nice + system + irq + softirq  # guests' time is in user and nice already
    return busy, busy + idle + iowait


def usable_cpus() -> int:
    """CPUs this process may use: its affinity, and a container's quota (cgroup v2 cpu.max) where there is one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, math.ceil(int(quota) / int(period))))


def resident_peak(proc: Path) -> int | None:
    """Most bytes that this process held since its peak was reset; None where the kernel does not say."""
    try:
        for line in (proc / "self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def reset_resident_peak(proc: Path) -> bool:
    """Sets the peak to what is held now; False where the kernel forbids it."""
    try:
        (proc / "self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
