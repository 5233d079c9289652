"""The soft labels of a whole text, in a folder that training reads at random: mapped, never loaded.

soft_labels.json    what they belong to: teacher, vocabulary, text; k, floor, counts, checksums. Written last
sentences.bin       the sentences' bytes (code.py), one behind the other in the order of the lines
index.bin           uint64 [lines + 1]: where each begins; a line without soft labels has no bytes
vocab/              the teacher's vocabulary
head.safetensors    of hidden states alone: the teacher's output layer
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.errors import DataError
from distilmt.soft_labels.batch import SoftLabels
from distilmt.soft_labels.code import decode
from distilmt.state.storage import disk_errors, read_json
from distilmt.text.files import file_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADER, SENTENCES, INDEX, HEAD, VOCAB = "soft_labels.json", "sentences.bin", "index.bin", "head.safetensors", "vocab"
VERSION = 1
AGAIN = "make the soft labels again"
FACTS: dict[str, type] = {
    "version": int, "k": int, "floor": float, "state_width": int, "lines": int, "tokens": int, "bytes": int,
    "teacher": str, "vocab": str, "source": str, "target": str, "sha256": dict,
}  # fmt: skip


class SoftLabelsStore:
    """Stored soft labels, opened: `len(store)` lines; `store[i]` is line i + 1 as (target ids, SoftLabels).

    Attributes, as the header has them: k, the most entries of a token (0: hidden states); floor; state_width (0: no hidden
    states); lines, tokens, bytes; teacher (weights), vocab, source, target (texts): SHA-256 of what they belong to; sha256
    of each file; `hash` names the whole.

    Raises: DataError: the folder holds none, a newer version, or files that are not those of its header.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        path = self.folder / HEADER
        if not path.is_file():
            raise DataError(
                f"{path}: missing - name a folder of soft labels (distilmt score --soft-labels 8 --out FOLDER)"
            )
        header = read_json(path, AGAIN)
        if header.get("version") != VERSION:
            raise DataError(
                f"{path}: version {header.get('version')!r} is not {VERSION} - use the distilmt that wrote it"
            )
        for name, kind in FACTS.items():
            if type(header.get(name)) is not kind:
                raise DataError(f"{path}: {name} is {header.get(name)!r}, expected {kind.__name__} - {AGAIN}")
        self.k: int = header["k"]
        self.floor: float = header["floor"]
        self.state_width: int = header["state_width"]
        self.lines: int = header["lines"]
        self.tokens: int = header["tokens"]
        self.bytes: int = header["bytes"]
        if min(self.k, self.lines, self.bytes) < 0 or self.k > 1024 or (self.k == 0) != (self.state_width > 0):
            raise DataError(f"{path}: its numbers are impossible - {AGAIN}")
        self.teacher, self.vocab = header["teacher"], header["vocab"]
        self.source, self.target = header["source"], header["target"]
        self.sha256: dict[str, str] = header["sha256"]
        self.hash = hashlib.sha256(path.read_bytes()).hexdigest()
        self._index: NDArray[np.uint64] = self._map(INDEX, "<u8", self.lines + 1)
        self._sentences: NDArray[np.uint8] = self._map(SENTENCES, "u1", self.bytes)

    def _map(self, name: str, dtype: str, count: int) -> Any:
        import numpy as np

        path = self.folder / name
        with disk_errors(path):
            size = path.stat().st_size
            if size != count * np.dtype(dtype).itemsize:
                raise DataError(f"{path}: {size:,} bytes do not hold the {count:,} entries of {HEADER} - {AGAIN}")
            return np.memmap(path, dtype, "r") if size else np.zeros(0, dtype)

    def __len__(self) -> int:
        return self.lines

    def __getitem__(self, index: int) -> tuple[list[int], SoftLabels]:
        """Line index + 1. A line that has no soft labels has no tokens."""
        ids, labels = decode(self.blob(index))
        return ids, labels if ids else SoftLabels.none(self.k)

    def blob(self, index: int) -> bytes:
        """The bytes of line index + 1."""
        if not 0 <= index < self.lines:
            raise IndexError(f"{self.folder}: line {index + 1} of {self.lines}")
        return bytes(self._sentences[int(self._index[index]) : int(self._index[index + 1])])

    def targets(self, lines: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Target ids of lines (from 1), one behind the other, end symbols included; and how many each line has.

        Raises: DataError: a line that the store lacks, or whose bytes are damaged.
        """
        found: tuple[NDArray[np.int32], NDArray[np.int64]] = self._call("soft_label_targets", lines)
        return found

    def gather(
        self, lines: NDArray[np.int64], labels: NDArray[np.int64], columns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The entries of a padded batch.

        Args:
            lines: [n], from 1.
            labels: [n, T], what the batch learns, which must be the stored targets; below 0 behind them.
            columns: ids that the student's output layer has; those above get no probability.
        Returns: ids [n, T, k] and log-probabilities [n, T, k], -inf where there is no entry.
        Raises: DataError: names the line that is damaged or belongs to another target.
        """
        found: tuple[Any, Any] = self._call("gather_soft_labels", lines, labels, self.k, columns)
        return found

    def gather_states(self, lines: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Likewise the hidden states: bits of bfloat16 [n, T, state_width]."""
        found: NDArray[np.uint16] = self._call("gather_states", lines, labels, self.state_width)
        return found

    def _call(self, function: str, *arguments: Any) -> Any:
        from distilmt import _native

        try:
            return getattr(_native, function)(self._sentences, self._index, *arguments)
        except RuntimeError as error:
            raise DataError(f"{self.folder / SENTENCES}: {error} - {AGAIN}") from None

    def __str__(self) -> str:
        size = sum((self.folder / name).stat().st_size for name in [HEADER, *self.sha256])
        kind = f"at most {self.k} tokens of probability {self.floor:g} or more" if self.k else "hidden states"
        return (
            f"{self.folder}: {kind} at each of {self.tokens:,} target tokens of {self.lines:,} lines; {size:,} bytes, "
            f"{size / max(1, self.tokens):.2f} per token"
        )

    def require(self, **hashes: str) -> None:
        """Raises DataError unless teacher, vocab, source and target, as far as given, are those the store was made with."""
        wrong = [name for name, value in hashes.items() if getattr(self, name) != value]
        if wrong:
            raise DataError(
                f"{self.folder}: these soft labels belong to another {' and another '.join(wrong)} - {AGAIN}, or name "
                "the files they were made from"
            )

    def verify(self) -> None:
        """Reads every file once. Raises DataError where a checksum of the header does not hold."""
        from distilmt.vocab import Vocab

        for name, expected in self.sha256.items():
            if file_hash(self.folder / name) != expected:
                raise DataError(f"{self.folder / name}: its SHA-256 is not that of {HEADER} - {AGAIN}")
        if Vocab.load(self.folder / VOCAB).hash != self.vocab:
            raise DataError(f"{self.folder / VOCAB}: it is not the vocabulary of {HEADER} - {AGAIN}")
