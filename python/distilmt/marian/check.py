"""`distilmt check`: does a model folder keep the export contract, and do all engines decode the same tokens from it?

CTranslate2's converter proves sizes alone; whatever else is wrong with a folder it turns into other tokens, in silence.
So each rule is looked at by itself, and then all engines decode a probe set (probe.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import MarianConfig, MarianMTModel

from distilmt import models
from distilmt.errors import DataError, UserError
from distilmt.marian.model_folder import read_config, read_json, read_vocabulary, tied_names
from distilmt.marian.probe import NotCheckedError, Probe, ctranslate2_greedy, native_greedy, quiet_transformers
from distilmt.marian.weights import WEIGHTS, Header, prove_checksums, read_header
from distilmt.vocab import vocabulary_problems

ACTIVATIONS = (
    "relu",
    "gelu",
    "gelu_new",
    "gelu_fast",
    "gelu_python",
    "gelu_pytorch_tanh",
    "quick_gelu",
    "silu",
    "swish",
)


@dataclass(frozen=True)
class Item:
    """One rule of the contract and what was found."""

    name: str
    status: Literal["ok", "failed", "not checked"]
    detail: str


@dataclass
class CheckReport:
    """All items, in order; `str()` prints them."""

    folder: Path
    items: list[Item] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing failed. An engine that is not installed is "not checked", which is no failure."""
        return all(item.status != "failed" for item in self.items)

    def __getitem__(self, name: str) -> Item:
        return next(item for item in self.items if item.name == name)

    def __str__(self) -> str:
        lines = [f"{item.status:<12} {item.name:<14} {item.detail}" for item in self.items]
        counts = [f"{sum(item.status == s for item in self.items)} {s}" for s in ("ok", "failed", "not checked")]
        return "\n".join([f"{self.folder}", *lines, ", ".join(counts)])


def check(
    folder: str | Path, lines: Iterable[str] | None = None, *, sentences: int = 50, unsafe_pickle: bool = False
) -> CheckReport:
    """Looks at every rule of the export contract, and compares greedy output of all engines token by token.

    Args:
        folder: a Marian folder, or a hub name.
        lines: source text to probe with; default: `sentences` texts made of random pieces of the vocabulary.
        unsafe_pickle: first write model.safetensors from a pytorch_model.bin that is all the folder has.
    Returns: a report; what is wrong with the model is in it, nothing is raised for that.
    Raises: ConfigError, ResourceError where there is no such folder; DataError for a pickle that does not load.
    """
    path = models.convert_pickle(folder) if unsafe_pickle else models.folder_of(folder)
    report = CheckReport(path)

    def look(name: str, question: Callable[[], str]) -> None:
        try:
            report.items.append(Item(name, "ok", question()))
        except NotCheckedError as reason:
            report.items.append(Item(name, "not checked", str(reason)))
        except UserError as error:
            report.items.append(Item(name, "failed", str(error)))

    look("weights", lambda: _weights(path))
    look("config", lambda: _config(path))
    try:
        config, raw = read_config(path), read_json(path / "config.json")
    except UserError:  # said by the item above; without a config there is nothing to compare with
        return report
    look("ids", lambda: _ids(config))
    look("vocabulary", lambda: _vocabulary(path, config))
    look("architecture", lambda: _architecture(config, raw))
    look("generation", lambda: _generation(path, config))
    look("stored tensors", lambda: _stored(path, config))
    loaded: list[MarianMTModel] = []  # by transformers; stays empty where it does not load
    look("ties", lambda: _ties(path, config))
    look("pad row", lambda: _pad_row(path, config))
    look("transformers", lambda: _transformers(path, loaded))
    probe = Probe(path, loaded[0] if loaded else None, lines, sentences)
    look("ctranslate2", lambda: probe.compare("CTranslate2", ctranslate2_greedy))
    look("native", lambda: probe.compare("distilmt.Translator", native_greedy))
    return report


def _require(good: bool, otherwise: str) -> None:
    if not good:
        raise DataError(otherwise)


def _header(folder: Path) -> Header:
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder / WEIGHTS}: missing - save the model with safetensors")
    return read_header(folder / WEIGHTS)


def _weights(folder: Path) -> str:
    header = _header(folder)
    prove_checksums(folder / WEIGHTS, header)
    size = (folder / WEIGHTS).stat().st_size
    checksums = "every checksum holds" if header.checksums else "no checksums: another tool wrote the file"
    return f"{len(header.entries)} tensors, {size:,} bytes, {checksums}"


def _config(folder: Path) -> str:
    read_config(folder)
    raw = read_json(folder / "config.json")
    _require(
        raw.get("architectures") == ["MarianMTModel"],
        f"architectures is {raw.get('architectures')}, not ['MarianMTModel']",
    )
    dtype = raw.get("dtype", raw.get("torch_dtype", "float32"))  # transformers 4 called it torch_dtype
    _require(dtype == "float32", f"dtype is {dtype}: CTranslate2 loads in this precision - save the model in float32")
    return "marian, MarianMTModel, float32"


