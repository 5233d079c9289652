"""The progress bars of the README: `python docs/terminal.py` runs a small distillation in a terminal and draws what stood there.

Writes docs/progress.svg: what stands above the report at the command's end, or `SECONDS` after its start.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
from html import escape
from pathlib import Path

from distilmt.quickstart import write_corpus

COLUMNS, SECONDS = 118, 300.0
OPTIONS = (
    "--teacher-size 1x1:96:384:4 --teacher-updates 400 --teacher-batch-tokens 2304 --teacher-learning-rate 5e-3 "
    "--teacher-warmup 50 --teacher-eval-every 100 --student-size 1x1:48:192:4 --method seq-kd --updates 300 "
    "--batch-tokens 2304 --learning-rate 8e-3 --warmup 40 --eval-every 100 --vocab-size 600 --dropout 0 --teacher-dropout 0 "
    "--threads 1 --teacher-threads 1 --label-beam-size 2 --no-microscope"
)


def terminal(command: list[str], folder: str) -> bytes:
    """Standard output and error of a command in a terminal of its own, until it ends or its time is over."""
    child, master = pty.fork()
    if not child:
        os.chdir(folder)
        os.execvp(command[0], command)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    written, end = b"", time.monotonic() + SECONDS
    while select.select([master], [], [], max(0.0, end - time.monotonic()))[0]:
        try:
            written += os.read(master, 1 << 16)
        except OSError:  # it has ended
            break
    os.close(master)
    return written


def screen(written: str) -> list[str]:
    """The lines that stand there: a carriage return begins its line anew, `ESC [ A` goes up."""
    lines, row = [""], 0
    for piece in re.split(r"(\r\n|\r|\n|\x1b\[A)", written):
        if piece in ("\r\n", "\n"):
            row += 1
            lines += [""] * (row == len(lines))
        elif piece == "\x1b[A":
            row = max(0, row - 1)
        elif piece != "\r" and (text := re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", piece)):
            lines[row] = text + lines[row][len(text) :]
    return [line.rstrip()[:COLUMNS] for line in lines if line.strip()]


def svg(lines: list[str]) -> str:
    width, height = 8 * COLUMNS + 24, 18 * len(lines) + 24
    rows = [
        f'<text x="12" y="{18 * n + 12}" xml:space="preserve">{escape(each)}</text>' for n, each in enumerate(lines, 1)
    ]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="Progress of a run">',
        f'<rect width="{width}" height="{height}" rx="6" fill="#1b1f24"/>',
        '<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13" fill="#e6e9ed">',
        *rows, "</g>", "</svg>", "",
    ])  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = write_corpus(Path(folder), 1, train=4000, dev=50, test=50)
        pairs = [word for part, paths in text.items() for word in (f"--{part}", *(Path(path).name for path in paths))]
        command = ["distilmt", "distill", *pairs, *OPTIONS.split(), "--out", "run"]
        found = screen(terminal([sys.executable, "-m", *command], folder).decode(errors="replace"))
    bars = itertools.takewhile(lambda line: not line.startswith("# "), found)  # the report begins there
    shown = [f"$ {' '.join(command[:2])} --train train.de train.en ... --method seq-kd --out run", *bars]
    Path(__file__).with_name("progress.svg").write_text(svg(shown), encoding="utf-8")


if __name__ == "__main__":
    main()
