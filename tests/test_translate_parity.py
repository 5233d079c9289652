"""The translator against Hugging Face `generate` at batch size 1, on random models of many shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distilmt.translate import Translator
from marian import compare, forced_logits, random_model, random_sources

TIED: dict[str, Any] = {"seed": 1, "std": 0.5, "end_bias": 6.0}
MODELS: dict[str, dict[str, Any]] = {
    "relu-tied": TIED,
    "gelu-odd": {
        "seed": 1, "std": 0.3, "end_bias": 2.0, "vocab": 131, "d_model": 20, "encoder_attention_heads": 5,
        "decoder_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 3, "encoder_ffn_dim": 37,
        "decoder_ffn_dim": 70, "activation_function": "gelu",
    },
    "swish-untied": {
        "seed": 3, "std": 0.8, "end_bias": 0.0, "d_model": 64, "encoder_layers": 3, "decoder_layers": 1,
        "activation_function": "swish", "tie_word_embeddings": False, "scale_embedding": False,
    },
    "two-vocabularies": {
        "seed": 2, "std": 0.3, "end_bias": 2.0, "vocab": 91, "target_vocab": 59, "d_model": 16,
        "decoder_attention_heads": 2,
    },
}  # fmt: skip

SETTINGS: list[dict[str, Any]] = [
    {"beam_size": 1},
    {"beam_size": 4},
    {"beam_size": 4, "n_best": 4, "length_penalty": 0.0, "early_stopping": True},
    {"beam_size": 4, "n_best": 2, "length_penalty": 1.7, "early_stopping": "never"},
    {"beam_size": 3, "n_best": 3, "length_penalty": -0.8, "early_stopping": "never"},
    {"beam_size": 12, "length_penalty": 0.6},
    {"beam_size": 12, "n_best": 12, "early_stopping": True, "length_penalty": 2.0},
    {"beam_size": 5, "n_best": 5, "min_length": 6, "max_length": 9},
]


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Translator, int]:
    options = MODELS[request.param]
    model = random_model(**options)
    return model, Translator.of(model, compute_type="float32", threads=1), options.get("vocab", 67)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(f"{k}={v}" for k, v in s.items()))
def test_same_as_generate(pair: tuple[Any, Translator, int], settings: dict[str, Any]) -> None:
    model, translator, vocab = pair
    parity = compare(translator, model, random_sources(8, vocab=vocab), **{"max_length": 14, **settings})
    assert parity.worst_score < 1e-4


def test_ties_go_to_the_lower_id() -> None:
    model = random_model(**MODELS["swish-untied"])
    with torch.no_grad():
        for low in range(5, 60, 2):  # pairs of words that nothing distinguishes
            for table in (model.lm_head.weight, model.model.decoder.embed_tokens.weight):
                table[low + 1] = table[low]
            model.final_logits_bias[0, low + 1] = model.final_logits_bias[0, low]
    translator = Translator.of(model, compute_type="float32", threads=1)
    sources = random_sources(8)
    words = [i for t in translator.translate_ids(sources, beam_size=1, max_length=14) for i in t.hypotheses[0].ids]
    assert any(5 <= i < 61 and i % 2 for i in words)
    assert not any(5 <= i < 61 and i % 2 == 0 for i in words)
    assert compare(
        translator, model, sources, beam_size=4, n_best=4, max_length=14
    ).margins  # torch breaks ties its way


def with_generation(**settings: Any) -> tuple[Any, Translator]:
    model = random_model(**TIED)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    return model, Translator.of(model, compute_type="float32", threads=1)


@pytest.mark.parametrize(
    "own",
    [
        {"forced_eos_token_id": 0},
        {"forced_bos_token_id": 7},
        {"forced_bos_token_id": 0},
        {"renormalize_logits": True, "bad_words_ids": [[66], [3], [4], [5], [0]]},
        {"suppress_tokens": [8, 9, 10]},
        {"forced_eos_token_id": 0, "renormalize_logits": True, "forced_bos_token_id": 11},
    ],
    ids=str,
)
def test_own_settings_of_the_model(own: dict[str, Any]) -> None:
    model, translator = with_generation(**own)
    for settings in ({"beam_size": 1}, {"beam_size": 4, "n_best": 4 if "forced_bos_token_id" not in own else 1}):
        compare(translator, model, random_sources(4), max_length=7, **settings)


def test_an_end_that_is_forced_is_a_cut() -> None:
    free, forced = with_generation()[1], with_generation(forced_eos_token_id=0)[1]
    sources = random_sources(20)
    for beam_size in (1, 4):
        own = free.translate_ids(sources, beam_size=beam_size, max_length=40)
        cut = forced.translate_ids(sources, beam_size=beam_size, max_length=5)
        for whole, part in zip(own, cut, strict=True):
            assert (part.status == "max_length") == (len(part.hypotheses[0].log_probs) == 5)
            assert part.status == "max_length" or part.hypotheses[0].ids == whole.hypotheses[0].ids
        assert {t.status for t in cut} >= {"max_length"}


def test_renormalised_without_the_end_symbol() -> None:
    model, translator = with_generation(renormalize_logits=True)
    parity = compare(translator, model, random_sources(6), beam_size=4, min_length=5, max_length=9)
    assert parity.worst_score < 1e-4


def test_vocabulary_smaller_than_the_beam() -> None:
    """Fewer than beam_size continuations exist at first: the best hypothesis must still be the truth's."""
    model = random_model(**TIED, vocab=5)
    translator = Translator.of(model, compute_type="float32", threads=1)
    compare(translator, model, random_sources(5, vocab=5, longest=4), beam_size=4, max_length=6)


