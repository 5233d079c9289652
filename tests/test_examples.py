"""examples/plain_loop.py: what a reader copies runs, learns, and leaves a model that translates."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from distilmt.translate import Translator

SCRIPT = Path(__file__).parents[1] / "examples" / "plain_loop.py"


def test_a_loop_of_ones_own(tiny_model_folder: Path, tmp_path: Path) -> None:
    for name, line in (("source", "the dog sees the house ."), ("target", "der hund sieht das haus .")):
        (tmp_path / name).write_text(f"{line}\n" * 40)
    command = [
        sys.executable,
        SCRIPT,
        tiny_model_folder,
        tmp_path / "source",
        tmp_path / "target",
        tmp_path / "out",
        "120",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, last = (float(loss) for loss in re.findall(r"loss ([\d.]+)", done.stdout))
    assert last < first and "WordKD" in done.stdout and "top-1 agreement" in done.stdout
    assert Translator(tmp_path / "out").translate(["the dog sees the house ."])[0].hypotheses
    assert len(SCRIPT.read_text().splitlines()) <= 46  # 40 of code
