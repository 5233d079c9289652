"""Texts and languages of families other than Marian: tiny tokenizers made on the spot, `generate` as the truth."""

from __future__ import annotations

import io
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from tokenizers import pre_tokenizers
from transformers import (
    AutoTokenizer,
    BartTokenizer,
    MarianMTModel,
    MBart50Tokenizer,
    MBartTokenizer,
    NllbTokenizer,
    T5Tokenizer,
)

from distilmt.errors import ConfigError, DataError
from distilmt.translate import Translator
from distilmt.vocab import Vocab
from marian import random_model
from opus import opus_folder
from test_translate_families import random_family
from test_translate_transformers import random_t5

SYMBOLS = ["<s>", "<pad>", "</s>", "<unk>"]
LETTERS = ["\u2581", *"abcdefghijklmnopqrstuvwxyz"]
UNIGRAM = [*((symbol, 0.0) for symbol in SYMBOLS), *((letter, -2.0) for letter in LETTERS)]
TEXTS = ["the dog runs", "a cat", "", "big green house and   tree", " \u200b ", "sees </s> <pad> it"]


def write_m2m100(folder: Path) -> None:
    """As on the hub: vocab.json and a SentencePiece model, whose ids differ."""
    rng = random.Random(1)
    words = ["the", "a", "dog", "cat", "runs", "eats", "sees", "house", "tree", "green", "big", "and", "it"]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" ".join(rng.choices(words, k=8)) for _ in range(200)), model_writer=model,
        vocab_size=60, model_type="bpe", hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (folder / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(i) for i in range(3, processor.get_piece_size())]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate([*SYMBOLS, *pieces])}))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "M2M100Tokenizer"}')


def write_with_codes(kind: Any, folder: Path) -> None:
    codes = kind(vocab=None).lang_code_to_id
    kind(vocab=[*UNIGRAM, *((code, 0.0) for code in codes), ("<mask>", 0.0)]).save_pretrained(folder)


def write_nllb(folder: Path, legacy_behaviour: bool = False) -> None:
    NllbTokenizer(
        vocab={piece: i for i, (piece, _) in enumerate(UNIGRAM)}, merges=[], legacy_behaviour=legacy_behaviour
    ).save_pretrained(folder)


def write_bart(folder: Path) -> None:
    pieces = [*SYMBOLS, *sorted(pre_tokenizers.ByteLevel.alphabet()), "<mask>"]
    BartTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]).save_pretrained(folder)


# family, tokenizer, source and target language, how the decoder is told of it
KINDS: dict[str, tuple[str, Any, str | None, str | None]] = {
    "m2m100": ("m2m_100", write_m2m100, "de", "fr"),
    "nllb": ("m2m_100", write_nllb, "deu_Latn", "fra_Latn"),
    "nllb-legacy": ("m2m_100", lambda folder: write_nllb(folder, True), "deu_Latn", "fra_Latn"),
    "mbart-50": ("mbart", lambda folder: write_with_codes(MBart50Tokenizer, folder), "de_DE", "fr_XX"),
    "mbart": ("mbart", lambda folder: write_with_codes(MBartTokenizer, folder), "de_DE", "ro_RO"),
    "bart": ("bart", write_bart, None, None),
}


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp(request.param)
    family, write, *_ = KINDS[request.param]
    model = random_family(family, vocab_size=270)
    if family == "bart":
        model.generation_config.forced_bos_token_id = 0
    model.save_pretrained(path)
    write(path)
    return path, request.param


def truth(path: Path, kind: str, text: str) -> tuple[list[int], str]:
    """What a user of transformers gets: tokens, and their text."""
    family, _, source, target = KINDS[kind]
    tokenizer = AutoTokenizer.from_pretrained(path, **({"src_lang": source, "tgt_lang": target} if source else {}))
    model = random_family(family, vocab_size=270)
    asked = {}
    if target:
        tag = tokenizer.convert_tokens_to_ids("__fr__" if kind == "m2m100" else target)
        asked = {"decoder_start_token_id" if kind == "mbart" else "forced_bos_token_id": tag}
    elif kind == "bart":
        asked = {"forced_bos_token_id": 0}
    with torch.no_grad():
        row = model.generate(**tokenizer(text, return_tensors="pt"), num_beams=3, max_new_tokens=9, **asked)[0].tolist()
    ids = row[1 : row.index(2, 1)] if 2 in row[1:] else row[1:]
    return ids, tokenizer.decode(ids, skip_special_tokens=True)


