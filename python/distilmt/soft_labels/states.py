"""The exact mode's other half: the teacher's output layer, which turns stored states into its whole distribution."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distilmt.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def save_head(model: Path, path: Path) -> int:
    """Writes the output embedding [vocab - 1, d] of a Marian folder, and its bias [vocab - 1], without the pad symbol, which
    is no word. Returns d."""
    from safetensors.torch import save_file

    from distilmt import models

    teacher = models.load(model)
    weight = teacher.lm_head.weight[:-1].detach().contiguous()
    save_file({"weight": weight, "bias": teacher.final_logits_bias[0, :-1].contiguous()}, path)
    return int(weight.shape[1])


def load_head(path: Path) -> tuple[Tensor, Tensor | None]:
    """Weight and bias; None where the bias is zero. Raises: DataError: the file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        weight, bias = tensors["weight"], tensors["bias"]
    except (OSError, KeyError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read ({error}) - make the soft labels again") from None
    return weight, bias if bool(bias.any()) else None