def _ids(config: MarianConfig) -> str:
    last = config.vocab_size - 1
    _require(
        config.pad_token_id == last,
        f"pad_token_id is {config.pad_token_id}, not the last id {last}: CTranslate2 drops the last",
    )
    _require(
        config.decoder_start_token_id == last,
        f"decoder_start_token_id is {config.decoder_start_token_id}, not the pad {last}",
    )
    _require(config.eos_token_id != last, f"eos_token_id is the pad, {last}")
    return f"pad and start {last} of {config.vocab_size}, end {config.eos_token_id}"


def _vocabulary(folder: Path, config: MarianConfig) -> str:
    problems = vocabulary_problems(folder)
    _require(not problems, "; ".join(problems))
    vocab = read_vocabulary(folder, config)
    _require(not vocab.separate, "source and target have separate vocabularies, which CTranslate2 cannot convert")
    saved = "vocabulary" in _header(folder).metadata
    return f"{vocab.size} pieces, hash {vocab.hash[:12]}" + (", the one the weights were saved with" if saved else "")


def _architecture(config: MarianConfig, raw: dict[str, Any]) -> str:
    heads = config.encoder_attention_heads
    _require(
        heads == config.decoder_attention_heads,
        f"{heads} heads in the encoder, {config.decoder_attention_heads} in the decoder: CTranslate2 needs equal ones",
    )
    for name in ("normalize_before", "normalize_embedding", "add_final_layer_norm"):
        _require(not raw.get(name), f"{name} is set: Marian models normalise after each sub-layer")
    _require(
        raw.get("static_position_embeddings", True), "static_position_embeddings is false: positions must be sinusoids"
    )
    activation = config.activation_function
    _require(activation in ACTIVATIONS, f"activation_function {activation!r} is unknown to CTranslate2")
    return (
        f"{config.encoder_layers}x{config.decoder_layers}, d {config.d_model}, {heads} heads, post-norm, {activation}"
    )


def _generation(folder: Path, config: MarianConfig) -> str:
    raw = read_json(folder / "generation_config.json")
    for name in ("decoder_start_token_id", "pad_token_id", "eos_token_id"):
        _require(
            raw.get(name) == getattr(config, name),
            f"{name} is {raw.get(name)}, config.json says {getattr(config, name)}",
        )
    _require(
        [config.pad_token_id] in (raw.get("bad_words_ids") or []),
        f"bad_words_ids lacks the pad [{config.pad_token_id}]",
    )
    for name in ("num_beams", "max_length"):
        _require(type(raw.get(name)) is int and raw[name] > 0, f"{name} is {raw.get(name)}, not a positive number")
    _require(
        raw["max_length"] <= config.max_position_embeddings,
        f"max_length {raw['max_length']} is more than the {config.max_position_embeddings} positions",
    )
    return f"num_beams {raw['num_beams']}, max_length {raw['max_length']}, pad banned"


def _stored(folder: Path, config: MarianConfig) -> str:
    names = _header(folder).entries
    for group in tied_names(config):
        stored = [name for name in group if name in names]
        _require(
            len(stored) == 1, f"{' and '.join(stored) or group[0]}: {len(stored)} copies in the file, expected one"
        )
    positions = [name for name in names if "embed_positions" in name]
    _require(not positions, f"{', '.join(positions)}: sinusoids are stored - save the model with distilmt")
    halves = sorted({entry.dtype for entry in names.values()} - {"F32"})
    _require(not halves, f"weights are stored as {', '.join(halves)}, not F32")
    return "tied tensors once, no positions, float32"


def _ties(folder: Path, config: MarianConfig) -> str:
    models.prove_ties(models.load(folder))
    _require(config.tie_word_embeddings, "tie_word_embeddings is false: input and output embeddings are two")
    return " = ".join(tied_names(config)[-1]) + ", by pointer"


def _pad_row(folder: Path, config: MarianConfig) -> str:
    state = models.load(folder).state_dict()
    for group in tied_names(config):
        largest = float(state[group[0]][config.pad_token_id].abs().max())
        _require(
            largest == 0.0,
            f"{group[0]}[{config.pad_token_id}] is up to {largest:.3g}, not zero: transformers starts from it, "
            "CTranslate2 from zero - saving the model with distilmt writes it as zero",
        )
    return "zero"


def _transformers(folder: Path, loaded: list[MarianMTModel]) -> str:
    try:
        with quiet_transformers():
            model, info = MarianMTModel.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # whatever transformers raises is the answer to the question
        raise DataError(f"does not load: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        _require(not info[kind], f"{kind}: {', '.join(map(str, sorted(info[kind])[:5]))}")
    models.prove_ties(model)
    ours, theirs = models.load(folder).state_dict(), model.state_dict()
    for name, tensor in theirs.items():
        _require(torch.equal(tensor, ours[name]), f"{name} differs from what the file holds")
    loaded.append(model.eval())
    return "loads, ties by pointer, every tensor as in the file"
