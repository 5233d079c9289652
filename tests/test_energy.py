"""The meter around code: time, processor time, memory, tokens, kinds of use; energy of a made-up machine in test_energy_*.py."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from distilmt.energy import Meter, meters_found
from distilmt.energy.memory import PeakMemory
from distilmt.energy.nvml import Cards
from distilmt.errors import ConfigError
from fake_machine import NO_NVML, Card, Clock, Driver, make_zone


def meter(tmp_path, **keywords) -> Meter:
    return Meter(**{"powercap_root": tmp_path, "nvml": NO_NVML} | keywords)


def test_no_counters_at_all(tmp_path):
    with meter(tmp_path) as metered:
        pass
    assert metered.joules is None and metered.usage.energy_kind == "unknown"
    assert "energy not measured (RAPL: no zones under" in str(metered.usage)
    assert "--energy model --cpu-watts IDLE FULL" in str(metered.usage)
    assert metered.usage.joules_low is None and metered.usage.energy_samples == 0


def test_doctor_is_told_what_can_be_measured_and_what_must_be_declared(tmp_path):
    assert meters_found(tmp_path, NO_NVML) == [
        f"RAPL: no zones under {tmp_path}", "NVML: NVML Shared Library Not Found",
        "declare what the processors draw to have an estimate: --energy model --cpu-watts IDLE FULL",
    ]  # fmt: skip
    make_zone(tmp_path, "intel-rapl:0", "package-0", 5)
    driver = Driver(Card(5), Card("Not Supported", power=40_000), Card("Not Supported"))
    assert meters_found(tmp_path, driver) == [
        "RAPL package-0: readable", "NVML 0 Card (whole card): readable",
        "NVML 1 Card (whole card): no counter, its power sensor is sampled",
        "NVML 2 Card (whole card): no energy counter (Not Supported) and no power sensor (Not Supported)",
    ]  # fmt: skip


def test_counters_that_were_asked_for_must_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"--energy counters: there is none to read .*RAPL: no zones") as refused:
        meter(tmp_path, energy="counters").__enter__()
    assert str(refused.value).count("--cpu-watts") == 1
    energy = make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with meter(tmp_path, energy="counters") as metered:
        energy.write_text("2000000")
    assert metered.joules == 2.0


def touch(size: int) -> None:
    """Uses memory that comes from the kernel and goes back to it, whatever the C library's heap keeps."""
    with mmap.mmap(-1, size) as block:
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1


def test_peak_memory_is_that_of_the_block_and_nested_meters_do_not_disturb(tmp_path):
    with meter(tmp_path) as outer:
        touch(200 << 20)
        with meter(tmp_path) as inner:
            touch(20 << 20)
    if outer.usage.peak_rss_method == "ru_maxrss":
        pytest.skip("this kernel does not let a process reset its peak memory")
    assert outer.usage.peak_rss_bytes - inner.usage.peak_rss_bytes > 150 << 20


def test_peak_memory_without_permission_says_where_it_comes_from(tmp_path):
    with meter(tmp_path, proc=tmp_path / "none") as metered:
        pass
    assert metered.usage.peak_rss_method == "ru_maxrss"
    assert metered.usage.peak_rss_bytes > 1 << 20


def test_memory_on_cards_is_this_process_s_and_the_peak(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = Driver(Card(1, processes=((os.getpid(), 500), (1, 7000))), Card(1, processes=((os.getpid(), 30),)))
    with meter(tmp_path, nvml=driver) as metered:
        metered.so_far()
        driver.cards[0].processes = ((os.getpid(), 100),)
    assert (metered.usage.gpu_peak_bytes, metered.usage.gpu_peak_method) == (530, "NVML")
    driver.cards[0].processes = ((os.getpid(), None),)  # as NVML says where it may not tell
    driver.cards[1].processes = ((1, 5),)
    with meter(tmp_path, nvml=driver) as metered:
        pass
    assert metered.usage.gpu_peak_bytes is None


def test_memory_on_cards_is_torch_s_where_torch_uses_them(tmp_path, monkeypatch):
    held = {0: 100, 1: 10}
    cuda = SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: 2, max_memory_allocated=held.get,
        reset_peak_memory_stats=lambda device: held.update({device: 1}),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    outer, inner = (PeakMemory(Cards(NO_NVML), tmp_path) for _ in range(2))
    outer.start()
    held.update({0: 300, 1: 40})
    inner.start()
    held.update({0: 50, 1: 5})
    inner.stop()
    outer.stop()
    assert (inner.cards_bytes, outer.cards_bytes, outer.cards_method) == (55, 340, "torch.cuda")


def test_processor_time_counts_children_and_its_share(tmp_path):
    clock = Clock()
    with meter(tmp_path, clock=clock) as metered:
        subprocess.run([sys.executable, "-c", "sum(range(5_000_000))"], check=True)
        clock.now += 2
    usage = metered.usage
    assert usage.cpu_seconds > 0.02
    assert usage.cpu_utilisation == pytest.approx(usage.cpu_seconds / 2 / len(os.sched_getaffinity(0)))


def test_tokens_are_counted_inside_and_unknown_elsewhere(tmp_path):
    metered = meter(tmp_path)
    with pytest.raises(RuntimeError, match="inside the `with` block"):
        metered.add_tokens(1)
    with metered:
        metered.add_tokens(3)
        metered.add_tokens(4)
    assert metered.usage.tokens == 7
    with metered:
        pass
    assert metered.usage.tokens is None


def test_a_block_that_fails_is_metered_all_the_same(tmp_path):
    metered = meter(tmp_path)
    with pytest.raises(RuntimeError, match="once the `with` block has ended"):
        metered.joules  # noqa: B018
    with pytest.raises(KeyError), metered:
        raise KeyError
    assert metered.usage.seconds >= 0


def test_a_function_is_metered_by_call(tmp_path):
    clock = Clock()
    metered = meter(tmp_path, clock=clock)

    @metered
    def down(n: int, step: float = 1.0) -> int:
        """Counts down."""
        clock.now += step
        return 0 if n == 0 else 1 + down(n - 1, step)

    assert down(2, step=2.0) == 2 and down.__doc__ == "Counts down."
    assert metered.usage.seconds == 6  # the outermost call ends last
    assert metered.measure(lambda n: n * 2, 4) == 8
    assert metered.usage.seconds == 0

    async def later() -> None: ...

    with pytest.raises(TypeError, match="returns before its work is done"):
        metered(later)


def test_the_running_block_can_be_asked_from_another_thread(tmp_path):
    energy, clock, found = make_zone(tmp_path, "intel-rapl:0", "package-0", 0), Clock(), []
    with meter(tmp_path, clock=clock) as metered:
        clock.now += 5
        energy.write_text("4000000")
        thread = threading.Thread(target=lambda: found.append(metered.so_far()))
        thread.start()
        thread.join()
        clock.now += 5
        energy.write_text("7000000")
    assert (found[0].seconds, found[0].joules) == (5, 4.0)
    assert (metered.usage.seconds, metered.usage.joules, metered.so_far().joules) == (10, 7.0, 7.0)
