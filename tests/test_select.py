"""`distilmt labels select`: line-aligned text and facts from stored n-best lists."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import plain_selection as plain
from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.label import label
from distilmt.labels.records import Candidate, Record
from distilmt.labels.select import Selection, select
from distilmt.text.files import write_lines
from distilmt.vocab import Vocab
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
    """A finished job of these five records."""
    return stored(tmp_path / "labels", RECORDS, monkeypatch)


def stored(folder: Path, records: Sequence[Record], monkeypatch: pytest.MonkeyPatch, n_best: int = 3) -> Path:
    """A job whose teacher says what these records hold; lines without hypotheses are empty."""
    texts = [f"line {record.line}" if record.candidates else "" for record in records]
    write_lines(folder.parent / "source.txt", texts)
    teacher = SimpleNamespace(label=lambda lines, targets=None: [records[line.number - 1] for line in lines])
    monkeypatch.setattr("distilmt.labels.teacher.Teacher", lambda config, threads: teacher)
    model = folder.parent / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    label(model=str(model), source=str(folder.parent / "source.txt"), out=str(folder), n_best=n_best)
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
    assert facts["labels_hash"]["nbest.tsv"] == hashlib.sha256((labels / "nbest.tsv").read_bytes()).hexdigest()
    assert facts["selected_hash"] == [hashlib.sha256((labels / "selected.txt").read_bytes()).hexdigest()]
    assert facts["nearness"]["bleu"]["after"] == pytest.approx(100) and facts["nearness"]["bleu"]["before"] < 100
    assert facts["options"]["rule"] == "bleu" and "5 lines, 3 selected, 2 of them" in str(found)


def test_the_same_from_any_number_of_threads_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, golds = plain.random_lists(5000)  # more than two blocks
    labels = stored(tmp_path / "labels", records, monkeypatch)
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


def test_no_more_are_kept_than_are_stored(labels: Path) -> None:
    with pytest.raises(ConfigError, match=r"--keep 4: .*labels holds 3 hypotheses a line - label again .*--n-best N"):
        selected(labels, keep=4)
    assert not list(labels.glob("selected*"))


@pytest.mark.parametrize("rule", ["bleu", "gleu", "chrf", "mbr", "sample"])
def test_of_one_hypothesis_no_rule_chooses(
    rule: str, tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = stored(tmp_path / "labels", [plain.record(1, ["hello"])], monkeypatch, n_best=1)
    gold = write(b"hello\n", "gold.en") if rule in ("bleu", "gleu", "chrf") else None
    with pytest.raises(ConfigError, match=rf"--rule {rule}: .* one hypothesis a line - .*distilmt label --n-best N"):
        selected(labels, gold, rule=rule)
    assert lines(selected(labels).paths[0]) == ["hello"]


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
        ({"threads": 0}, "--threads must be from 1 to 1024, got 0"),
        ({"threads": 1025}, "--threads must be from 1 to 1024"),
        ({"model": "m"}, "--model serves --tokens ids alone"),
        ({"rule": "best"}, "rule"),
    ],
)
def test_wrong_options_are_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        select(labels="labels", **options)


@pytest.mark.parametrize(
    "flags",
    [
        "--rule bleu", "--rule bleu --smoothing bergamot --tokens words", "--rule gleu", "--rule chrf",
        "--rule bleu --smoothing kim-rush --tokens ids --model MODEL",
    ],
)  # fmt: skip
def test_the_command(flags: str, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocab = Vocab.load(tiny_model_folder)
    texts = ["the dog sees the house", "the cat sees the house", "the dog finds the tree", "the dog sees a tree"]
    ids = vocab.encode_target(texts)
    found = [Candidate(text, row, -place, -place, 5) for place, (text, row) in enumerate(zip(texts, ids, strict=True))]
    labels = stored(tmp_path / "labels", [Record(1, "ok", found), Record(2, "empty_source", [])], monkeypatch)
    (tmp_path / "gold").write_text("the dog finds the tree\n\n")
    words = ["labels", "select", labels, "--gold", tmp_path / "gold", "--out", tmp_path / "chosen.txt"]
    done = distilmt(*words, *flags.replace("MODEL", str(tiny_model_folder)).split())
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "chosen.txt") == ["the dog finds the tree", ""]
    assert b"chosen.txt: 2 lines, 1 selected, 1 of them not the model's first; bleu to the gold" in done.stdout


def test_the_command_says_what_is_missing(labels: Path, tmp_path: Path) -> None:
    done = distilmt("labels", "select", labels, "--rule", "chrf")
    assert done.returncode == 2 and b"give --gold FILE" in done.stderr
    (labels / "labels.json").unlink()
    done = distilmt("labels", "select", labels)
    assert done.returncode == 3 and b"no finished labels" in done.stderr


@pytest.mark.parametrize(
    "name", ["labels.txt", "pseudo.txt", "job.txt.gz", "soft/soft_labels.txt", "../labels/redo", "x.json"]
)
def test_a_selection_replaces_nothing(labels: Path, name: str) -> None:
    before = {path: path.read_bytes() for path in labels.iterdir() if path.is_file()}
    with pytest.raises(ConfigError, match="choose another"):
        selected(labels, out=str(labels / name))
    assert before == {path: path.read_bytes() for path in labels.iterdir() if path.is_file()}
    assert selected(labels, out=str(labels / "mine.txt")).paths == [labels / "mine.txt"]


BEHIND = """
def behind(model):
    def score(sources, hypotheses, references):
        if model == "fails":
            raise ValueError("no such word")
        assert len({*zip(sources, hypotheses, references)}) == len(sources), 'asked twice'
        assert all(s in ("line 1", "line 4", "line 5") for s in sources) and "yes" not in hypotheses
        return [float(h > r) if r else -len(h) for h, r in zip(hypotheses, references)]
    return "1.0", score
