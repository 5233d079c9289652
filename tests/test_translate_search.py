"""Options of the search: against `generate` where it has them, else against CTranslate2 or a plain loop."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from conftest import lively_model
from distilmt import models
from distilmt.translate import Translator
from distilmt.vocab import Vocab
from marian import compare, random_model, random_sources
from plain_search import EOS, check_log_probs, distribution, plain_beam_search, search_model


@pytest.fixture(scope="module")
def model() -> Any:
    return search_model()


@pytest.fixture(scope="module")
def translator(model: Any) -> Translator:
    return Translator.of(model, compute_type="float32", threads=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.7},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2},
        {"no_repeat_ngram_size": 3, "repetition_penalty": 1.2, "min_length": 6},
    ],
    ids=str,
)
@pytest.mark.parametrize("beam_size", [1, 4, 12])
@pytest.mark.parametrize("prefixed", [False, True])
def test_penalties_and_prefixes_as_generate(
    model: Any, translator: Translator, beam_size: int, settings: dict[str, Any], prefixed: bool
) -> None:
    sources = random_sources(6)
    prefixes = random_sources(6, longest=4, seed=5) if prefixed else None
    n_best = min(beam_size, 4)
    parity = compare(
        translator, model, sources, prefixes, beam_size=beam_size, n_best=n_best, max_length=14, **settings
    )
    assert parity.worst_score < 1e-4
    plain = translator.translate_ids(sources, prefixes=prefixes, beam_size=beam_size, max_length=14)
    asked = translator.translate_ids(sources, prefixes=prefixes, beam_size=beam_size, max_length=14, **settings)
    assert plain != asked


@pytest.mark.parametrize("beam_size", [1, 5])
def test_prefixes_as_generate(model: Any, translator: Translator, beam_size: int) -> None:
    sources, prefixes = random_sources(8), [[], [7], [8, 9, 8, 9], [5] * 20, *random_sources(4, seed=7)]
    compare(translator, model, sources, prefixes, beam_size=beam_size, max_length=10, min_length=2)
    for prefix, translation in zip(
        prefixes, translator.translate_ids(sources, prefixes=prefixes, beam_size=beam_size, max_length=10), strict=True
    ):
        best = translation.hypotheses[0]
        assert best.ids[: len(prefix)] == prefix and best.log_probs[: len(prefix)] == [0.0] * len(prefix)
        generated = best.log_probs[len(prefix) :]
        assert len(generated) <= 10 and best.score == pytest.approx(sum(generated) / len(generated), abs=1e-6)


def test_a_prefix_leaves_fewer_positions(translator: Translator) -> None:
    sources = random_sources(3)
    long, full, over = translator.translate_ids(sources, prefixes=[[5] * 30, [5] * 39, [5] * 40], beam_size=2)
    assert len(long.hypotheses[0].log_probs) <= 40 and len(full.hypotheses[0].log_probs) == 40
    assert over.status == "too_long"


def test_the_models_own_penalties_hold_unless_others_are_asked_for(model: Any, translator: Translator) -> None:
    settings: dict[str, Any] = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}
    sources = random_sources(5)
    expected = translator.translate_ids(sources, beam_size=3, max_length=12, **settings)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    try:
        own = Translator.of(model, compute_type="float32", threads=1)
    finally:
        model.generation_config.repetition_penalty = model.generation_config.no_repeat_ngram_size = None
    assert own.translate_ids(sources, beam_size=3, max_length=12) == expected
    neutral = own.translate_ids(sources, beam_size=3, max_length=12, repetition_penalty=1.0, no_repeat_ngram_size=0)
    assert neutral == translator.translate_ids(sources, beam_size=3, max_length=12) != expected


@pytest.mark.parametrize("beam_size", [1, 4])
def test_renormalised_as_generate(beam_size: int) -> None:
    """Shares of what n-grams and min_length ban go to the rest, as do those of ids banned for good."""
    model = random_model(seed=1, std=0.5, end_bias=6.0)
    model.generation_config.renormalize_logits = True
    model.generation_config.bad_words_ids = [[66], [3], [4], [5]]
    translator = Translator.of(model, compute_type="float32", threads=1)
    parity = compare(
        translator, model, random_sources(6), beam_size=beam_size, n_best=beam_size, max_length=12, min_length=5,
        no_repeat_ngram_size=2,
    )  # fmt: skip
    assert parity.worst_score < 1e-4


def test_log_probs_are_the_models_under_a_penalty(model: Any, translator: Translator) -> None:
    for beam_size in (1, 4):
        for source in random_sources(4):
            found = translator.translate_ids([source], beam_size=beam_size, max_length=9, repetition_penalty=2.0)[0]
            check_log_probs(model, source, found.hypotheses[0])


@pytest.mark.parametrize(
    "settings",
    [
        {"length_penalty": 1.5},
        {"length_penalty": -1.0},
        {"length_penalty": 0.0},
        {"length_penalty": 0.9, "length_penalty_form": "gnmt"},
        {"length_penalty": -2.0, "length_penalty_form": "gnmt"},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_best", [1, 3])
def test_exact_stop_is_a_search_that_never_stops(
    model: Any, translator: Translator, settings: dict[str, Any], n_best: int
) -> None:
    def worth(total: float, ids: list[int]) -> float:
        gnmt = settings.get("length_penalty_form") == "gnmt"
        return float(total / (((5 + len(ids)) / 6) if gnmt else len(ids)) ** settings["length_penalty"])

    sources = random_sources(5)
    asked: dict[str, Any] = {"beam_size": 3, "n_best": n_best, "max_length": 10}
    for source, found in zip(
        sources, translator.translate_ids(sources, early_stopping="exact", **asked, **settings), strict=True
    ):
        truth = plain_beam_search(distribution(model, source), worth, eos=EOS, **asked)
        assert [h.ids for h in found.hypotheses] == [[i for i in ids if i != EOS] for ids, _ in truth]
        assert [h.score for h in found.hypotheses] == pytest.approx([score for _, score in truth], rel=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"coverage_penalty": 0.3},
        {"coverage_penalty": 2.0, "patience": 2.0},
        {"patience": 0.5},
        {"patience": 3.0},
        {"no_repeat_ngram_size": 2, "patience": 1.5},
    ],
    ids=str,
)
def test_as_ctranslate2(tiny_vocab: Vocab, tmp_path: Path, settings: dict[str, Any]) -> None:
    """One head, since CTranslate2 counts the coverage of the first alone."""
    ctranslate2 = pytest.importorskip("ctranslate2")
    model = lively_model(tiny_vocab, "2x2:32:64:1", seed=2)
    model.final_logits_bias[0, model.config.eos_token_id] = 2.0  # so that it ends
    model.generation_config.renormalize_logits = True  # CTranslate2 knows no pad that could take probability
    models.save(model, tiny_vocab, tmp_path / "model")
    ctranslate2.converters.TransformersConverter(str(tmp_path / "model")).convert(str(tmp_path / "converted"))
    theirs = ctranslate2.Translator(str(tmp_path / "converted"), compute_type="float32", intra_threads=1)
    tokens = {i: token for token, i in json.loads((tmp_path / "model" / "vocab.json").read_text()).items()}
    chance = random.Random(4)
    sources = [[chance.randrange(2, tiny_vocab.size - 1) for _ in range(chance.randint(1, 15))] for _ in range(30)]
    found = Translator(tmp_path / "model", compute_type="float32", threads=1).translate_ids(
        sources, beam_size=4, max_length=20, early_stopping=True, length_penalty=1.0, **settings
    )
    same = []
    for source, ours in zip(sources, found, strict=True):  # alone: its coverage in a batch is not that of the sentence
        truth = theirs.translate_batch(
            [[*(tokens[i] for i in source), tokens[model.config.eos_token_id]]], beam_size=4, max_decoding_length=20,
            min_decoding_length=0, length_penalty=1.0, return_scores=True, **settings,
        )[0]  # fmt: skip
        best = ours.hypotheses[0]
        near = best.score == pytest.approx(truth.scores[0], rel=1e-4)
        same.append(near and [tokens[i] for i in best.ids] == truth.hypotheses[0])
    assert sum(same) >= len(same) - 1
    assert sum(len(t.hypotheses[0].log_probs) > len(t.hypotheses[0].ids) for t in found) > 5  # these end
