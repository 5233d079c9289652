"""The meter: what the code inside it used."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from distilmt.energy.codecarbon import CodeCarbon
from distilmt.energy.figure import figure
from distilmt.energy.machine import busy_seconds, cpu_seconds, usable_cpus
from distilmt.energy.memory import PeakMemory
from distilmt.energy.nvml import Cards
from distilmt.energy.options import EnergyOptions
from distilmt.energy.parts import Constant, Part, PowerSensor, Processors
from distilmt.energy.rapl import POWERCAP_ROOT, rapl_counters
from distilmt.energy.usage import Usage, killed, total
from distilmt.errors import ConfigError, DataError, UserError
from distilmt.interface.config import resolve
from distilmt.state.storage import disk_errors, read_json, write_json

P = ParamSpec("P")
T = TypeVar("T")
# Counters wrap, at 2^16 J on some machines: after 33 s at 2 kW. Two wraps between two readings cannot be seen.
INTERVAL_SECONDS = 10.0
SENSOR_INTERVAL_SECONDS = 0.2
CARD_INTERVAL_SECONDS = 1.0  # for the memory held there
SUSPENDED_SECONDS = 1.0  # the clocks below differ by less while a machine runs
DECLARE = "declare what the processors draw to have an estimate: --energy model --cpu-watts IDLE FULL"


def _boottime() -> float:
    """Seconds that go on while the machine is suspended; `time.monotonic` stands still then."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Meter:
    """Meters any Python code: the block of a `with`, each call of a function, or one call. Each use starts anew.

        with Meter() as meter:
            work()
        result = meter.measure(work, 1, key=2)

        @Meter(energy="model", cpu_watts=(20, 90))
        def metered(): ...

    Meters may be nested, and hold at once what different ways say of the same work.

    Args:
        options: an EnergyOptions, or its fields as keywords.
        checkpoint: JSON file that keeps the usage every 10 s. Where it exists already its attempts, killed ones included, are
            added to `usage`; delete it to start from nothing.
        powercap_root: folder of the powercap zones.
        nvml: the `pynvml` module or something like it; None imports it.
        proc: where /proc is.
        clock, boottime: seconds without and with those in which the machine was suspended.

    `usage` holds the result once the block is left, by whichever way.

    Raises:
        ConfigError: options that contradict each other; on entering: counters were asked for and there are none.
        DataError, ResourceError: the checkpoint is damaged; its folder cannot be made.
    """

    def __init__(
        self,
        options: EnergyOptions | None = None,
        *,
        checkpoint: str | Path | None = None,
        powercap_root: str | Path = POWERCAP_ROOT,
        nvml: Any = None,
        proc: str | Path = "/proc",
        clock: Callable[[], float] = time.monotonic,
        boottime: Callable[[], float] = _boottime,
        **keywords: Any,
    ):
        self.options = resolve(EnergyOptions, options, **keywords)
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.powercap_root, self.nvml, self.proc = powercap_root, nvml, Path(proc)
        self.clock, self.boottime = clock, boottime
        self.usage: Usage | None = None
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._ended.set()  # not running

    def __enter__(self) -> Meter:
        self._earlier = _attempts(self.checkpoint) if self.checkpoint else []
        if self.checkpoint:
            with disk_errors(self.checkpoint):
                self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        self._cards = Cards(self.nvml)
        self._parts, self._missing = self._find()
        self._memory = PeakMemory(self._cards, self.proc)
        self._memory.start()
        self._tokens: int | None = None
        self._lock, self._ended = threading.Lock(), threading.Event()
        try:
            self._start_parts()
        except BaseException:
            self._memory.stop()
            raise
        self._start = self.clock()  # after the parts: codecarbon takes seconds to start
        self._awake = self.boottime() - self._start
        self._cpu, self._busy = cpu_seconds(), busy_seconds(self.proc)
        if self._parts or self._cards.found or self.checkpoint:
            threading.Thread(target=self._watch, name="distilmt-energy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ended.set()
            own = self._read()
            self._memory.stop()
            self.usage = total([*self._earlier, own]) if self._earlier else own
        for part in self._parts:
            if isinstance(part, CodeCarbon):
                part.stop()
        if self.checkpoint:
            self._keep(own, ended=True)

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Decorates a function: each call is metered by itself, and `meter.usage` is that of the latest to end."""
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(
                f"Meter: {function.__name__} returns before its work is done - use `with Meter()` inside it"
            )

        @functools.wraps(function)
        def metered(*args: P.args, **kwargs: P.kwargs) -> T:
            meter = copy.copy(self)  # calls may overlap, in threads or by recursion
            try:
                with meter:
                    return function(*args, **kwargs)
            finally:
                self.usage = meter.usage

        return metered

    def measure(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls the function once, metered, and returns what it returns."""
        with self:
            return function(*args, **kwargs)

    def add_tokens(self, count: int) -> None:
        """Counts tokens that the running block, or the function of `measure`, has dealt with."""
        if self._ended.is_set():
            raise RuntimeError("Meter.add_tokens: nothing is being metered - call it inside the `with` block")
        self._tokens = (self._tokens or 0) + count

    def so_far(self) -> Usage:
        """What the running block has used up to now, from any thread."""
        with self._lock:
            if self._ended.is_set():
                return self._finished()
            return self._read()

    @property
    def joules(self) -> float | None:
        """Energy of the finished block; None is unknown."""
        return self._finished().joules

    @property
    def method(self) -> str:
        """How its energy is known."""
        return self._finished().energy_method

    @property
    def coverage(self) -> list[str]:
        """The components that its energy covers."""
        return self._finished().energy_coverage

    def _finished(self) -> Usage:
        if self.usage is None:
            raise RuntimeError("Meter: the result exists once the `with` block has ended")
        return self.usage

    def _find(self) -> tuple[Sequence[Part], list[str]]:
        options = self.options
        if options.energy == "none":
            return [], ["energy was not asked for (--energy none)"]
        if options.energy == "constant" and options.constant_watts:
            return [Constant(*options.constant_watts)], []
        if options.energy == "codecarbon":
            return [CodeCarbon()], []
        cards, no_cards = self._cards.parts()
        if options.energy == "model" and options.cpu_watts:
            return [Processors(*options.cpu_watts, self.proc), *cards], no_cards
        rapl, no_rapl = rapl_counters(self.powercap_root)
        hint = [] if rapl or options.energy == "counters" else [DECLARE]
        return [*rapl, *cards], no_rapl + no_cards + hint

    def _start_parts(self) -> None:
        for part in self._parts:
            part.start(self.clock())
        if self.options.energy == "counters" and all(part.problem for part in self._parts):
            reasons = [f"{part.name}: {part.problem}" for part in self._parts] + self._missing
            raise ConfigError(f"--energy counters: there is none to read ({'; '.join(reasons)}) - {DECLARE}")

    def _read(self) -> Usage:
        now = self.clock()
        asleep = self.boottime() - now - self._awake
        for part in self._parts:
            if part.measured and asleep > SUSPENDED_SECONDS:
                part.problem = part.problem or f"the machine was suspended meanwhile, for {asleep:.0f} s"
            if not part.problem:
                part.add(now)
        self._memory.note()
        seconds, cpu = now - self._start, cpu_seconds() - self._cpu
        busy = busy_seconds(self.proc)
        energy = figure(
            self._parts, self.options, seconds, cpu, busy[0] - self._busy[0] if busy and self._busy else None
        )
        return Usage(
            seconds=seconds,
            cpu_seconds=cpu,
            peak_rss_bytes=self._memory.rss_bytes,
            peak_rss_method=self._memory.rss_method,
            gpu_peak_bytes=self._memory.cards_bytes,
            gpu_peak_method=self._memory.cards_method,
            tokens=self._tokens,
            cpus=usable_cpus(),
            **energy | {"energy_missing": energy["energy_missing"] + self._missing},
        )

    def _watch(self) -> None:
        """Reads in time, so that no wrap is missed and a sensor is sampled; keeps the checkpoint."""
        ended = self._ended  # its own, should the meter be used again before this thread wakes
        every = CARD_INTERVAL_SECONDS if self._cards.found else INTERVAL_SECONDS
        if any(isinstance(part, PowerSensor) for part in self._parts):
            every = SENSOR_INTERVAL_SECONDS
        kept = time.monotonic()
        while not ended.wait(every):
            with self._lock:
                if ended.is_set():
                    return
                usage = self._read()
                if self.checkpoint and time.monotonic() - kept >= INTERVAL_SECONDS:
                    kept = time.monotonic()
                    self._keep(usage, ended=False)

    def _keep(self, usage: Usage, ended: bool) -> None:
        """Writes the checkpoint. A disk that refuses is said and does not stop the work, whose result is worth more."""
        assert self.checkpoint
        attempts = [asdict(each) | {"ended": True} for each in self._earlier]
        try:
            write_json(self.checkpoint, {"attempts": [*attempts, asdict(usage) | {"ended": ended}]})
        except UserError as error:
            print(f"distilmt: the meter's checkpoint: {error}", file=sys.stderr)


def idle(seconds: float = 30.0, options: EnergyOptions | None = None, **keywords: Any) -> float:
    """Watts of the machine while this process sleeps: a baseline for `idle_watts`; leave the machine alone meanwhile.

    Args:
        seconds: how long to look.
        options: as of `Meter`, and its other arguments.

    Raises:
        ConfigError: nothing here can be measured.
    """
    with Meter(options, **keywords) as meter:
        time.sleep(seconds)
    if meter.usage is None or meter.usage.joules is None:
        raise ConfigError(f"idle: energy is not measured here ({'; '.join(meter._finished().energy_missing)})")
    return meter.usage.joules / meter.usage.seconds


def meters_found(powercap_root: str | Path = POWERCAP_ROOT, nvml: Any = None) -> list[str]:
    """Names every part that can be measured with how, or the reason why it cannot, and what to declare; for `distilmt doctor`."""
    rapl, lines = rapl_counters(powercap_root)
    cards, no_cards = Cards(nvml).parts()
    for part in [*rapl, *cards]:
        part.start(0.0)
        how = "readable" if part.method != "NVML power" else "no counter, its power sensor is sampled"
        lines.append(f"{part.name}: {part.problem or how}")
    if not rapl or all(part.problem for part in rapl):
        no_cards.append(DECLARE)
    return lines + no_cards


def _attempts(path: Path) -> list[Usage]:
    """What earlier blocks left in a checkpoint; one whose end is not recorded was killed."""
    if not path.exists():
        return []
    remedy = "delete it to start from nothing"
    try:
        found = [dict(each) for each in read_json(path, remedy)["attempts"]]
        return [Usage(**each) if each.pop("ended") else killed(Usage(**each), INTERVAL_SECONDS) for each in found]
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: damaged: not a meter's checkpoint - {remedy}") from None
