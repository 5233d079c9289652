"""`distilmt doctor`: what is built, what is loaded and why not, and what this machine offers.

Never fails: each question is asked by itself, and one that cannot be answered says why. A part without which the
package does not work is a problem and comes with its remedy (exit code 4); everything else is information.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from distilmt.errors import UserError
from distilmt.translator import attention

REINSTALL = "build it anew: pip install --force-reinstall --no-deps ."
REQUIRED = ("torch", "transformers", "accelerate", "sentencepiece", "safetensors", "sacrebleu", "numpy")
# package: extra
OPTIONAL = {
    "ctranslate2": "ctranslate2", "datasets": "datasets", "ipywidgets": "notebook", "codecarbon": "codecarbon",
    "statsmodels": "study",
}  # fmt: skip


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        lines: (part, what about it), in order.
        problems: what must be mended, each with its remedy.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 4 where a part that must load does not."""
        return 4 if self.problems else 0

    def __str__(self) -> str:
        width = max(len(part) for part, _ in self.lines)
        text = [f"{part:<{width}}  {what}" for part, what in self.lines]
        problems = [f"PROBLEM {problem}" for problem in self.problems] or ["no problems"]
        return "\n".join([*text, "", *problems])


def doctor() -> Diagnosis:
    """Looks at the package, its native parts and the machine."""
    found = Diagnosis()
    _ask(found, "distilmt", lambda: f"{version('distilmt')} in {Path(__file__).parents[1]}")
    _ask(found, "python", lambda: f"{platform.python_version()} on {platform.platform()}")
    for package in REQUIRED:
        _ask(found, package, partial(version, package), f"pip install {package}")
    for package, extra in OPTIONAL.items():
        _ask(found, package, partial(_optional, package, extra))
    _ask(found, "_native", _native, REINSTALL)
    _ask(found, "instruction set", _instruction_set, "unset DISTILMT_ISA, or set it to one that this machine has")
    _ask(found, "_ops", _ops, REINSTALL)
    _ask(found, "_cuda", _cuda)
    _ask(found, "CUDA", _torch_cuda)
    _ask(found, "device cuda", _translator_devices)
    _ask(found, "its attention", attention.found)
    _ask(found, "bfloat16", _bfloat16)
    _ask(found, "threads", _threads)
    _ask(found, "memory", _memory)
    _ask(found, "energy", _energy)
    return found


def _ask(found: Diagnosis, part: str, question: Callable[[], str], remedy: str = "") -> None:
    try:
        answer = question()
    except Exception as error:  # whatever is broken here is what the user came to learn
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, PackageNotFoundError):
            reason = "not installed"
        answer = f"NOT LOADED: {reason}" if remedy else f"unknown: {reason}"
        if remedy:
            found.problems.append(f"{part}: {reason} - {remedy}")
    for number, line in enumerate(answer.splitlines() or [""]):
        found.lines.append(("" if number else part, line))


def _optional(package: str, extra: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"not installed: pip install 'distilmt[{extra}]'"


def _native() -> str:
    # By name: an import statement would be cached by a package that could not load it before.
    facts: dict[str, Any] = importlib.import_module("distilmt._native").build_facts()
    cuda = "with" if facts["cuda_built"] else "without"
    return f"loaded; {facts['version']} built by {facts['compiler']} ({facts['build_type']}), {cuda} CUDA kernels"


def _instruction_set() -> str:
    native = importlib.import_module("distilmt._native")
    forced = os.environ.get("DISTILMT_ISA")
    chosen = f"forced by DISTILMT_ISA={forced}" if forced else "the best of this machine; DISTILMT_ISA forces another"
    auto = importlib.import_module("distilmt.translator.compute_type").chosen("auto")
    available = ", ".join(native.available_isas())
    return f"{native.active_isa()} ({chosen}); available: {available}; compute_type auto: {auto}"


def _ops() -> str:
    importlib.import_module("distilmt.ops")
    import torch

    return f"loaded into torch {torch.__version__}"


def _cuda() -> str:
    from distilmt.translator import device

    if not device.LIBRARY.exists():
        return "not built: no CUDA compiler was found then; DISTILMT_CUDA=ON makes that an error (README)"
    import torch

    but = "built; the translator has it where a device is (below), the losses do not:"
    if torch.version.cuda is None:
        return f"{but} torch {torch.__version__} is a CPU build; a CUDA build of torch can use it"
    if not torch.cuda.is_available():
        return f"{but} torch finds no CUDA device"
    ctypes.CDLL(str(device.LIBRARY))
    return "loaded"


def _torch_cuda() -> str:
    import torch

    if torch.version.cuda is None:
        return "torch has no CUDA"
    with warnings.catch_warnings(record=True) as said:  # torch warns why, as of a driver that is too old
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        why = "; ".join(" ".join(str(warning.message).split()) for warning in said)
        return f"torch is built for CUDA {torch.version.cuda}, and finds no device{f': {why}' if why else ''}"
    names = [torch.cuda.get_device_properties(i) for i in range(count)]
    return "\n".join(
        [f"torch is built for CUDA {torch.version.cuda}"]
        + [f"device {i}: {each.name}, {each.total_memory / 2**30:.0f} GiB" for i, each in enumerate(names)]
    )


def _translator_devices() -> str:
    """Whether the translator finds what it needs of a device (distilmt.translator.device)."""
    from distilmt.translator import device, libraries

    try:
        names = [f"cuda:{i}: {device.opened(i).name}" for i in range(device.count())]
    except UserError as error:
        return f"not for the translator: {str(error).removeprefix('device: ')}"
    return "\n".join([f"for the translator, with {libraries.cublaslt()}", *names])


def _bfloat16() -> str:
    from distilmt.train import TrainingOptions

    flags = set(next((x for x in _lines("/proc/cpuinfo") if x.startswith("flags")), "").split())
    have = [name for name in ("amx_bf16", "avx512_bf16") if name in flags]
    chosen = TrainingOptions(precision="auto").resolve_precision()
    return f"processor has {' and '.join(have) or 'neither AMX nor AVX512-BF16'}; --precision auto takes {chosen} here"


def _threads() -> str:
    from distilmt.energy.machine import usable_cpus

    affinity = len(os.sched_getaffinity(0))
    limits = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    import torch

    said = "".join(f", {name}={value}" for name, value in limits.items())
    return (
        f"{usable_cpus()} usable; {os.cpu_count()} processors, {affinity} by affinity, "
        f"{'a quota' if usable_cpus() < affinity else 'no quota'} of the container; "
        f"torch uses {torch.get_num_threads()}{said}"
    )


def _memory() -> str:
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if "kB" in line}
    text = f"{values['MemTotal'] / 2**30:.1f} GiB, {values['MemAvailable'] / 2**30:.1f} GiB available"
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if Path(file).exists():
            limit = Path(file).read_text().strip()
            # cgroup v1 writes "no limit" as a number near 2^63.
            if limit != "max" and int(limit) < values["MemTotal"]:
                text += f"; the container may use {int(limit) / 2**30:.1f} GiB"
    return text


def _energy() -> str:
    from distilmt.energy import meters_found

    return "\n".join(meters_found())


def _lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
