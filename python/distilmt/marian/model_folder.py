"""What a Marian folder holds, proven before a model is built from it: `config.json` and the tensors.

The files may be hostile or damaged: every number is bounded before it decides an allocation or a loop.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import MarianConfig
from transformers.activations import ACT2FN

from distilmt.errors import DataError
from distilmt.marian.weights import WEIGHTS, prove_checksums, read_header
from distilmt.state.storage import disk_errors
from distilmt.vocab import Vocab

logger = logging.getLogger("distilmt")

PICKLE = "pytorch_model.bin"
# Far above any model, low enough that building the skeleton and the sinusoids of a hostile config ends.
LIMITS = {
    "vocab_size": 1 << 24, "decoder_vocab_size": 1 << 24, "d_model": 1 << 16, "max_position_embeddings": 1 << 17,
    "encoder_layers": 500, "encoder_ffn_dim": 1 << 20, "encoder_attention_heads": 1 << 12,
    "decoder_layers": 500, "decoder_ffn_dim": 1 << 20, "decoder_attention_heads": 1 << 12,
}  # fmt: skip
MAX_POSITION_CELLS = 1 << 28  # 1 GiB of float32


def read_json(path: Path, limit: int = 1 << 20) -> dict[str, Any]:
    """Reads a small JSON object.

    Raises: DataError where it is missing, longer than `limit` bytes or no JSON object; ResourceError for the disk.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing - a Marian folder needs it, copy the whole folder")
    with disk_errors(path), path.open("rb") as file:
        text = file.read(limit + 1)
    try:
        if len(text) > limit:
            raise ValueError(f"longer than {limit} bytes")
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {str(error)[:200]} - copy the model again") from None
    return value


def read_config(folder: Path) -> MarianConfig:
    """Reads `config.json` of transformers 4 or 5.

    Raises: DataError for other kinds of models and for values that no model can have.
    """
    path = folder / "config.json"
    raw = read_json(path)
    if raw.get("model_type") != "marian":
        raise DataError(
            f"{path}: model_type is {raw.get('model_type')!r}, only 'marian' can be used - choose an OPUS-MT model"
        )
    for name, limit in LIMITS.items():
        value = raw.get(name, getattr(MarianConfig, name))
        if name == "decoder_vocab_size" and value is None:  # written so where it equals vocab_size
            continue
        if type(value) is not int or not 1 <= value <= limit:
            raise DataError(f"{path}: {name} is {value!r}, expected 1 to {limit} - copy the model again")
    try:
        config = MarianConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the validators of transformers and huggingface_hub raise a family of their own
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: transformers refuses it ({reason}) - copy the model again") from None
    if config.max_position_embeddings * config.d_model > MAX_POSITION_CELLS:
        raise DataError(
            f"{path}: {config.max_position_embeddings} positions of width {config.d_model} - copy the model again"
        )
    for heads in (config.encoder_attention_heads, config.decoder_attention_heads):
        if config.d_model % heads:
            raise DataError(
                f"{path}: d_model {config.d_model} is no multiple of {heads} attention heads - copy the model again"
            )
    rows = min(config.vocab_size, config.decoder_vocab_size)
    if config.share_encoder_decoder_embeddings and config.decoder_vocab_size != config.vocab_size:
        raise DataError(
            f"{path}: one embedding is shared, but vocab_size {config.vocab_size} is not {config.decoder_vocab_size}"
        )
    for name in ("pad_token_id", "decoder_start_token_id", "eos_token_id"):
        value = getattr(config, name)
        if type(value) is not int or not 0 <= value < rows:
            raise DataError(f"{path}: {name} is {value!r}, expected an id below {rows} - copy the model again")
    if config.activation_function not in ACT2FN:
        raise DataError(
            f"{path}: activation_function {config.activation_function!r} is unknown - relu, gelu or swish are usual"
        )
    return config


def read_vocabulary(folder: Path, config: MarianConfig) -> Vocab:
    """Loads the folder's vocabulary and proves that it is the one of its config and weights.

    Raises: DataError naming the files that disagree, with ids or sizes.
    """
    vocab = Vocab.load(folder)
    for name, size, wanted in (
        ("vocab_size", vocab.size, config.vocab_size),
        ("decoder_vocab_size", vocab.target_size, config.decoder_vocab_size),
        ("eos_token_id", vocab.eos_id, config.eos_token_id),
    ):
        if size != wanted:
            raise DataError(
                f"{folder}: {name} is {wanted} in config.json and {size} in vocab.json - copy the whole folder"
            )
    path = folder / WEIGHTS
    written = read_header(path).metadata.get("vocabulary", vocab.hash) if path.is_file() else vocab.hash
    if written != vocab.hash:
        raise DataError(
            f"{folder}: the weights were saved with the vocabulary of hash {written[:12]}, the files here have "
            f"{vocab.hash[:12]} - bring back the vocabulary that belongs to {WEIGHTS}"
        )
    return vocab


def tied_names(config: MarianConfig) -> list[list[str]]:
    """Names of the embedding matrices in groups; each group is one tensor. The first name is the one a file stores."""
    shared, encoder, decoder = (
        f"model.{part}.weight" for part in ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
    )
    groups = [[shared, encoder, decoder]] if config.share_encoder_decoder_embeddings else [[encoder], [decoder]]
    if config.tie_word_embeddings:
        groups[-1].append("lm_head.weight")
        return groups
    return [*groups, ["lm_head.weight"]]


