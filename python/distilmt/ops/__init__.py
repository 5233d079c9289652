"""Tensor operators, one stem each: signature, docstring, checks, fake kernel, autograd.

Importing this package loads the native library `_ops`; a missing one is an error and never a slow path.
"""

from __future__ import annotations

from pathlib import Path

import torch

_LIBRARY = Path(__file__).parent.parent / "_ops.so"
if not _LIBRARY.exists():
    raise ImportError(f"{_LIBRARY}: the native operators are not built; reinstall with `pip install .`")
torch.ops.load_library(str(_LIBRARY))  # type: ignore[no-untyped-call]

_CUDA_LIBRARY = Path(__file__).parent.parent / "_cuda.so"
if torch.version.cuda is not None and torch.cuda.is_available() and _CUDA_LIBRARY.exists():
    torch.ops.distilmt.load_cuda(str(_CUDA_LIBRARY))
