"""Progress bars: one that redraws itself on a terminal, one line per half minute where standard error is a file or a pipe."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm


class _Lines:
    """What a bar writes, as lines: tqdm redraws by a carriage return."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self.stream.write(text.strip() + "\n")

    def flush(self) -> None:
        self.stream.flush()


def bar(total: int, name: str, unit: str, done: int = 0) -> Any:
    """A tqdm bar on standard error.

    Args:
        total: number of units; `done` of them before.
        name: what is going on.
        unit: what is counted, in the singular.
    """
    common = {"total": total, "initial": done, "desc": name, "unit": unit}
    notebook = type(sys.stderr).__module__.startswith("ipykernel")
    if sys.stderr.isatty() or notebook:
        return tqdm(**common, file=sys.stderr, dynamic_ncols=True, mininterval=0.2)
    return tqdm(**common, file=_Lines(sys.stderr), ascii=True, ncols=110, mininterval=30, miniters=1, maxinterval=30)
