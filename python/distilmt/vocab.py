"""Vocabularies: text to ids and back, by SentencePiece, in Marian's layout: `</s>` 0, `<unk>` 1, pieces, `<pad>` last.

In a vocabulary made here, ids equal SentencePiece's own and encoding is one call of its C++. Folders of OPUS-MT, where
`vocab.json` counts otherwise, go through a table. Text is text: `</s>`, `<pad>`, `>>fra<<` inside a line never become
the symbols of these names. Two vocabularies are the same when their hashes are, never because their sizes are.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from collections.abc import Container, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import sentencepiece

from distilmt.errors import ConfigError, DataError
from distilmt.text.files import atomic_file
from distilmt.text.lines import CONTROL
from distilmt.vocabulary.pieces import Side
from distilmt.vocabulary.spm import train_spm, with_symbols
from distilmt.vocabulary.vocab_files import EOS, PAD, UNK, read_vocab_files, vocabulary_problems

__all__ = ["TooLong", "Vocab", "apply_too_long", "require_same", "vocabulary_problems"]

TooLong = Literal["split", "truncate", "skip"]
MAX_TRAINING_CHARACTERS = 1000  # of a line: SentencePiece leaves out lines of more than 4,192 bytes
CHUNK = re.compile(rf"(?s:.{{1,{MAX_TRAINING_CHARACTERS}}})(?=\s|$)|(?s:.{{1,{MAX_TRAINING_CHARACTERS}}})")
SURROGATE = re.compile("[\ud800-\udfff]")


class Vocab:
    """A joint vocabulary of both sides, or (OPUS-MT) one for each.

    size, pad_id: of the source side; `target_size` and `target_pad_id` are the same but for separate vocabularies.
    hash: SHA-256 (hex) over the ordered pieces and the SentencePiece models.
    threads: take part in encoding and decoding; results do not depend on them.
    """

    eos_id = 0
    unk_id = 1

    def __init__(
        self, source: Side, target: Side, *, source_lang: str = "", target_lang: str = "", model_max_length: int = 512
    ) -> None:
        self.source, self.target = source, target
        self.source_lang, self.target_lang, self.model_max_length = source_lang, target_lang, model_max_length
        self.size, self.pad_id = len(source.pieces), source.pad_id
        self.target_size, self.target_pad_id = len(target.pieces), target.pad_id
        self.separate = source.pieces != target.pieces
        self.threads = len(os.sched_getaffinity(0))
        digest = hashlib.sha256(json.dumps([source.pieces, target.pieces]).encode())
        for side in (source, target):
            digest.update(hashlib.sha256(side.model.serialized_model_proto()).digest())
        self.hash = digest.hexdigest()

    @classmethod
    def train(
        cls,
        lines: Iterable[str],
        size: int,
        *,
        model_type: Literal["unigram", "bpe"] = "unigram",
        seed: int = 1,
        threads: int = 1,
        character_coverage: float | None = None,
        byte_fallback: bool = False,
        max_lines: int = 5_000_000,
        source_lang: str = "",
        target_lang: str = "",
        model_max_length: int = 512,
        tags: Sequence[str] = (),
    ) -> Vocab:
        """Trains one joint vocabulary on the lines of both sides; the same arguments give the same bytes.

        Args:
            lines: Text of both languages.
            size: Ids in all, the three symbols included.
            model_type: `unigram` or `bpe`.
            seed: Of the sample, where there are more than `max_lines`.
            threads: Part of the recipe: another number gives slightly other unigram pieces.
            character_coverage: Share of the text's characters that get a piece. Default: all where they take at most an
                eighth of the ids, else 0.9995.
            byte_fallback: Spell rarer characters in bytes instead of `<unk>`.
            max_lines: SentencePiece holds its text in memory; beyond this many lines a random sample stands for all.
            source_lang: For `tokenizer_config.json`; target_lang and model_max_length too.
            tags: Target languages of a multilingual model; `fra` makes the symbol `>>fra<<`.

        Raises:
            ConfigError: The text does not support this size (the message says which it does), or a wrong option.
            DataError: There is no text, or a line holds a control character or a lone surrogate.
        """
        if model_type not in ("unigram", "bpe"):
            raise ConfigError(f"vocabulary: model type unigram or bpe, got {model_type}")
        if size < 4:
            raise ConfigError(f"vocabulary: at least 4 ids, got {size}")
        text = _training_text(lines, max_lines, random.Random(seed))
        if character_coverage is None:
            characters = len(set().union(*text))
            character_coverage = 1.0 if 8 * characters <= size else 0.9995
        model = sentencepiece.SentencePieceProcessor(
            model_proto=train_spm(
                text,
                size,
                model_type=model_type,
                threads=threads,
                character_coverage=character_coverage,
                byte_fallback=byte_fallback,
                symbols=[f">>{language}<<" for language in tags],
            )
        )
        side = Side(model, model.id_to_piece(list(range(size))))
        return cls(side, side, source_lang=source_lang, target_lang=target_lang, model_max_length=model_max_length)

    def with_tags(self, tags: Sequence[str]) -> Vocab:
        """This vocabulary with the symbols `>>ron<<` of further target languages before `<pad>`; other ids stay.

        Raises:
            ConfigError: It is not of this package's layout.
        """
        if self.separate or not self.source.same_ids:
            raise ConfigError("vocabulary: not of distilmt's layout, so no tag can be added - train a new one")
        proto = with_symbols(self.source.model.serialized_model_proto(), [f">>{language}<<" for language in tags])
        model = sentencepiece.SentencePieceProcessor(model_proto=proto)
        side = Side(model, model.id_to_piece(list(range(model.get_piece_size()))))
        languages = {"source_lang": self.source_lang, "target_lang": self.target_lang}
        return Vocab(side, side, **languages, model_max_length=self.model_max_length)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Vocab:
        """Loads the vocabulary of a Marian folder, this package's or OPUS-MT's.

        Raises:
            DataError: A file is missing, damaged or hostile, or the files contradict each other; ids are listed.
        """
        files = read_vocab_files(Path(folder))
        if files.problems:
            more = f" (and {len(files.problems) - 1} more)" if len(files.problems) > 1 else ""
            raise DataError(f"{folder}: {files.problems[0]}{more} - see `distilmt check {folder}`")
        source = Side(files.source, files.pieces)
        target = Side(files.target, files.target_pieces or files.pieces)
        return cls(
            source,
            target,
            source_lang=files.config.get("source_lang") or "",
            target_lang=files.config.get("target_lang") or "",
            model_max_length=files.config.get("model_max_length") or 512,
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `source.spm`, `target.spm`, `vocab.json` (and `target_vocab.json`) and `tokenizer_config.json`."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        config = {
            "source_lang": self.source_lang,
            "target_lang": self.target_lang,
            "separate_vocabs": self.separate,
            "tokenizer_class": "MarianTokenizer",
            "model_max_length": self.model_max_length,
            "unk_token": UNK,
            "eos_token": EOS,
            "pad_token": PAD,
        }
        contents = {
            "source.spm": self.source.model.serialized_model_proto(),
            "target.spm": self.target.model.serialized_model_proto(),
            "vocab.json": _json({piece: i for i, piece in enumerate(self.source.pieces)}),
            "tokenizer_config.json": _json(config),
        }
        if self.separate:
            contents["target_vocab.json"] = _json({piece: i for i, piece in enumerate(self.target.pieces)})
        for name, content in contents.items():
            with atomic_file(path / name) as stream:
                stream.write(content)

    def source_prefix(self, source_language: str | None, target_language: str | None) -> list[int]:
        """What stands before the ids of a source: the tag of a multilingual model's target language, `>>fra<<` for fra.

        Raises:
            ConfigError: The vocabulary has no such tag, or a source language is given, which Marian models do not take.
        """
        if source_language is not None:
            raise ConfigError(f"source_language: a Marian model takes none, got {source_language!r} - leave it out")
        return [] if target_language is None else [self._tag_id("target_language", f">>{target_language}<<")]

    def _tag_id(self, argument: str, tag: str) -> int:
        if (tag_id := self.source.tags.get(tag)) is None:
            known = ", ".join(sorted(self.source.tags)) or "it has none"
            raise ConfigError(f"{argument}: {tag} is none of this vocabulary's language tags - choose of: {known}")
        return tag_id

    def encode_source(self, lines: list[str], *, tag: str | None = None) -> list[list[int]]:
        """Ids of each line, without the end symbol; pieces not in the vocabulary become `unk_id`.

        Args:
            lines: Text; what looks like a symbol or a language tag in it is text.
            tag: `>>fra<<`, to put the id of a multilingual model's target language before each line.

        Raises:
            ConfigError: The vocabulary has no such tag.
            DataError: A line holds a lone surrogate.
        """
        ids = self.source.encode(lines, self.threads)
        if tag is None:
            return ids
        tag_id = self._tag_id("tag", tag)
        return [[tag_id, *row] for row in ids]

    def encode_target(self, lines: list[str]) -> list[list[int]]:
        """Ids of each line on the target side, without the end symbol."""
        return self.target.encode(lines, self.threads)

    @cached_property
    def word_starts(self) -> frozenset[int]:
        """Source ids that begin a word."""
        return frozenset(i for i, piece in enumerate(self.source.pieces) if piece.startswith("\u2581"))

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Text of each row of target ids; `</s>`, `<unk>` and `<pad>` are dropped."""
        return self.target.decode(ids, self.threads)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=0).encode() + b"\n"


