"""Checkpoints that count only once they are whole (fault cases 38 and 41).

Hugging Face's trainer writes a checkpoint file by file; a kill in between leaves a folder that looks like the newest. Here the
last file to be written lists all others with their sizes, after they have reached the disk.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from distilmt.text.files import write_lines

WHOLE = "checkpoint.json"  # written last: name and size of the other files


def seal(folder: Path) -> None:
    """Makes a checkpoint durable and lists its files with their sizes."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != WHOLE:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            files[str(path.relative_to(folder))] = path.stat().st_size
    write_lines(folder / WHOLE, [json.dumps(files)])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint below `folder`, or None. A half-written one is passed over."""
    found = [p for p in folder.glob("checkpoint-*") if p.name[11:].isdigit()]
    for path in sorted(found, key=lambda p: -int(p.name[11:])):
        try:
            files = json.loads((path / WHOLE).read_text())
            if all((path / name).stat().st_size == size for name, size in files.items()):
                return path
        except (OSError, ValueError):
            continue
    return None


def remove_checkpoints(folder: Path) -> None:
    """Deletes what a finished training needs no more: its checkpoints and its last candidate."""
    for stale in [*folder.glob("checkpoint-*"), folder / "candidate"]:
        shutil.rmtree(stale, ignore_errors=True)
