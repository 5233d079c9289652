"""Lines of text files: only `\\n` ends one, and none is ever dropped.

A line that cannot be used (control bytes, broken UTF-8 on request, too long) is quarantined: it keeps its number and
its place, its text is empty and its bytes travel with it. A text has as many lines as `\\n`, plus one for a non-empty
remainder.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.text.files import BrokenStream, FileFacts, StrPath, file_facts, read_blocks

OnInvalidUtf8 = Literal["error", "replace", "quarantine"]

MAX_LINE_BYTES = 1 << 20
KEPT_OF_LONG_LINE = 1024  # bytes of an over-long line that its quarantine record shows

# C0 controls but tab, and CR, which is white space inside a line. SentencePiece and C strings never see the others.
CONTROL = re.compile("[\x00-\x08\x0a-\x0c\x0e-\x1f]")
# Neither white space nor without width: soft hyphen, joiners, marks of direction, variation selectors, BOM, tags.
VISIBLE = re.compile(
    "[^\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
WIDE_BOMS = [  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (b"\xff\xfe\x00\x00", "UTF-32LE"),
    (b"\x00\x00\xfe\xff", "UTF-32BE"),
    (b"\xff\xfe", "UTF-16LE"),
    (b"\xfe\xff", "UTF-16BE"),
]


class Line(NamedTuple):
    """One line.

    Attributes:
        number: from 1.
        text: without its line end; empty where it cannot be used.
        status: ok, empty or quarantined; `reason` says why.
        raw: what was quarantined, as it stood in the file.
    """

    number: int
    text: str
    status: str
    reason: str = ""
    raw: bytes = b""


def classify(text: str) -> tuple[str, str]:
    """Status and reason of a line's text; what every reader of text applies, whatever the text came from."""
    if text.isprintable() and text[:1].isalnum():  # nearly every line, at a tenth of the cost of the searches
        return "ok", ""
    if control := CONTROL.search(text):
        return "quarantined", f"control character U+{ord(control[0]):04X}"
    if not VISIBLE.search(text):
        return "empty", "only white space or characters without width" if text else ""
    return "ok", ""


def read_lines(
    path: StrPath,
    *,
    on_invalid_utf8: OnInvalidUtf8 = "error",
    max_line_bytes: int = MAX_LINE_BYTES,
    facts: FileFacts | None = None,
    begin: tuple[int, int] = (0, 1),
) -> Iterator[Line]:
    """Streams the lines of a file, every one in its place.

    Args:
        path: Plain, `.gz`, `.xz` or `.zst`, in UTF-8.
        on_invalid_utf8: `error`, `replace` (U+FFFD in the text) or `quarantine`.
        max_line_bytes: A longer line is quarantined and never held in memory.
        facts: From `file_facts(path)`; filled with hash, line count and notes. Without it notes are logged.
        begin: Byte offset and number of the line to begin with; of a file that is not compressed. The hash is then of
            what was read.

    Yields:
        Line: A line end is `\\n` or `\\r\\n`; all else, U+0085, U+2028, VT and FF too, stays inside its line.

    Raises:
        DataError: Wrong encoding, broken compression (with the line reached), or a file that changed meanwhile.
        ConfigError: An argument that cannot be.
    """
    if on_invalid_utf8 not in ("error", "replace", "quarantine"):
        raise ConfigError(f"on_invalid_utf8: error, replace or quarantine, got {on_invalid_utf8}")
    if max_line_bytes < 1:
        raise ConfigError(f"max_line_bytes: at least 1, got {max_line_bytes}")
    file = facts or file_facts(path)
    file.lines = begin[1] - 1
    crlf = 0
    for number, raw, length, ended in _raw_lines(file, max_line_bytes, begin[0]):
        if number == 1:
            raw, length = _strip_bom(file, raw, length)
        if ended and raw.endswith(b"\r"):
            raw, length, crlf = raw[:-1], length - 1, crlf + 1
        yield _line(file.path, number, raw, length, on_invalid_utf8, max_line_bytes)
    file.verify_unchanged()
    if crlf:
        file.notes.append(f"{file.path}: {crlf} of {file.lines} lines end in CR LF; CR LF was taken as the line end")
    if facts is None:
        for note in file.notes:
            logging.getLogger("distilmt").warning(note)


def _line(path: str, number: int, raw: bytes, length: int, on_invalid: OnInvalidUtf8, limit: int) -> Line:
    if length > limit:
        reason = f"line of {length} bytes, the limit is {limit}"
        return Line(number, "", "quarantined", reason, raw[: min(limit, KEPT_OF_LONG_LINE)])
    note = ""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        shown = raw[error.start : max(error.end, error.start + 4)].hex(" ")
        column = len(raw[: error.start].decode()) + 1
        if on_invalid == "error":
            raise DataError(
                f"{path}:{number}:{column}: invalid UTF-8 (bytes {shown}) - convert the file to UTF-8, or use "
                "--on-invalid-utf8 replace|quarantine"
            ) from None
        note = f"invalid UTF-8 at column {column} (bytes {shown})"
        if on_invalid == "quarantine":
            return Line(number, "", "quarantined", note, raw)
        text = raw.decode(errors="replace")
        note += ", replaced"
    status, reason = classify(text)
    if status == "quarantined":
        return Line(number, "", status, reason, raw)
    return Line(number, text, status, reason or note)


def _strip_bom(file: FileFacts, raw: bytes, length: int) -> tuple[bytes, int]:
    for mark, encoding in WIDE_BOMS:
        if raw.startswith(mark):
            raise DataError(
                f"{file.path}:1:1: the file is {encoding} (byte order mark {mark.hex(' ')}), expected UTF-8 - "
                f"convert it: iconv -f {encoding[:6]} -t UTF-8 {file.path} > {file.path}.utf8"
            )
    if not raw.startswith(b"\xef\xbb\xbf"):
        return raw, length
    file.notes.append(f"{file.path}: begins with a UTF-8 byte order mark, which was stripped")
    return raw[3:], length - 3


def _raw_lines(file: FileFacts, limit: int, offset: int) -> Iterator[tuple[int, bytes, int, bool]]:
    """(number, bytes, length, ended by \\n); a line longer than `limit` may lack bytes beyond its first `limit`."""
    digest = hashlib.sha256()
    keep = limit + 4  # the three bytes of a BOM and a CR do not count
    parts: list[bytes] = []  # of the line that the last block left open
    length = 0
    try:
        for block in read_blocks(file.path, offset):
            digest.update(block)
            first, *others = block.split(b"\n")
            if length <= keep:
                parts.append(first)
            length += len(first)
            for piece in others:  # each begins behind a \n: the line before it is complete
                file.lines += 1
                yield file.lines, parts[0] if len(parts) == 1 else b"".join(parts), length, True
                parts, length = [piece], len(piece)
    except BrokenStream as error:
        raise DataError(f"{file.path}:{file.lines + 1}: {error} - fetch or write it again") from None
    except OSError as error:
        raise ResourceError(f"{file.path}:{file.lines + 1}: reading failed ({error.strerror}) - see the disk") from None
    if length:
        file.lines += 1
        yield file.lines, b"".join(parts), length, False
    file.sha256 = digest.hexdigest()