def _training_text(lines: Iterable[str], most: int, rng: random.Random) -> list[str]:
    """The lines to learn pieces from, long ones cut at blanks, or a uniform sample of `most` (reservoir sampling)."""
    text: list[str] = []
    count = 0
    for number, line in enumerate(lines, 1):
        if found := CONTROL.search(line) or SURROGATE.search(line):
            raise DataError(f"vocabulary: training line {number} holds U+{ord(found[0]):04X} - leave such lines out")
        parts = [line] if len(line) <= MAX_TRAINING_CHARACTERS else CHUNK.findall(line)
        for part in parts:
            count += 1
            if len(text) < most:
                text.append(part)
            elif (place := rng.randrange(count)) < most:
                text[place] = part
    if not any(map(str.strip, text)):
        raise DataError("vocabulary: no text to learn pieces from - give lines that are not empty")
    return text


def require_same(student: Vocab, teacher: Vocab, name: str = "teacher") -> None:
    """Raises DataError, which names the teacher, unless both vocabularies have the same hash; equal sizes prove nothing."""
    if student.hash == teacher.hash:
        return
    pairs = zip(student.target.pieces, teacher.target.pieces, strict=False)
    first = next((i for i, (mine, other) in enumerate(pairs) if mine != other), None)
    where = "their SentencePiece models differ" if first is None else f"the first difference is id {first}"
    if student.target_size != teacher.target_size:
        where = f"{student.target_size} and {teacher.target_size} ids"
    raise DataError(
        f"vocabulary: student and {name} have different ones ({where}), so their distributions cannot be compared - "
        "train the student with the teacher's vocabulary, or distil on sequence level (--method seq-kd)"
    )


