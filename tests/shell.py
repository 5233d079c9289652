"""The command line in a process of its own, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def distilmt(*words: str | bytes | Path, text: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "distilmt", *words],
        input=text, capture_output=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
