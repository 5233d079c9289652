"""Where the native translator runs: "cpu", or "cuda" (the first device) and "cuda:N".

A CUDA device needs three things, each found at run time: the library `_cuda` of this package (built where nvcc is), the
driver with a device, and cuBLASLt, which a CUDA torch brings, or `pip install nvidia-cublas`; cuDNN is wanted by choice
(distilmt.translator.attention). What is missing is said; nothing falls back to the processor.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.errors import ConfigError, DeviceFailed, MemoryExhausted, ResourceError
from distilmt.translator import attention as attentions
from distilmt.translator.libraries import MAJOR, cublaslt, cudnn

if TYPE_CHECKING:
    from distilmt import _native
    from distilmt.translator.native_model import NativeModel

HELP = 'where to decode: "cpu", "cuda" or "cuda:N"; `distilmt doctor` says what was found'
LIBRARY = Path(__file__).parents[1] / "_cuda.so"


def ordinal(device: str) -> int | None:
    """Number of the device; None: the processor. Raises: ConfigError: no such name."""
    match = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", device) if isinstance(device, str) else None
    if not match:
        raise ConfigError(f'device: expected "cpu", "cuda" or "cuda:N", got {device!r}')
    return None if device == "cpu" else int(match[1] or 0)


def kind(device: str) -> str:
    """ "cpu" or "cuda": what results depend on, where the number of a device has no part in them."""
    return device.split(":")[0]


def count() -> int:
    """CUDA devices here. Raises: ResourceError: there are none; says what was looked for, and what to do."""
    from distilmt import _native

    if not LIBRARY.exists():
        raise ResourceError(
            f"device: no CUDA library, looked for {LIBRARY.name} beside the package - build it where nvcc is "
            "(DISTILMT_CUDA=ON says what is missing; README)"
        )
    try:
        found, why = _native.count_devices(str(LIBRARY))
    except _native.DeviceError as error:
        raise ResourceError(
            f"device: {error} - build it anew where nvcc and the headers of cuBLASLt and cuDNN are"
        ) from None
    if not found:
        raise ResourceError(
            f"device: no CUDA device ({why}) - see that nvidia-smi lists one and that its driver is for CUDA {MAJOR}, or "
            'use device="cpu"'
        )
    return found


def of_worker(device: str, worker: int) -> str:
    """Which device a worker of several takes: with "cuda" all devices in turn, else the one that is named."""
    return f"cuda:{worker % count()}" if device == "cuda" else device


@cache
def opened(number: int) -> _native.Device:
    """The device of this number, opened once. Raises: ResourceError: it is not there, or cuBLASLt is not."""
    from distilmt import _native

    if number >= (found := count()):
        raise ResourceError(f"device: expected one below cuda:{found}, got cuda:{number} - see `distilmt doctor`")
    library = cublaslt()
    if library is None:
        raise ResourceError(
            f"device: cuBLASLt not found, looked for libcublasLt.so.{MAJOR} in the packages nvidia.cu{MAJOR} and torch of "
            f"{sys.prefix} - install a torch for CUDA {MAJOR}, or nvidia-cublas"
        )
    try:
        return _native.Device(str(LIBRARY), str(library), str(cudnn() or ""), number)
    except (_native.DeviceError, MemoryError) as error:
        raise ResourceError(f"device: cuda:{number} cannot be used: {error} - see `distilmt doctor`") from None


def load(folder: Path, compute_type: str, threads: int, device: str, attention: str) -> NativeModel:
    """`native_model.load`, with the weights on the device. Raises: MemoryExhausted: its memory does not suffice.
    DeviceFailed: it says no, or cuDNN, asked for by name, refuses the model. ConfigError: what a device does not have yet.
    Else what `attention.chosen` raises."""
    from distilmt import _native
    from distilmt.translator import native_model

    model = native_model.load(folder, "float32", threads)
    assert isinstance(model.weights, _native.Weights)
    who = attentions.chosen(attention, "cuda", compute_type, model.columns)
    on = opened(ordinal(device) or 0)
    try:
        if attention == "auto" and who == "cudnn" and (why := _refusal(on, model.weights, compute_type)):
            print(f"distilmt: {folder}: its attention on {device} is the own kernel's: {why}", file=sys.stderr)
            who = "own"
        weights = _native.DeviceModel(on, model.weights, compute_type, who == "cudnn")
    except _native.NotOnDevice as error:
        raise ConfigError(f"{folder}: {error}") from None
    except MemoryError as error:
        raise MemoryExhausted(
            f"{folder}: cannot be put on {device}: {error} - free its memory, or take another"
        ) from None
    except _native.DeviceError as error:
        raise DeviceFailed(f"{folder}: cannot be put on {device}: {error} - see `distilmt doctor`") from None
    return replace(model, weights=weights, attention=who)


def _refusal(on: _native.Device, weights: _native.Weights, compute_type: str) -> str:
    """Why cuDNN does not attend in this model's encoder; "": it does."""
    from distilmt import _native

    try:
        on.prepare_attention(weights, compute_type)
    except _native.DeviceError as error:
        return str(error)
    return ""


def decode(
    models: list[_native.DeviceModel],
    shares: list[float],
    geometric: bool,
    sources: Any,
    targets: Any,
    options: dict[str, Any],
    soft_labels: int,
    hidden_states: bool,
    threads: int,
    slots: int,
    progress: Callable[[int], None] | None,
    prefixes: Any,
    neighbours: Any,
) -> Any:
    """`_native.decode` of models on their device. Raises: ConfigError: what a device does not have yet, by its name.
    DeviceFailed. MemoryError: its memory does not suffice even for one sentence."""
    from distilmt import _native

    try:
        return _native.decode_on_device(
            models, shares, geometric, sources, targets, options, soft_labels, hidden_states, slots, progress, prefixes,
            neighbours,
        )  # fmt: skip
    except _native.NotOnDevice as error:
        raise ConfigError(str(error)) from None
    except _native.DeviceError as error:
        raise DeviceFailed(f"device: {error} - see `distilmt doctor` and the driver's log") from None
