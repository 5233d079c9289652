"""`distilmt labels select`: line-aligned text and facts from stored n-best lists."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import plain_selection as plain
from distilmt.errors import ConfigError, DataError
from distilmt.files import write_lines
from distilmt.label import Labels, label
from distilmt.labels.records import USABLE, Record, read_records
from distilmt.labels.select import Selection, select
from distilmt.storage import write_json
from shell import distilmt

RECORDS = [
    plain.record(1, ["the dog sees a cat", "a dog sees the cat", "the dog saw a cat"]),
    plain.record(2, [], "empty_source"),
    plain.record(3, ["yes yes yes", "yes"], "repetition"),
    plain.record(4, ["hello world"]),
    plain.record(5, ["one two", "two one"], "non_finite_redone"),
]
GOLD = "a dog sees the cat\n\nyes\nhello world\ntwo one\n"


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished labelling of five lines: what is read of one."""
    (tmp_path / "labels").mkdir()
    return stored(tmp_path / "labels", RECORDS, monkeypatch)


def stored(folder: Path, records: Sequence[Record], monkeypatch: pytest.MonkeyPatch) -> Path:
    pseudo = write_lines(folder / "pseudo.txt", [record.text for record in records])
    write_json(folder / "labels.json", {"hashes": {"pseudo.txt": pseudo}})
    labels = Labels(folder, len(records), {}, "", pseudo, 0, None, {"pseudo": "pseudo.txt"})
    monkeypatch.setattr("distilmt.labels.select.read_records", lambda _: iter(records))
    monkeypatch.setattr("distilmt.labels.select.read_labels", lambda _: labels)
    return folder


def selected(labels: Path, gold: Path | None = None, **options: Any) -> Selection:
    return select(labels=str(labels), gold=None if gold is None else str(gold), **options)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_every_line_keeps_its_place(labels: Path, write: Any) -> None:
    gold = write(GOLD.encode(), "gold.en")
    found = selected(labels, gold, rule="bleu")
    assert lines(labels / "selected.txt") == ["a dog sees the cat", "", "", "hello world", "two one"]
    facts = json.loads((labels / "selected.json").read_text())
    assert facts == found.facts
    assert facts["verdicts"] == {"ok": 2, "empty_source": 1, "repetition": 1, "non_finite_redone": 1}
    assert (facts["lines"], facts["selected"], facts["changed"], facts["compared"]) == (5, 3, 2, 3)
    assert facts["gold_hash"] == hashlib.sha256(GOLD.encode()).hexdigest()
    assert facts["labels_hash"] == {"pseudo.txt": hashlib.sha256((labels / "pseudo.txt").read_bytes()).hexdigest()}
    assert facts["selected_hash"] == [hashlib.sha256((labels / "selected.txt").read_bytes()).hexdigest()]
    assert facts["nearness"]["bleu"]["after"] == pytest.approx(100) and facts["nearness"]["bleu"]["before"] < 100
    assert facts["options"]["rule"] == "bleu" and "5 lines, 3 selected, 2 of them" in str(found)


