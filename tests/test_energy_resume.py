"""Cost that outlives a kill: checkpoints of a meter, attempts of a stage, and their sums by hand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from distilmt.energy import EnergyOptions, Meter, Usage, killed, total
from distilmt.errors import DataError
from distilmt.run import Run
from distilmt.state.stage import total as total_of_records
from fake_machine import NO_NVML, Clock, make_zone

KNOWN = Usage(
    10.0, 20.0, 5, 100.0, "RAPL", ["RAPL package-0"], ["NVML: no cards"], "VmHWM", "measured", 99.0, 101.0, 4, 7, "NVML", 30.0, 6, 2
)  # fmt: skip


def test_attempts_add_up_field_by_field():
    other = replace(KNOWN, joules=50.0, joules_low=40.0, joules_high=70.0, energy_kind="estimated", energy_method="model",
                    energy_coverage=["processors (declared)"], gpu_peak_bytes=9, cpus=2)  # fmt: skip
    assert total([KNOWN, other]) == Usage(
        20.0, 40.0, 5, 150.0, "RAPL + model", ["RAPL package-0", "processors (declared)"], ["NVML: no cards"], "VmHWM",
        "estimated", 139.0, 171.0, 8, 9, "NVML", 60.0, 12, 2,
    )  # fmt: skip
    assert total([KNOWN]) == KNOWN


def test_a_sum_with_a_hole_is_no_sum():
    unknown = replace(KNOWN, joules=None, energy_method="not measured", energy_coverage=[], energy_kind="unknown")
    hole = total([KNOWN, unknown])
    assert (hole.joules, hole.joules_low, hole.energy_method, hole.energy_kind) == (
        None,
        None,
        "not measured",
        "unknown",
    )
    assert (hole.energy_coverage, hole.energy_samples, hole.idle_joules, hole.seconds) == ([], 0, None, 20.0)
    lost = replace(KNOWN, energy_coverage=["RAPL package-1"], energy_missing=["RAPL package-0: GPU is lost"])
    assert total([KNOWN, lost]).joules is None
    assert total([replace(KNOWN, energy_coverage=["RAPL package-0 x 0.5 (share declared)"]), lost]).joules is None
    assert total([KNOWN, replace(KNOWN, tokens=None, idle_joules=None, joules_low=None)]) == replace(
        total([KNOWN, KNOWN]), tokens=None, idle_joules=None, joules_low=None
    )
    assert total([]).joules is None and total([]).energy_kind == "unknown"


def test_records_of_old_load_and_are_measured():
    old = {
        "seconds": 1.0,
        "cpu_seconds": 2.0,
        "peak_rss_bytes": 5,
        "joules": 3.0,
        "energy_method": "RAPL",
        "ended": "finished",
    }
    found = total_of_records([old, old])
    assert (found.joules, found.energy_kind, found.joules_low, found.energy_samples) == (6.0, "measured", None, 0)


def test_a_kill_widens_the_interval_by_what_the_last_seconds_may_have_cost():
    found = killed(KNOWN, 10.0)
    assert (found.joules, found.joules_low, found.joules_high) == (100.0, 99.0, 202.0)
    assert found.energy_missing[-1] == "the attempt was killed: up to 10 s at its end are not counted"


def test_a_meter_goes_on_where_a_killed_one_stopped(tmp_path):
    energy, clock, path = make_zone(tmp_path, "intel-rapl:0", "package-0", 0), Clock(), tmp_path / "new" / "cost.json"

    def work(joules: int) -> Meter:
        with Meter(checkpoint=path, powercap_root=tmp_path, nvml=NO_NVML, clock=clock) as meter:
            clock.now += 10
            energy.write_text(str(int(energy.read_text()) + joules * 1_000_000))
        return meter

    assert work(300).joules == 300
    assert work(200).joules == 500 and work(0).joules is None
    path.unlink()
    work(400)
    written = json.loads(path.read_text())
    written["attempts"][0]["ended"] = False  # as every 10 s while it runs
    path.write_text(json.dumps(written))
    usage = work(100).usage
    assert (usage.joules, usage.seconds) == (500, 20)
    assert usage.joules_high == pytest.approx(2 * 400.04 + 100.01)
    assert usage.energy_missing[-1].startswith("the attempt was killed") or usage.energy_missing[1].startswith(
        "the attempt"
    )
    assert work(100).usage.joules_high == pytest.approx(2 * 400.04 + 200.02)  # widened once


def test_the_checkpoint_is_written_and_counters_are_read_while_the_work_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("distilmt.energy.meter.INTERVAL_SECONDS", 0.01)
    make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    path, enough = tmp_path / "cost.json", time.monotonic() + 60
    with Meter(checkpoint=path, powercap_root=tmp_path, nvml=NO_NVML) as meter:
        while not path.exists() and time.monotonic() < enough:
            time.sleep(0.01)
        assert json.loads(path.read_text())["attempts"][0]["ended"] is False
        samples = meter._parts[0].samples
        assert samples >= 2
    thread = [each for each in threading.enumerate() if each.name == "distilmt-energy"]
    for each in thread:
        each.join(60)
    assert json.loads(path.read_text())["attempts"][0]["ended"] is True


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"attempts": [{"ended": true}]}', '{"attempts": [3]}'])
def test_a_damaged_checkpoint_is_refused(tmp_path, text):
    (tmp_path / "cost.json").write_text(text)
    with (
        pytest.raises(DataError, match=r"cost.json.*delete it to start from nothing"),
        Meter(checkpoint=tmp_path / "cost.json"),
    ):
        pass


def test_a_checkpoint_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    path = tmp_path / "cost.json"
    with Meter(checkpoint=path, nvml=NO_NVML) as meter:
        path.mkdir()
    assert meter.usage is not None
    assert f"distilmt: the meter's checkpoint: {path}: " in capsys.readouterr().err


WORKER = """
import sys
from pathlib import Path
from distilmt.energy import EnergyOptions
from distilmt.run import Run
options = EnergyOptions(energy="constant", constant_watts=(100.0, 300.0))
with Run.open(sys.argv[1], {}, metering=options) as run:
    with run.stage("label", {}) as stage:
        sum(range(3_000_000))
        stage.save()  # the run's heartbeat
        print("saved", flush=True)
        sys.stdin.readline()
