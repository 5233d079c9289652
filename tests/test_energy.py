"""The meter, against a made-up powercap tree and a made-up NVML: known joules in, the same out, unknown never 0."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from distilmt.energy import Meter, meters_found

RANGE = 262_143_328_850  # microjoules: what most Intel servers state


class Clock:
    """Seconds by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Driver:
    """NVML with one card per entry: a counter in millijoules, or the reason why there is none."""

    def __init__(self, *cards: int | str):
        self.cards = list(cards)

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return int(uuid.removeprefix("GPU-"))

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "Card"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        value = self.cards[handle]
        if isinstance(value, str):
            raise RuntimeError(value)
        return value


def no_driver() -> None:
    raise RuntimeError("NVML Shared Library Not Found")


NO_NVML = SimpleNamespace(nvmlInit=no_driver)


@pytest.fixture
def zone(tmp_path: Path) -> Callable[..., Path]:
    def make(folder: str, name: str, microjoules: int) -> Path:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "name").write_text(f"{name}\n")
        (tmp_path / folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
        energy = tmp_path / folder / "energy_uj"
        energy.write_text(f"{microjoules}\n")
        return energy

    return make


def test_packages_and_memory_add_up_and_parts_are_not_counted_twice(tmp_path, zone):
    counters = {
        name: zone(folder, name, 1_000_000)
        for folder, name in [
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:2", "psys"),
        ]
    }
    memory = zone("intel-rapl:1:0", "dram", 0)
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as meter:
        for energy in counters.values():
            energy.write_text("3500000")
        memory.write_text("250000")
    assert meter.joules == 5.25
    assert meter.method == "RAPL"
    assert meter.coverage == ["RAPL package-0", "RAPL package-1", "RAPL dram-1"]
    assert meter.usage.energy_missing == ["NVML: NVML Shared Library Not Found"]
    assert "5.2 J measured (RAPL package-0" in str(meter.usage)


def test_every_wrap_of_a_long_stage_is_counted(tmp_path, zone):
    energy, clock = zone("intel-rapl:0", "package-0", RANGE - 2_000_000), Clock()
    with Meter(powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
        for value in (8_000_000, RANGE - 1_000_000, 4_000_000):  # wraps, runs on, wraps again
            clock.now += 600
            energy.write_text(str(value))
            meter.read_counters()
    assert meter.joules == pytest.approx((10_000_000 + RANGE - 9_000_000 + 5_000_000) / 1e6)
    assert meter.usage.seconds == 1800


def test_a_reset_is_not_taken_for_a_wrap(tmp_path, zone):
    energy, clock = zone("intel-rapl:0", "package-0", 5_000_000_000), Clock()
    with Meter(powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
        clock.now += 10  # a wrap would have needed 25 kW
        energy.write_text("1000000")
    assert meter.joules is None
    assert meter.method == "not measured"
    assert "RAPL package-0: the counter was reset meanwhile" in meter.usage.energy_missing


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_missing_permission_is_unknown_with_the_reason(tmp_path, zone, monkeypatch, when):
    energy = zone("intel-rapl:0", "package-0", 1_000_000)
    read_text = Path.read_text

    def denied(path: Path, *args: object) -> str:  # chmod stops nobody who runs the tests as root
        if path == energy:
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path)

    if when == "before":
        monkeypatch.setattr(Path, "read_text", denied)
        assert "permission denied" in meters_found(tmp_path, NO_NVML)[0]
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as meter:
        energy.write_text("9000000")
        monkeypatch.setattr(Path, "read_text", denied)
    assert meter.joules is None
    assert meter.coverage == []
    assert f"permission denied to read {energy}" in meter.usage.energy_missing[0]


def test_a_counter_that_stood_still_is_unknown_and_not_zero(tmp_path, zone):
    zone("intel-rapl:0", "package-0", 7)
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as meter:
        pass
    assert meter.joules is None
    assert "did not move" in meter.usage.energy_missing[0]


def test_no_counters_at_all(tmp_path):
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as meter:
        pass
    assert meter.joules is None
    assert "energy not measured (RAPL: no zones under" in str(meter.usage)
    assert len(meters_found(tmp_path, NO_NVML)) == 2


def test_a_broken_zone_does_not_hide_the_others(tmp_path, zone):
    energy = zone("intel-rapl:0", "package-0", 0)
    zone("intel-rapl:1", "package-1", 0)
    (tmp_path / "intel-rapl:1" / "max_energy_range_uj").write_text("unknown")
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as meter:
        energy.write_text("2000000")
    assert meter.joules == 2.0
    assert meter.coverage == ["RAPL package-0"]
    assert meter.usage.energy_missing[0].startswith("RAPL intel-rapl:1: ")


def test_cards(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = Driver(1000, 5000, "Not Supported")
    with Meter(powercap_root=tmp_path, nvml=driver) as meter:
        driver.cards[:2] = [3500, 5500]
    assert meter.joules == 3.0
    assert meter.method == "NVML"
    assert meter.coverage == ["NVML 0 Card (whole card)", "NVML 1 Card (whole card)"]
    assert "NVML card 2: Not Supported" in meter.usage.energy_missing


@pytest.mark.parametrize(("visible", "joules"), [("1", 0.5), ("GPU-0", 2.5), ("0,1", 3.0), ("", None)])
def test_only_the_cards_that_cuda_may_use(tmp_path, monkeypatch, visible, joules):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver = Driver(1000, 5000)
    with Meter(powercap_root=tmp_path, nvml=driver) as meter:
        driver.cards = [3500, 5500]
    assert meter.joules == joules


def test_a_card_whose_driver_was_reloaded_is_unknown(tmp_path):
    driver = Driver(1000)
    with Meter(powercap_root=tmp_path, nvml=driver) as meter:
        driver.cards = [10]
    assert meter.joules is None


def touch(size: int) -> None:
    """Uses memory that comes from the kernel and goes back to it, whatever the C library's heap keeps."""
    with mmap.mmap(-1, size) as block:
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1


def test_peak_memory_is_that_of_the_block_and_nested_meters_do_not_disturb(tmp_path):
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as outer:
        touch(200 << 20)
        with Meter(powercap_root=tmp_path, nvml=NO_NVML) as inner:
            touch(20 << 20)
    if outer.usage.peak_rss_method == "ru_maxrss":
        pytest.skip("this kernel does not let a process reset its peak memory")
    assert outer.usage.peak_rss_bytes - inner.usage.peak_rss_bytes > 150 << 20


def test_peak_memory_without_permission_says_where_it_comes_from(tmp_path):
    with Meter(powercap_root=tmp_path, nvml=NO_NVML, process=tmp_path / "none") as meter:
        pass
    assert meter.usage.peak_rss_method == "ru_maxrss"
    assert meter.usage.peak_rss_bytes > 1 << 20


def test_processor_time_counts_children(tmp_path):
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as meter:
        subprocess.run([sys.executable, "-c", "sum(range(5_000_000))"], check=True)
    assert meter.usage.cpu_seconds > 0.02


def test_a_block_that_fails_is_metered_all_the_same(tmp_path):
    meter = Meter(powercap_root=tmp_path, nvml=NO_NVML)
    with pytest.raises(RuntimeError, match="once the `with` block has ended"):
        meter.joules  # noqa: B018
    with pytest.raises(KeyError), meter:
        raise KeyError
    assert meter.usage.seconds >= 0
