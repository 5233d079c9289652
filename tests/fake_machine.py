"""A machine for the meter's tests: seconds by hand, a powercap tree, NVML with any cards, /proc/stat with any load."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

RANGE = 262_143_328_850  # microjoules: what most Intel servers state


class Clock:
    """Seconds by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Card:
    """One card: a counter in millijoules, a power in milliwatts, or the reason why there is none.

    processes: (pid, bytes held); slices: uuids of its MIG slices.
    """

    def __init__(
        self,
        energy: int | str,
        power: int | str = "Not Supported",
        processes: tuple[tuple[int, int | None], ...] = (),
        slices: tuple[str, ...] = (),
    ):
        self.energy, self.power, self.processes, self.slices = energy, power, processes, slices


class Driver:
    """NVML with these cards; a handle is a card, or a (card, slice)."""

    def __init__(self, *cards: Card):
        self.cards = list(cards)

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        if uuid.startswith("GPU-"):
            return self.cards[int(uuid.removeprefix("GPU-"))]
        return next((card, uuid) for card in self.cards if uuid in card.slices)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: tuple[Card, str]) -> Card:
        return handle[0]

    def nvmlDeviceGetMigMode(self, handle: Card) -> list[int]:
        return [int(bool(handle.slices)), 0]

    def nvmlDeviceGetUUID(self, handle: Card) -> str:
        return f"GPU-{self.cards.index(handle)}"

    def nvmlDeviceGetName(self, handle: Card) -> str:
        return "Card"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Card) -> int:
        return number(handle.energy)

    def nvmlDeviceGetPowerUsage(self, handle: Card) -> int:
        return number(handle.power)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:
        card = handle[0] if isinstance(handle, tuple) else handle
        return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in card.processes]


def number(value: int | str) -> int:
    if isinstance(value, str):
        raise RuntimeError(value)
    return value


def no_driver() -> None:
    raise RuntimeError("NVML Shared Library Not Found")


NO_NVML = SimpleNamespace(nvmlInit=no_driver)


def make_zone(root: Path, folder: str, name: str, microjoules: int, reach: int = RANGE) -> Path:
    """A powercap zone; returns the file of its counter."""
    (root / folder).mkdir(parents=True)
    (root / folder / "name").write_text(f"{name}\n")
    (root / folder / "max_energy_range_uj").write_text(f"{reach}\n")
    energy = root / folder / "energy_uj"
    energy.write_text(f"{microjoules}\n")
    return energy


def write_stat(proc: Path, busy: float, idle: float) -> None:
    """A /proc/stat whose processors worked and idled so many seconds; a tenth of each in nice, system, irq, iowait."""
    ticks = os.sysconf("SC_CLK_TCK")
    work, rest = round(busy * ticks), round(idle * ticks)
    parts = [work - 3 * (work // 10), work // 10, work // 10, rest - rest // 10, rest // 10, 0, work // 10, 12345, 0, 0]
    proc.mkdir(exist_ok=True)
    (proc / "stat").write_text("cpu  " + " ".join(map(str, parts)) + "\ncpu0 1 2 3\n")
