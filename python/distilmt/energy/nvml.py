"""NVIDIA cards through NVML: the energy counter (Volta and later), or else the power sensor, and the memory of a process.

Source: NVML's reference (nvmlDeviceGetPowerUsage): "accurate to within +/- 5% of current power draw" for Fermi and Kepler,
no word for later cards; from Ampere on (GA100 excepted) a mean over one second. No accuracy is stated for the counter. Yang,
Adamek & Armour 2023 (arXiv:2312.02741) found sensors renewed every 20 to 100 ms, which we take for the counter, and A100
and H100 cards whose sensors look at a quarter of the time only: no interval here covers that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from distilmt.energy.parts import Counter, PowerSensor, why
from distilmt.energy.usage import NO_CARDS

COUNTER_PERIOD_SECONDS = 0.1
SENSOR_ACCURACY = 0.05


@dataclass(frozen=True)
class Card:
    """One card as this process sees it: its handle, that of the whole card, and what its counters count."""

    name: str
    handle: Any  # of the card, or of the MIG slice that this process may use
    whole: Any


class Cards:
    """The cards of CUDA_VISIBLE_DEVICES where it is set, else all.

    Args:
        nvml: the `pynvml` module or something like it; None imports it.

    `missing` says why a card, or NVML as a whole, cannot be asked.
    """

    def __init__(self, nvml: Any = None):
        self.found: list[Card] = []
        self.missing: list[str] = []
        try:
            self.nvml = nvml or import_module("pynvml")
            self.nvml.nvmlInit()
            count = self.nvml.nvmlDeviceGetCount()
        except Exception as error:  # the module is missing, or the driver is
            self.missing = [f"NVML: {why(error)}"]
            return
        if not count:
            self.missing = [NO_CARDS]
        seen = set()
        for name in _visible_cards(count):
            try:
                card = self._open(name)
                key = self.nvml.nvmlDeviceGetUUID(card.whole)
            except Exception as error:
                self.missing.append(f"NVML card {name}: {why(error)}")
                continue
            if key not in seen:  # two slices of one card have one counter
                seen.add(key)
                self.found.append(card)

    def parts(self) -> tuple[list[Counter | PowerSensor], list[str]]:
        """A counter for each card, or a sensor where it has none, and reasons why a card has neither."""
        parts: list[Counter | PowerSensor] = []
        missing = list(self.missing)
        for card in self.found:
            counter, sensor = partial(_energy, self.nvml, card.whole), partial(_power, self.nvml, card.whole)
            if not (no_counter := _refusal(counter)):
                parts.append(Counter(card.name, counter, period=COUNTER_PERIOD_SECONDS, card=True))
            elif not (no_sensor := _refusal(sensor)):
                parts.append(PowerSensor(card.name, "NVML power", sensor, SENSOR_ACCURACY, card=True))
            else:
                missing.append(f"{card.name}: no energy counter ({no_counter}) and no power sensor ({no_sensor})")
        return parts, missing

    def memory_bytes(self) -> int | None:
        """What this process holds on the cards now; None where it is not to be seen there (none, or in a container)."""
        found = None
        for card in self.found:
            try:
                running = self.nvml.nvmlDeviceGetComputeRunningProcesses(card.handle)
            except Exception:  # nothing but a figure depends on it, and unknown is what it stays
                return None
            held = [each.usedGpuMemory for each in running if each.pid == os.getpid()]
            if held and None not in held:
                found = (found or 0) + sum(held)
        return found

    def _open(self, name: str) -> Card:
        nvml = self.nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
        whole, how = handle, "whole card"
        if name.startswith("MIG-"):
            whole, how = (
                nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle),
                "whole card, of which this is a MIG slice",
            )
        elif _is_cut(nvml, handle):
            how = "whole card, cut into MIG slices"
        elif others := _others(nvml, handle):
            how = f"whole card, shared with {others} other process{'es' if others > 1 else ''}"
        return Card(f"NVML {name} {nvml.nvmlDeviceGetName(whole)} ({how})", handle, whole)


def _energy(nvml: Any, handle: Any) -> int:
    return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1000  # NVML counts millijoules


def _power(nvml: Any, handle: Any) -> float:
    return float(nvml.nvmlDeviceGetPowerUsage(handle)) / 1000  # and milliwatts


def _refusal(read: Callable[[], float]) -> str:
    try:
        read()
    except Exception as error:  # NVMLError_NotSupported and its like
        return why(error)
    return ""


def _is_cut(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except Exception:  # a card that knows no slices
        return False


def _others(nvml: Any, handle: Any) -> int:
    """Other processes that compute on the card now, as far as NVML lets see."""
    try:
        return sum(each.pid != os.getpid() for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    except Exception:
        return 0


def _visible_cards(count: int) -> list[str]:
    """Cards this process may use, as an index or a UUID.

    CUDA numbers the fastest card first and NVML goes by bus: where cards are unlike, set CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(index) for index in range(count)]
    return [card.strip() for card in visible.split(",") if card.strip()]