"""


@pytest.fixture
def learned(labels: Path, write: Any) -> dict[str, Any]:
    """A metric: 1 for what sorts behind its reference; without a reference the shorter is better."""
    source = str(labels.parent / "source.txt")
    return {"metric": f"{write(BEHIND.encode(), 'behind.py')}:behind", "python": sys.executable, "source": source}


def test_by_a_learned_metric_against_each_other_or_without_a_reference(labels: Path, learned: Any, write: Any) -> None:
    found = selected(labels, write(GOLD.encode(), "gold.en"), rule="mbr", **learned)
    assert lines(labels / "selected.txt") == ["the dog sees a cat", "", "", "hello world", "two one"]
    assert found.facts["metric"] == f"{learned['metric']}:1.0|model:" and found.facts["compared"] == 3
    assert selected(labels, rule="estimate", **learned).facts["changed"] == 1
    assert lines(labels / "selected.txt") == ["the dog saw a cat", "", "", "hello world", "one two"]


def test_what_a_learned_metric_needs(labels: Path, learned: Any, write: Any) -> None:
    with pytest.raises(ResourceError, match=r"behind unavailable: ValueError: no such word, .*metric_worker.py"):
        selected(labels, rule="mbr", metric_model="fails", **learned)
    assert not (labels / "selected.txt").exists()
    other = learned | {"source": str(write(b"line 1\n", "other.txt"))}
    for options, said in [
        ({"rule": "chrf", "gold": Path("gold"), **learned}, "--metric serves the rules mbr and estimate, got --rule chrf"),
        ({"rule": "estimate"}, "--rule estimate asks a learned metric - name it with --metric"),
        ({"rule": "estimate", "metric": "comet", **{k: learned[k] for k in ("python", "source")}}, "compares with a reference"),
        ({"rule": "mbr", **learned, "source": None}, "--metric reads the source too"),
        ({"rule": "mbr", "source": learned["source"]}, "--metric reads the source too, and only then"),
        ({"rule": "mbr", **other}, "other.txt: not the text that was labelled"),
    ]:  # fmt: skip
        with pytest.raises((ConfigError, DataError), match=said):
            selected(labels, **options)
