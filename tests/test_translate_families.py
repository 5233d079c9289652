"""Every family of models against Hugging Face `generate` at batch size 1, on random models of many shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from distilmt.errors import ConfigError, DataError
from distilmt.translate import Translator
from distilmt.translator.families import FAMILIES
from marian import compare, forced_logits, random_sources

BOS, PAD, EOS = 0, 1, 2
EXACT: dict[str, Any] = {"threads": 1, "compute_type": "float32"}
OTHERS = [name for name in FAMILIES if name != "marian"]


def random_family(family: str, *, seed: int = 1, std: float = 0.3, end_bias: float = 1.5, **config: Any) -> Any:
    """A model of a family with large random weights, norms and biases; its symbols have the ids that fairseq gives."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": 67, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 40,
        "init_std": std, "bos_token_id": BOS, "pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": EOS,
    }  # fmt: skip
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(family, **{**shape, **config})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
        # A bias of the end symbol, where the family has one; else its embedding turns it into one.
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(std=0.5)
            model.final_logits_bias[0, EOS] = end_bias
    model.generation_config.bad_words_ids = [[PAD]]
    model.generation_config.max_length = None
    return model


def sources_of(model: Any, count: int) -> list[list[int]]:
    """Id lists without the symbols, which no tokenizer puts inside a sentence."""
    return [[max(id, 3) for id in ids] for ids in random_sources(count, vocab=model.config.vocab_size)]


