"""codecarbon as a way to joules: what a made-up tracker returns, what hides a failure, and the real one where it is installed."""

from __future__ import annotations

import time

import pytest

from distilmt.energy import Meter, Usage
from distilmt.energy.codecarbon import CodeCarbon, cross_check
from distilmt.errors import ConfigError
from fake_machine import NO_NVML


class Tracker:
    """codecarbon's tracker: what `flush` returns comes from a list; a started one remembers how it was made."""

    def __init__(self, *returned: float | None):
        self.returned, self.calls = list(returned), []

    def __call__(self, **options: object) -> Tracker:
        self.options = options
        return self

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def flush(self) -> float | None:
        return self.returned.pop(0)


def test_codecarbon_gives_kilowatt_hours_by_way_of_kilograms(monkeypatch):
    tracker = Tracker(0.0005, 0.001)
    monkeypatch.setattr("distilmt.energy.meter.CodeCarbon", lambda: part)
    part = CodeCarbon(tracker)
    with Meter(energy="codecarbon", nvml=NO_NVML) as meter:
        assert meter.so_far().joules == pytest.approx(1800)
        monkeypatch.undo()
    usage = meter.usage
    assert usage.joules == pytest.approx(3600)
    assert (usage.energy_kind, usage.joules_low, usage.energy_samples) == ("estimated", None, 2)
    assert tracker.calls == ["start", "stop"]
    assert tracker.options["force_carbon_intensity_g_co2e_kwh"] == 1000.0 and tracker.options["pue"] == 1.0
    measured = Usage(1.0, 1.0, 1, 3000.0, "RAPL", ["RAPL package-0"], energy_kind="measured")
    assert cross_check(measured, usage).startswith(
        "codecarbon says 1.20 times as much (3600 J, machine (as codecarbon finds it)"
    )
    assert cross_check(Usage(1.0, 1.0, 1, None, "not measured"), usage) == "nothing to compare: energy not measured"


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ([0.0, None], "codecarbon returned None: it failed, and hides why"),
        ([0, 0.0], "the counter did not move"),
    ],
)
def test_codecarbon_s_hidden_failure_is_unknown(monkeypatch, returned, reason):
    part = CodeCarbon(Tracker(*returned))
    monkeypatch.setattr("distilmt.energy.meter.CodeCarbon", lambda: part)
    with Meter(energy="codecarbon", nvml=NO_NVML) as meter:
        assert meter.so_far().joules is None
        monkeypatch.undo()
    assert meter.joules is None and reason in meter.usage.energy_missing[0]


def test_codecarbon_itself():
    pytest.importorskip("codecarbon", reason="needs codecarbon: pip install 'distilmt[codecarbon]'")
    with Meter(energy="codecarbon") as meter:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            sum(range(10_000))
    assert meter.usage.joules > 0 and meter.usage.energy_kind == "estimated"


def test_codecarbon_that_is_absent_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "codecarbon", None)
    with pytest.raises(ConfigError, match=r"pip install 'distilmt\[codecarbon\]'"), Meter(energy="codecarbon"):
        pass
