"""What the meter costs, and how far it errs against counters and sensors whose truth is known.

    python benchmarks/bench_meter.py [--seconds 30] [--rounds 5]

The same work (pure Python, which shares its lock with the meter's thread: the worst case) runs plain and metered in turn:
with a RAPL counter in a made-up powercap tree, with a made-up card that has a counter, with one whose power is sampled, and by
codecarbon where it is installed. Both processor and wall time are compared with those of the plain runs: the medians over
rounds. On a shared machine only the processor time is worth anything; the bar is 0.5 %. The made-up card's power swings
between 50 and 350 W every 3 s, so its energy is known at every instant; the bar is 2 %.

Writes benchmarks/results/meter.json.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from common import save, signature
from distilmt.energy import Meter

WATTS, SWING, PERIOD = 200.0, 150.0, 3.0


def joules(t: float) -> float:
    """Energy of the made-up card since second 0."""
    return WATTS * t - SWING * PERIOD / (2 * math.pi) * math.sin(2 * math.pi * t / PERIOD)


def card(counter: bool) -> Any:
    """NVML with one card; its counter is renewed every 100 ms."""

    def energy(_: int) -> int:
        if not counter:
            raise RuntimeError("Not Supported")
        return int(joules(math.floor(time.monotonic() * 10) / 10) * 1000)

    return SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMigMode=lambda _: [0, 0],
        nvmlDeviceGetUUID=lambda _: "GPU-0",
        nvmlDeviceGetName=lambda _: "made up",
        nvmlDeviceGetComputeRunningProcesses=lambda _: [],
        nvmlDeviceGetTotalEnergyConsumption=energy,
        nvmlDeviceGetPowerUsage=lambda _: 1000 * (WATTS - SWING * math.cos(2 * math.pi * time.monotonic() / PERIOD)),
    )


def powercap(folder: Path) -> Path:
    """A powercap tree with one package; its counter stands still, which costs a reading as much."""
    zone = folder / "intel-rapl:0"
    zone.mkdir()
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "262143328850"), ("energy_uj", "1")):
        (zone / name).write_text(text)
    return folder


def work(loops: int) -> None:
    for _ in range(loops):
        sum(range(10_000))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    start = time.process_time()
    work(2000)
    loops = int(2000 * chosen.seconds / (time.process_time() - start))
    with tempfile.TemporaryDirectory() as folder:
        root, nowhere = powercap(Path(folder)), Path(folder) / "none"
        ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {
            "plain": nullcontext,
            "RAPL counter": lambda: Meter(powercap_root=root, nvml=SimpleNamespace()),
            "card's counter": lambda: Meter(powercap_root=nowhere, nvml=card(True)),
            "card's power": lambda: Meter(powercap_root=nowhere, nvml=card(False)),
        }
        if find_spec("codecarbon"):
            ways["codecarbon"] = lambda: Meter(energy="codecarbon", powercap_root=nowhere, nvml=SimpleNamespace())
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        wall: dict[str, list[float]] = {name: [] for name in ways}
        errors: dict[str, list[float]] = {name: [] for name in ways if name.startswith("card")}
        for _ in range(chosen.rounds):
            for name, way in ways.items():
                cpu_start, began = time.process_time(), time.monotonic()
                with way() as meter:
                    entered = time.monotonic()
                    work(loops)
                    left = time.monotonic()
                cpu[name].append(time.process_time() - cpu_start)
                wall[name].append(time.monotonic() - began)
                if name in errors:
                    if meter.usage.joules is None:
                        parser.error(f"{name}: {meter.usage.energy_missing[0]}; take more --seconds")
                    true = joules(left) - joules(entered)
                    errors[name].append(meter.usage.joules / true - 1)
    found = {
        name: {
            "cpu_overhead": median(cpu[name]) / median(cpu["plain"]) - 1,
            "wall_overhead": median(wall[name]) / median(wall["plain"]) - 1,
            "largest_error": max(map(abs, errors[name])) if name in errors else None,
        }
        for name in ways
    }
    print(f"{'':16}{'CPU time':>10}{'wall time':>11}{'error':>9}")
    for name, each in found.items():
        error = f"{each['largest_error']:9.2%}" if each["largest_error"] is not None else f"{'-':>9}"
        print(f"{name:16}{each['cpu_overhead']:+10.2%}{each['wall_overhead']:+11.2%}{error}")
    data = {"signature": signature("meter", f"{chosen.seconds:g}s", rounds=chosen.rounds), "results": found}
    print(data["signature"])
    save("meter", data)


if __name__ == "__main__":
    main()
