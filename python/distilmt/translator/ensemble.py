"""Several models of one vocabulary as one: what they must share, and how much each one counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from distilmt.errors import ConfigError, DataError
from distilmt.translator.native_model import NativeModel

MEANS = ("arithmetic", "geometric")
TOKENIZERS = (
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "tokenizer.json",
)  # of families that are not Marian


def shares(weights: Sequence[float] | None, count: int) -> list[float]:
    """The weights, adding up to 1; equal ones where none are given. Raises: ConfigError."""
    try:
        given: list[Any] = [1.0] * count if weights is None else list(weights)
    except TypeError:
        given = []
    if len(given) != count or not all(isinstance(w, (int, float)) and 0 < w < float("inf") for w in given):
        raise ConfigError(f"weights: expected {count} positive numbers, one per folder, got {weights!r}")
    return [w / sum(given) for w in given]


def agreed(folders: Sequence[Path], models: Sequence[NativeModel]) -> NativeModel:
    """The first model's facts, with the positions that all have.

    Raises: ConfigError: the models' own settings of generation differ. DataError: their vocabularies do.
    """
    first = models[0]
    for folder, model in zip(folders[1:], models[1:], strict=True):
        sizes = [(each.source_vocab, each.target_vocab) for each in (first, model)]
        if sizes[0] != sizes[1]:
            raise DataError(
                f"{folder}: an ensemble needs one vocabulary, expected {sizes[0][0]} source and {sizes[0][1]} target ids "
                f"as in {folders[0]}, got {sizes[1][0]} and {sizes[1][1]} - take models trained with the same one"
            )
        for field in fields(first.generation):
            expected, got = (getattr(each.generation, field.name) for each in (first, model))
            if expected != got:
                raise ConfigError(
                    f"{folder / 'generation_config.json'}: an ensemble needs one {field.name}, expected {expected!r} as "
                    f"in {folders[0]}, got {got!r} - make them equal"
                )
        if (first.prefix, first.suffix) != (model.prefix, model.suffix):
            raise DataError(
                f"{folder}: an ensemble reads one source, expected {first.prefix} before and {first.suffix} behind it as in "
                f"{folders[0]}, got {model.prefix} and {model.suffix} - take models of one family"
            )
    if len(folders) > 1:
        _same_pieces(folders, first.model_type)
    return replace(first, positions=min(model.positions for model in models))


def _same_pieces(folders: Sequence[Path], model_type: str) -> None:
    def pieces(folder: Path) -> str:
        if model_type == "marian" and (folder / "vocab.json").exists():
            from distilmt.vocab import Vocab

            return Vocab.load(folder).hash
        return str([hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in TOKENIZERS if (folder / n).exists()])

    hashes = [pieces(folder) for folder in folders]
    for folder, found in zip(folders, hashes, strict=True):
        if found != hashes[0]:
            raise DataError(
                f"{folder}: its vocabulary has as many pieces as that of {folders[0]}, but others - an ensemble needs "
                "models trained with the same one"
            )
