"""The numbers a translator's matrix products work on, and which of them "auto" means on this processor."""

from __future__ import annotations

from typing import Literal

from distilmt.errors import ConfigError

ComputeType = Literal["auto", "float32", "bfloat16", "int8"]
HELP = "numbers that matrix products work on: int8 and bfloat16 are faster; auto: int8 where the processor has it"
NATIVE_INT8 = ("avx512_vnni", "avx512_bf16", "amx")  # instruction sets that multiply four int8 at once


def chosen(compute_type: str) -> Literal["float32", "bfloat16", "int8"]:
    """What a compute type means here: "auto" is int8 on AVX512-VNNI and AMX, and float32 on other processors.

    Raises: ConfigError: an unknown name.
    """
    if compute_type == "auto":
        from distilmt import _native  # here: options are described where the native part is missing, too

        return "int8" if _native.active_isa() in NATIVE_INT8 else "float32"
    for known in ("float32", "bfloat16", "int8"):
        if compute_type == known:
            return known
    raise ConfigError(f"compute_type: expected auto, float32, bfloat16 or int8, got {compute_type!r}")
