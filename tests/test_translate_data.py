"""The translator on a trained model and real text, against `generate` (the whole test set: benchmarks/parity_translate.py)."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from distilmt import models
from distilmt.translate import Translator
from distilmt.vocab import Vocab
from marian import compare

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def lines(shared: Path) -> list[str]:
    with gzip.open(shared / "data" / "multi30k.test_2016_flickr.de.gz", "rt", encoding="utf-8") as file:
        return file.read().splitlines()


@pytest.mark.parametrize(("beam_size", "count"), [(1, 40), (4, 40), (12, 15)])
def test_real_sentences_as_generate(shared: Path, lines: list[str], beam_size: int, count: int) -> None:
    folder = shared / "models" / "multi30k-de-en"
    model = models.load(folder)
    model.generation_config.max_length = None
    translator = Translator(folder, compute_type="float32", threads=2)
    parity = compare(
        translator, model, Vocab.load(folder).encode_source(lines[:count]), beam_size=beam_size, max_length=60
    )
    assert parity.identical >= count - 1
    assert parity.worst_score < 1e-5


def test_text_in_text_out(shared: Path, lines: list[str]) -> None:
    translator = Translator(shared / "models" / "multi30k-de-en", compute_type="float32", threads=2)
    texts = [lines[0], "", " \u200b\t", "Hund " * 200, lines[1]]
    found = translator.translate(texts, beam_size=4, n_best=2)
    assert [t.status for t in found] == ["ok", "empty_source", "empty_source", "too_long", "ok"]
    assert found[0].text.startswith("A man in an orange hat ")
    assert [t.text for t in found[1:4]] == ["", "", ""]
    assert found[0].hypotheses[1].text and found[0].hypotheses[1].text != found[0].text
    scored = translator.score([lines[0]], [found[0].text])[0]
    assert scored.status == "ok" and scored.score > translator.score([lines[0]], ["A bottle of milk."])[0].score


def test_text_prefixes_and_samples(shared: Path, lines: list[str]) -> None:
    translator = Translator(shared / "models" / "multi30k-de-en", compute_type="float32", threads=2)
    prefixes = ["", "Someone with", "A man"]
    found = translator.translate(lines[:3], prefixes=prefixes, beam_size=4)
    assert [t.text.startswith(prefix) for t, prefix in zip(found, prefixes, strict=True)] == [True] * 3
    assert found[0] == translator.translate(lines[:1], beam_size=4)[0]
    samples = translator.translate(lines[:3], sample=True, n_best=6, top_p=0.9)
    assert all(len({h.text for h in t.hypotheses}) > 1 for t in samples)
