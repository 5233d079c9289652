"""What the native translator needs of a model folder: sizes, generation settings, and where the tensors lie.

Neither PyTorch nor transformers is imported, so that a program that only translates starts in a fifth of a second. The
tensors are read in C++ (csrc/engine/safetensors.cpp), which checks once more what memory safety needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distilmt import _native
from distilmt.errors import ConfigError, DataError
from distilmt.marian.weights import WEIGHTS, prove_checksums, read_header
from distilmt.translator import search
from distilmt.translator.families import COMMON, FAMILIES

ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "swish": "silu", "silu": "silu"}

# Settings of generation that change what is decoded and that this translator does not have, with their neutral values.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "do_sample": (None, False), "num_beam_groups": (None, 1), "diversity_penalty": (None, 0.0),
    "encoder_repetition_penalty": (None, 1.0), "guidance_scale": (None, 1, 1.0),
    "encoder_no_repeat_ngram_size": (None, 0), "sequence_bias": (None,),
    "exponential_decay_length_penalty": (None,), "begin_suppress_tokens": (None,), "watermarking_config": (None,),
    "stop_strings": (None,), "constraints": (None,), "force_words_ids": (None,), "prompt_lookup_num_tokens": (None,),
    "max_time": (None,),
}  # fmt: skip


@dataclass(frozen=True)
class Generation:
    """The model's own settings of generation that hold whatever the caller asks, but for repetition_penalty and
    no_repeat_ngram_size, which hold where the caller asks for none.

    min_length counts generated tokens (Hugging Face's `min_length` less the start symbol). -1 means not forced.
    """

    eos: int
    start: int
    forced_bos: int = -1
    forced_eos: int = -1
    min_length: int = 0
    banned: list[int] = field(default_factory=list)
    renormalize: bool = False
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0


@dataclass
class NativeModel:
    """Packed weights, with the facts Python needs to check arguments.

    model_type: the family's name. prefix, suffix: what the encoder reads before and behind the ids of a source. columns:
    of an attention head of the encoder. attention: who computes that on a device (distilmt.translator.attention).
    """

    model_type: str

    weights: _native.Weights | _native.DeviceModel
    generation: Generation
    source_vocab: int
    target_vocab: int
    positions: int
    prefix: list[int]
    suffix: list[int]
    columns: int
    attention: str | None = None


def load(folder: Path, compute_type: str, threads: int = 1) -> NativeModel:
    """Reads a model folder of one of the families with so many threads; compute_type: float32, bfloat16 or int8.

    Raises: DataError: a file is missing, damaged, or contradicts another. ConfigError: it is a sound model that wants
        something this translator does not do.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: not a model folder - give the folder that holds config.json and model.safetensors"
        )
    own = read_json(folder / "config.json")
    family = FAMILIES.get(str(own.get("model_type")))
    if family is None:
        raise ConfigError(
            f"{folder / 'config.json'}: model_type must be {', '.join(FAMILIES)}, got {own.get('model_type')!r} - for "
            'others there is Translator(folder, engine="transformers")'
        )
    config = {**COMMON, **family.defaults, **own}
    source_vocab = target_vocab = whole(folder, config, "vocab_size")
    if config["decoder_vocab_size"] and not config["share_encoder_decoder_embeddings"]:
        target_vocab = whole(folder, config, "decoder_vocab_size")
    generation = read_generation(folder, config, target_vocab)
    if config["activation_function"] not in ACTIVATIONS:
        raise ConfigError(
            f"{folder / 'config.json'}: activation_function must be one of {', '.join(ACTIVATIONS)}, "
            f"got {config['activation_function']!r} - this translator has no other"
        )
    hidden = whole(folder, config, "d_model")
    positions = whole(folder, config, "max_position_embeddings", 1 << 16)
    first_position = family.first_position
    if first_position is None:
        first_position = token(folder, config, "pad_token_id", source_vocab) + 1
        if generation.start == first_position - 1:
            raise ConfigError(
                f"{folder}: decoder_start_token_id must not be pad_token_id {generation.start}, which has no position in "
                "such a model - this translator gives every token one"
            )
    for key in ("encoder_attention_heads", "decoder_attention_heads"):
        if hidden % whole(folder, config, key):
            raise DataError(
                f"{folder / 'config.json'}: {key} must divide d_model {hidden}, got {config[key]} - repair it"
            )
    fields = {
        "compute_type": compute_type,
        "source_vocab": source_vocab, "target_vocab": target_vocab, "hidden": hidden, "positions": positions,
        "encoder_layers": whole(folder, config, "encoder_layers", 1 << 12), "encoder_heads": config["encoder_attention_heads"],
        "decoder_layers": whole(folder, config, "decoder_layers", 1 << 12), "decoder_heads": config["decoder_attention_heads"],
        "encoder_ffn": whole(folder, config, "encoder_ffn_dim"),
        "decoder_ffn": whole(folder, config, "decoder_ffn_dim"),
        "activation": ACTIVATIONS[config["activation_function"]],
        "position_table": family.position_table, "first_position": first_position,
        "pre_norm": family.pre_norm, "embedding_norm": family.embedding_norm,
        "scale_embedding": bool(config["scale_embedding"]),
        "share_embeddings": bool(config["share_encoder_decoder_embeddings"]),
        "tie_projection": bool(config["tie_word_embeddings"]),
        # Hugging Face bans after log_softmax, and renormalize_logits then shares the mass out among the rest: the same
        # as no probability from the start.
        "excluded": generation.banned if generation.renormalize else [],
    }  # fmt: skip
    path = weights_file(folder)
    header = read_header(path)
    prove_checksums(path, header)
    entries = [(name, e.dtype, list(e.shape), e.begin, e.end) for name, e in header.entries.items()]
    try:
        # Bytes: a name that is no UTF-8, or any but ASCII in locale C, is no text that C++ could be given.
        weights = _native.Weights(os.fsencode(path), entries, fields, threads)
    except RuntimeError as error:
        raise DataError(f"{path}: {error} - fetch or save the model again") from None
    prefix = [token(folder, config, "bos_token_id", source_vocab)] if family.begin else []
    suffix = [token(folder, {"eos_token_id": generation.eos}, "eos_token_id", source_vocab)]
    columns = _columns(config)
    return NativeModel(
        config["model_type"], weights, generation, source_vocab, target_vocab, positions, prefix, suffix, columns
    )