def test_the_same_from_any_number_of_threads_and_again(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, golds = plain.random_lists(5000)  # more than two blocks
    stored(labels, records, monkeypatch)
    (labels / "gold").write_text("\n".join(golds) + "\n", encoding="utf-8", newline="")
    first = selected(labels, labels / "gold", rule="chrf", threads=1)
    text = first.paths[0].read_bytes()
    assert selected(labels, labels / "gold", rule="chrf", threads=3) == first
    assert first.paths[0].read_bytes() == text and text.count(b"\n") == 5000


def test_the_k_best_are_files_of_their_own(labels: Path) -> None:
    found = selected(labels, keep=2, out=str(labels / "two.en.gz"))
    assert [path.name for path in found.paths] == ["two.1.en.gz", "two.2.en.gz"]
    texts = [gzip.decompress(path.read_bytes()).decode().split("\n")[:-1] for path in found.paths]
    assert texts == [
        ["the dog sees a cat", "", "", "hello world", "one two"],
        ["a dog sees the cat", "", "", "", "two one"],
    ]
    assert json.loads((labels / "two.1.json").read_text())["options"]["keep"] == 2
    assert found.facts["changed"] == 0 and found.facts["nearness"] == {} and found.facts["gold_hash"] is None


def test_gold_of_another_length_stops_before_any_work(labels: Path, write: Any) -> None:
    with pytest.raises(DataError, match=r"pseudo.txt: 5 lines, but .*gold.en has 4 .*mend the files"):
        selected(labels, write(b"a\nb\nc\nd\n", "gold.en"), rule="bleu")
    assert not (labels / "selected.txt").exists()


def test_gold_that_cannot_be_read_is_an_error_at_its_line(labels: Path, write: Any) -> None:
    with pytest.raises(DataError, match=r"gold.en:2:1: invalid UTF-8 \(bytes ff"):
        selected(labels, write(b"a\n\xff\nc\nd\ne\n", "gold.en"), rule="chrf")
    with pytest.raises(DataError, match="cannot be read"):
        selected(labels, labels / "none", rule="chrf")


def test_a_quarantined_gold_line_is_no_gold(labels: Path, write: Any) -> None:
    gold = write(GOLD.replace("a dog sees", "a\x07dog sees").encode(), "gold.en")
    found = selected(labels, gold, rule="bleu")
    assert lines(found.paths[0])[0] == RECORDS[0].text and found.facts["compared"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rule": "bleu"}, "--gold FILE"),
        ({"rule": "bleu", "tokens": "ids", "gold": "g"}, "--model TEACHER"),
        ({"keep": 0}, "--keep must be at least 1"),
        ({"threads": 0}, "--threads must be at least 1"),
        ({"rule": "best"}, "rule"),
    ],
)
def test_wrong_options_are_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        select(labels="labels", **options)


@pytest.fixture(scope="module")
def labelled(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real labelling with four hypotheses a line, and gold.txt beside it: of each line the third, "" for line 2."""
    folder = tmp_path_factory.mktemp("select")
    (folder / "source.txt").write_text("the dog\n\nder Hund sieht das Haus\nthe cat finds a tree\n")
    label(
        model=str(tiny_model_folder), source=str(folder / "source.txt"), out=str(folder / "labels"), beam_size=4, n_best=4,
        max_length=12,
    )  # fmt: skip
    gold = [record.candidates[2].text if record.candidates else "" for record in read_records(folder / "labels")]
    (folder / "gold.txt").write_text("".join(line + "\n" for line in gold), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "flags",
    [
        "--rule bleu", "--rule bleu --smoothing bergamot --tokens words", "--rule gleu", "--rule chrf",
        "--rule bleu --smoothing kim-rush --tokens ids --model MODEL",
    ],
)  # fmt: skip
def test_the_command_on_a_real_labelling(labelled: Path, tiny_model_folder: Path, flags: str, tmp_path: Path) -> None:
    records = list(read_records(labelled / "labels"))
    usable = [record.verdict in USABLE for record in records]
    assert sum(usable) >= 1
    words = ["labels", "select", labelled / "labels", "--gold", labelled / "gold.txt", "--out", tmp_path / "chosen.txt"]
    done = distilmt(*words, *flags.replace("MODEL", str(tiny_model_folder)).split())
    assert done.returncode == 0, done.stderr
    gold = lines(labelled / "gold.txt")
    assert len(lines(tmp_path / "chosen.txt")) == len(records)
    for text, wanted, good in zip(lines(tmp_path / "chosen.txt"), gold, usable, strict=True):
        assert text == (wanted if good else "")
    assert f"{len(records)} lines, {sum(usable)} selected".encode() in done.stdout


def test_the_command_says_what_is_missing(labelled: Path, tmp_path: Path) -> None:
    done = distilmt("labels", "select", labelled / "labels", "--rule", "chrf")
    assert done.returncode == 2 and b"give --gold FILE" in done.stderr
    done = distilmt("labels", "select", tmp_path)
    assert done.returncode == 3 and b"Traceback" not in done.stderr
