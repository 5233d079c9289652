"""Sizes, and models made, saved and loaded by distilmt.models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import MarianMTModel

from conftest import lively_model
from distilmt import models
from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.marian.model_folder import sinusoids
from distilmt.models import Size
from distilmt.state import storage
from distilmt.vocab import Vocab


def copied(folder: Path, to: Path, **config: Any) -> Path:
    """A copy of a model folder, with entries of config.json replaced."""
    shutil.copytree(folder, to)
    path = to / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return to


def same_tensors(a: MarianMTModel, b: MarianMTModel) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("slim-1x1", Size(1, 1, 256, 1024, 4)), ("slim-3x3", Size(3, 3, 256, 1024, 4)),
        ("wide-1x1", Size(1, 1, 1024, 4096, 16)), ("wide-3x3", Size(3, 3, 1024, 4096, 16)),
        ("wide-24x6", Size(24, 6, 1024, 4096, 16)), ("tiny", Size(6, 2, 256, 1536, 8)),
        ("base", Size(6, 6, 512, 2048, 8)), ("base-6x1", Size(6, 1, 512, 2048, 8)),
        ("base-12x1", Size(12, 1, 512, 2048, 8)), ("big", Size(6, 6, 1024, 4096, 16)),
        ("3x1:128:512:4", Size(3, 1, 128, 512, 4)),
    ],
)  # fmt: skip
def test_sizes(text: str, size: Size) -> None:
    assert models.parse_size(text) == size
    assert models.parse_size(str(size)) == size


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tinny", "nearest: tiny"), ("base-12x2", "base-12x1"), ("", "ENCxDEC:HIDDEN:FFN:HEADS"),
        ("3x1:128:512", "as in 3x1"), ("3x1:130:512:4", "multiple of HEADS"), ("0x1:128:512:4", "at least 1"),
        ("3x1:3:9:1", "even"), ("-3x1:128:512:4", "unknown"),
    ],
)  # fmt: skip
def test_wrong_sizes(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        models.parse_size(text)


def test_create_is_seeded_and_leaves_the_global_random_state_alone(tiny_vocab: Vocab) -> None:
    before = torch.get_rng_state()
    first, again, other = (models.create(Size(2, 1, 64, 96, 4), tiny_vocab, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert same_tensors(first, again) and not same_tensors(first, other)
    shared = first.model.shared.weight
    assert shared[tiny_vocab.pad_id].abs().max() == 0
    assert 0.9 < float(shared[:-1].detach().std()) * 64**0.5 < 1.1
    models.prove_ties(first)
    assert first.training
    frozen = [name for name, parameter in first.named_parameters() if not parameter.requires_grad]
    assert frozen == ["model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"]


def test_parameters_are_counted_once(tiny_vocab: Vocab) -> None:
    d, f = 64, 96
    attention, ffn, norm = 4 * (d * d + d), 2 * d * f + d + f, 2 * d
    expected = tiny_vocab.size * d + 2 * (attention + ffn + 2 * norm) + 1 * (2 * attention + ffn + 3 * norm)
    model = models.create(Size(2, 1, d, f, 4), tiny_vocab)
    assert models.parameters(model) == expected
    assert models.size_of(model) == Size(2, 1, d, f, 4)


@pytest.mark.parametrize(("positions", "hidden"), [(1, 2), (7, 6), (512, 64), (100, 512)])
def test_sinusoids_are_marians(positions: int, hidden: int) -> None:
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    theirs = MarianSinusoidalPositionalEmbedding(positions, hidden).create_weight()
    assert torch.equal(torch.from_numpy(sinusoids(positions, hidden)), theirs)


def test_saved_folder_keeps_the_contract(tiny_vocab: Vocab, tmp_path: Path) -> None:
    model = models.create(Size(2, 1, 32, 64, 4), tiny_vocab, max_positions=100, dropout=0.2)
    folder = tmp_path / "new" / "model"
    models.save(model, tiny_vocab, folder)
    config = json.loads((folder / "config.json").read_text())
    generation = json.loads((folder / "generation_config.json").read_text())
    pad = tiny_vocab.size - 1
    wanted = {
        "architectures": ["MarianMTModel"], "model_type": "marian", "dtype": "float32", "vocab_size": pad + 1,
        "pad_token_id": pad, "decoder_start_token_id": pad, "eos_token_id": 0, "max_position_embeddings": 100,
        "scale_embedding": True, "dropout": 0.2,
    }  # fmt: skip
    assert {name: config[name] for name in wanted} == wanted
    assert [generation[name] for name in ("pad_token_id", "decoder_start_token_id", "eos_token_id")] == [pad, pad, 0]
    assert [generation[name] for name in ("bad_words_ids", "num_beams", "max_length")] == [[[pad]], 4, 100]
    stored = load_file(folder / "model.safetensors")
    assert [name for name in stored if "embed" in name or "shared" in name or "lm_head" in name] == [
        "model.shared.weight"
    ]
    assert models.size_bytes(folder) == sum(path.stat().st_size for path in folder.iterdir())
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]
    theirs, info = MarianMTModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()) and same_tensors(model, theirs) and same_tensors(model, models.load(folder))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    assert tokenizer["model_max_length"] == 100  # else transformers would not cut what has no position


def test_saving_again_gives_the_same_bytes_and_keeps_other_files(
    tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path
) -> None:
    model = models.load(tiny_model_folder)
    models.save(model, tiny_vocab, tmp_path / "a")
    (tmp_path / "a" / "optimizer.pt").write_text("mine")
    models.save(model, tiny_vocab, tmp_path / "a")
    assert (tmp_path / "a" / "optimizer.pt").read_text() == "mine"
    for name in models.MODEL_FILES:
        if (tiny_model_folder / name).exists():
            assert (tmp_path / "a" / name).read_bytes() == (tiny_model_folder / name).read_bytes()
    assert models.weights_hash(tmp_path / "a") == models.weights_hash(tiny_model_folder)


def test_subclass_in_half_precision_is_saved_as_plain_float32(tiny_vocab: Vocab, tmp_path: Path) -> None:
    class WithProjection(MarianMTModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.to_teacher = nn.Linear(32, 48)

    base = lively_model(tiny_vocab)
    model = WithProjection(base.config)
    model.load_state_dict(base.state_dict(), strict=False)
    models.save(model.bfloat16(), tiny_vocab, tmp_path / "m")
    assert json.loads((tmp_path / "m" / "config.json").read_text())["architectures"] == ["MarianMTModel"]
    loaded = models.load(tmp_path / "m")
    assert loaded.lm_head.weight.dtype == torch.float32
    assert torch.equal(loaded.lm_head.weight, base.lm_head.weight.bfloat16().float())


def test_full_disk_leaves_the_old_model(
    tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(tiny_model_folder, tmp_path / "m")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(path: Path, data: bytes) -> None:
        if path.name == "model.safetensors":
            raise OSError(28, "No space left on device")
        storage.write_bytes(path, data)

    monkeypatch.setattr("distilmt.marian.weights.write_bytes", full)
    with pytest.raises(ResourceError, match=r"m: No space left on device - free space"):
        models.save(models.create(Size(1, 1, 32, 64, 4), tiny_vocab), tiny_vocab, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_save_refuses_another_vocabulary(tiny_model_folder: Path, tmp_path: Path) -> None:
    class Other:
        size, pad_id, eos_id, hash = 130, 129, 0, "0" * 64

    with pytest.raises(ConfigError, match="has 120 ids with pad 119, its vocabulary 130 with pad 129"):
        models.save(models.load(tiny_model_folder), Other(), tmp_path / "m")  # type: ignore[arg-type]


def test_folder_of_transformers_4(tiny_model_folder: Path, tmp_path: Path) -> None:
    """torch_dtype, generation settings inside config.json, redundant copies of tied weights, stored positions."""
    folder = copied(
        tiny_model_folder, tmp_path / "m", torch_dtype="float32", transformers_version="4.30.0", num_beams=6,
        max_length=64, bad_words_ids=[[119]], bos_token_id=0, forced_eos_token_id=0, normalize_before=False,
        add_final_layer_norm=False, extra_pos_embeddings=120, classif_dropout=0.0, num_hidden_layers=2,
        gradient_checkpointing=False,
    )  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    del config["dtype"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").unlink()
    tensors = load_file(folder / "model.safetensors")
    for name in ("lm_head", "model.encoder.embed_tokens", "model.decoder.embed_tokens"):
        tensors[f"{name}.weight"] = tensors["model.shared.weight"].clone()
    tensors["model.encoder.embed_positions.weight"] = torch.from_numpy(sinusoids(128, 32))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    model = models.load(folder)
    assert same_tensors(model, models.load(tiny_model_folder))
    generation = model.generation_config
    assert (generation.num_beams, generation.max_length, generation.forced_eos_token_id) == (6, 64, 0)
    assert generation.bad_words_ids == [[119]]


def test_untied_output_keeps_the_shared_input(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = copied(tiny_model_folder, tmp_path / "m", tie_word_embeddings=False)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.shared.weight"] + 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    model = models.load(folder)
    assert torch.equal(model.model.encoder.embed_tokens.weight, tensors["model.shared.weight"])
    assert torch.equal(model.lm_head.weight, tensors["lm_head.weight"])
    assert model.model.decoder.embed_tokens.weight.data_ptr() == model.model.shared.weight.data_ptr()


def test_untied_output_does_not_untie_the_input(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = copied(tiny_model_folder, tmp_path / "m", tie_word_embeddings=False)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.shared.weight"] + 1
    tensors["model.encoder.embed_tokens.weight"] = tensors["model.shared.weight"] + 2
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"tied weights were lost: model\.encoder\.embed_tokens\.weight differs"):
        models.load(folder)


def test_copy_weights(tiny_model_folder: Path, tiny_vocab: Vocab) -> None:
    source = models.load(tiny_model_folder)
    target = models.create(Size(2, 2, 32, 64, 4), tiny_vocab, seed=9, max_positions=40)
    models.copy_weights(source, target)
    assert torch.equal(source.lm_head.weight, target.lm_head.weight)
    models.prove_ties(target)
    with pytest.raises(ConfigError, match=r"model\.decoder\.layers\.1"):
        models.copy_weights(source, models.create(Size(2, 1, 32, 64, 4), tiny_vocab))


@pytest.mark.parametrize(("name", "error", "says"), [
    ("no/such/folder/here", ConfigError, "no such folder"),
    ("Helsinki-NLP/opus-mt-de-en", ResourceError, "hub could not be asked"),
])  # fmt: skip
def test_models_that_are_not_there(name: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as info:
        models.load(name)
    assert "\n" not in str(info.value)


def test_hub_names_fetch_only_the_files_of_a_model(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *a, **k: asked.append((a, k)) or str(tiny_model_folder)
    )
    assert models.folder_of("someone/model") == tiny_model_folder
    models.folder_of("someone/model", unsafe_pickle=True)
    assert asked[0][0] == ("someone/model",) and "model.safetensors" in asked[0][1]["allow_patterns"]
    assert ["pytorch_model.bin" in options["allow_patterns"] for _, options in asked] == [False, True]


def test_a_file_is_no_folder(tiny_model_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a file - name the folder"):
        models.load(tiny_model_folder / "config.json")
    with pytest.raises(DataError, match=r"config\.json: missing"):
        models.load(tiny_model_folder.parent)
