"""The parts of a machine whose energy is found out: counters, power sensors, and what the user declares.

Every part has `start(now)`, `add(now)` (takes a reading; seconds of one clock) and `joules()`. A part that cannot be read
says so in `problem`, and stays unknown from then on: what it counted before would be a part of the truth only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from distilmt.energy.machine import busy_seconds

# No socket and no card draws this much. A step back that would need more, had the counter wrapped, is a reset (driver, suspend),
# and a counter that was left alone for so long that this power takes it all the way round may have gone round unseen.
MOST_WATTS = 2000.0
# Power may have done anything between two samples that lie further apart (a stopped process, a machine that hangs).
LONGEST_GAP_SECONDS = 10.0


class Joules(NamedTuple):
    """An energy and the interval that holds it; None where nobody states one."""

    value: float
    low: float | None
    high: float | None


class Part(Protocol):
    """What `Meter` asks of a part."""

    name: str  # the component, as in "RAPL package-0"
    method: str
    measured: bool  # by hardware, which a suspended machine disturbs; else estimated from what was declared
    card: bool  # an NVIDIA card, which the processors' time says nothing about
    problem: str  # why the energy of this part is unknown; empty while all is well
    samples: int  # readings taken

    def start(self, now: float) -> None: ...

    def add(self, now: float) -> None: ...

    def joules(self) -> Joules: ...


class Counter:
    """One hardware energy counter, added up from reading to reading so that wraps are not lost.

    A counter is renewed every `period` seconds, so a reading may lack what was used since: at either end up to a period's
    energy at the mean power, which is the interval.

    Args:
        name: the component it counts; its first word is the method.
        read: returns the counter in microjoules, or raises with the reason why it cannot.
        range_microjoules: value after which the counter starts at 0 again; None for one that never wraps.
        period: seconds between two values of the hardware.
    """

    measured = True

    def __init__(
        self,
        name: str,
        read: Callable[[], int],
        range_microjoules: int | None = None,
        *,
        period: float = 0.001,
        card: bool = False,
    ):
        self.name, self.read, self.range_microjoules = name, read, range_microjoules
        self.method, self.period, self.card = name.split()[0], period, card
        self.microjoules, self.samples, self.problem = 0, 0, ""

    def start(self, now: float) -> None:
        self.first_time = self.last_time = now
        self.last = self._reading() or 0

    def add(self, now: float) -> None:
        value = self._reading()
        if value is None:
            return
        step, seconds = value - self.last, now - self.last_time
        if self.range_microjoules is not None:
            most = MOST_WATTS * 1e6 * seconds
            if most > self.range_microjoules:
                self.problem = f"not read for {seconds:.0f} s, in which it may have wrapped unseen"
            elif step < 0 and step + self.range_microjoules <= most:
                step += self.range_microjoules
        if step < 0:
            self.problem = self.problem or "the counter was reset meanwhile"
        self.microjoules += step
        self.last, self.last_time = value, now

    def joules(self) -> Joules:
        value, seconds = self.microjoules / 1e6, self.last_time - self.first_time
        margin = value * min(1.0, self.period / seconds) if seconds > 0 else value
        return Joules(value, value - margin, value + margin)

    def _reading(self) -> int | None:
        if self.problem:
            return None
        try:
            value = self.read()
        except Exception as error:  # an OSError from powercap, an NVMLError from NVML: either way the figure is unknown
            self.problem = why(error)
            return None
        self.samples += 1
        return value


class PowerSensor:
    """A power sensor, sampled and integrated by the trapezoid rule.

    Between two samples power is taken to lie between them, which gives the interval; the sensor's own error widens it.

    Args:
        name: the component.
        read: returns watts, or raises with the reason why it cannot.
        accuracy: the sensor's error as a share of its reading.
    """

    measured = True

    def __init__(self, name: str, method: str, read: Callable[[], float], accuracy: float, *, card: bool = False):
        self.name, self.method, self.read, self.accuracy, self.card = name, method, read, accuracy, card
        self.value = self.low = self.high = 0.0
        self.samples, self.problem = 0, ""

    def start(self, now: float) -> None:
        self.last, self.last_time = self._reading() or 0.0, now

    def add(self, now: float) -> None:
        watts, seconds = self._reading(), now - self.last_time
        if watts is None:
            return
        if seconds > LONGEST_GAP_SECONDS:
            self.problem = f"its power was not sampled for {seconds:.0f} s"
        self.value += (self.last + watts) / 2 * seconds
        self.low += min(self.last, watts) * seconds
        self.high += max(self.last, watts) * seconds
        self.last, self.last_time = watts, now

    def joules(self) -> Joules:
        return Joules(self.value, self.low * (1 - self.accuracy), self.high * (1 + self.accuracy))

    def _reading(self) -> float | None:
        if self.problem:
            return None
        try:
            watts = self.read()
        except Exception as error:
            self.problem = why(error)
            return None
        self.samples += 1
        return watts


class Processors:
    """A declared model of all processors: idle watts, and more with their load up to the full watts.

    joules = (idle + (full - idle) x load) x seconds, with the load of the whole machine from /proc/stat; the interval is
    the whole declared range, since nothing was measured.
    """

    name, method, measured, card = "processors (declared)", "model", False, False

    def __init__(self, idle_watts: float, full_watts: float, proc: Path):
        self.idle, self.full, self.proc = idle_watts, full_watts, proc
        self.samples, self.problem = 0, ""

    def start(self, now: float) -> None:
        self.first = self.last = self._reading(now)

    def add(self, now: float) -> None:
        self.last = self._reading(now)

    def joules(self) -> Joules:
        busy, total, seconds = (last - first for last, first in zip(self.last, self.first, strict=True))
        load = busy / total if total > 0 else 0.0
        return Joules((self.idle + (self.full - self.idle) * load) * seconds, self.idle * seconds, self.full * seconds)

    def _reading(self, now: float) -> tuple[float, float, float]:
        found = busy_seconds(self.proc)
        if found is None:
            self.problem = f"the load is unknown: {self.proc / 'stat'} cannot be read"
            return 0.0, 0.0, now
        self.samples += 1
        return *found, now


class Constant:
    """A machine that draws between two declared powers, whatever it does: the middle, and the range as the interval."""

    name, method, measured, card, problem = "machine (declared)", "constant", False, False, ""

    def __init__(self, low_watts: float, high_watts: float):
        self.low, self.high, self.samples = low_watts, high_watts, 0

    def start(self, now: float) -> None:
        self.first = self.last = now

    def add(self, now: float) -> None:
        self.last = now

    def joules(self) -> Joules:
        seconds = self.last - self.first
        return Joules((self.low + self.high) / 2 * seconds, self.low * seconds, self.high * seconds)


def why(error: Exception) -> str:
    """An error as a reason."""
    if isinstance(error, PermissionError):
        return f"permission denied to read {error.filename} (root may, or whoever root lets)"
    return str(error) or type(error).__name__
