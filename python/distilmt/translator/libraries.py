"""CUDA's libraries that packages of this environment bring, those of a CUDA torch among them; opened at run time."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

MAJOR = 13  # of the CUDA that `_cuda` is built with: the libraries have to be of it


def cublaslt() -> Path | None:
    """Library of cuBLASLt; None: there is none."""
    return _found(f"libcublasLt.so.{MAJOR}", "cublas")


def cudnn() -> Path | None:
    """Library of cuDNN; None: there is none."""
    return _found("libcudnn.so.9", "cudnn")


def _found(name: str, package: str) -> Path | None:
    for folder in sys.path:
        for place in (f"nvidia/cu{MAJOR}/lib", f"nvidia/{package}/lib", "torch/lib"):
            library = Path(folder) / place / name
            if library.exists():
                return library
    return None


@cache
def cudnn_version(library: Path) -> tuple[int, int, int]:
    """Its version. Raises: OSError, AttributeError: it is no such library, or lacks one of its own."""
    ask = ctypes.CDLL(str(library)).cudnnGetVersion
    ask.restype = ctypes.c_size_t
    number: int = ask()
    return number // 10000, number // 100 % 100, number % 100
