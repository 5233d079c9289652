"""What every benchmark shares: a signature for each number, medians of interleaved runs, peak memory, one JSON each.

Competitors run in one process, one after the other in every round: a neighbour on the machine slows all of them alike,
and the ratio of the medians holds where the seconds do not.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"


def signature(op: str, shape: str, **facts: Any) -> str:
    """`op:linear_kd|shape:1024x512x32000|...|cpu:...|threads:2|torch:...|commit:...`, as sacreBLEU signs its scores."""
    import torch

    from distilmt import _native

    given = {"op": op, "shape": shape, **facts, "threads": torch.get_num_threads(), "cpu": _cpu()}
    given |= {"isa": _native.active_isa(), "torch": version("torch"), "commit": _commit()}
    return "|".join(f"{name}:{value}" for name, value in given.items())


def interleaved(competitors: dict[str, Callable[[], Any]], rounds: int = 5, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of every competitor in every round: A B C, A B C, ...; warm-up rounds are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for turn in range(warm_up + rounds):
        for name, run in competitors.items():
            gc.collect()
            start = time.perf_counter()
            run()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: dict[str, list[float]], baseline: str) -> dict[str, dict[str, float]]:
    """Per competitor: median, lowest and highest seconds, and the baseline's median over its own (above 1: faster)."""
    base = median(seconds[baseline])
    return {
        name: {"median_seconds": median(s), "min_seconds": min(s), "max_seconds": max(s), "speedup": base / median(s)}
        for name, s in seconds.items()
    }


def peak_bytes(run: Callable[[], Any]) -> int:
    """Most tensor memory that `run` holds at one time beyond what was held before (of the processor as the profiler sees
    it, where CUDA is the default device of torch as its allocator does)."""
    import torch

    if torch.get_default_device().type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    held = peak = 0
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def save(name: str, data: dict[str, Any]) -> Path:
    """Writes benchmarks/results/NAME.json and returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(data, indent=2) + "\n")
    return path


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model.replace(' ', '-')}({os.cpu_count()})"


def _commit() -> str:
    """Short hash, with `+` where tracked files differ from it; `none` outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    if commit.returncode:
        return "none"
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True)
    return commit.stdout.strip() + ("+" if changed.stdout else "")