def apply_too_long(
    ids: Sequence[int], limit: int, policy: TooLong, starts: Container[int] = ()
) -> tuple[list[list[int]], Literal["ok", "split", "truncated", "too_long"]]:
    """What becomes of a line of more ids than a model has positions.

    Args:
        ids: Of the line, without the end symbol.
        limit: Most ids in one piece, the end symbol not counted.
        policy: `split` into pieces whose concatenation is `ids`, cut before the last word start in the second half of
            each, else at the limit; `truncate` to the first `limit`; `skip` the line.
        starts: Ids that begin a word (`Vocab.word_starts`).

    Returns:
        The pieces to translate (none for `skip`), and the line's status: ok, split, truncated or too_long.

    Raises:
        ConfigError: A limit below 1, or an unknown policy.
    """
    if limit < 1:
        raise ConfigError(f"too_long: a limit of at least 1, got {limit}")
    if len(ids) <= limit:
        return [list(ids)], "ok"
    if policy == "skip":
        return [], "too_long"
    if policy == "truncate":
        return [list(ids[:limit])], "truncated"
    if policy != "split":
        raise ConfigError(f"too_long: split, truncate or skip, got {policy}")
    pieces = []
    begin = 0
    while len(ids) - begin > limit:
        end = begin + limit
        cut = next((i for i in range(end, begin + limit // 2, -1) if ids[i] in starts), end)
        pieces.append(list(ids[begin:cut]))
        begin = cut
    return [*pieces, list(ids[begin:])], "split"
