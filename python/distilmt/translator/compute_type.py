"""The numbers a translator's matrix products work on, and which of them "auto" means on this processor."""

from __future__ import annotations

from typing import Literal

from distilmt.errors import ConfigError

ComputeType = Literal["auto", "float32", "float16", "bfloat16", "int8"]
HELP = (
    "numbers that matrix products work on: int8 and bfloat16 are faster; auto: int8 where the processor has it, float16 on "
    "a CUDA device"
)
NATIVE_INT8 = ("avx512_vnni", "avx512_bf16", "amx")  # instruction sets that multiply four int8 at once


def chosen(compute_type: str, device: str = "cpu") -> Literal["float32", "float16", "bfloat16", "int8"]:
    """What a compute type means here: "auto" is float16 on a CUDA device, else int8 on AVX512-VNNI and AMX, and float32 on
    other processors.

    Raises: ConfigError: an unknown name, or numbers that this device does not multiply.
    """
    known = ("float32", "bfloat16", "int8") if device == "cpu" else ("float32", "float16", "bfloat16", "int8")
    if compute_type == "auto":
        if device != "cpu":
            return "float16"
        from distilmt import _native  # here: options are described where the native part is missing, too

        return "int8" if _native.active_isa() in NATIVE_INT8 else "float32"
    for each in known:
        if compute_type == each:
            return each  # type: ignore[return-value]
    where = "" if device == "cpu" else f" on {device}"
    expected = f"auto, {', '.join(known[:-1])} or {known[-1]}{where}"
    raise ConfigError(f"compute_type: expected {expected}, got {compute_type!r}")