def sinusoids(positions: int, hidden: int) -> NDArray[np.float32]:
    """Marian's fixed positions [positions, hidden]: all sines first, then all cosines. Source: MarianMTModel."""
    angles = np.arange(positions)[:, None] / np.power(10000, np.arange(0, hidden, 2) / hidden)
    return np.concatenate([np.sin(angles), np.cos(angles[:, : hidden // 2])], axis=1).astype(np.float32)


def read_tensors(
    folder: Path, config: MarianConfig, shapes: dict[str, list[int]], unsafe_pickle: bool
) -> dict[str, Tensor]:
    """Reads the weights as float32, independent of the file; tied names get the same tensor, positions are left out.

    Args:
        shapes: of all tensors that the config asks for, by name.
    Raises: DataError naming the tensor that is missing, damaged, of another shape, or one of two that should be equal.
    """
    path, found = _open(folder, unsafe_pickle)
    groups = tied_names(config)
    aliases = {name: names for names in groups for name in names}
    for name, shape in shapes.items():
        if name not in found and not any(alias in found for alias in aliases.get(name, ())) and not _optional(name):
            raise DataError(
                f"{path}: tensor {name} is missing, config.json asks for shape {shape} - copy the model again"
            )
        if name in found and list(found[name].shape) != shape and "embed_positions" not in name:
            raise DataError(
                f"{path}: tensor {name} has shape {list(found[name].shape)}, config.json asks for {shape} - "
                "weights and config are not of the same model"
            )
    if unused := sorted(set(found) - set(shapes)):
        logger.warning("%s: tensors that a Marian model does not have are left out: %s", path, ", ".join(unused[:5]))
    _notice_dtypes(path, config, [found[name] for name in found if name in shapes])
    _prove_positions(path, found)
    tensors: dict[str, Tensor] = {}
    for names in groups:
        stored = [name for name in names if name in found]
        for name in stored[1:]:
            if not torch.equal(found[name], found[stored[0]]):
                rows = int((found[name] != found[stored[0]]).any(dim=1).sum())
                raise DataError(
                    f"{path}: tied weights were lost: {name} differs from {stored[0]} in {rows} of {len(found[name])} "
                    "rows, but config.json calls them one - set tie_word_embeddings to false if they are two, "
                    "else take the model from before they came apart"
                )
        tensors |= dict.fromkeys(names, _float32(path, stored[0], found[stored[0]]))
    for name, shape in shapes.items():
        if name not in tensors and "embed_positions" not in name:
            tensors[name] = _float32(path, name, found[name]) if name in found else torch.zeros(shape)
    return tensors


def _optional(name: str) -> bool:
    return name == "final_logits_bias" or "embed_positions" in name  # zeros; sinusoids


def _open(folder: Path, unsafe_pickle: bool) -> tuple[Path, dict[str, Tensor]]:
    path = folder / WEIGHTS
    if path.is_file():
        from safetensors.torch import load_file

        prove_checksums(path, read_header(path))
        with disk_errors(path):
            return path, load_file(path)
    if (folder / f"{WEIGHTS}.index.json").exists():
        raise DataError(f"{folder}: weights lie in several files - load them with transformers and save them as one")
    path = folder / PICKLE
    if not path.is_file():
        raise DataError(
            f"{folder / WEIGHTS}: missing - copy the whole folder; if all there is of this model is {PICKLE}, and you trust "
            "it, `distilmt check MODEL --unsafe-pickle` converts it"
        )
    if not unsafe_pickle:
        raise DataError(
            f"{path}: a pickle can run code when it is opened - if you trust its sender, convert it: "
            f"`distilmt check {folder} --unsafe-pickle` writes {WEIGHTS} beside it"
        )
    try:
        with disk_errors(path):
            found = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, dict) or not all(type(n) is str and isinstance(t, Tensor) for n, t in found.items()):
            raise ValueError("not a table of tensors")
    except DataError:
        raise
    except Exception as error:  # damaged zip, forbidden class, truncated storage: each has its own type
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a loadable checkpoint ({reason}) - copy the model again") from None
    return path, found


def _float32(path: Path, name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        raise DataError(
            f"{path}: tensor {name} has dtype {tensor.dtype}, floating point is needed - take the unquantised model"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise DataError(f"{path}: tensor {name} holds NaN or infinity - take an earlier checkpoint")
    return tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _notice_dtypes(path: Path, config: MarianConfig, tensors: list[Tensor]) -> None:
    """Fault case 26: half precision becomes float32 here, and the user hears of it."""
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors if tensor.is_floating_point()}
    declared = str(config.dtype).removeprefix("torch.") if config.dtype is not None else "float32"
    if others := sorted((dtypes | {declared}) - {"float32"}):
        logger.warning("%s: %s weights are converted to float32", path, " and ".join(others))


def _prove_positions(path: Path, found: dict[str, Tensor]) -> None:
    """Some files store the sinusoids; anything else there would be replaced by them, so it is refused."""
    for name, stored in found.items():
        if "embed_positions" in name:
            expected = torch.from_numpy(sinusoids(*stored.shape)) if stored.dim() == 2 else None
            if expected is None or not torch.allclose(stored.float(), expected, atol=1e-2):  # 1e-2: room for bfloat16
                raise DataError(
                    f"{path}: tensor {name} is not Marian's sinusoids - models with learned positions cannot be used"
                )
