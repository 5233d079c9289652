"""Bad files, numbered as in the list of faults (C3): broken compression (15), files that are none or change (18)."""

from __future__ import annotations

import gzip
import lzma
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard

from distilmt.corpus import load_corpus, read_lines
from distilmt.errors import DataError
from distilmt.text.lines import Line

Write = Callable[..., Path]


def lines(path: Path, **options: object) -> list[Line]:
    return list(read_lines(path, **options))  # type: ignore[arg-type]


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": partial(lzma.compress, preset=0),
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,  # as the program zstd does
}


@pytest.mark.parametrize("suffix", PACK)
def test_case_15_truncated_or_trailed_compression(write: Write, suffix: str) -> None:
    text = b"".join(b"line %d of the text %d\n" % (i, i * i) for i in range(3_000))
    packed = PACK[suffix](text)
    name = f"text.{suffix}"
    assert len(lines(write(packed + packed, name))) == 6_000  # members and frames may follow each other
    for size in (0, 1, len(packed) // 2, len(packed) - 1):
        reader, got = read_lines(write(packed[:size], name)), []
        with pytest.raises(DataError, match=rf"{name}:\d+: .*truncated") as error:
            for line in reader:
                got.append(line.text)
        assert f"{name}:{len(got) + 1}:" in str(error.value)  # the line reached
        assert got == text.decode().split("\n")[: len(got)]  # nothing is invented
    for garbage in (b"garbage", b"x" * 5000):
        with pytest.raises(DataError, match=rf"{name}:3001: .*(garbage|truncated)"):
            lines(write(packed + garbage, name))
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0x55
    with pytest.raises(DataError, match=name):
        lines(write(bytes(flipped), name))


def test_case_18_not_a_readable_regular_file(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in (
        (tmp_path, "is a directory"),
        (tmp_path / "pipe", "is a FIFO"),
        (tmp_path / "no", "No such file"),
    ):
        with pytest.raises(DataError, match=what):
            lines(path)
    path = write(b"a\n")
    monkeypatch.setattr(
        "builtins.open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    with pytest.raises(DataError, match=r"text.de: cannot be read \(Permission denied\)"):
        lines(path)


def test_case_18_file_changes_while_being_read(write: Write) -> None:
    path = write(b"a\nb\n")
    reader = read_lines(path)
    next(reader)
    with path.open("ab") as stream:
        stream.write(b"c\n")
    with pytest.raises(DataError, match=r"text.de: changed while it was read \(4 bytes at the start, 6 now\)"):
        list(reader)
    read = load_corpus((write(b"a\n"), write(b"b\n", "text.en")))
    read.verify_unchanged()
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=r"text.de: changed"):
        read.verify_unchanged()
    path.unlink()
    with pytest.raises(DataError, match=r"text.de: gone while in use"):
        read.verify_unchanged()
