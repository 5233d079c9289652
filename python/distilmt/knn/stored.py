"""Neighbours that were searched before: what KNNKD learns from, gathered for each batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distilmt.errors import DataError
from distilmt.knn.datastore import read_facts
from distilmt.state.storage import disk_errors
from distilmt.text.files import file_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

HEADER, IDS, DISTANCES, VERSION = "neighbours.json", "ids.bin", "distances.bin", 1
AGAIN = "search again (distilmt knn search)"
FACTS: dict[str, type] = {
    "version": int, "k": int, "exclude": str, "datastore": str, "tokens": int, "lines": int, "vocab_size": int, "vocab": str,
    "source": str, "target": str, "sha256": dict,
}  # fmt: skip


class StoredNeighbours:
    """The neighbours of every target token of a text.

    Attributes: k, exclude, lines, tokens; vocab, source, target: SHA-256 of what they belong to; `hash` names the whole.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder, self.facts = folder, facts
        self.k, self.lines, self.tokens = facts["k"], facts["lines"], facts["tokens"]
        self._ids: NDArray[np.int32] = self._mapped(IDS, np.int32, (self.tokens, self.k))
        self._distances: NDArray[np.float32] = self._mapped(DISTANCES, np.float32, (self.tokens, self.k))
        self._values: NDArray[np.int32] = self._mapped("values.bin", np.int32, (self.tokens,))
        self._offsets: NDArray[np.int64] = self._mapped("offsets.bin", np.int64, (self.lines + 1,))

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> StoredNeighbours:
        """Raises: DataError: there are none, the header lacks a fact, or files are missing or too short."""
        path = Path(folder) / HEADER
        if not path.is_file():
            raise DataError(f"{path}: missing - no neighbours here: distilmt knn search makes them")
        facts = read_facts(path, FACTS, AGAIN)
        if facts["version"] != VERSION:
            raise DataError(f"{path}: not of version {VERSION} - {AGAIN}")
        return cls(Path(folder), facts)

    def _mapped(self, name: str, kind: Any, shape: tuple[int, ...]) -> Any:
        path, expected = self.folder / name, int(np.prod(shape)) * np.dtype(kind).itemsize
        with disk_errors(path):
            size = path.stat().st_size
        if size != expected:
            raise DataError(f"{path}: {size:,} bytes, expected {expected:,} - {AGAIN}")
        return np.memmap(path, kind, "r", shape=shape) if expected else np.empty(shape, kind)

    @property
    def hash(self) -> str:
        """SHA-256 of the neighbours' ids, then of their distances."""
        return " ".join(str(self.facts["sha256"][name]) for name in (IDS, DISTANCES))

    def __str__(self) -> str:
        excluded = self.facts["exclude"]
        return (
            f"{self.folder}: {self.k} neighbours of {self.tokens:,} tokens in {self.lines:,} lines, without: {excluded}"
        )

    def verify(self) -> None:
        """Compares all files with their checksums. Raises: DataError: one has changed."""
        for name, expected in self.facts["sha256"].items():
            if file_hash(self.folder / name) != expected:
                raise DataError(f"{self.folder / name}: has changed since it was written - {AGAIN}")

    def require(self, *, vocab: str, source: str, target: str) -> None:
        """Raises: DataError: the training text or the vocabulary is another than the one that was searched."""
        for name, given in (("vocab", vocab), ("source", source), ("target", target)):
            if self.facts[name] != given:
                raise DataError(
                    f"{self.folder / HEADER}: these neighbours belong to another {name} ({self.facts[name][:12]}, got "
                    f"{given[:12]}) - build and search the datastore of this text"
                )

    def rows(self, lines: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[str, Tensor]:
        """Neighbours of a batch, `teacher_ids` and `teacher_distances` [n, T, k]. lines: [n], from 1; labels: [n, T], end symbol
        included, below 0 behind it.

        Raises: DataError: names a line whose targets are not those that were searched (trap 8).
        """
        import torch

        ids = np.zeros((*labels.shape, self.k), np.int64)
        distances = np.full((*labels.shape, self.k), np.inf, np.float32)
        for row, line in enumerate(lines):
            first, last = self._offsets[line - 1], self._offsets[line]
            own = labels[row][labels[row] >= 0]
            if not np.array_equal(own, self._values[first:last]):
                raise DataError(
                    f"{self.folder}: line {line}: its {last - first} tokens were searched, the batch has {len(own)} or others - "
                    f"{AGAIN}"
                )
            ids[row, : len(own)], distances[row, : len(own)] = self._ids[first:last], self._distances[first:last]
        return {"teacher_ids": torch.from_numpy(ids), "teacher_distances": torch.from_numpy(distances)}
