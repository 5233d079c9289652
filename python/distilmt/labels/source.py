"""The lines of any shard of a text that may be larger than memory: one pass finds where the shards begin.

A plain file is opened at a shard's first byte. A compressed one has no such door: its reader goes on from the shard it
read last and starts anew only to go back, so a worker that takes its shards in rising order decompresses the file once.
Every job reads a text once more before it begins, for its hash and its faults.
"""

from __future__ import annotations

import codecs
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from distilmt.errors import DataError
from distilmt.text.files import COMPRESSED, BrokenStream, FileFacts, file_facts, read_blocks
from distilmt.text.lines import Line, OnInvalidUtf8, read_lines

_MARKS = (b"\xef\xbb", b"\xff\xfe", b"\xfe\xff", b"\x00\x00")  # how a text with a byte order mark begins


@dataclass(frozen=True)
class Text:
    """A text, once read. starts: offset of the first byte of each shard, in the uncompressed bytes; sha256: of these."""

    path: str
    on_invalid_utf8: OnInvalidUtf8
    sha256: str
    lines: int
    shard_lines: int
    starts: Sequence[int]
    size: int
    mtime_ns: int
    inode: int

    def verify_unchanged(self) -> None:
        """Raises: DataError: the file was written to, replaced or removed since it was read."""
        FileFacts(self.path, self.size, self.mtime_ns, self.inode).verify_unchanged()

    def plain(self) -> dict[str, Any]:
        """As JSON data; `Text(**data)` is the same again."""
        return asdict(self)


def read_text(path: str, shard_lines: int, on_invalid_utf8: OnInvalidUtf8) -> Text:
    """Reads a text to its end.

    Raises:
        DataError: it is no text that `read_lines` reads, has no lines, or changed meanwhile.
    """
    import numpy as np  # here, for the command line starts without it

    facts = file_facts(path)
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    lines, offset, starts, plain, last = 0, 0, [0], True, b""
    try:
        for block in read_blocks(facts.path):
            digest.update(block)
            plain = plain and b"\r\n" not in last + block and (offset > 0 or block[:2] not in _MARKS)
            plain = plain and (on_invalid_utf8 != "error" or _decodes(decoder, block))
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
            first = shard_lines - 1 - lines % shard_lines  # the line end that closes a shard, then each shard_lines-th
            starts += [offset + int(end) + 1 for end in ends[first::shard_lines]]
            lines, offset, last = lines + len(ends), offset + len(block), block[-1:]
    except BrokenStream:
        plain = False
    lines += last not in (b"", b"\n")
    if not plain or not _decodes(decoder, b"", final=True):
        for _ in read_lines(path, on_invalid_utf8=on_invalid_utf8, facts=facts):  # says what is wrong, and where
            pass
        for note in facts.notes:
            logging.getLogger("distilmt").warning(note)
    facts.verify_unchanged()
    if not lines:
        raise DataError(f"{path}: no lines to label - check the path")
    starts = starts[: -(-lines // shard_lines)]  # behind a full last shard stands the start of none
    return Text(
        facts.path, on_invalid_utf8, digest.hexdigest(), lines, shard_lines, starts, facts.size, facts.mtime_ns, facts.inode
    )  # fmt: skip


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


class Reader:
    """Reads shards of a text."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self._lines: Iterator[Line] = iter(())
        self._next = 0  # number of the line that comes next; 0 where the file is not open

    def shard(self, index: int) -> Iterator[Line]:
        """Streams the lines of a shard. Read them before the next call."""
        text, first = self.text, index * self.text.shard_lines + 1
        options: dict[str, Any] = {"on_invalid_utf8": text.on_invalid_utf8}
        facts = FileFacts(text.path, text.size, text.mtime_ns, text.inode)
        if Path(text.path).suffix not in COMPRESSED:
            lines = read_lines(text.path, facts=facts, begin=(text.starts[index], first), **options)
            return islice(lines, text.shard_lines)
        if not 0 < self._next <= first:
            self._lines, self._next = read_lines(text.path, facts=facts, **options), 1
        return self._counted(first, first + text.shard_lines)

    def _counted(self, first: int, end: int) -> Iterator[Line]:
        for line in self._lines:
            self._next = line.number + 1
            if line.number >= first:
                yield line
            if self._next == end:
                return
