"""`model.safetensors`: looked at before a byte of it is believed, and written so that damage is found later.

File: 8 bytes little-endian length n, n bytes of JSON, then the tensors' bytes without gaps or overlaps.
JSON: {"name": {"dtype": "F32", "shape": [rows, columns], "data_offsets": [begin, end]}, "__metadata__": {str: str}}.
Source: https://github.com/huggingface/safetensors, README "Format".

What we write carries in `__metadata__` a CRC32 of every tensor and the hash of the vocabulary. They live in the weights
file, not beside it: one rename replaces both, and another tool that rewrites the file drops them, so they are never
stale.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.errors import DataError
from distilmt.state.storage import disk_errors, write_bytes

if TYPE_CHECKING:
    from torch import Tensor  # not at run time: the translator reads headers without PyTorch

WEIGHTS = "model.safetensors"
# The format allows 100 MB; the largest Marian model needs 0.1 MB, and hostile JSON takes 30 times its size in memory.
MAX_HEADER_BYTES = 4 << 20
DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One tensor of the file; `begin` and `end` are bytes counted from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """Entries by name in the order of their bytes, and the free-form metadata."""

    entries: dict[str, Entry]
    metadata: dict[str, str]

    @property
    def checksums(self) -> dict[str, int]:
        """CRC32 by tensor name; empty for files that another tool wrote."""
        found: dict[str, int] = json.loads(self.metadata.get("crc32", "{}"))
        return found


def read_header(path: Path) -> Header:
    """Reads and proves the header: nothing is allocated by a number that the file claims.

    Raises: DataError naming the tensor with expected and actual size; ResourceError where the file cannot be read.
    """
    with disk_errors(path):
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8:
                raise DataError(f"{path}: {size} bytes are no safetensors file - copy the model again")
            if length > MAX_HEADER_BYTES:
                raise DataError(
                    f"{path}: header claims {length} bytes, at most {MAX_HEADER_BYTES} are accepted - not a model file"
                )
            if 8 + length > size:
                raise DataError(
                    f"{path}: header needs {8 + length} bytes, the file has {size} - truncated, copy the model again"
                )
            text = file.read(length)
    try:
        raw = json.loads(text, object_pairs_hook=_unique)
        if type(raw) is not dict:
            raise ValueError("not an object")
        metadata = raw.pop("__metadata__", {})
        if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
            raise ValueError("__metadata__ is not text")
        entries = {name: _entry(name, value, 8 + length) for name, value in raw.items()}
        header = Header(dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end))), metadata)
        if not all(type(value) is int for value in header.checksums.values()):
            raise ValueError("crc32 is not a table of numbers")
    except (
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DataError(f"{path}: damaged header ({str(error)[:200]}) - copy the model again") from None
    _prove_layout(path, header, 8 + length, size)
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _entry(name: str, value: Any, data_begin: int) -> Entry:
    if type(value) is not dict or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} needs dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if type(dtype) is not str or dtype not in DTYPE_BYTES:
        raise ValueError(f"tensor {name!r} has unknown dtype {str(dtype)[:20]!r}")
    for numbers in (shape, offsets):
        if type(numbers) is not list or not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
            raise ValueError(f"tensor {name!r}: shape and data_offsets must be lists of sizes")
    if len(offsets) != 2 or len(shape) > 8:
        raise ValueError(f"tensor {name!r}: data_offsets needs 2 numbers and shape at most 8")
    return Entry(dtype, tuple(shape), data_begin + offsets[0], data_begin + offsets[1])


def _prove_layout(path: Path, header: Header, data_begin: int, size: int) -> None:
    expected_begin = data_begin
    for name, entry in header.entries.items():
        needed = math.prod(entry.shape) * DTYPE_BYTES[entry.dtype]
        if entry.end - entry.begin != needed:
            raise DataError(
                f"{path}: tensor {name} of shape {list(entry.shape)} {entry.dtype} needs {needed} bytes, "
                f"the header gives it {entry.end - entry.begin} - copy the model again"
            )
        if entry.begin != expected_begin:
            raise DataError(
                f"{path}: tensor {name} starts at byte {entry.begin}, expected {expected_begin} - copy the model again"
            )
        if entry.end > size:
            raise DataError(
                f"{path}: tensor {name} needs {needed} bytes from byte {entry.begin}, the file ends at byte {size} - "
                "truncated, copy the model again"
            )
        expected_begin = entry.end
    if expected_begin != size:
        raise DataError(f"{path}: the tensors end at byte {expected_begin}, the file at {size} - copy the model again")


def prove_checksums(path: Path, header: Header) -> None:
    """Compares every tensor's bytes with the CRC32 in the header; files of other tools have none and pass.

    Raises: DataError naming the first damaged tensor.
    """
    checksums = header.checksums
    if not checksums:
        return
    if set(checksums) != set(header.entries):
        name = min(set(checksums) ^ set(header.entries))
        raise DataError(f"{path}: damaged header, tensor {name} and its checksum disagree - copy the model again")
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        for name, entry in header.entries.items():
            with view[entry.begin : entry.end] as part:
                found = zlib.crc32(part)
            if found != checksums[name]:
                raise DataError(
                    f"{path}: tensor {name} ({entry.end - entry.begin} bytes) has CRC32 {found:08x}, but "
                    f"{checksums[name]:08x} was written - the file is damaged, copy the model again"
                )


def write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes contiguous float32 CPU tensors with their checksums; the same input gives the same bytes.

    Not `safetensors.save`: it puts the metadata in another order every time.
    """
    parts = {name: tensor.numpy().data.cast("B") for name, tensor in sorted(tensors.items())}
    crc32 = {name: zlib.crc32(part) for name, part in parts.items()}
    table: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata, "crc32": json.dumps(crc32)}}
    begin = 0
    for name, part in parts.items():
        end = begin + len(part)
        table[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
        begin = end
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors start on a multiple of 8 bytes
    write_bytes(path, b"".join([len(header).to_bytes(8, "little"), header, *parts.values()]))


def weights_hash(folder: str | Path) -> str:
    """SHA-256 (hex) of the folder's `model.safetensors`: the identity of a model in manifests and reports."""
    digest = hashlib.sha256()
    path = Path(folder) / WEIGHTS
    with disk_errors(path), path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def identity(folders: Sequence[str | Path]) -> str:
    """`weights_hash` of a model, joined by + for those of an ensemble: what names a teacher in a stage's inputs."""
    return "+".join(weights_hash(folder) for folder in folders)
