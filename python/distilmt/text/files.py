"""Files as bytes: read through their compression in bounded memory, written whole or not at all.

`.gz`, `.xz` and `.zst` are told by suffix. A damaged or truncated file is an error; nothing behind the damage is
invented.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import zstandard

from distilmt.errors import DataError, ResourceError

StrPath = str | os.PathLike[str]

# zstandard has no limit on what one call may return: 2 KiB of it are at most 512 blocks of 128 KiB.
COMPRESSED = (".gz", ".xz", ".zst")  # suffixes of the formats read and written here
OWN_WORDS = ("zh", "ja", "ko")  # languages that sacreBLEU splits into words in ways of their own
_CODES = {
    "zho": "zh",
    "cmn": "zh",
    "jpn": "ja",
    "jp": "ja",
    "kor": "ko",
}  # of languages that sacreBLEU knows by two letters
COMPRESSED_BLOCK = 2048
PLAIN_BLOCK = 1 << 18


@dataclass
class FileFacts:
    """What reading a file to its end has shown; stored with whatever is made from the file."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str = ""  # of the uncompressed bytes
    lines: int = 0
    notes: list[str] = field(default_factory=list)

    def verify_unchanged(self) -> None:
        """Compares size, modification time and inode with those at the start.

        Raises:
            DataError: The file was written to, replaced or removed since it was opened.
        """
        try:
            now = os.stat(self.path)
        except OSError as error:
            raise DataError(
                f"{self.path}: gone while in use ({error.strerror}) - put it back and start again"
            ) from None
        if (now.st_size, now.st_mtime_ns, now.st_ino) != (self.size, self.mtime_ns, self.inode):
            raise DataError(
                f"{self.path}: changed while it was read ({self.size} bytes at the start, {now.st_size} now) - "
                "let its writer finish, then start again"
            )


class BrokenStream(Exception):
    """Compressed data that cannot be followed further; the reader of lines adds where."""


def file_facts(path: StrPath) -> FileFacts:
    """Size and modification time of a regular, existing file.

    Raises:
        DataError: It is missing, a directory, a pipe or a device.
    """
    name = os.fspath(path)
    try:
        facts = os.stat(name)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}) - check the path and its permissions") from None
    if not stat.S_ISREG(facts.st_mode):
        kind = {stat.S_IFDIR: "directory", stat.S_IFIFO: "FIFO"}.get(stat.S_IFMT(facts.st_mode), "device or socket")
        raise DataError(f"{name}: is a {kind}, expected a regular file - write the lines to a file first")
    return FileFacts(name, facts.st_size, facts.st_mtime_ns, facts.st_ino)


def _open_raw(path: str) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}) - check the path and its permissions") from None


def read_blocks(path: str, offset: int = 0) -> Iterator[bytes]:
    """Uncompressed bytes of a file, in blocks of bounded size; follows concatenated members and frames. A file that is
    not compressed can be read from an offset on."""
    suffix = Path(path).suffix
    with _open_raw(path) as raw:
        if suffix not in COMPRESSED:
            if offset:  # a pipe cannot, and is read from its start
                raw.seek(offset)
            while block := raw.read(PLAIN_BLOCK):
                yield block
            return
        compressed = io.BufferedReader(cast(Any, raw), 1 << 18)
        member: Any = None
        members = 0
        while block := compressed.read(COMPRESSED_BLOCK):
            while block:
                if member is None:
                    block = block.lstrip(b"\0")  # zeros between or after members are padding (tape blocks, xz)
                    if not block:
                        break
                    member = _new_member(suffix)
                    members += 1
                try:
                    text = member.decompress(block)
                except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
                    raise BrokenStream(f"{suffix} data is damaged or followed by garbage ({error})") from None
                if text:
                    yield text
                block = member.unused_data if member.eof else b""
                if member.eof:
                    member = None
        if member is not None or not members:
            raise BrokenStream(f"{suffix} data ends before its end mark, the file is truncated")


def _new_member(suffix: str) -> Any:
    """One decompressor of the standard library's shape: decompress, eof, unused_data."""
    if suffix == ".gz":
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    if suffix == ".xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 30)
    return zstandard.ZstdDecompressor().decompressobj()


