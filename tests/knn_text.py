"""The text of the tests on nearest neighbours."""

from __future__ import annotations

from pathlib import Path

SOURCES = ["the dog sees the cat .", "", "the house finds the tree .", "3 Uhr 21", "the dog sees the cat ."]
TARGETS = ["der Hund sieht die Katze", "nichts", "das Haus findet den Baum", "3 o'clock", "der Hund sieht die Katze"]


def written(folder: Path) -> dict[str, str]:
    for name, lines in (("text.en", SOURCES), ("text.de", TARGETS)):
        (folder / name).write_text("\n".join(lines) + "\n")
    return {"source": str(folder / "text.en"), "target": str(folder / "text.de")}
