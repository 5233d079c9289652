"""Bad text, case by case, numbered as in the list of faults (C3, text input); 15 and 18 are in test_faults_files.py."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distilmt.corpus import Corpus, Line, load_corpus, read_lines, read_pairs, read_tsv, write_lines, write_quarantine
from distilmt.errors import DataError
from distilmt.vocab import Vocab, apply_too_long

Write = Callable[..., Path]


def lines(path: Path, **options: object) -> list[Line]:
    return list(read_lines(path, **options))  # type: ignore[arg-type]


def corpus(write: Write, source: bytes, target: bytes) -> Corpus:
    return load_corpus((write(source, "text.de"), write(target, "text.en")))


def test_case_01_line_counts_differ_stops_before_any_work(write: Write) -> None:
    text = [f"{'wort ' * (i * 7 % 23 + 1)}{i}" for i in range(400)]
    shifted = [*text[:250], "one line more than the other side has", *text[250:]]
    source, target = write("\n".join(text).encode(), "text.de"), write("\n".join(shifted).encode(), "text.en")
    for read in (lambda: load_corpus((source, target)), lambda: read_pairs(source, target)):
        with pytest.raises(DataError, match=r"text.de: 400 lines, but .*text.en has 401") as error:
            read()
        assert error.value.exit_code == 3
        assert abs(int(re.findall(r"from about line (\d+) on", str(error.value))[0]) - 251) <= 2
        assert re.search(r"sed -s -n '\d+,\d+p' \S+text.de \S+text.en", str(error.value))
    alike = write(b"same\n" * 401, "text.en")  # lengths that tell nothing: no guess
    with pytest.raises(DataError, match=r"400 lines, but .* has 401 - "):
        load_corpus((write(b"same\n" * 400), alike))


def test_case_02_empty_source_keeps_its_place(write: Write) -> None:
    read = corpus(write, b"eins\n\ndrei\n", b"one\ntwo\nthree\n")
    assert read.statuses == ["ok", "empty_source", "ok"]
    assert list(read.pairs()) == [(0, "eins", "one"), (2, "drei", "three")]
    assert read.counts() == {"lines": 3, "ok": 2, "empty_source": 1, "empty_target": 0, "quarantined": 0}
    assert any("1 empty_source" in note for note in read.notes)


def test_case_03_empty_target_is_excluded_and_listed(write: Write) -> None:
    read = corpus(write, b"eins\nzwei\n", b"one\n\n")
    assert read.statuses == ["ok", "empty_target"]
    assert any("1 empty_target" in note for note in read.notes)


@pytest.mark.parametrize("text", ["   ", "\t", "\u200b", "\u00a0\ufeff\u2060", "\u200e\u200f", "\r ", "\u2028 \u0085"])
def test_case_04_blank_or_zero_width_line_is_empty(write: Write, text: str) -> None:
    (line,) = lines(write(text.encode() + b"\n"))
    assert (line.status, line.text) == ("empty", text)
    assert "white space" in line.reason
    read = corpus(write, f"{text}\nzwei\n".encode(), b"one\ntwo\n")
    assert read.statuses == ["empty_source", "ok"]


def test_case_05_invalid_utf8(write: Write) -> None:
    bad = write("gut\nä\n".encode() + b"ab\xc3\xa4\xff\xfe c\n")
    with pytest.raises(DataError, match=r"text.de:3:4: invalid UTF-8 \(bytes ff fe 20 63\).*--on-invalid-utf8"):
        lines(bad)
    replaced = lines(bad, on_invalid_utf8="replace")
    assert (replaced[2].text, replaced[2].status) == ("abä\ufffd\ufffd c", "ok")
    assert "replaced" in replaced[2].reason
    quarantined = lines(bad, on_invalid_utf8="quarantine")
    assert [line.status for line in quarantined] == ["ok", "ok", "quarantined"]
    assert quarantined[2].raw == b"ab\xc3\xa4\xff\xfe c"
    with pytest.raises(ValueError, match="on_invalid_utf8"):
        lines(bad, on_invalid_utf8="ignore")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_case_06_wide_encoding_is_named(write: Write, encoding: str) -> None:
    name = encoding.replace("-", "", 1).replace("-", "").upper()  # UTF16LE
    with pytest.raises(DataError, match=r"text.de:1:1: .*iconv -f UTF-(16|32) -t UTF-8") as error:
        lines(write("\ufeffabc\n".encode(encoding)))
    assert name in str(error.value).replace("UTF-", "UTF")


def test_case_06_utf8_bom_is_stripped_with_a_note(write: Write) -> None:
    read = corpus(write, b"\xef\xbb\xbfeins\n", b"\xef\xbb\xbfone\n")
    assert read.sources == ["eins"]
    assert sum("byte order mark" in note for note in read.notes) == 2
    assert [line.text for line in lines(write("a\n\ufeffb\n".encode()))] == ["a", "\ufeffb"]  # only at the start


def test_case_07_crlf_is_a_line_end_and_nothing_else_is(write: Write) -> None:
    read = corpus(write, b"eins\r\nzwei\r\n", b"one\ntwo\n")
    assert read.sources == ["eins", "zwei"]
    assert [note for note in read.notes if "CR LF" in note] == [read.notes[0]]  # one note for the file, not one a line
    text = "a\rb\u0085c\u2028d\u2029e"
    assert [line.text for line in lines(write(f"{text}\nz\n".encode()))] == [text, "z"]
    assert len(lines(write(b"a\x0bb\x0cc\n\x1cz\x1e\n"))) == 2  # quarantined as control bytes, but two lines


@pytest.mark.parametrize("byte", [*range(9), 0x0B, 0x0C, *range(0x0E, 0x20)])
def test_case_08_control_bytes_are_quarantined_in_place(write: Write, byte: int, tmp_path: Path) -> None:
    read = corpus(write, b"eins\nzw" + bytes([byte]) + b"ei\ndrei\n", b"one\ntwo\nthree\n")
    assert read.statuses == ["ok", "quarantined", "ok"]
    assert read.sources == ["eins", "", "drei"]
    assert f"U+{byte:04X}" in read.quarantined[0].reason
    write_quarantine(tmp_path / "quarantine.tsv", read.quarantined)
    (row,) = (tmp_path / "quarantine.tsv").read_text().splitlines()
    assert row.split("\t")[1:] == ["2", f"control character U+{byte:04X}", f"zw\\x{byte:02x}ei"]


def test_case_09_missing_final_newline_still_counts(write: Write) -> None:
    assert [line.text for line in lines(write(b"a\nb"))] == ["a", "b"]
    assert [line.text for line in lines(write(b"a\nb\n"))] == ["a", "b"]
    assert lines(write(b"")) == []


def test_case_10_trailing_empty_lines_count_as_wc_counts(write: Write) -> None:
    assert [line.text for line in lines(write(b"a\n\n\n"))] == ["a", "", ""]
    assert corpus(write, b"a\n\n\n", b"b\n\n\n").statuses == ["ok", "empty_source", "empty_source"]


def test_case_11_overlong_line_is_quarantined_in_bounded_memory(write: Write) -> None:
    import tracemalloc

    path = write(gzip.compress(b"short\n" + b"x" * 16_000_000 + b"\nnext\n", 1), "text.gz")
    tracemalloc.start()
    read = lines(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [line.status for line in read] == ["ok", "quarantined", "ok"]
    assert read[1].reason == "line of 16000000 bytes, the limit is 1048576"
    assert read[1].raw == b"x" * 1024 and peak < 8 << 20
    assert [line.status for line in lines(write(b"12345\r\n123456\n"), max_line_bytes=5)] == ["ok", "quarantined"]


def test_case_12_too_many_subwords_split_truncate_or_skip() -> None:
    ids = list(range(10, 35))
    assert apply_too_long(ids, 25, "skip") == ([ids], "ok")
    assert apply_too_long(ids, 24, "skip") == ([], "too_long")
    assert apply_too_long(ids, 10, "truncate") == ([ids[:10]], "truncated")
    pieces, status = apply_too_long(ids, 10, "split", starts={17, 19, 26})
    assert status == "split" and sum(pieces, []) == ids  # noqa: RUF017
    assert pieces == [list(range(10, 19)), list(range(19, 26)), list(range(26, 35))]
    assert [len(piece) for piece in apply_too_long(ids, 10, "split")[0]] == [10, 10, 5]
    with pytest.raises(ValueError, match="split, truncate or skip"):
        apply_too_long(ids, 10, "crop")  # type: ignore[arg-type]


def test_case_13_symbols_in_text_are_text(write: Write, tiny_vocab: Vocab) -> None:
    text = "a\tb ||| >>de<< <unk> </s> <pad> \u2047 \u2581x"
    read = corpus(write, text.encode(), text.encode())
    assert read.sources == [text] and read.statuses == ["ok"]
    (ids,) = tiny_vocab.encode_source([text])
    assert tiny_vocab.eos_id not in ids and tiny_vocab.pad_id not in ids
    assert tiny_vocab.encode_source(["the\u2581dog"]) == tiny_vocab.encode_source(["the dog"])


def test_case_14_tsv_row_with_wrong_column_count(write: Write) -> None:
    path = write(b"ein Hund\ta dog\nx\t\n\x00\ty\n", "pairs.tsv")
    assert [(pair.source, pair.target, pair.status) for pair in read_tsv(path)] == [
        ("ein Hund", "a dog", "ok"),
        ("x", "", "empty_target"),
        ("", "", "quarantined"),
    ]
    assert load_corpus(path).counts()["ok"] == 1
    for row, columns in ((b"a\tb\tc", 3), (b"a", 1), (b"", 1)):
        with pytest.raises(DataError, match=rf"pairs.tsv:2: a row of {columns} columns, expected 2"):
            list(read_tsv(write(b"a\tb\n" + row + b"\n", "pairs.tsv")))


def test_case_16_duplicate_lines_are_kept(write: Write, tiny_vocab: Vocab) -> None:
    read = corpus(write, b"ein Hund\n" * 3, b"a dog\n" * 3)
    assert [index for index, *_ in read.pairs()] == [0, 1, 2]
    first, *others = tiny_vocab.encode_source(read.sources * 50)
    assert all(row == first for row in others)


@pytest.mark.parametrize(
    "unit",
    [
        "x",
        "the ",
        "\u0301",
        "e\u0301\u0323",
        "\u202e",
        "\u200d",
        "👨\u200d👩\u200d👧",
        "漢",
        "\u2581",
        "</s>",
        "\ufdfa",
    ],
)
def test_case_17_repetition_takes_linear_time(write: Write, tiny_vocab: Vocab, unit: str) -> None:
    text = "a" + unit * (100_000 // len(unit))
    start = time.process_time()
    (line,) = lines(write(text.encode() + b"\n"))
    ids = tiny_vocab.encode_source([line.text])
    tiny_vocab.decode(ids)
    assert (
        time.process_time() - start < 10
    )  # CPU seconds; measured: below 0.2, and 2 where one character becomes 18 (U+FDFA)
    assert line.text == text and line.status == "ok"


def test_case_17_surrogates_as_bytes_are_invalid(write: Write, tiny_vocab: Vocab) -> None:
    with pytest.raises(DataError, match=r"text.de:1:2: invalid UTF-8 \(bytes ed a0 80"):
        lines(write(b"a\xed\xa0\x80b\n"))
    with pytest.raises(DataError, match="text 2, character 2: lone surrogate"):
        tiny_vocab.encode_source(["ok", "a\ud800"])
    with pytest.raises(DataError, match="lone surrogate"):
        write_lines(write(b"", "out"), ["a\udfff"])