class _BlockReader(io.RawIOBase):
    """A file-like face of `read_blocks`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._blocks = read_blocks(path)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = memoryview(next(self._blocks, b""))
            except BrokenStream as error:
                raise DataError(f"{self._path}: {error} - fetch or write it again") from None
            if not self._rest:
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._blocks.close()  # type: ignore[attr-defined]  # a generator: closes the file it reads
        super().close()


def open_text(path: StrPath) -> BinaryIO:
    """Opens a plain, `.gz`, `.xz` or `.zst` file for reading its uncompressed bytes.

    Raises:
        DataError: Not a regular readable file; while reading: damaged, truncated or followed by garbage.
    """
    return io.BufferedReader(_BlockReader(file_facts(path).path), 1 << 16)


def file_hash(path: StrPath) -> str:
    """SHA-256 (hex) of the uncompressed bytes, so that compressing a file again changes nothing."""
    digest = hashlib.sha256()
    with open_text(path) as stream:
        while block := stream.read(1 << 16):
            digest.update(block)
    return digest.hexdigest()


def lines_hash(lines: Iterable[str]) -> str:
    """SHA-256 (hex) of these lines as a file would hold them: what `file_hash` gives of what `write_lines` writes."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


@contextmanager
def atomic_file(path: StrPath) -> Iterator[BinaryIO]:
    """A binary file that appears under its name whole and on the disk, or not at all.

    Written beside its final place, flushed, renamed, and the folder flushed: a crash at any instant leaves the old
    file or the new one. A symbolic link stays, what it points to is replaced.

    Raises:
        ResourceError: The disk is full, the folder read-only, ...; the old file is intact.
    """
    final = os.path.realpath(path)
    folder, name = os.path.split(final)
    temporary = os.path.join(folder, f".{name[:60]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        stream = open(temporary, "xb")  # noqa: SIM115  # closed below, before the rename
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, final)
        except BaseException:
            os.unlink(temporary)
            raise
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if isinstance(error, ResourceError):
            raise
        raise ResourceError(
            f"{path}: cannot be written ({error.strerror or error}) - see the disk's space and permissions"
        ) from error


@contextmanager
def _compressor(stream: BinaryIO, suffix: str) -> Iterator[IO[bytes]]:
    """The stream, compressed by suffix; the same bytes for the same lines whatever the name and the hour."""
    if suffix == ".gz":
        with gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=6, mtime=0) as file:
            yield cast(IO[bytes], file)
    elif suffix == ".xz":
        with lzma.open(stream, "wb") as xz:
            yield xz
    elif suffix == ".zst":
        with zstandard.ZstdCompressor(level=9, write_checksum=True).stream_writer(stream, closefd=False) as zst:
            yield zst
    else:
        yield stream


def write_lines(path: StrPath, lines: Iterable[str]) -> str:
    """Writes lines atomically and durably, compressed by suffix; the folder must exist.

    Returns:
        SHA-256 (hex) of the uncompressed bytes, as `file_hash` gives it.

    Raises:
        DataError: A line holds a line break or cannot be encoded; nothing is written.
        ResourceError: The disk refuses; the old file is intact.
    """
    with line_writer(path) as out:
        for line in lines:
            out.write(line)
    return out.sha256


class LineWriter:
    """Lines on their way into a file; `lines` and `sha256` (hex, of the uncompressed bytes) say what came so far."""

    def __init__(self, path: StrPath, stream: IO[bytes]) -> None:
        self.path, self.lines = path, 0
        self._stream, self._digest = stream, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the uncompressed bytes, as `file_hash` gives it."""
        return self._digest.hexdigest()

    def write(self, line: str) -> None:
        """Adds a line. Raises: DataError: it holds a line break or cannot be encoded."""
        self.lines += 1
        if "\n" in line:
            raise DataError(
                f"{self.path}:{self.lines}: a line to write holds a line break - replace it by a blank first"
            )
        try:
            data = line.encode() + b"\n"
        except UnicodeEncodeError as error:
            raise DataError(
                f"{self.path}:{self.lines}:{error.start + 1}: lone surrogate {line[error.start]!a} is not text - "
                "decode the input with --on-invalid-utf8 replace"
            ) from None
        self._digest.update(data)
        self._stream.write(data)


@contextmanager
def line_writer(path: StrPath) -> Iterator[LineWriter]:
    """`write_lines` for lines that come one at a time: the file appears whole at the end of the block, or not at all."""
    with atomic_file(path) as stream, _compressor(stream, Path(path).suffix) as out:
        yield LineWriter(path, out)


def bare_name(path: str | os.PathLike[str]) -> str:
    """A file's name without the suffixes of compression."""
    name = Path(path).name
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name


def language_of(path: str | os.PathLike[str]) -> str:
    """The language that a file's or column's name ends in, as in test.zh.gz; empty where it ends in none."""
    _, dot, found = bare_name(path).replace(":", ".").rpartition(".")
    return plain_language(found) if dot and re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z]+)?", found) else ""


def plain_language(code: str) -> str:
    """A language without region and script, by two letters where sacreBLEU looks for these: zh_CN and zho are zh."""
    main = re.split("[-_]", code.lower())[0]
    return _CODES.get(main, main)
