"""What is declared and not measured: models, constants, shares, the idle baseline; never called measured."""

from __future__ import annotations

import time

import pytest

from distilmt.energy import EnergyOptions, Meter, idle
from distilmt.errors import ConfigError
from fake_machine import NO_NVML, Card, Clock, Driver, make_zone, write_stat


def test_a_model_of_the_processors_follows_their_load_within_the_declared_range(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    proc, clock, driver = tmp_path / "proc", Clock(), Driver(Card(1000))
    write_stat(proc, busy=50, idle=1000)
    with Meter(energy="model", cpu_watts=(20.0, 100.0), proc=proc, clock=clock, nvml=NO_NVML) as meter:
        clock.now += 10
        write_stat(proc, busy=65, idle=1005)  # 15 of 20 processor seconds: a load of 0.75
    usage = meter.usage
    assert usage.joules == pytest.approx((20 + 80 * 0.75) * 10)
    assert (usage.joules_low, usage.joules_high) == (200, 1000)
    assert (usage.energy_method, usage.energy_kind) == ("model", "estimated")
    assert usage.energy_coverage == ["processors (declared)"] and "J estimated" in str(usage)
    # Cards are counted all the same.
    with Meter(energy="model", cpu_watts=(20.0, 20.0), proc=proc, clock=clock, nvml=driver) as meter:
        clock.now += 10
        driver.cards[0].energy = 101_000
    assert (meter.joules, meter.method, meter.usage.energy_kind) == (300, "model + NVML", "estimated")


def test_a_model_without_a_load_is_unknown(tmp_path):
    with Meter(energy="model", cpu_watts=(20.0, 100.0), proc=tmp_path, nvml=NO_NVML) as meter:
        pass
    assert meter.joules is None
    assert f"processors (declared): the load is unknown: {tmp_path / 'stat'}" in meter.usage.energy_missing[0]


def test_a_constant_is_the_middle_of_what_was_declared(tmp_path):
    clock = Clock()
    with Meter(energy="constant", constant_watts=(100.0, 300.0), clock=clock, nvml=NO_NVML) as meter:
        clock.now += 5
    usage = meter.usage
    assert (usage.joules, usage.joules_low, usage.joules_high) == (1000, 500, 1500)
    assert (usage.energy_method, usage.energy_kind, usage.energy_coverage) == (
        "constant", "estimated", ["machine (declared)"],
    )  # fmt: skip


def test_an_interval_ends_at_zero_and_a_share_at_one(tmp_path, monkeypatch):
    clock = Clock()
    write_stat(tmp_path, busy=10, idle=10)
    monkeypatch.setattr("distilmt.energy.meter.cpu_seconds", lambda: clock.now)
    ways = {"energy": "constant", "constant_watts": (10.0, 90.0), "idle_watts": 30.0, "attribution": "cpu-share"}
    with Meter(**ways, clock=clock, proc=tmp_path, nvml=NO_NVML) as meter:
        clock.now += 10  # 10 CPU seconds, which /proc/stat has counted for 9
        write_stat(tmp_path, busy=19, idle=10)
    usage = meter.usage
    assert (usage.joules, usage.joules_low, usage.joules_high, usage.idle_joules) == (200, 0, 600, 300)


def test_nothing_is_looked_for_where_nothing_was_asked_for(tmp_path):
    make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with Meter(energy="none", powercap_root=tmp_path, nvml=NO_NVML) as meter:
        pass
    assert meter.usage.energy_missing == ["energy was not asked for (--energy none)"]


def test_the_idle_baseline_is_subtracted_from_all_and_kept(tmp_path):
    energy, clock = make_zone(tmp_path, "intel-rapl:0", "package-0", 0), Clock()
    with Meter(idle_watts=30.0, powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
        clock.now += 10
        energy.write_text("1000000000")
    usage = meter.usage
    assert (usage.joules, usage.idle_joules, usage.energy_kind) == (700, 300, "measured")
    assert (usage.joules_low, usage.joules_high) == pytest.approx((699.9, 700.1))


def test_an_idle_baseline_that_cannot_be_right_leaves_energy_unknown(tmp_path):
    energy, clock = make_zone(tmp_path, "intel-rapl:0", "package-0", 0), Clock()
    with Meter(idle_watts=50.0, powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
        clock.now += 10
        energy.write_text("400000000")
    assert meter.joules is None
    assert "idle baseline: 50 W are not below the 40.0 W that were counted" in meter.usage.energy_missing
    make_zone(tmp_path, "intel-rapl:1", "package-1", 0)  # stands still, yet the baseline was of both
    with Meter(idle_watts=5.0, powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
        clock.now += 10
        energy.write_text("800000000")
    assert "idle baseline: a part that it covers was not counted" in meter.usage.energy_missing


def test_the_share_of_processor_time_is_taken_of_processors_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    energy, proc, clock, driver = (
        make_zone(tmp_path, "intel-rapl:0", "package-0", 0),
        tmp_path / "proc",
        Clock(),
        Driver(Card(0)),
    )
    write_stat(proc, busy=10, idle=10)
    monkeypatch.setattr("distilmt.energy.meter.cpu_seconds", lambda: 2 * (clock.now - 100))
    with Meter(attribution="cpu-share", powercap_root=tmp_path, nvml=driver, proc=proc, clock=clock) as meter:
        clock.now += 10  # 20 CPU seconds of ours
        write_stat(proc, busy=90, idle=30)  # of 80
        energy.write_text("400000000")
        driver.cards[0].energy = 600_000
    usage = meter.usage
    assert (usage.joules, usage.energy_kind) == (100 + 600, "estimated")
    assert usage.energy_coverage == ["RAPL package-0 x 0.25 (share of CPU time)", "NVML 0 Card (whole card)"]
    write_stat(proc, busy=90, idle=30)
    with Meter(attribution=0.5, idle_watts=10.0, powercap_root=tmp_path, nvml=NO_NVML, proc=proc, clock=clock) as meter:
        clock.now += 10
        energy.write_text("800000000")
    assert (meter.joules, meter.usage.idle_joules) == (0.5 * (400 - 100), 50)
    assert meter.coverage == ["RAPL package-0 x 0.5 (share declared)"]


def test_a_share_of_an_unknown_load_is_unknown(tmp_path):
    energy = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with Meter(attribution="cpu-share", powercap_root=tmp_path, nvml=NO_NVML, proc=tmp_path) as meter:
        energy.write_text("400000000")
    assert meter.joules is None and "attribution: this process's share is unknown" in str(meter.usage.energy_missing)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"energy": "model"}, r"--energy model needs --cpu-watts IDLE FULL"),
        ({"energy": "constant"}, r"--energy constant needs --constant-watts LOW HIGH"),
        ({"cpu_watts": (90.0, 20.0)}, r"--cpu-watts must be two watts, the lower one first, got 90 20"),
        ({"idle_watts": -1.0}, r"--idle-watts must be 0 or more"),
        ({"attribution": 1.5}, r"--attribution must be machine, cpu-share or a number in \(0, 1\], got 1.5"),
        ({"gpu_share": 0.0}, r"--gpu-share must lie in \(0, 1\]"),
        ({"energy": "rapl"}, r"energy: must be auto\|counters"),
        ({"idle": 3}, r"idle: unknown option"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Meter(**options)


@pytest.mark.parametrize("share", [3, 0, -1, True])
def test_a_share_that_is_an_integer_is_checked_too(share):
    with pytest.raises(ConfigError, match=f"--attribution must be .*, got {share!r}"):
        EnergyOptions(energy="none", attribution=share)
    assert EnergyOptions(energy="none", attribution=1).attribution == 1


def test_idle_measures_the_machine_at_rest(tmp_path, monkeypatch):
    energy, clock = make_zone(tmp_path, "intel-rapl:0", "package-0", 0), Clock()

    def rest(seconds: float) -> None:
        clock.now += seconds
        energy.write_text("450000000")

    monkeypatch.setattr(time, "sleep", rest)
    assert idle(30.0, powercap_root=tmp_path, nvml=NO_NVML, clock=clock) == 15.0
    with pytest.raises(ConfigError, match=r"idle: energy is not measured here .*RAPL: no zones"):
        idle(0.0, powercap_root=tmp_path / "none", nvml=NO_NVML)


def test_options_are_flags_of_every_command_that_works():
    from distilmt.distill import DistillConfig
    from distilmt.evaluate import EvaluateConfig
    from distilmt.interface.config import load
    from distilmt.label import LabelConfig
    from distilmt.train import TrainConfig

    flags = {"energy": "model", "cpu-watts": ("20", "90"), "attribution": "0.5", "idle-watts": "7"}
    wanted = EnergyOptions(energy="model", cpu_watts=(20.0, 90.0), attribution=0.5, idle_watts=7.0)
    label = load(LabelConfig, flags=flags | {"model": "m", "source": "s", "out": "o"})
    train = load(TrainConfig, flags=flags | {"train": ("a", "b"), "dev": ("a", "b"), "out": "o"})
    assert label.metering == train.metering == wanted
    evaluate = load(EvaluateConfig, flags=flags | {"model": "m", "test": ("a", "b")})
    distill = {
        "train": ("a", "b"),
        "dev": ("a", "b"),
        "test": [("a", "b")],
        "out": "o",
        "student-size": "tiny",
        "teacher": "m",
    }
    assert evaluate.metering == load(DistillConfig, flags=flags | distill).metering == wanted
    assert "metering" not in train.training.inputs()


def test_options_reach_the_meter_as_a_group():
    options = EnergyOptions(energy="model", cpu_watts=(1.0, 2.0))
    assert Meter(options).options is not None
    assert Meter(options, idle_watts=1.0).options == EnergyOptions(energy="model", cpu_watts=(1.0, 2.0), idle_watts=1.0)
