"""scikit-build-core, which is asked for one thing more where nvcc is: the headers of cuBLASLt and cuDNN (csrc/device)."""

from __future__ import annotations

import os
import shutil
from typing import Any

from scikit_build_core import build
from scikit_build_core.build import *  # noqa: F403

CUDA = ["nvidia-cublas>=13,<14", "nvidia-cudnn-cu13>=9.18.1,<10"]


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """What building a wheel here needs."""
    found = build.get_requires_for_build_wheel(config_settings)
    return [*found, *(CUDA if os.environ.get("CUDACXX") or shutil.which("nvcc") else [])]
