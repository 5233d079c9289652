"""Reading and writing line-aligned text."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distilmt.corpus import escaped, file_hash, load_corpus, load_dataset_corpus, open_text, read_lines, read_pairs
from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.text import files
from distilmt.text.files import write_lines
from distilmt.text.split import split

Write = Callable[..., Path]

# Bytes that mean something to one reader of text or another, among ordinary ones.
TOKENS = [
    b"\n",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\x1a",
    b" ",
]
TOKENS += [b"\xef\xbb\xbf", b"\xff\xfe", b"a", b"bc", b"\xc3\xa4", b"\xe2\x80\xa8", b"\xc2\x85", b"\xe2\x80\x8b"]
QUIET = settings(max_examples=300, deadline=None, database=None, derandomize=True)


@QUIET
@given(
    data=st.lists(st.sampled_from(TOKENS) | st.binary(max_size=4), max_size=12).map(b"".join), block=st.integers(1, 9)
)
@example(data=b"a\nb", block=1)
def test_r6_lines_joined_again_are_the_input(tmp_path_factory: pytest.TempPathFactory, data: bytes, block: int) -> None:
    """Parser totality: no byte is lost or moves, whatever the bytes, the size of blocks and the limit of a line."""
    check_totality(tmp_path_factory.getbasetemp() / "r6.txt", data, block, limit=1 + block % 5 * 3)


def test_r6_on_many_random_texts(tmp_path: Path) -> None:
    rng = random.Random(1)
    for _ in range(3000):
        data = b"".join(rng.choices(TOKENS, k=rng.randrange(12)))
        check_totality(tmp_path / "r6.txt", data, block=rng.randint(1, 9), limit=rng.randint(1, 12))


def check_totality(path: Path, data: bytes, block: int, limit: int) -> None:
    """Reads bytes with a given size of blocks and limit of a line, and accounts for each of them."""
    path.unlink(missing_ok=True)  # some file systems flush a file that is cut to nothing and written again: 10 ms
    path.write_bytes(data)
    files.PLAIN_BLOCK, usual = block, files.PLAIN_BLOCK
    try:
        got = list(read_lines(path, on_invalid_utf8="quarantine", max_line_bytes=limit))
    except DataError as error:
        assert data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:4] == b"\0\0\xfe\xff", error
        return
    finally:
        files.PLAIN_BLOCK = usual
    parts = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert len(got) == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    for i, line in enumerate(got):
        original = parts[i].removesuffix(b"\r") if i < len(parts) - 1 else parts[i]
        assert line.number == i + 1
        if line.status == "quarantined":
            assert line.text == "" and line.reason
            assert line.raw == (original if len(original) <= limit else original[: len(line.raw)])
        else:
            assert line.text.encode() == original and len(original) <= limit
            assert line.status == ("ok" if line.text.strip(" \r\t\u2028\u0085\ufeff\u200b") else "empty")


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=20), max_size=20)
)
def test_written_lines_are_read_again(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "written.zst"
    digest = write_lines(path, lines)
    with open_text(path) as stream:
        data = stream.read()
    assert data.decode() == "".join(line + "\n" for line in lines)
    assert digest == file_hash(path) == hashlib.sha256(data).hexdigest()


def test_escaped_bytes_are_one_line_and_come_back() -> None:
    for raw in (bytes(range(256)), b"a\\x41\\\\n\n", "ä\u2028\t".encode(), b"\xc3"):
        text = escaped(raw)
        assert not re.search(r"[\x00-\x1f]", text)
        back = re.sub(rb"\\(\\|x(..))", lambda m: b"\\" if m[1] == b"\\" else bytes([int(m[2], 16)]), text.encode())
        assert back == raw


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_same_bytes_for_the_same_lines(tmp_path: Path, suffix: str) -> None:
    text = ["Grüße", "", "a\u2028b\rc"]
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    assert write_lines(first, text) == write_lines(second, iter(text)) == file_hash(first)
    assert first.read_bytes() == second.read_bytes()  # neither the name nor the hour is in a compressed file
    assert [line.text for line in read_lines(first)] == text


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.txt"
    write_lines(path, ["old"])
    with pytest.raises(DataError, match=r"out.txt:2: a line to write holds a line break"):
        write_lines(path, ["new", "a\nb"])

    def interrupted() -> object:
        yield "new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(path, interrupted())  # type: ignore[arg-type]
    for call in ("fsync", "replace"):
        with (
            monkeypatch.context() as patch,
            pytest.raises(ResourceError, match=r"out.txt: cannot be written \(No space"),
        ):
            patch.setattr(os, call, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            write_lines(path, ["new"])
    with pytest.raises(ResourceError, match=r"missing/out.txt: cannot be written"):
        write_lines(tmp_path / "missing" / "out.txt", ["new"])
    assert path.read_text() == "old\n" and os.listdir(tmp_path) == ["out.txt"]
    link = tmp_path / "link"
    link.symlink_to(path)
    write_lines(link, ["new"])
    assert link.is_symlink() and path.read_text() == "new\n"


def test_pairs_stream_with_their_line_numbers(write: Write) -> None:
    source = write(gzip.compress("eins\n\n \u200b\nvier\n\x00\n".encode()), "a.gz")
    pairs = list(read_pairs(source, write(b"one\ntwo\n\n\nfive\n", "b")))
    assert [(pair.number, pair.status) for pair in pairs] == [
        (1, "ok"),
        (2, "empty_source"),
        (3, "empty_source"),
        (4, "empty_target"),
        (5, "quarantined"),
    ]
    assert pairs[4].reason == "source: control character U+0000" and pairs[4].target == "five"


def test_corpus_knows_its_files(write: Write) -> None:
    source, target = write(b"\xef\xbb\xbfeins\r\nzwei\r\n", "a"), write(gzip.compress(b"one\ntwo\n"), "b.gz")
    corpus = load_corpus((source, target))
    assert corpus.source_hash == file_hash(source) == hashlib.sha256(b"\xef\xbb\xbfeins\r\nzwei\r\n").hexdigest()
    assert corpus.target_hash == file_hash(target) == hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert len(corpus) == 2 and [facts.lines for facts in corpus.files] == [2, 2]
    with pytest.raises(DataError, match=r"no usable pair in 1 lines \(1 empty_source\)"):
        load_corpus((write(b"\n", "a"), write(b"x\n", "b")))
    with pytest.raises(DataError, match=r"no usable pair in 0 lines \(empty\)"):
        load_corpus((write(b"", "a"), write(b"", "b")))
    with pytest.raises(ConfigError, match="got 3 files"):
        load_corpus([source, source, source])


def test_dataset_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra [datasets]")
    rows = {
        "translation": [{"de": "eins", "en": "one"}, {"de": "zwei\nx", "en": "two"}],
        "id": [1, 2],
        "de": ["a", None],
    }
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"dev": datasets.Dataset.from_dict(rows)}).save_to_disk(tmp_path / "dict")
    corpus = load_dataset_corpus(tmp_path / "saved", "translation.de", "translation.en")
    assert (corpus.sources, corpus.statuses) == (["eins", ""], ["ok", "quarantined"])
    assert "U+000A" in corpus.quarantined[0].reason
    assert load_dataset_corpus(tmp_path / "dict", "de", "translation.en", split="dev").statuses == [
        "ok",
        "empty_source",
    ]
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "train.csv").write_text("de,en\nHund,dog\n")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert load_dataset_corpus(tmp_path / "csv", "de", "en").targets == ["dog"]
    named = (f"hf:{tmp_path / 'csv'}:train:de", f"hf:{tmp_path / 'csv'}:default:train:en")
    assert load_corpus((named[0], named[0].replace(":de", ":en"))).sources == ["Hund"]
    assert load_corpus((named[1].replace(":en", ":de"), named[1])).targets == ["dog"]
    assert (
        Path(split(named[0], named[0].replace(":de", ":en"), dev=0, test=0, out=tmp_path).files["train"][1]).name
        == "train.en"
    )
    with pytest.raises(ConfigError, match="two columns of the same one"):
        load_corpus(named)
    for wrong in ("hf:data:de", "hf::train:de", "text.de"):
        with pytest.raises(ConfigError, match="hf:NAME:SPLIT:COLUMN"):
            load_corpus((wrong, named[1]))
    for column, message in (("fr", "no column fr - it has translation, id, de"), ("id", ":1: int, expected text")):
        with pytest.raises(ValueError, match=message):
            load_dataset_corpus(tmp_path / "saved", column, "de")
    with pytest.raises(ConfigError, match="no split train - it has dev"):
        load_dataset_corpus(tmp_path / "dict", "de", "de")
    with pytest.raises(DataError, match="cannot load it"):
        load_dataset_corpus(tmp_path / "nothing", "de", "en")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match="pip install"):
        load_dataset_corpus(tmp_path / "saved", "de", "en")