SHAPES: dict[str, dict[str, Any]] = {
    "as-published": {},
    "odd": {
        "vocab_size": 131, "d_model": 20, "encoder_attention_heads": 5, "decoder_attention_heads": 2,
        "encoder_layers": 1, "decoder_layers": 3, "encoder_ffn_dim": 37, "decoder_ffn_dim": 70,
        "activation_function": "relu", "scale_embedding": True,
    },
    "untied": {"d_model": 72, "activation_function": "swish", "tie_word_embeddings": False, "scale_embedding": False},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", OTHERS)
def test_same_as_generate(family: str, shape: str) -> None:
    model = random_family(family, **SHAPES[shape])
    translator = Translator.of(model, **EXACT)
    sources = sources_of(model, 6)
    compare(translator, model, sources, beam_size=1, max_length=14)
    parity = compare(translator, model, sources, beam_size=4, n_best=4, max_length=14)
    assert parity.worst_score < 1e-4 and parity.identical > 0


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@seed(1)
@given(st.data())
def test_same_as_generate_whatever_the_shape(data: st.DataObject) -> None:
    whole = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    heads = (whole(1, 4), whole(1, 4))
    model = random_family(
        data.draw(st.sampled_from(OTHERS)), seed=whole(1, 1000), vocab_size=whole(9, 200),
        d_model=12 * whole(1, 6), encoder_attention_heads=heads[0], decoder_attention_heads=heads[1],
        encoder_layers=whole(1, 3), decoder_layers=whole(1, 3), encoder_ffn_dim=whole(1, 90),
        decoder_ffn_dim=whole(1, 90), activation_function=data.draw(st.sampled_from(["relu", "gelu", "swish"])),
        scale_embedding=data.draw(st.booleans()), tie_word_embeddings=data.draw(st.booleans()),
    )  # fmt: skip
    translator = Translator.of(model, **EXACT)
    for beam_size in (1, 4):
        compare(translator, model, sources_of(model, 3), beam_size=beam_size, max_length=10)


@pytest.mark.parametrize("family", OTHERS)
def test_forced_symbols_and_start_are_the_models(family: str) -> None:
    """A language tag to begin with (M2M100, mBART-50, BART's <s>), or to start from (mBART), and BART's forced end."""
    model = random_family(family, decoder_start_token_id=5)
    model.generation_config.decoder_start_token_id = 5
    model.generation_config.forced_bos_token_id, model.generation_config.forced_eos_token_id = 7, EOS
    translator = Translator.of(model, **EXACT)
    for beam_size in (1, 4):
        compare(translator, model, sources_of(model, 4), beam_size=beam_size, max_length=6)
    found = translator.translate_ids([[9, 8]], beam_size=4, max_length=6)[0].hypotheses[0]
    assert found.ids[0] == 7 and found.log_probs[0] == 0.0


def test_a_forced_tag_alone_is_an_empty_hypothesis() -> None:
    model = random_family("mbart", std=0.1, end_bias=30.0)
    model.generation_config.forced_bos_token_id = 7
    translation = Translator.of(model, compute_type="float32", threads=1).translate_ids([[9, 8]], beam_size=2)[0]
    assert (translation.hypotheses[0].ids, translation.status) == ([7], "empty_hypothesis")


@pytest.mark.parametrize("family", OTHERS)
def test_log_probs_and_scores_at_all_positions(family: str) -> None:
    model = random_family(family, max_position_embeddings=300)
    source, target = [5 + i % 60 for i in range(290)], [5 + i * 7 % 60 for i in range(299)]
    expected = forced_logits(model, source, target).log_softmax(-1)
    scored = Translator.of(model, **EXACT).score_ids([source], [target])[0]
    torch.testing.assert_close(
        torch.tensor(scored.log_probs), expected[torch.arange(300), torch.tensor([*target, EOS])], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("family", OTHERS)
def test_company_order_slots_and_threads_change_nothing(family: str) -> None:
    model = random_family(family)
    sources = sources_of(model, 20)
    options = {"beam_size": 3, "n_best": 3, "max_length": 12}
    alone = [
        Translator.of(model, compute_type="float32", threads=1, slots=1).translate_ids([s], **options)[0]
        for s in sources
    ]
    together = Translator.of(model, compute_type="float32", threads=3, slots=4).translate_ids(sources[::-1], **options)
    assert together[::-1] == alone
    assert len({str(t) for t in alone}) > 10


def test_positions_hold_what_stands_around_the_source() -> None:
    """40 positions: BART's `<s>` and `</s>` leave 38 to the text."""
    translator = Translator.of(random_family("bart"), compute_type="float32", threads=1)
    fits, too_long = translator.translate_ids([[5] * 38, [5] * 39], beam_size=1, max_length=3)
    assert fits.status != "too_long" and too_long.status == "too_long"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("family", "file", "change", "error", "message"),
    [
        ("bart", "config", {"model_type": "nllb-moe"}, ConfigError, "got 'nllb-moe' - .* engine=\"transformers\""),
        (
            "bart",
            "config",
            {"model_type": "marian"},
            DataError,
            r"embed_positions.weight: .* \[40, 32\], got \[42, 32\]",
        ),
        ("bart", "config", {"bos_token_id": None}, DataError, "bos_token_id must be one id below 67, got None"),
        ("bart", "config", {"max_position_embeddings": 41}, DataError, r"embed_positions.weight: .* \[43, 32\]"),
        ("mbart", "config", {"model_type": "bart"}, DataError, "coder.layer_norm.* a model without it"),
        ("mbart", "config", {"decoder_layers": 1}, DataError, "decoder.layers.1.* a model without it"),
        ("mbart", "config", {"encoder_layers": 3}, DataError, "encoder.layers.2.self_attn.q_proj.weight: missing"),
        ("m2m_100", "config", {"model_type": "mbart"}, DataError, "embed_positions.weight: missing"),
        ("m2m_100", "config", {"pad_token_id": 67}, DataError, "pad_token_id must be one id below 67, got 67"),
        ("m2m_100", "config", {"tie_word_embeddings": False}, DataError, "lm_head.weight: missing"),
        ("m2m_100", "config", {"activation_function": "gelu_new"}, ConfigError, "activation_function must be one of"),
        ("bart", "generation_config", {"do_sample": True}, ConfigError, "do_sample=True"),
        ("m2m_100", "config", {"pad_token_id": EOS}, ConfigError, "decoder_start_token_id must not be pad_token_id"),
    ],
    ids=str,
)
def test_folders_that_contradict_themselves_or_ask_too_much(
    tmp_path: Path, family: str, file: str, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    random_family(family).save_pretrained(tmp_path)
    edit(tmp_path / f"{file}.json", **change)
    with pytest.raises(error, match=message):
        Translator(tmp_path)