def test_texts_are_translated_as_by_transformers(folder: tuple[Path, str]) -> None:
    path, kind = folder
    _, _, source, target = KINDS[kind]
    options: dict[str, Any] = {"source_language": source, "target_language": target}
    native, other = (
        Translator(path, compute_type="float32", **options),
        Translator(path, engine="transformers", slots=2, **options),
    )
    settings: dict[str, Any] = {"beam_size": 3, "max_length": 9}
    found = native.translate(TEXTS, **settings)
    assert [t.status == "empty_source" for t in found] == [False, False, True, False, True, False]
    for text, translation in list(zip(TEXTS, found, strict=True))[:2]:
        ids, expected = truth(path, kind, text)
        assert translation.hypotheses[0].ids == ids
        if kind != "m2m100":  # whose tokenizer, without its list of additional symbols, writes the tag into the text
            assert translation.text == expected
        assert "__" not in translation.text and "_" not in translation.text
    again = other.translate(TEXTS, **settings)
    assert [(t.text, t.status) for t in again] == [(t.text, t.status) for t in found]
    # From ids, the same.
    ids = native.vocab.encode_source(TEXTS[:2])
    assert [t.hypotheses[0].ids for t in native.translate_ids(ids, **settings)] == [
        t.hypotheses[0].ids for t in found[:2]
    ]
    # No text becomes a symbol.
    assert not {0, 1, 2} & set(native.vocab.encode_source(["sees </s> <pad> <s> it"])[0])


def test_scores_of_texts(folder: tuple[Path, str]) -> None:
    path, kind = folder
    family, _, source, target = KINDS[kind]
    translator = Translator(path, source_language=source, target_language=target, compute_type="float32")
    scored = translator.score(["the dog"], ["a cat"])[0]
    tokenizer = AutoTokenizer.from_pretrained(path, **({"src_lang": source, "tgt_lang": target} if source else {}))
    labels = tokenizer(text_target="a cat")["input_ids"]
    start = 2
    if kind == "mbart":  # its labels end with the tag, where its decoder starts
        start = labels.pop()
    elif kind == "nllb-legacy":
        labels.insert(0, labels.pop())
    with torch.no_grad():
        logits = random_family(family, vocab_size=270)(
            **tokenizer("the dog", return_tensors="pt"), decoder_input_ids=torch.tensor([[start, *labels[:-1]]])
        ).logits[0]
    expected = logits.log_softmax(-1)[torch.arange(len(labels)), torch.tensor(labels)]
    torch.testing.assert_close(torch.tensor(scored.log_probs), expected, atol=5e-5, rtol=0)


def test_languages_are_asked_for_and_known(folder: tuple[Path, str]) -> None:
    path, kind = folder
    _, _, source, target = KINDS[kind]
    if source is None:
        with pytest.raises(ConfigError, match=r"target_language: .* has no language tags, got 'de' - leave it out"):
            Translator(path, target_language="de")
        return
    known = re.escape(target or "")
    with pytest.raises(ConfigError, match=f"source_language: none was given - this model knows .*{known}"):
        Translator(path).translate(["the dog"])
    with pytest.raises(ConfigError, match=f"source_language: none was given .*{known}"):
        Translator(path, target_language=target)
    with pytest.raises(ConfigError, match=f"target_language: none was given .*{known}"):
        Translator(path, source_language=source)
    with pytest.raises(ConfigError, match=f"target_language: got 'klingon' - this model knows .*{known}"):
        Translator(path, source_language=source, target_language="klingon")
    ids = [
        Translator(path, compute_type="float32", threads=1),
        Translator(path, source_language=source, target_language=target, compute_type="float32", threads=1),
    ]
    assert ids[0].translate_ids([[5, 6]], max_length=3) != ids[1].translate_ids([[5, 6]], max_length=3)


def test_long_texts_are_split_between_words(folder: tuple[Path, str]) -> None:
    path, kind = folder
    _, _, source, target = KINDS[kind]
    translator = Translator(path, source_language=source, target_language=target, compute_type="float32", threads=1)
    long = " ".join(["house"] * 60)
    statuses = [
        translator.translate([long], beam_size=1, max_length=5, too_long=policy)[0].status
        for policy in ("skip", "truncate")
    ]
    assert statuses[0] == "too_long" and statuses[1] in ("truncated", "max_length")
    assert translator.vocab.word_starts
    assert translator.translate([long], beam_size=1, max_length=5, too_long="split")[0].hypotheses[0].ids


