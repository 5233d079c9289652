"""Vocabularies: layout, OPUS-MT folders, parity with MarianTokenizer, sizes and training text."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from distilmt.corpus import read_lines
from distilmt.errors import ConfigError, DataError
from distilmt.vocab import Vocab, vocabulary_problems
from opus import opus_folder, sentences


def marian_tokenizer(folder: Path) -> Any:
    from transformers import MarianTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sacremoses recommended; without it no text is normalised, as by us
        return MarianTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_layout_and_determinism(tmp_path: Path, model_type: Any) -> None:
    text = sentences("de") + sentences("en") + ["x <pad> </s> <unk>"] * 50
    vocab = Vocab.train(text, 100, model_type=model_type, source_lang="de", target_lang="en", model_max_length=128)
    assert (vocab.size, vocab.eos_id, vocab.unk_id, vocab.pad_id) == (100, 0, 1, 99)
    assert vocab.hash == Vocab.train(iter(text), 100, model_type=model_type).hash
    assert vocab.hash != Vocab.train(text, 101, model_type=model_type).hash
    vocab.save(tmp_path / "a" / "b")
    pieces = json.loads((tmp_path / "a" / "b" / "vocab.json").read_text())
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "a" / "b" / "source.spm"))
    assert pieces == {model.id_to_piece(i): i for i in range(100)}  # ids of both are the same
    assert [pieces[piece] for piece in ("</s>", "<unk>", "<pad>")] == [0, 1, 99]
    again = Vocab.load(tmp_path / "a" / "b")
    assert (again.hash, again.source_lang, again.model_max_length) == (vocab.hash, "de", 128)
    again.save(tmp_path / "c")
    assert Vocab.load(tmp_path / "c").hash == vocab.hash
    assert vocabulary_problems(tmp_path / "c") == []


def test_text_round_trip_and_threads(tiny_vocab: Vocab) -> None:
    lines = [f"the dog sees {i} garden ." for i in range(500)] + ["", " ", "the\u00a0 dog"]
    ids = tiny_vocab.encode_source(lines)
    assert ids == tiny_vocab.encode_target(lines) == [tiny_vocab.encode_source([line])[0] for line in lines]
    assert tiny_vocab.decode(ids) == [*lines[:500], "", "", "the dog"]
    assert tiny_vocab.decode([[0, *ids[0], tiny_vocab.pad_id, 1], []]) == [lines[0], ""]  # symbols are dropped
    assert all(0 < i < tiny_vocab.pad_id for row in ids for i in row)
    assert tiny_vocab.encode_source([]) == tiny_vocab.decode([]) == []
    starts = [i for i in ids[0] if i in tiny_vocab.word_starts]
    assert len(starts) == len(lines[0].split())
    with pytest.raises(ValueError, match=f"ids must lie in 0 .. {tiny_vocab.size - 1}, got 5 .. {tiny_vocab.size}"):
        tiny_vocab.decode([[5, tiny_vocab.size]])


@pytest.mark.parametrize("separate", [False, True])
def test_opus_folder_as_marian_tokenizer_reads_it(tmp_path: Path, separate: bool) -> None:
    folder = opus_folder(tmp_path / "opus", separate=separate)
    vocab, tokenizer = Vocab.load(folder), marian_tokenizer(folder)
    source, target = sentences("de", 200, seed=2), sentences("en", 200, seed=2)
    source += ["漢字 Hund", "a \U00010348 b", "Ünicode Ω"]
    assert vocab.encode_source(source) == [ids[:-1] for ids in tokenizer(source).input_ids]
    target_ids = vocab.encode_target(target)
    assert target_ids == [ids[:-1] for ids in tokenizer(text_target=target).input_ids]
    assert vocab.decode(target_ids) == tokenizer.batch_decode(target_ids, skip_special_tokens=True)
    assert vocab.separate == separate and vocab.model_max_length == 99
    vocab.save(tmp_path / "saved")
    assert Vocab.load(tmp_path / "saved").hash == vocab.hash
    assert marian_tokenizer(tmp_path / "saved")(source).input_ids == tokenizer(source).input_ids


def test_symbols_and_tags_in_text_stay_text(tmp_path: Path) -> None:
    vocab = Vocab.load(opus_folder(tmp_path / "opus", separate=False))
    (ids,) = vocab.encode_source([">>fra<< </s> <pad> <unk> Hund"])  # none of < > / is known to the model
    assert not {0, vocab.pad_id, *vocab.source.tags.values()} & set(ids)
    (plain,) = vocab.encode_source(["der Hund"])
    assert vocab.encode_source(["der Hund"], tag=">>fra<<") == [[3, *plain]]
    with pytest.raises(ConfigError, match=r"tag: >>eng<< is none .* choose of: >>deu<<, >>fra<<"):
        vocab.encode_source(["x"], tag=">>eng<<")


@pytest.mark.data
def test_shared_teacher_as_marian_tokenizer_reads_it(shared: Path) -> None:
    folder = shared / "models" / "multi30k-de-en"
    vocab, tokenizer = Vocab.load(folder), marian_tokenizer(folder)
    for name in ("multi30k.test_2016_flickr", "newstest2014", "mlqe-pe.test"):
        lines = [line.text for line in read_lines(shared / "data" / f"{name}.de.gz")]
        ids = vocab.encode_source(lines)
        assert ids == [row[:-1] for row in tokenizer(lines).input_ids]
        assert vocab.decode(ids) == tokenizer.batch_decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_size_must_suit_the_text(model_type: Any) -> None:
    text = sentences("en", 50)
    for asked, word in ((10, "fewer than the text's characters need"), (50_000, "supports at most")):
        with pytest.raises(ConfigError, match=word) as error:
            Vocab.train(text, asked, model_type=model_type)
        bound = int(str(error.value).replace(" or more", "").split()[-1])
        assert Vocab.train(text, bound, model_type=model_type).size == bound  # the size it offers is possible
        with pytest.raises(ConfigError):
            Vocab.train(text, bound + (1 if asked > bound else -1), model_type=model_type)


def test_training_text() -> None:
    long = " ".join(sentences("de", 2000))  # SentencePiece would leave it out, as longer than 4,192 bytes
    assert Vocab.train([long], 60).hash and Vocab.train(["ab" * 70_000], 8, model_type="bpe").size == 8
    known = Vocab.train(["a b c d e"] * 9 + ["q"], 12, model_type="bpe")
    assert known.encode_source(["q"])[0][-1] != known.unk_id
    sampled = [Vocab.train(sentences("de"), 50, max_lines=100, seed=seed).hash for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    for bad, message in (
        (["a\0b"], r"line 1 holds U\+0000"),
        (["a", "\ud800"], r"line 2 holds U\+D800"),
        ([""], "no text"),
    ):
        with pytest.raises(DataError, match=message):
            Vocab.train(bad, 50)
    for options in ({"model_type": "word"}, {"size": 3}):
        with pytest.raises(ConfigError):
            Vocab.train(["a b"], **({"size": 10} | options))  # type: ignore[arg-type]
