"""A datastore on disk: a key and a token for every target position of a text, in the order of the lines.

datastore.json   what it belongs to: model, vocabulary, texts; counts; SHA-256 of the files. Written last
keys.bin         float16 [tokens, d]: what the decoder gives to the output projection at this position
values.bin       int32 [tokens]: the target token, end symbols included
offsets.bin      int64 [lines + 1]: where each line begins; an empty one has no tokens
vocab/           the model's vocabulary

Keys are the decoder's output after its last layer norm, as in adaptive-knn-mt, knn-box and kNN-KD (Yang et al. 2022);
Khandelwal et al. 2021 (arXiv:2010.00710) take the input of the last feed-forward block. Distances are squared Euclidean, in
float32: they exceed float16's 65,504.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from distilmt.energy.machine import usable_cpus
from distilmt.errors import ConfigError, DataError
from distilmt.knn.index import faiss, opened
from distilmt.knn.kind import PROBES, Kind
from distilmt.marian.weights import weights_hash
from distilmt.state.storage import disk_errors, read_json, write_json
from distilmt.text.files import file_hash
from distilmt.translator.search import number, whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER, KEYS, VALUES, OFFSETS, VOCAB = "datastore.json", "keys.bin", "values.bin", "offsets.bin", "vocab"
VERSION = 1
AGAIN = "build the datastore again (distilmt knn build)"
FACTS: dict[str, type] = {
    "version": int, "width": int, "tokens": int, "lines": int, "vocab_size": int, "model": str, "vocab": str, "source": str,
    "target": str, "sha256": dict,
}  # fmt: skip


class Datastore:
    """An opened datastore; files are mapped, not read.

    Args:
        threads: of a search; default: all CPUs this process may use.
        index: how keys are found: exact, ivf, pq, or auto, by their number (kind.py).
        probes: cells of ivf and pq that are searched.
    Attributes: keys float16 [tokens, width], values int32 [tokens], offsets int64 [lines + 1]; `facts` of the header; `hash`.

    Raises: DataError: none there, another version, or files that are not as long as the header says (fault case 28).
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, threads: int | None = None, index: Kind = "auto", probes: int = PROBES
    ) -> None:
        self.folder, self.threads = (
            Path(folder),
            usable_cpus() if threads is None else whole("threads", threads, 1, 1024),
        )
        if index not in get_args(Kind):
            raise ConfigError(f"index: expected {', '.join(get_args(Kind))}, got {index!r}")
        self.kind, self.probes = index, whole("probes", probes, 1, 1 << 20)
        path = self.folder / HEADER
        if not path.is_file():
            raise DataError(f"{path}: missing - this is no datastore: distilmt knn build makes one")
        self.facts = read_facts(path, FACTS, AGAIN)
        if self.facts["version"] != VERSION:
            raise DataError(f"{path}: version {self.facts['version']} is not {VERSION} - {AGAIN}")
        self.tokens, self.width, self.lines = (self.facts[name] for name in ("tokens", "width", "lines"))
        self.keys: NDArray[np.float16] = self._mapped(KEYS, np.float16, (self.tokens, self.width))
        self.values: NDArray[np.int32] = self._mapped(VALUES, np.int32, (self.tokens,))
        self.offsets: NDArray[np.int64] = self._mapped(OFFSETS, np.int64, (self.lines + 1,))
        if self.lines and (self.offsets[0], self.offsets[-1]) != (0, self.tokens):
            raise DataError(f"{self.folder / OFFSETS}: does not run from 0 to {self.tokens} - {AGAIN}")

    def _mapped(self, name: str, kind: Any, shape: tuple[int, ...]) -> Any:
        path, expected = self.folder / name, int(np.prod(shape)) * np.dtype(kind).itemsize
        with disk_errors(path):
            size = path.stat().st_size
        if size != expected:
            row = int(np.prod(shape[1:])) * np.dtype(kind).itemsize
            raise DataError(
                f"{path}: entries {size // row:,} to {shape[0]:,} are missing ({size:,} bytes, expected {expected:,}) - {AGAIN}"
            )
        return np.memmap(path, kind, "r", shape=shape) if expected else np.empty(shape, kind)

    @property
    def hash(self) -> str:
        """SHA-256 of the keys: names the datastore."""
        return str(self.facts["sha256"][KEYS])

    def __str__(self) -> str:
        return f"{self.folder}: {self.tokens:,} tokens of {self.lines:,} lines, {self.width} numbers each"

    def verify(self) -> None:
        """Compares all files with their checksums. Raises: DataError: one has changed."""
        for name, expected in self.facts["sha256"].items():
            if file_hash(self.folder / name) != expected:
                raise DataError(f"{self.folder / name}: has changed since it was built - {AGAIN}")

    @cached_property
    def index(self) -> Any:
        """The FAISS index of the keys, made where there is none yet (index.py)."""
        return opened(self)

    def nearest(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k nearest keys of each query, float32 [rows, d], nearest first.

        Returns: Entries int64 [rows, k] and squared L2 distances float32 [rows, k]; -1 and inf where there are fewer.
        """
        faiss().omp_set_num_threads(self.threads)  # of this thread, and FAISS's own
        distances, entries = self.index.search(np.ascontiguousarray(queries, np.float32), k)
        return entries, np.where(entries < 0, np.inf, np.maximum(distances, 0)).astype(np.float32)

    def finder(
        self, *, k: int = 8, temperature: float = 10.0, weight: float = 0.5, model: str | os.PathLike[str] | None = None
    ) -> Callable[[Any], tuple[Any, Any, Any]]:
        """kNN-MT: what `Translator.translate(neighbours=...)` takes.

        Args:
            k: neighbours; 4 to 64 published.
            temperature: divides the squared distances; 10 published, 100 for small domains.
            weight: lambda, the neighbours' share in each step; 0.3 to 0.8 published.
            model: who will ask, a folder or hub name; to be sure that the keys are its own states.
        Raises: ConfigError: an argument, or another model than the one that the datastore was built with.
        """
        whole("k", k, 1, 1024)
        number("temperature", temperature, 1e-6, 1e9)
        number("weight", weight, 0, 1)
        if not self.tokens:
            raise ConfigError(f"{self.folder}: the datastore is empty - {AGAIN}")
        if model is not None:
            from distilmt.models import folder_of

            given, expected = weights_hash(folder_of(os.fspath(model))), self.facts["model"]
            if given != expected:
                raise ConfigError(
                    f"{self.folder}: the datastore of another model ({expected[:12]}, got {given[:12]}) - build one with {model}"
                )

        def find(hidden: NDArray[np.float32]) -> tuple[Any, Any, Any]:
            if hidden.shape[1] != self.width:
                raise ConfigError(
                    f"{self.folder}: keys of {self.width} numbers, the model's states have {hidden.shape[1]} - build the "
                    "datastore with this model"
                )
            entries, distances = self.nearest(hidden, min(k, self.tokens))
            found = np.isfinite(distances).any(1)  # cells that are searched may be empty
            return self.values[np.maximum(entries, 0)], shares(distances, temperature), weight * found

        return find


def shares(distances: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """softmax(-distance / temperature) along the neighbours; 0 where there is none."""
    least = distances.min(-1, keepdims=True)
    weights = np.exp((np.where(np.isfinite(least), least, 0) - distances) / temperature, dtype=np.float64)
    found: NDArray[np.float32] = (weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)).astype(np.float32)
    return found


def read_facts(path: Path, expected: dict[str, type], remedy: str) -> dict[str, Any]:
    """A header. Raises: DataError: a fact is missing or of another type."""
    facts = read_json(path, remedy)
    for name, kind in expected.items():
        if type(facts.get(name)) is not kind:
            raise DataError(f"{path}: {name} is {facts.get(name)!r}, expected {kind.__name__} - {remedy}")
    return facts


def write_header(folder: Path, facts: dict[str, Any]) -> Datastore:
    """Writes datastore.json with the checksums of the other files, which must be in place; returns the store, opened."""
    digests = {name: file_hash(folder / name) for name in (KEYS, VALUES, OFFSETS)}
    write_json(folder / HEADER, {"version": VERSION, **facts, "sha256": digests})
    return Datastore(folder)
