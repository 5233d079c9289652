"""RAPL and NVML, made up: known joules in, the same out; every way in which a counter fails is unknown and says why."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilmt.energy import Meter, meters_found
from distilmt.energy.parts import MOST_WATTS, Counter, PowerSensor
from fake_machine import NO_NVML, RANGE, Card, Clock, Driver, make_zone


@pytest.fixture(autouse=True)
def all_cards(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_packages_and_memory_add_up_and_parts_are_not_counted_twice(tmp_path):
    counters = [
        make_zone(tmp_path, folder, name, 1_000_000)
        for folder, name in [
            ("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys"),
        ]
    ]  # fmt: skip
    memory, clock = make_zone(tmp_path, "intel-rapl:1:0", "dram", 0), Clock()
    with Meter(powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
        for energy in counters:
            energy.write_text("3500000")
        memory.write_text("250000")
        clock.now += 10
    usage = meter.usage
    assert (usage.joules, usage.energy_method, usage.energy_kind) == (5.25, "RAPL", "measured")
    assert meter.coverage == ["RAPL package-0", "RAPL package-1", "RAPL dram-1"]
    assert usage.energy_missing == ["NVML: NVML Shared Library Not Found"]
    assert usage.energy_samples == 6
    # A millisecond at the mean power of 0.525 W at either end.
    assert (usage.joules_low, usage.joules_high) == pytest.approx((5.25 - 0.000525, 5.25 + 0.000525))
    assert "5.2 J measured, 5.2 to 5.3 J (RAPL package-0" in str(usage)


def test_every_wrap_of_a_long_stage_is_counted(tmp_path):
    energy, clock = make_zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 2_000_000), Clock()
    with Meter(powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
        for value in (8_000_000, RANGE - 1_000_000, 4_000_000):  # wraps, runs on, wraps again
            clock.now += 120
            energy.write_text(str(value))
            meter.so_far()
    assert meter.joules == pytest.approx((10_000_000 + RANGE - 9_000_000 + 5_000_000) / 1e6)
    assert meter.usage.seconds == 360


@settings(deadline=None)
@given(
    start=st.integers(0, RANGE - 1),
    steps=st.lists(st.tuples(st.floats(0.5, 100.0), st.floats(0.0, MOST_WATTS)), min_size=1, max_size=20),
)
def test_any_power_below_the_limit_is_added_up_exactly(start, steps):
    true, now = start, 0.0
    counter = Counter("RAPL package-0", lambda: true % RANGE, RANGE)
    counter.start(now)
    for seconds, watts in steps:
        now += seconds
        true += int(watts * seconds * 1e6)
        counter.add(now)
    assert not counter.problem
    assert counter.microjoules == true - start


def test_a_reset_is_not_taken_for_a_wrap(tmp_path):
    energy, clock = make_zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000_000), Clock()
    with Meter(powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
        clock.now += 10  # a wrap would have needed 25 kW
        energy.write_text("1000000")
    assert (meter.joules, meter.method) == (None, "not measured")
    assert "RAPL package-0: the counter was reset meanwhile" in meter.usage.energy_missing


def test_a_counter_left_alone_for_long_may_have_wrapped_unseen(tmp_path):
    energy, clock = make_zone(tmp_path, "intel-rapl:0", "package-0", 0), Clock()
    with Meter(powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
        clock.now += 3600  # a process that was stopped
        energy.write_text("5000000")
    assert meter.joules is None
    assert "RAPL package-0: not read for 3600 s, in which it may have wrapped unseen" in meter.usage.energy_missing


def test_a_suspended_machine_disturbs_counters_and_not_time(tmp_path):
    energy, clock, boot = make_zone(tmp_path, "intel-rapl:0", "package-0", 0), Clock(), Clock()
    with Meter(powercap_root=tmp_path, nvml=NO_NVML, clock=clock, boottime=boot) as meter:
        clock.now += 10
        boot.now += 10 + 7200
        energy.write_text("5000000")  # set to 0 in sleep, and higher than before by now: no step back to see
    assert (meter.usage.seconds, meter.joules) == (10, None)
    assert "RAPL package-0: the machine was suspended meanwhile, for 7200 s" in meter.usage.energy_missing


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_missing_permission_is_unknown_with_the_reason(tmp_path, monkeypatch, when):
    energy = make_zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    read_text = Path.read_text

    def denied(path: Path, *args: object, **named: object) -> str:  # chmod stops nobody who runs the tests as root
        if path == energy:
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path)

    if when == "before":
        monkeypatch.setattr(Path, "read_text", denied)
        assert "permission denied" in meters_found(tmp_path, NO_NVML)[0]
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as meter:
        energy.write_text("9000000")
        monkeypatch.setattr(Path, "read_text", denied)
    assert (meter.joules, meter.coverage) == (None, [])
    assert f"permission denied to read {energy}" in meter.usage.energy_missing[0]


def test_a_counter_that_stood_still_is_unknown_and_not_zero(tmp_path):
    make_zone(tmp_path, "intel-rapl:0", "package-0", 7)
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as meter:
        pass
    assert meter.joules is None
    assert "did not move" in meter.usage.energy_missing[0]


def test_a_broken_zone_does_not_hide_the_others(tmp_path):
    energy = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    make_zone(tmp_path, "intel-rapl:1", "package-1", 0)
    (tmp_path / "intel-rapl:1" / "max_energy_range_uj").write_text("unknown")
    with Meter(powercap_root=tmp_path, nvml=NO_NVML) as meter:
        energy.write_text("2000000")
    assert (meter.joules, meter.coverage) == (2.0, ["RAPL package-0"])
    assert meter.usage.energy_missing[0].startswith("RAPL intel-rapl:1: ")


def test_cards(tmp_path):
    driver, clock = Driver(Card(1000), Card(5000), Card("Not Supported")), Clock()
    with Meter(powercap_root=tmp_path, nvml=driver, clock=clock) as meter:
        driver.cards[0].energy, driver.cards[1].energy = 3500, 5500
        clock.now += 1
    usage = meter.usage
    assert (usage.joules, usage.energy_method, usage.energy_kind) == (3.0, "NVML", "measured")
    assert (usage.joules_low, usage.joules_high) == pytest.approx((2.7, 3.3))  # a tenth of a second at 3 W
    assert meter.coverage == ["NVML 0 Card (whole card)", "NVML 1 Card (whole card)"]
    assert any(
        text.startswith("NVML 2 Card (whole card): no energy counter (Not Supp") for text in usage.energy_missing
    )


@pytest.mark.parametrize(
    ("visible", "joules"), [("1", 0.5), ("GPU-0", 2.5), ("0,1", 3.0), ("0,GPU-0", 2.5), ("", None), ("7", None)]
)
def test_only_the_cards_that_cuda_may_use(tmp_path, monkeypatch, visible, joules):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver = Driver(Card(1000), Card(5000))
    with Meter(powercap_root=tmp_path, nvml=driver) as meter:
        driver.cards[0].energy, driver.cards[1].energy = 3500, 5500
    assert meter.joules == joules


def test_slices_share_the_counter_of_their_card(tmp_path, monkeypatch):
    driver = Driver(Card(1000, slices=("MIG-a", "MIG-b")))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    with Meter(powercap_root=tmp_path, nvml=driver) as meter:
        driver.cards[0].energy = 3000
    assert meter.joules == 2.0  # once
    assert meter.coverage == ["NVML MIG-a Card (whole card, of which this is a MIG slice)"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with Meter(powercap_root=tmp_path, nvml=driver, gpu_share=0.5) as meter:
        driver.cards[0].energy = 5000
    assert (meter.joules, meter.usage.energy_kind) == (1.0, "estimated")
    assert meter.coverage == ["NVML 0 Card (whole card, cut into MIG slices) x 0.5 (share declared)"]


def test_a_card_that_others_use_is_said_to_be_shared(tmp_path):
    driver = Driver(Card(1000, processes=((1, 10), (2, 10))))
    with Meter(powercap_root=tmp_path, nvml=driver) as meter:
        driver.cards[0].energy = 2000
    assert meter.coverage == ["NVML 0 Card (whole card, shared with 2 other processes)"]


@pytest.mark.parametrize(("value", "reason"), [(10, "reset meanwhile"), ("GPU is lost", "GPU is lost")])
def test_a_card_that_was_reloaded_or_lost_is_unknown_and_the_other_is_not(tmp_path, value, reason):
    driver = Driver(Card(1000), Card(1000))
    with Meter(powercap_root=tmp_path, nvml=driver) as meter:
        driver.cards[0].energy, driver.cards[1].energy = value, 4000
    assert (meter.joules, meter.coverage) == (3.0, ["NVML 1 Card (whole card)"])
    assert (
        f"NVML 0 Card (whole card): {'the counter was ' if reason[0] == 'r' else ''}{reason}"
        in meter.usage.energy_missing
    )


def test_power_is_integrated_where_a_card_has_no_counter(tmp_path):
    driver, clock = Driver(Card("Not Supported", power=100_000)), Clock()
    with Meter(powercap_root=tmp_path, nvml=driver, clock=clock) as meter:
        for seconds, milliwatts in ((2, 200_000), (2, 200_000), (1, 100_000)):
            clock.now += seconds
            driver.cards[0].power = milliwatts
            meter.so_far()
    usage = meter.usage
    assert usage.joules == 300 + 400 + 150
    assert (usage.joules_low, usage.joules_high) == pytest.approx((700 * 0.95, 1000 * 1.05))
    assert (usage.energy_method, usage.energy_kind) == ("NVML power", "measured")


def test_power_that_was_not_sampled_for_long_is_unknown(tmp_path):
    driver, clock = Driver(Card("Not Supported", power=100_000)), Clock()
    with Meter(powercap_root=tmp_path, nvml=driver, clock=clock) as meter:
        clock.now += 60
    assert meter.joules is None and "its power was not sampled for 60 s" in meter.usage.energy_missing[0]


def test_both_ways_err_by_less_than_two_percent_against_a_synthetic_load():
    """Power swings between 50 and 350 W every 3 s; the counter has steps of 61 uJ, is renewed every millisecond and wraps."""

    def joules(t: float) -> float:
        return 200 * t - 150 * 3 / (2 * math.pi) * math.sin(2 * math.pi * t / 3)

    now = 0.0
    reach = 65_532_610_987
    counter = Counter("RAPL package-0", lambda: int(joules(int(now * 1000) / 1000) * 1e6 / 61) * 61 % reach, reach)
    sensor = PowerSensor("card", "NVML power", lambda: 200 - 150 * math.cos(2 * math.pi * now / 3), 0.0)
    counter.start(now)
    sensor.start(now)
    for tick in range(1, 5001):
        now = tick * 0.2
        sensor.add(now)
        if tick % 50 == 0:
            counter.add(now)
    true = joules(now)
    for found in (counter.joules(), sensor.joules()):
        assert abs(found.value - true) < 0.02 * true
        assert found.low < true < found.high
    assert abs(counter.joules().value - true) < 1.0
