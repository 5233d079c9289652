"""study/noise.py on a made-up /proc and /sys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distilmt.study import noise


def machine(root: Path, stat: str, clocks: list[int], temperatures: dict[str, str]) -> Path:
    files = {"proc/stat": stat + "\ncpu0 1 2 3\n", "proc/cpuinfo": "cpu MHz\t\t: 1000.0\ncpu MHz\t\t: 3000.0\n"}
    files |= {f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_cur_freq": f"{khz}\n" for i, khz in enumerate(clocks)}
    files |= {f"sys/class/{name}": text for name, text in temperatures.items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_readings(tmp_path: Path) -> None:
    heat = {
        "thermal/thermal_zone0/temp": "41000\n",
        "hwmon/hwmon0/temp1_input": "66500\n",
        "hwmon/hwmon0/temp2_input": "x",
    }
    found = noise.read(machine(tmp_path, "cpu 100 20 30 800 50 1 2 7 99 99", [1_200_000, 1_800_000], heat))
    assert (found.total, found.idle, found.steal) == (1010, 850, 7)  # guests are counted within user
    assert (found.mhz, found.celsius) == (1500.0, 66.5)


def test_what_a_machine_does_not_tell_is_unknown(tmp_path: Path) -> None:
    assert noise.read(machine(tmp_path, "cpu 1 2", [], {})).mhz == 2000.0  # from cpuinfo
    found = noise.read(tmp_path / "nothing")
    assert (found.total, found.mhz, found.celsius) == (None, None, None)
    assert noise.between(found, replace(found, seconds=found.seconds + 9)) == {
        "steal_share": None,
        "other_cpu_share": None,
    }


def test_shares_of_the_time_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "TICKS_PER_SECOND", 100)
    first = noise.Reading(0.0, total=10_000, idle=4_000, steal=100, own=1.0, load=0.1, mhz=None, celsius=None)
    # In 10 s of two processors 2,000 ticks: 1,000 idle, 100 stolen, so 900 busy, of which 6 s are our own.
    last = noise.Reading(10.0, total=12_000, idle=5_000, steal=200, own=7.0, load=1.5, mhz=None, celsius=None)
    assert noise.between(first, last) == {"steal_share": 0.05, "other_cpu_share": 0.15}
    assert noise.between(first, replace(last, own=10.5))["other_cpu_share"] == 0.0
    assert noise.between(first, replace(last, seconds=0.1))["steal_share"] is None  # too short to say
    found = noise.columns(first, first, last)
    assert tuple(found) == noise.COLUMNS
    assert found["other_cpu_share"] == 0.15 and found["other_cpu_share_before"] is None
    assert (found["load_before"], found["load_after"]) == (0.1, 1.5)