"""


def test_case_41_a_killed_attempt_s_cost_is_in_the_stage_s(tmp_path):
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "saved\n"
        process.send_signal(signal.SIGKILL)
    first = json.loads((tmp_path / "stages/label.json").read_text())["attempts"][0]
    assert first["joules"] == pytest.approx(200 * first["seconds"], rel=0.01) and first["cpu_seconds"] > 0.01
    options = EnergyOptions(energy="constant", constant_watts=(100.0, 300.0))
    with Run.open(tmp_path, {}, metering=options) as run, run.stage("label", {}) as stage:
        stage.finish({})
    second = stage.record["attempts"][1]
    usage = stage.usage
    assert usage.joules == pytest.approx(first["joules"] + second["joules"])
    assert usage.cpu_seconds == pytest.approx(first["cpu_seconds"] + second["cpu_seconds"])
    assert usage.joules_high == pytest.approx(
        first["joules_high"] * (1 + 10 / first["seconds"]) + second["joules_high"]
    )
    assert usage.energy_kind == "estimated" and "killed" in usage.energy_missing[0]
    assert {"energy_kind", "joules_low", "tokens"} <= set(asdict(usage)) & set(Run(Path(tmp_path)).stages()[0])


def test_options_of_the_meter_are_no_input_of_a_stage(tmp_path):
    with Run.open(tmp_path, {}, metering=EnergyOptions(energy="none")) as run, run.stage("x", {"seed": 1}) as stage:
        stage.finish({})
    with Run.open(tmp_path, {}, metering=EnergyOptions(attribution=0.5)) as run, run.stage("x", {"seed": 1}) as stage:
        assert stage.done