def columns_of(folder: Path) -> int:
    """Columns of an attention head of the encoder, of a folder that `load` takes."""
    own = read_json(folder / "config.json")
    return _columns(COMMON | FAMILIES[own["model_type"]].defaults | own)


def _columns(config: Mapping[str, Any]) -> int:
    return int(config["d_model"] // config["encoder_attention_heads"])


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. Raises: DataError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: missing - a model folder has config.json and model.safetensors") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DataError(f"{path}: not valid JSON ({error}) - fetch or save the model again") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: must hold a JSON object, got {type(value).__name__} - fetch or save the model again")
    return value


def whole(folder: Path, config: Mapping[str, Any], key: str, limit: int = 1 << 24) -> int:
    """A size from the config. Raises: DataError where it is not a whole number in [1, limit)."""
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < limit:
        raise DataError(
            f"{folder / 'config.json'}: {key} must be a whole number from 1 to {limit - 1}, got {value!r} - repair it"
        )
    return value


def token(folder: Path, config: Mapping[str, Any], key: str, vocab: int) -> int:
    """A token's id from the config. Raises: DataError where the vocabulary has none such."""
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < vocab:
        raise DataError(f"{folder / 'config.json'}: {key} must be one id below {vocab}, got {value!r} - repair it")
    return value


def read_generation(folder: Path, config: Mapping[str, Any], vocab: int) -> Generation:
    """Settings from generation_config.json, or from config.json where old folders keep them.

    Raises: ConfigError: the model asks for something unsupported. DataError: ids that the vocabulary lacks.
    """
    path = folder / "generation_config.json"
    path, settings = (path, read_json(path)) if path.exists() else (folder / "config.json", config)
    for key, neutral in UNSUPPORTED.items():
        if settings.get(key) not in neutral:
            raise ConfigError(
                f"{path}: {key}={settings[key]!r} is not supported by this translator - remove it to decode without"
            )

    def one(key: str, fallback: Any) -> int:
        value = settings.get(key)
        value = fallback if value is None else value
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < vocab:
            raise DataError(f"{path}: {key} must be one id below {vocab}, got {value!r} - repair it")
        return value

    eos = one("eos_token_id", config["eos_token_id"])
    start = config["decoder_start_token_id"]
    start = one("decoder_start_token_id", config["bos_token_id"] if start is None else start)  # as Hugging Face does
    if min(eos, start) < 0:
        raise DataError(f"{path}: eos_token_id and decoder_start_token_id must not be negative - repair it")
    words = settings.get("bad_words_ids") or []
    suppressed = settings.get("suppress_tokens") or []
    if not all(isinstance(word, list) and len(word) == 1 for word in words):
        raise ConfigError(
            f"{path}: bad_words_ids may hold single ids only, got {words!r} - this translator bans no sequences"
        )
    # Hugging Face drops the end symbol from bad_words_ids.
    banned = [*(word[0] for word in words if word != [eos]), *suppressed]
    if not all(isinstance(id, int) and 0 <= id < vocab for id in banned):
        raise DataError(f"{path}: bad_words_ids and suppress_tokens must lie in [0, {vocab}), got {banned} - repair it")
    return Generation(
        eos=eos,
        start=start,
        forced_bos=one("forced_bos_token_id", -1),
        forced_eos=one("forced_eos_token_id", -1),
        min_length=max(0, search.whole(f"{path}: min_length", settings.get("min_length") or 0, 0, 1 << 24) - 1),
        banned=sorted(set(banned)),
        renormalize=bool(settings.get("renormalize_logits")),
        repetition_penalty=search.number(
            f"{path}: repetition_penalty", settings.get("repetition_penalty") or 1.0, *search.REPETITION_PENALTY
        ),
        no_repeat_ngram_size=search.whole(
            f"{path}: no_repeat_ngram_size", settings.get("no_repeat_ngram_size") or 0, 0, 1 << 24
        ),
    )


def weights_file(folder: Path) -> Path:
    """The folder's model.safetensors. Raises: DataError, with the way to make one."""
    path = folder / WEIGHTS
    if path.is_file():
        return path
    if (folder / "model.safetensors.index.json").exists():
        raise DataError(f"{folder}: its weights are sharded - load it with transformers and save it as one file")
    if (folder / "pytorch_model.bin").exists():
        raise DataError(
            f"{folder}: pytorch_model.bin is a pickle, which can run code and is not read here - convert it: "
            "AutoModelForSeq2SeqLM.from_pretrained(folder).save_pretrained(folder), where you trust its source"
        )
    raise DataError(f"{path}: missing - a model folder has config.json and model.safetensors")
