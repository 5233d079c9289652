"""A folder's config and tensors: what no model can have is refused before anything is built from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from distilmt import models
from distilmt.errors import DataError
from distilmt.marian.weights import WEIGHTS


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "t5"}, "model_type is 't5'"), ({"d_model": 10**12}, "d_model is"),
        ({"encoder_layers": 10**9}, "encoder_layers"), ({"encoder_ffn_dim": -1}, "encoder_ffn_dim is -1"),
        ({"max_position_embeddings": "many"}, "max_position_embeddings is 'many'"), ({"d_model": 64}, "asks for"),
        ({"encoder_layers": 3}, "encoder.layers.2.*is missing"), ({"pad_token_id": 120}, "pad_token_id is 120"),
        ({"encoder_attention_heads": 5}, "no multiple of 5"), ({"activation_function": "os"}, "'os' is unknown"),
        ({"dropout": "x"}, "transformers refuses it"),
    ],
)  # fmt: skip
def test_hostile_config(folder: Path, change: dict[str, Any], says: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(DataError, match=says):
        models.load(folder)


def test_tensors_that_no_marian_model_has(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tensors = load_file(folder / WEIGHTS)

    def saved(**changed: torch.Tensor) -> None:
        save_file(
            tensors | {name.replace("__", "."): t for name, t in changed.items()}, folder / WEIGHTS, {"format": "pt"}
        )

    saved(model__shared__weight=tensors["model.shared.weight"] * float("nan"))
    with pytest.raises(DataError, match=r"model\.shared\.weight holds NaN or infinity"):
        models.load(folder)
    saved(model__shared__weight=tensors["model.shared.weight"].to(torch.int8))
    with pytest.raises(DataError, match="floating point is needed"):
        models.load(folder)
    saved(model__decoder__embed_positions__weight=torch.zeros(128, 32))
    with pytest.raises(DataError, match="not Marian's sinusoids"):
        models.load(folder)
    saved(teacher__projection=torch.zeros(3))
    models.load(folder)
    assert "left out: teacher.projection" in caplog.text
