"""A text larger than memory under a fixed resident size (R16, R20), from a compressed file: half a million lines, five million
with DISTILMT_LINES=5000000."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distilmt.text.files import write_lines

LINES = int(os.environ.get("DISTILMT_LINES", "500000"))
MEBIBYTES = 160  # the interpreter with what a job imports takes half of it
SCRIPT = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from toy_labels import ToyTeacher
from distilmt import cli
from distilmt.energy.machine import resident_peak
from distilmt.labels import teacher
teacher.Teacher = ToyTeacher
before = len(os.listdir("/proc/self/fd"))
code = cli.main(sys.argv[2:])
peak = resident_peak(Path("/proc"))  # ru_maxrss would start from the size of the process that started this one
json.dump([code, peak // 2**20, len(os.listdir("/proc/self/fd")) - before], sys.stderr)
"""


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_size_of_the_text(tmp_path: Path) -> None:
    source, out = tmp_path / "source.zst", tmp_path / "job"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    write_lines(source, (f"word {i} of some more" for i in range(LINES)))
    words = [
        "label",
        "--model",
        tmp_path / "model",
        "--source",
        source,
        "--out",
        out,
        "--threads",
        "1",
        "--compress",
        "zst",
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, Path(__file__).parent, *words],
        capture_output=True, timeout=3600, env={**os.environ, "TOY_SECONDS": "0"},
    )  # fmt: skip
    code, peak, files = json.loads(done.stderr.decode().splitlines()[-1])
    assert code == 0, done.stderr.decode()
    assert peak < MEBIBYTES and files == 0
    assert json.loads((out / "labels.json").read_text())["counts"] == {"ok": LINES}