def test_an_empty_prefix_is_none(folder: tuple[Path, str]) -> None:
    path, kind = folder
    _, _, source, target = KINDS[kind]
    translator = Translator(path, source_language=source, target_language=target, compute_type="float32", threads=1)
    settings: dict[str, Any] = {"beam_size": 2, "max_length": 6}
    assert translator.translate(TEXTS[:2], prefixes=["", ""], **settings) == translator.translate(TEXTS[:2], **settings)


def test_an_ensemble_of_a_model_with_itself_is_the_model(folder: tuple[Path, str]) -> None:
    path, kind = folder
    _, _, source, target = KINDS[kind]
    options: dict[str, Any] = {"source_language": source, "target_language": target}
    settings: dict[str, Any] = {"beam_size": 2, "max_length": 6}
    alone, twice = (
        Translator(path, **options),
        Translator([path, path], **options),
    )
    texts = [[t.text for t in each.translate(TEXTS[:2], **settings)] for each in (alone, twice)]
    assert texts[0] == texts[1]


def test_t5_translates_texts(tmp_path: Path) -> None:
    random_t5().save_pretrained(tmp_path)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -2.0) for letter in LETTERS)]
    T5Tokenizer(vocab=pieces, extra_ids=0).save_pretrained(tmp_path)
    found = Translator(tmp_path, engine="transformers").translate(["the dog", ""], beam_size=2, max_length=8)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = random_t5()
    row = model.generate(**tokenizer("the dog", return_tensors="pt"), num_beams=2, max_new_tokens=8)[0]
    assert found[0].text == tokenizer.decode(row, skip_special_tokens=True) and found[1].status == "empty_source"


@pytest.mark.parametrize("kind", ["m2m100", "nllb"])
def test_damaged_tokenizers(tmp_path: Path, kind: str) -> None:
    _, write, source, target = KINDS[kind]
    options: dict[str, Any] = {"source_language": source, "target_language": target}
    random_family("m2m_100").save_pretrained(tmp_path)
    with pytest.raises(DataError, match="transformers cannot load its tokenizer"):
        Translator(tmp_path, compute_type="float32", **options)
    write(tmp_path)
    with pytest.raises(DataError, match=r"the model has 67 ids, its tokenizer \d+ - copy model and tokenizer together"):
        Translator(tmp_path, compute_type="float32", **options)
    random_family("m2m_100", vocab_size=270).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="lone surrogate"):
        Translator(tmp_path, compute_type="float32", **options).translate(["a \ud800 b"])
    if kind == "m2m100":
        (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\x0a\xff\xff\xff\xff")
        with pytest.raises(DataError, match=r"sentencepiece\.bpe\.model"):
            Translator(tmp_path, compute_type="float32", **options)


def test_a_multilingual_marian_takes_a_target_language(tmp_path: Path) -> None:
    folder = opus_folder(tmp_path / "model", separate=False)
    vocab = Vocab.load(folder)
    random_model(seed=1, std=0.5, end_bias=2.0, vocab=vocab.size).save_pretrained(folder)
    settings: dict[str, Any] = {"beam_size": 2, "max_length": 9}
    found = Translator(folder, target_language="fra", compute_type="float32", threads=1).translate(
        ["der hund"], **settings
    )[0]
    held = Translator.of(MarianMTModel.from_pretrained(folder), vocab, target_language="fra", compute_type="float32")
    assert held.translate(["der hund"], **settings)[0] == found
    tagged = vocab.encode_source(["der hund"], tag=">>fra<<")
    assert tagged != vocab.encode_source(["der hund"])
    assert found.hypotheses[0].ids == Translator(folder).translate_ids(tagged, **settings)[0].hypotheses[0].ids
    with pytest.raises(ConfigError, match="source_language: a Marian model takes none"):
        Translator(folder, source_language="deu")
    with pytest.raises(ConfigError, match=r">>eng<< is none of .* choose of: >>deu<<, >>fra<<"):
        Translator(folder, target_language="eng")
