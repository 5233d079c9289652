"""What a piece of work cost: wall and processor seconds, peak memory, and joules where a counter exists.

    with Meter() as meter:
        work()
    print(meter.usage)      # 12.3 s, 20.1 CPU s, 512 MiB peak, energy not measured (RAPL: no zones under ...)

Joules come from two counters only: RAPL through Linux powercap (processor packages and their memory) and NVML (NVIDIA
cards). Both count the whole component, whoever uses it, which is why every figure carries the components it covers.
What could not be read is unknown: `None` in Python, `null` in JSON, "not measured" in print, never 0.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from distilmt.energy.usage import NOT_MEASURED, Usage

POWERCAP_ROOT = "/sys/class/powercap"
# Counters wrap, at 2^18 J on many servers: after 4 minutes at 1 kW. A second wrap between two readings cannot be seen.
INTERVAL_SECONDS = 30.0
# No socket draws this much. A step back that would need more, had the counter wrapped, is a reset (driver, suspend).
MOST_WATTS = 2000.0


class Counter:
    """One hardware energy counter, added up from reading to reading so that wraps are not lost.

    Args:
        name: the component it counts, as in "RAPL package-0".
        read: returns the counter in microjoules, or raises with the reason why it cannot.
        range_microjoules: value after which the counter starts at 0 again; None for one that never wraps.
    """

    def __init__(self, name: str, read: Callable[[], int], range_microjoules: int | None = None):
        self.name, self.read, self.range_microjoules = name, read, range_microjoules
        self.microjoules = 0
        self.problem = ""  # why the energy of this component is unknown; empty while all is well

    def start(self, now: float) -> None:
        self.last, self.last_time = 0, now
        try:
            self.last = self.read()
        except Exception as error:  # an OSError from powercap, an NVMLError from NVML: either way the figure is unknown
            self.problem = _why(error)

    def add(self, now: float) -> None:
        """Adds what was used since the last reading; `now` in seconds."""
        if self.problem:
            return
        try:
            value = self.read()
        except Exception as error:
            self.problem = _why(error)
            return
        step = value - self.last
        if step < 0 and self.range_microjoules is not None:
            step += self.range_microjoules
            if step < 0 or step > MOST_WATTS * 1e6 * (now - self.last_time):
                step = -1
        if step < 0:
            self.problem = "the counter was reset meanwhile"
        self.microjoules += step
        self.last, self.last_time = value, now


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
            missing.append(f"RAPL {zone.name}: {_why(error)}")
            continue
        if name == "dram":  # intel-rapl:1:0 is the memory of package intel-rapl:1
            name = f"dram-{zone.name.split(':')[1]}"
        counters.append(Counter(f"RAPL {name}", partial(_read_zone, zone / "energy_uj"), reach))
    if not counters and not missing:
        missing.append(f"RAPL: no zones under {powercap_root}")
    return counters, missing


def nvml_counters(nvml: Any = None) -> tuple[list[Counter], list[str]]:
    """Finds NVIDIA cards: those of CUDA_VISIBLE_DEVICES where it is set, else all.

    Args:
        nvml: the `pynvml` module or something like it; None imports it.

    Returns:
        The counters, and reasons why a card has none. A card cut into slices (MIG) has one counter for all of them.
    """
    try:
        nvml = nvml or import_module("pynvml")
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
    except Exception as error:  # the module is missing, or the driver is
        return [], [f"NVML: {_why(error)}"]
    counters, missing = [], [] if count else ["NVML: no cards"]
    for card in _visible_cards(count):
        try:
            by_index = card.isdigit()
            handle = nvml.nvmlDeviceGetHandleByIndex(int(card)) if by_index else nvml.nvmlDeviceGetHandleByUUID(card)
            name = f"NVML {card} {nvml.nvmlDeviceGetName(handle)} (whole card)"
            nvml.nvmlDeviceGetTotalEnergyConsumption(handle)  # raises on cards older than Volta
        except Exception as error:
            missing.append(f"NVML card {card}: {_why(error)}")
            continue
        counters.append(Counter(name, partial(_read_card, nvml, handle)))
    return counters, missing


_running: list[Meter] = []  # a meter inside another resets the kernel's peak, so the outer ones note it before


class Meter:
    """Meters the code inside a `with`; may be nested, and used again (each use starts anew).

    Args:
        powercap_root: folder of the powercap zones.
        nvml: the `pynvml` module or something like it; None imports it.
        process: folder of this process's /proc entries.
        clock: returns seconds; judges whether a counter wrapped or was reset.

    `usage` holds the result once the block is left, by whichever way.
    """

    def __init__(
        self,
        *,
        powercap_root: str | Path = POWERCAP_ROOT,
        nvml: Any = None,
        process: str | Path = "/proc/self",
        clock: Callable[[], float] = time.monotonic,
    ):
        self.powercap_root, self.nvml, self.process, self.clock = powercap_root, nvml, Path(process), clock
        self.usage: Usage | None = None

    def __enter__(self) -> Meter:
        rapl, rapl_missing = rapl_counters(self.powercap_root)
        nvml, nvml_missing = nvml_counters(self.nvml)
        self._counters, self._missing = rapl + nvml, rapl_missing + nvml_missing
        for meter in list(_running):
            meter._note_peak()
        self._peak, self._peak_method = 0, "VmHWM"
        try:
            (self.process / "clear_refs").write_text("5")  # sets VmHWM, the peak, to what is held now
        except OSError:
            self._peak_method = "ru_maxrss"
        _running.append(self)
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._cpu, self._start = _cpu_seconds(), self.clock()
        for counter in self._counters:
            counter.start(self._start)
        if self._counters:
            threading.Thread(target=self._watch, name="distilmt-energy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.read_counters()
        seconds, cpu_seconds = self.clock() - self._start, _cpu_seconds() - self._cpu
        self._ended.set()
        self._note_peak()
        _running.remove(self)
        known, missing = [], []
        for counter in self._counters:
            if not counter.problem and not counter.microjoules:
                counter.problem = "the counter did not move (too short a time for it?)"
            if counter.problem:
                missing.append(f"{counter.name}: {counter.problem}")
            else:
                known.append(counter)
        self.usage = Usage(
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            peak_rss_bytes=self._peak,
            joules=sum(counter.microjoules for counter in known) / 1e6 if known else None,
            energy_method=" + ".join(dict.fromkeys(counter.name.split()[0] for counter in known)) or NOT_MEASURED,
            energy_coverage=[counter.name for counter in known],
            energy_missing=missing + self._missing,
            peak_rss_method=self._peak_method,
            energy_kind="measured" if known else "unknown",
        )

    @property
    def joules(self) -> float | None:
        """Energy of the finished block; None is unknown."""
        return self._finished().joules

    @property
    def method(self) -> str:
        return self._finished().energy_method

    @property
    def coverage(self) -> list[str]:
        return self._finished().energy_coverage

    def read_counters(self) -> None:
        """Adds up the counters now; a thread does so every 30 s, since a wrap must be seen before the next one."""
        with self._lock:
            now = self.clock()
            for counter in self._counters:
                counter.add(now)

    def _finished(self) -> Usage:
        if self.usage is None:
            raise RuntimeError("Meter: the result exists once the `with` block has ended")
        return self.usage

    def _watch(self) -> None:
        ended = self._ended  # its own, should the meter be used again before this thread wakes
        while not ended.wait(INTERVAL_SECONDS):
            self.read_counters()

    def _note_peak(self) -> None:
        peak = _status_bytes(self.process, "VmHWM") if self._peak_method == "VmHWM" else None
        if peak is None:
            self._peak_method = "ru_maxrss"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts it in KiB
        self._peak = max(self._peak, peak)


def meters_found(powercap_root: str | Path = POWERCAP_ROOT, nvml: Any = None) -> list[str]:
    """Names every energy counter with "readable" or the reason why it is not; for `distilmt doctor`."""
    lines = []
    for counters, missing in (rapl_counters(powercap_root), nvml_counters(nvml)):
        for counter in counters:
            counter.start(0.0)
            lines.append(f"{counter.name}: {counter.problem or 'readable'}")
        lines += missing
    return lines


def _read_zone(energy: Path) -> int:
    return int(energy.read_text())


def _read_card(nvml: Any, handle: Any) -> int:
    return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1000  # NVML counts millijoules


def _visible_cards(count: int) -> list[str]:
    """Cards this process may use, as an index or a UUID.

    CUDA numbers the fastest card first and NVML goes by bus: where cards are unlike, set CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(index) for index in range(count)]
    return [card.strip() for card in visible.split(",") if card.strip()]


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _status_bytes(process: Path, key: str) -> int | None:
    try:
        for line in (process / "status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"permission denied to read {error.filename} (root may, or whoever root lets)"
    return str(error) or type(error).__name__