def test_log_probs_are_the_models_and_sum_to_the_score() -> None:
    model = random_model(**MODELS["gelu-odd"])
    translator = Translator.of(model, compute_type="float32", threads=1)
    sources = random_sources(5)
    for source, translation in zip(sources, translator.translate_ids(sources, beam_size=4, max_length=12), strict=True):
        best = translation.hypotheses[0]
        log_probs = forced_logits(model, source, best.ids).log_softmax(-1)
        tokens = [*best.ids, 0][: len(best.log_probs)]
        expected = log_probs[torch.arange(len(tokens)), torch.tensor(tokens)]
        torch.testing.assert_close(torch.tensor(best.log_probs), expected, atol=2e-5, rtol=0)
        assert best.score == pytest.approx(sum(best.log_probs) / len(best.log_probs), abs=1e-6)
        assert (translation.status in ("max_length", "repetition")) == (len(best.log_probs) == len(best.ids))


def test_scores_of_given_targets() -> None:
    model = random_model(**MODELS["two-vocabularies"])
    translator = Translator.of(model, compute_type="float32", threads=1)
    sources, targets = random_sources(6, vocab=91), random_sources(6, vocab=59, seed=2)
    for source, target, scored in zip(
        sources, targets, translator.score_ids(sources, targets, length_penalty=0.0), strict=True
    ):
        expected = forced_logits(model, source, target).log_softmax(-1)[
            torch.arange(len(target) + 1), torch.tensor([*target, 0])
        ]
        torch.testing.assert_close(torch.tensor(scored.log_probs), expected, atol=3e-5, rtol=0)
        assert scored.score == pytest.approx(float(expected.sum()), abs=2e-4)
        assert scored.status == "ok"


def test_scoring_a_translation_gives_its_own_log_probs_to_the_bit() -> None:
    model = random_model(**MODELS["swish-untied"])
    translator = Translator.of(model, compute_type="float32", threads=2)
    sources = random_sources(12)
    found = [t.hypotheses[0] for t in translator.translate_ids(sources, beam_size=4, max_length=30)]
    ended = [i for i, h in enumerate(found) if len(h.log_probs) > len(h.ids)]
    assert len(ended) > 3
    scored = translator.score_ids([sources[i] for i in ended], [found[i].ids for i in ended])
    assert [s.log_probs for s in scored] == [found[i].log_probs for i in ended]
    assert [s.score for s in scored] == [found[i].score for i in ended]
