"""Soft labels of a text as a folder: read by line, bound to what they belong to, whole or absent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import lively_model
from distilmt import SoftLabels
from distilmt.corpus import load_corpus
from distilmt.errors import DataError
from distilmt.marian.weights import weights_hash
from distilmt.models import save
from distilmt.soft_labels import SoftLabelsStore, SoftLabelsWriter, decode, encode
from distilmt.translate import Translator
from distilmt.translator.forced import store_forced
from distilmt.vocab import Vocab
from test_soft_labels import soft, total_variation

SOURCES = ["Hund sieht Katze", "Baum baut Haus", "", "Katze liebt Fluss", "Hund " * 200]
TARGETS = ["dog sees cat", "tree builds house", "nothing", "the cat loves the river", "dog"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("text")
    for name, lines in (("t.de", SOURCES), ("t.en", TARGETS)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return str(folder / "t.de"), str(folder / "t.en")


@pytest.fixture(scope="module")
def translator(tiny_model_folder: Path) -> Translator:
    return Translator(tiny_model_folder, compute_type="float32", threads=1)


@pytest.fixture
def store(tmp_path: Path, files: tuple[str, str], translator: Translator) -> SoftLabelsStore:
    return store_forced(load_corpus(files), translator, tmp_path / "soft", k=8, floor=0.01)


def test_a_line_is_what_the_teacher_says_of_it(store: SoftLabelsStore, translator: Translator) -> None:
    assert len(store) == 5 and [len(store[i][0]) > 0 for i in range(5)] == [True, True, False, True, False]
    for i in (3, 0, 1):
        (scored,) = translator.score([SOURCES[i]], [TARGETS[i]], soft_labels=8)
        assert scored.soft_labels is not None
        ids, found = store[i]
        assert ids == [*translator.vocab.encode_target([TARGETS[i]])[0], translator.vocab.eos_id]
        assert total_variation(scored.soft_labels, found) < 1e-3
        assert (found.log_probs[found.log_probs > -np.inf] > np.log(0.0098)).all()
    assert store[2][1] == SoftLabels.none(8)
    with pytest.raises(IndexError, match="line 6 of 5"):
        store[5]


def test_it_names_what_it_belongs_to(
    store: SoftLabelsStore, files: Any, tiny_model_folder: Path, tiny_vocab: Any
) -> None:
    text = load_corpus(files)
    again = SoftLabels.open(store.folder)
    assert (again.k, again.floor, again.state_width, again.lines) == (8, 0.01, 0, 5)
    assert again.tokens == sum(len(store[i][0]) for i in range(5))
    again.require(
        teacher=weights_hash(tiny_model_folder), vocab=tiny_vocab.hash, source=text.source_hash, target=text.target_hash
    )
    with pytest.raises(DataError, match="belong to another vocab and another target - make"):
        again.require(vocab="0", source=text.source_hash, target="1")
    assert again.hash == store.hash
    again.verify()
    assert f"of {again.tokens:,} target tokens of 5 lines" in str(again)


def test_the_reader_of_the_documentation_reads_it(store: SoftLabelsStore) -> None:
    text = (Path(__file__).parents[1] / "docs" / "soft-labels.md").read_text()
    (code,) = re.findall(r"```python\n(import numpy.*?)```", text, re.S)
    space: dict[str, Any] = {}
    exec(code, space)
    for line in (1, 2, 4):
        ids, labels = store[line - 1]
        found = list(space["read"](store.folder, line))
        assert [target for target, *_ in found] == ids
        for (_, some, probs), row, log_probs in zip(found, labels.ids, labels.log_probs, strict=True):
            assert some == row[: len(some)].tolist() and np.isneginf(log_probs[len(some) :]).all()
            np.testing.assert_allclose(probs, np.exp(log_probs[: len(some)]), rtol=1e-6)


def test_a_batch_is_gathered_in_any_order(store: SoftLabelsStore) -> None:
    lines = np.array([4, 1])
    labels = np.full((2, 20), -100)
    for row, line in enumerate(lines):
        labels[row, : len(store[line - 1][0])] = store[line - 1][0]
    ids, log_probs = store.gather(lines, labels, 119)
    for row, line in enumerate(lines):
        one = store[line - 1][1]
        pad = np.exp(one.log_probs)[one.ids == 119].sum() > 0
        assert not pad, "choose other sentences: the pad symbol's mass is shared out"
        assert (ids[row, : len(one)] == one.ids).all()
        np.testing.assert_allclose(log_probs[row, : len(one)], one.log_probs, atol=1e-6)
        assert np.isneginf(log_probs[row, len(one) :]).all()
    labels[1, 0] += 1
    with pytest.raises(DataError, match=r"sentences.bin: line 1: its soft labels are of another target - make"):
        store.gather(lines, labels, 119)


def test_damage_names_the_line(store: SoftLabelsStore) -> None:
    data = bytearray((store.folder / "sentences.bin").read_bytes())
    data[-5] ^= 1
    (store.folder / "sentences.bin").write_bytes(data)
    damaged = SoftLabels.open(store.folder)
    assert damaged[0] == store[0]
    with pytest.raises(DataError, match=r"line 4: its checksum is wrong"):
        damaged.targets(np.array([1, 4]))
    with pytest.raises(DataError, match=r"sentences.bin: its SHA-256 is not that of"):
        damaged.verify()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"version": 2}, r"version 2 is not 1 - use the distilmt that wrote it"),
        ({"k": "8"}, "k is '8', expected int"),
        ({"k": 1025}, "its numbers are impossible"),
        ({"k": 0}, "its numbers are impossible"),
        ({"lines": -1}, "its numbers are impossible"),
        ({"lines": 6}, "index.bin: 48 bytes do not hold the 7 entries"),
        ({"bytes": 1}, "sentences.bin: .* bytes do not hold the 1 entries"),
        (None, "soft_labels.json: missing - name a folder of soft labels"),
    ],
)
def test_a_header_that_does_not_fit(store: SoftLabelsStore, change: Any, message: str) -> None:
    path = store.folder / "soft_labels.json"
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        SoftLabels.open(store.folder)


def test_an_unfinished_store_leaves_the_old_one(
    store: SoftLabelsStore, tiny_model_folder: Path, tmp_path: Path
) -> None:
    vocab = Vocab.train([f"wort {i} und {i * 3} mehr" for i in range(300)], 100, seed=3)
    save(lively_model(vocab), vocab, other := tmp_path / "other")
    with SoftLabelsWriter(store.folder, model=other, source="s", k=1) as writer:
        writer.append(encode([3], soft([[0.5]]), 0.0))
        assert Vocab.load(store.folder / "vocab").hash == store.vocab  # were it killed now
    assert SoftLabels.open(store.folder).hash == store.hash and not list(store.folder.glob(".*"))
    store.verify()
    vocab.save(store.folder / "vocab")
    with pytest.raises(DataError, match=r"vocab: it is not the vocabulary of soft_labels.json - make"):
        store.verify()
    with SoftLabelsWriter(store.folder, model=tiny_model_folder, source="s", k=1) as writer:
        writer.append(b"")
        writer.append(encode([3], soft([[0.5]]), 0.0))
        new = writer.finish("t")
    assert (len(new), new.source, new.target, new.tokens) == (2, "s", "t", 1) and new[1][0] == [3]
    assert new[1] == decode(new.blob(1)) and not list(store.folder.glob(".*"))
    new.verify()


def test_a_text_without_any_soft_labels(tmp_path: Path, tiny_model_folder: Path) -> None:
    with SoftLabelsWriter(tmp_path, model=tiny_model_folder, source="s", k=1) as writer:
        writer.append(b"")
        store = writer.finish("t")
    flat, lengths = store.targets(np.array([1]))
    assert flat.size == 0 and lengths.tolist() == [0] and store.bytes == 0


@pytest.mark.data
def test_size_and_error_on_real_text(shared: Path, tmp_path: Path) -> None:
    """At most 16 bytes a token at k = 8, everything counted; at k = 12 no sentence takes more than 32 a token."""
    translator = Translator(shared / "models/multi30k-de-en", threads=1)
    data = [str(shared / f"data/multi30k.val.{language}.gz") for language in ("de", "en")]
    text = load_corpus((data[0], data[1]))
    for part in (text.sources, text.targets, text.statuses):
        del part[300:]
    store = store_forced(text, translator, tmp_path / "8", k=8, floor=0.001)
    files = ("soft_labels.json", "index.bin", "sentences.bin")
    assert sum((store.folder / name).stat().st_size for name in files) <= 16 * store.tokens
    scored = translator.score(text.sources, text.targets, soft_labels=8)
    assert max(total_variation(s.soft_labels, store[i][1]) for i, s in enumerate(scored) if s.soft_labels) < 1e-3
    largest = store_forced(text, translator, tmp_path / "12", k=12, floor=0.001)
    assert max((len(largest.blob(i)) + 8) / len(largest[i][0]) for i in range(len(largest))) <= 32
