"""Model folders as the translator reads them: types, ties, positions, and files that are damaged or ask too much."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from distilmt.errors import ConfigError, DataError
from distilmt.translate import Hypothesis, Scored, Translation, Translator
from marian import forced_logits, random_model, random_sources, save

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(random_model(seed=1, std=0.3, end_bias=2.0, decoder_layers=1), tmp_path / "model")


def edit_tensors(folder: Path, change: Callable[[Tensors], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_c3_26_half_precision_is_widened_exactly(folder: Path, dtype: torch.dtype) -> None:
    edit_tensors(folder, lambda tensors: tensors.update({n: t.to(dtype) for n, t in tensors.items()}))
    from_half = Translator(folder, compute_type="float32", threads=1).translate_ids(
        random_sources(5), beam_size=3, max_length=10
    )
    edit_tensors(folder, lambda tensors: tensors.update({n: t.float() for n, t in tensors.items()}))
    assert (
        Translator(folder, compute_type="float32", threads=1).translate_ids(
            random_sources(5), beam_size=3, max_length=10
        )
        == from_half
    )


def test_half_precision_of_every_kind(folder: Path) -> None:
    """Zeros, subnormals, the largest and the smallest values: log-probabilities equal those of the widened file."""
    odd = torch.tensor([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 65504.0, -1.5, 1e-7], dtype=torch.float16)

    def change(tensors: Tensors) -> None:
        tensors["final_logits_bias"] = tensors["final_logits_bias"].half()
        tensors["final_logits_bias"][0, 10:18] = odd

    edit_tensors(folder, change)
    half = Translator(folder, compute_type="float32", threads=1).score_ids([[5, 6]], [list(range(10, 18))])
    edit_tensors(folder, lambda t: t.update(final_logits_bias=t["final_logits_bias"].float()))
    assert Translator(folder, compute_type="float32", threads=1).score_ids([[5, 6]], [list(range(10, 18))]) == half


def test_missing_logits_bias_and_old_names_of_tied_tensors(folder: Path) -> None:
    truth = Translator(folder, compute_type="float32", threads=1).score_ids([[5, 6, 7]], [[8, 9]])

    def rename(tensors: Tensors) -> None:
        shared = tensors.pop("model.shared.weight")
        tensors["model.encoder.embed_tokens.weight"] = shared
        tensors["lm_head.weight"] = shared.clone()

    edit_tensors(folder, rename)
    assert Translator(folder, compute_type="float32", threads=1).score_ids([[5, 6, 7]], [[8, 9]]) == truth
    edit_tensors(folder, lambda tensors: tensors["final_logits_bias"].zero_())
    truth = Translator(folder, compute_type="float32", threads=1).score_ids([[5, 6, 7]], [[8, 9]])
    edit_tensors(folder, lambda tensors: tensors.pop("final_logits_bias"))
    assert Translator(folder, compute_type="float32", threads=1).score_ids([[5, 6, 7]], [[8, 9]]) == truth


def test_stored_positions_are_used_as_hugging_face_uses_them(folder: Path) -> None:
    from transformers import MarianMTModel

    edit_tensors(folder, lambda t: t.update({"model.decoder.embed_positions.weight": torch.randn(40, 32)}))
    model = MarianMTModel.from_pretrained(folder).eval()
    expected = forced_logits(model, [5, 6], [7, 8]).log_softmax(-1)[[0, 1, 2], [7, 8, 0]]
    scored = Translator(folder, compute_type="float32", threads=1).score_ids([[5, 6]], [[7, 8]])[0]
    torch.testing.assert_close(torch.tensor(scored.log_probs), expected, atol=2e-5, rtol=0)


def test_old_folder_without_generation_config(folder: Path) -> None:
    truth = Translator(folder, compute_type="float32", threads=1).translate_ids(random_sources(5), beam_size=3)
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").unlink()
    edit_json(folder / "config.json", bad_words_ids=settings["bad_words_ids"], forced_eos_token_id=None)
    assert Translator(folder, compute_type="float32", threads=1).translate_ids(random_sources(5), beam_size=3) == truth


def lose(name: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.__delitem__(name)


def put(name: str, tensor: torch.Tensor) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: tensor})


OUT = "model.decoder.layers.0.self_attn.out_proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose(OUT), f"tensor {OUT}: missing, expected shape \\[32, 32\\]"),
        (lose("model.shared.weight"), "tensor model.shared.weight: missing"),
        (put(OUT, torch.zeros(32, 31)), f"tensor {OUT}: expected shape \\[32, 32\\], got \\[32, 31\\]"),
        (put(OUT, torch.zeros(32, 32, dtype=torch.int32)), f"tensor {OUT}: expected dtype F32, F16 or BF16, got I32"),
        (put("lm_head.weight", torch.zeros(67, 32)), "model.shared.weight and lm_head.weight: the config ties them"),
    ],
    ids=["missing", "missing-embedding", "shape", "dtype", "c3_25_untied"],
)
def test_c3_19_wrong_tensors_are_named(folder: Path, change: Callable[[Tensors], None], message: str) -> None:
    edit_tensors(folder, change)
    with pytest.raises(DataError, match=message):
        Translator(folder)


def test_c3_19_truncated_file(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"model\.safetensors"):
            Translator(folder)


def test_c3_20_header_that_claims_2_to_the_63_bytes(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes((1 << 63).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(DataError, match="header claims 9223372036854775808 bytes"):
        Translator(folder)


def damage_word(folder: Path, word: int) -> None:
    """The source's embedding of `word` alone becomes infinite."""

    def change(tensors: Tensors) -> None:
        shared = tensors.pop("model.shared.weight")
        tensors["model.decoder.embed_tokens.weight"], tensors["lm_head.weight"] = shared.clone(), shared.clone()
        tensors["model.encoder.embed_tokens.weight"] = shared
        shared[word] = float("inf")

    edit_tensors(folder, change)
    edit_json(folder / "config.json", tie_word_embeddings=False)


