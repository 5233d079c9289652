"""Bad vocabularies, numbered as in the list of faults (C3): broken models (22), files that disagree (23), strangers (24)."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from distilmt.errors import DataError
from distilmt.vocab import Vocab, require_same, vocabulary_problems
from distilmt.vocabulary import spm
from opus import opus_folder, sentences


@pytest.fixture(scope="module")
def vocab() -> Vocab:
    """Of 120 ids, in files that this package writes."""
    return Vocab.train(sentences("de") + sentences("en"), 120)


def spm_of(language: str) -> bytes:
    return spm.train_spm(
        sentences(language), 60, model_type="bpe", threads=1, character_coverage=1.0, byte_fallback=False
    )


def protobuf(*pieces: str) -> bytes:
    """A SentencePiece ModelProto of these pieces, by hand."""

    def field(number: int, data: bytes) -> bytes:
        size, length = len(data), b""
        while size > 127:
            size, length = size >> 7, length + bytes([size & 127 | 128])
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    kinds = {"<unk>": 2, "</s>": 3, "<s>": 3}
    return b"".join(
        field(1, field(1, piece.encode()) + b"\x15" + struct.pack("<f", -1.0) + bytes([0x18, kinds.get(piece, 1)]))
        for piece in pieces
    )


def test_case_22_no_model_lets_text_spell_symbols(tmp_path: Path, vocab: Vocab) -> None:
    pieces = ["</s>", "<unk>", "\u2581", "a", "<pad>"]  # here <pad> is an ordinary piece
    vocab.save(tmp_path)
    for side in ("source", "target"):
        (tmp_path / f"{side}.spm").write_bytes(protobuf(*pieces))
    (tmp_path / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    assert vocabulary_problems(tmp_path) == []
    assert Vocab.load(tmp_path).encode_source(["a<pad>"]) == [[2, 3, 1]]


def broken_models() -> dict[str, bytes]:
    good = spm_of("de")
    rng = random.Random(1)
    flipped = bytearray(good)
    for _ in range(200):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return {
        "empty": b"",
        "text": b"this is no model\n" * 100,
        "truncated": good[: len(good) // 2],
        "flipped": bytes(flipped),
        "long piece": protobuf("</s>", "<unk>", "x" * 300_000, "a"),
        "NUL piece": protobuf("</s>", "<unk>", "a\0b", "a"),
        "empty piece": protobuf("</s>", "<unk>", "", "a"),
        "no unk": protobuf("a", "b"),
    }


@pytest.mark.parametrize("kind", broken_models())
def test_case_22_broken_model_is_refused(tmp_path: Path, vocab: Vocab, kind: str) -> None:
    vocab.save(tmp_path)
    (tmp_path / "source.spm").write_bytes(broken_models()[kind])
    with pytest.raises(
        DataError, match=rf"source.spm: .*(SentencePiece {sentencepiece.__version__} cannot use|0 bytes)"
    ):
        Vocab.load(tmp_path)


@pytest.mark.parametrize(
    "probe, message", [("import os; os.abort()", "crashed a child"), ("while True: pass", "not loaded")]
)
def test_case_22_probe_survives_its_model(
    tmp_path: Path, vocab: Vocab, monkeypatch: pytest.MonkeyPatch, probe: str, message: str
) -> None:
    vocab.save(tmp_path)
    monkeypatch.setattr(spm, "PROBE", probe)
    monkeypatch.setattr(spm, "PROBE_SECONDS", 1)
    monkeypatch.setattr(spm, "_probed", {})
    with pytest.raises(DataError, match=message):
        spm.load_spm(tmp_path / "source.spm")


def swap(pieces: dict[str, Any], first: int, second: int) -> dict[str, Any]:
    return {piece: {first: second, second: first}.get(index, index) for piece, index in pieces.items()}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: json.dumps(p | {"<pad>": 500}), r"ids missing below 500: 119, 120"),
        (lambda p: json.dumps({k: 7 if i == 9 else i for k, i in p.items()}), r"ids used twice: 7"),
        (lambda p: json.dumps({k: 7 if i == 9 else i for k, i in p.items()}), r"1 ids missing below 119: 9"),
        (lambda p: json.dumps(swap(p, 50, 119)), r"<pad> has id 50, expected the last, 119"),
        (lambda p: json.dumps(swap(p, 5, 6)), r"source.spm and vocab.json disagree on 2 ids: 5, 6"),
        (lambda p: json.dumps(swap(p, 0, 6)), r"</s> has id 6, expected 0"),
        (lambda p: json.dumps({k: i for k, i in p.items() if k != "<unk>"}), r"no piece <unk>, expected at id 1"),
        (lambda p: json.dumps(p | {"<pad>": "119"}), r"no whole numbers from 0: '<pad>' '119'"),
        (lambda p: json.dumps(p | {"<pad>": 1 << 62}), r"ids missing below 4611686018427387904"),
        (lambda p: json.dumps(p)[:-1] + ', "</s>": 0}', r"keys given twice: '</s>'"),
        (lambda p: json.dumps(p)[:-5], r"vocab.json: not JSON"),
        (lambda p: "[" * 100_000, r"vocab.json: not JSON"),
        (lambda p: "[]", r"expected an object"),
    ],
)  # fmt: skip
def test_case_23_files_that_disagree(
    tmp_path: Path, vocab: Vocab, change: Callable[[dict[str, Any]], str], message: str
) -> None:
    vocab.save(tmp_path)
    path = tmp_path / "vocab.json"
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(DataError, match="vocab"):
        Vocab.load(tmp_path)
    assert any(re.search(message, problem) for problem in vocabulary_problems(tmp_path))


def test_case_23_missing_files_and_strange_models(tmp_path: Path, vocab: Vocab, tiny_vocab: Vocab) -> None:
    vocab.save(tmp_path / "a")
    (tmp_path / "a" / "vocab.json").unlink()
    (tmp_path / "a" / "target.spm").unlink()
    problems = vocabulary_problems(tmp_path / "a")
    assert len(problems) == 2 and "vocab.json: cannot be read" in problems[0] and "target.spm: cannot" in problems[1]
    folder = opus_folder(tmp_path / "opus", separate=False)
    tiny_vocab.save(tmp_path / "b")
    shutil.copy(folder / "source.spm", tmp_path / "b" / "source.spm")  # made from other text
    assert "lacks" in vocabulary_problems(tmp_path / "b")[0]


def test_case_24_vocabularies_are_compared_by_hash(vocab: Vocab) -> None:
    require_same(vocab, vocab)
    other = Vocab.train(sentences("en") + sentences("de", seed=2), vocab.size)
    with pytest.raises(DataError, match=r"first difference is id \d+.*--method seq-kd"):
        require_same(other, vocab)
    with pytest.raises(DataError, match="100 and 120 ids"):
        require_same(Vocab.train(sentences("de") + sentences("en"), 100), vocab)
