"""Segment files: the records of one attempt at one shard, appended batch by batch, and read up to the first bad frame.

    header   8 bytes "DMTSEG1\\n", 32 bytes id of the job (sha256 of its manifest), u64 shard, u32 CRC-32C of these
    frames   csrc/labels/records.h, in the order of their lines

A batch is one write and one fdatasync. A file torn anywhere is read up to where it is sound; what stands behind is done
again. An attempt never writes into another's file: it begins with a copy of the longest sound one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from distilmt.errors import DataError
from distilmt.labels.records import Record, from_frames
from distilmt.state.storage import disk_errors, sync_folder

MAGIC = b"DMTSEG1\n"
HEADER_BYTES = 52
BLOCK = 1 << 22  # bytes read at a time
AT_ONCE = 256  # records parsed at a time: in memory they are many times their bytes


def header(job: bytes, shard: int) -> bytes:
    """The first bytes of a segment file. job: 32 bytes."""
    head = MAGIC + job + struct.pack("<Q", shard)
    from distilmt import _native  # the command line starts without

    return head + struct.pack("<I", _native.crc32c(head))


class Writer:
    """A new segment file, open for appending.

    Raises:
        ResourceError: the disk refuses; names the file and how many bytes were to be written.
    """

    def __init__(self, path: Path, head: bytes) -> None:
        self.path, self.bytes = path, 0
        with disk_errors(path):
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            self.append(head)
            with disk_errors(path):
                sync_folder(path.parent)
        except BaseException:
            self.close()
            raise

    def append(self, data: bytes) -> None:
        """Adds bytes and waits until the disk has them."""
        with disk_errors(self.path, len(data)):
            rest = memoryview(data)
            while rest:  # a signal or a disk nearly full may cut a write short
                rest = rest[os.write(self._handle, rest) :]
            os.fdatasync(self._handle)
        self.bytes += len(data)

    def close(self) -> None:
        """Lets the file go. An error here is none: what counts was synchronised."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def read_segment(path: Path, head: bytes, limit: int | None = None) -> Iterator[tuple[Record, int]]:
    """Streams (record, offset behind it) of a segment up to the first bad frame, or up to `limit` bytes.

    Nothing comes from a file that is missing, or whose header is torn or another job's.
    """
    with disk_errors(path):
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return
        with stream:
            if stream.read(HEADER_BYTES) != head:
                return
            position, rest = HEADER_BYTES, b""
            while block := stream.read(BLOCK if limit is None else min(BLOCK, limit - position - len(rest))):
                data, end = rest + block, 0
                while records := from_frames(data, end, AT_ONCE):
                    for record, behind in records:
                        yield record, position + behind
                    end = records[-1][1]
                rest, position = data[end:], position + end


def sound(path: Path, head: bytes, lines: Sequence[int]) -> tuple[int, int]:
    """How far a segment can be used: how many records there are for the first of `lines`, and the bytes up to there."""
    count, end = 0, HEADER_BYTES
    for record, behind in read_segment(path, head):
        if count == len(lines) or record.line != lines[count]:
            break
        count, end = count + 1, behind
    return count, end


def damaged(path: Path, line: int) -> DataError:
    """The error for a finished shard that is not what its done record promises."""
    return DataError(f"{path}: damaged at line {line} - run the same command again, and the shard is labelled anew")