def test_damaged_numbers_are_a_status_of_the_sentences_concerned(folder: Path) -> None:
    sound = Translator(folder, compute_type="float32", threads=1)
    sources = [[7, 8, 9], [5, 6], [5], [6, 6, 5], [8]]
    settings: dict[str, Any] = {"beam_size": 3, "n_best": 3, "max_length": 9}
    truth, scores = sound.translate_ids(sources, **settings), sound.score_ids(sources, [[9]] * 5)
    damage_word(folder, 5)
    damaged = Translator(folder, compute_type="float32", threads=1)
    empty = [Hypothesis([], "", 0.0, [])]
    concerned = [5 in source for source in sources]
    expected = [Translation(empty, "not_finite") if c else t for c, t in zip(concerned, truth, strict=True)]
    assert damaged.translate_ids(sources, **settings) == expected
    scored = damaged.score_ids(sources, [[9]] * 5)
    assert scored == [Scored([], 0.0, "not_finite") if c else t for c, t in zip(concerned, scores, strict=True)]


def test_sentences_without_numbers_are_done_again_in_float32(folder: Path) -> None:
    """The damaged weights stand in for a lower precision that overflows."""
    sources = [[7, 8, 9], [5, 6], [8], [5]]
    settings: dict[str, Any] = {"beam_size": 2, "max_length": 9}
    truth = Translator(folder, compute_type="float32", threads=1).translate_ids(sources, **settings)
    sound = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage_word(folder, 5)
    low = Translator(folder, compute_type="float32", threads=1)
    low.compute_type = "int8"
    for name, content in sound.items():
        (folder / name).write_bytes(content)
    redone = low.translate_ids(sources, **settings)
    assert [t.hypotheses for t in redone] == [t.hypotheses for t in truth]
    for index in (1, 3):
        assert redone[index].status == (truth[index].status if truth[index].status != "ok" else "redone_float32")
    assert [t.status for t in (redone[0], redone[2])] == [t.status for t in (truth[0], truth[2])]
    assert low.score_ids([[5]], [[9]])[0].status == "redone_float32"


def test_c3_21_pickle_is_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"pickle.*save_pretrained"):
        Translator(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"d_model": 1 << 40}, "d_model must be a whole number from 1"),
        ("config.json", {"decoder_attention_heads": 5}, "decoder_attention_heads must divide d_model 32, got 5"),
        ("config.json", {"max_position_embeddings": 1 << 30}, "max_position_embeddings must be a whole number"),
        ("config.json", {"encoder_layers": 3}, r"tensor model.encoder.layers.2.self_attn.q_proj.weight: missing"),
        ("generation_config.json", {"eos_token_id": [0, 1]}, "eos_token_id must be one id below 67"),
        ("generation_config.json", {"bad_words_ids": [[67]]}, r"must lie in \[0, 67\), got \[67\]"),
    ],
    ids=str,
)
def test_impossible_config(folder: Path, file: str, change: dict[str, Any], message: str) -> None:
    edit_json(folder / file, **change)
    with pytest.raises(DataError, match=message):
        Translator(folder)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"model_type": "t5"}),
        ("config.json", {"activation_function": "tanh"}),
        ("generation_config.json", {"no_repeat_ngram_size": -3}),
        ("generation_config.json", {"repetition_penalty": "much"}),
        ("generation_config.json", {"encoder_no_repeat_ngram_size": 3}),
        ("generation_config.json", {"do_sample": True}),
        ("generation_config.json", {"bad_words_ids": [[4, 5]]}),
    ],
    ids=str,
)
def test_settings_without_an_equal_here_are_refused(folder: Path, file: str, change: dict[str, Any]) -> None:
    edit_json(folder / file, **change)
    with pytest.raises(ConfigError, match=f"{file}: {next(iter(change))}"):
        Translator(folder)


def test_missing_folder_and_broken_json(folder: Path) -> None:
    with pytest.raises(ConfigError, match="not a model folder"):
        Translator(folder / "none")
    (folder / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json: not valid JSON"):
        Translator(folder)
