"""The text vocabulary of families other than Marian: transformers' tokenizer of the model folder, and its languages.

A tokenizer knows best what stands around a text: `<s> text </s>` for BART, `text </s> de_DE` for mBART, `deu_Latn text
</s>` for NLLB. So it is asked, with the empty text: what it puts before the end symbol is a prefix, the rest a suffix.
On the target side a tag behind the end symbol (mBART) is what the decoder starts from; else the model is forced to begin
with its tag. Text is text: what looks like a symbol or a language tag in a line never becomes one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from distilmt.errors import ConfigError, DataError
from distilmt.vocabulary.pieces import surrogate_error
from distilmt.vocabulary.spm import load_spm

SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model")
WORD_STARTS = ("\u2581", "\u0120")  # SentencePiece's and byte-level BPE's blank


class TokenizerVocab:
    """What `Vocab` is to Marian; made by `load`.

    size, target_size: the model's ids.
    prefix, suffix: what the encoder reads before and behind the ids of a text.
    forced_bos, start: what the target language makes the decoder begin with, and start from; None where there is none.
    """

    def __init__(
        self, folder: Path, tokenizer: Any, sizes: tuple[int, int], source: str | None, target: str | None
    ) -> None:
        self.folder, self.tokenizer = folder, tokenizer
        self.size, self.target_size = sizes
        self.languages = _languages(tokenizer)
        self._symbols = {*tokenizer.all_special_ids, *self.languages.values()}
        needed = max([len(tokenizer), *(id + 1 for id in self.languages.values())])
        if needed > min(sizes):
            raise DataError(
                f"{folder}: the model has {min(sizes)} ids, its tokenizer {needed} - copy model and tokenizer together"
            )
        self._speak("source_language", "src_lang", source)
        self._speak("target_language", "tgt_lang", target)
        self.prefix, self.suffix = self._around(tokenizer("")["input_ids"])
        begin, end = self._around(tokenizer(text_target="")["input_ids"])
        tag = self.languages.get(target or "")
        behind = tag in end and not getattr(tokenizer, "legacy_behaviour", False)  # NLLB's old way is one of sources
        self.start = tag if behind else None
        self.forced_bos = None if behind else tag
        self._target_prefix = begin if self.forced_bos is None else [self.forced_bos]

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], sizes: tuple[int, int], source: str | None, target: str | None
    ) -> TokenizerVocab:
        """Loads a folder's tokenizer.

        Args:
            sizes: the model's source and target ids.
            source, target: languages, by the names that the tokenizer has for them; None where it has none.
        Raises: DataError: files are missing, damaged, or not the model's. ConfigError: a language is missing, or
            unknown; the message lists those that are known.
        """
        path = Path(folder)
        for name in SENTENCEPIECE:
            if (path / name).exists():
                load_spm(path / name)  # hostile until proven harmless
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # OSError, ValueError, KeyError, ImportError: by what is wrong
            reason = " ".join(str(error).split())[:200]
            more = (
                ""
                if (path / "tokenizer.json").exists()
                else "; without tokenizer.json it may need `pip install protobuf`"
            )
            raise DataError(
                f"{path}: transformers cannot load its tokenizer ({reason}) - fetch it again{more}"
            ) from None
        return cls(path, tokenizer, sizes, source, target)

    def _speak(self, argument: str, attribute: str, language: str | None) -> None:
        if not self.languages:
            if language is not None:
                raise ConfigError(f"{argument}: {self.folder} has no language tags, got {language!r} - leave it out")
        elif language not in self.languages:
            got = f"got {language!r}" if language is not None else "none was given"
            raise ConfigError(f"{argument}: {got} - this model knows {', '.join(sorted(self.languages))}")
        else:
            setattr(self.tokenizer, attribute, language)

    def _around(self, ids: list[int]) -> tuple[list[int], list[int]]:
        """Splits what surrounds the empty text before the end symbol."""
        end = self.tokenizer.eos_token_id
        if end not in ids:
            raise DataError(f"{self.folder}: its tokenizer ends no text with an end symbol - copy the tokenizer again")
        return ids[: ids.index(end)], ids[ids.index(end) :]

    def encode_source(self, lines: list[str]) -> list[list[int]]:
        """Ids of each line, without what stands around it. Raises: DataError: a line holds a lone surrogate."""
        if not lines:
            return []
        try:
            rows = self.tokenizer(lines, add_special_tokens=False, split_special_tokens=True, verbose=False)[
                "input_ids"
            ]
        except (RuntimeError, TypeError, UnicodeEncodeError) as error:
            raise surrogate_error(lines) or error from None
        # Some vocabularies spell their symbols as pieces.
        unknown = self.tokenizer.unk_token_id
        return [[unknown if id in self._symbols else id for id in row] for row in rows]

    def encode_target(self, lines: list[str]) -> list[list[int]]:
        """Ids of each line with the tag or symbol it begins with, without the end symbol."""
        return [[*self._target_prefix, *ids] for ids in self.encode_source(lines)]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Text of each row of ids; symbols and language tags are dropped."""
        kept = [[id for id in row if id not in self._symbols and id < len(self.tokenizer)] for row in rows]
        texts: list[str] = self.tokenizer.batch_decode(kept)
        return texts

    @cached_property
    def word_starts(self) -> frozenset[int]:
        """Ids that begin a word."""
        return frozenset(id for piece, id in self.tokenizer.get_vocab().items() if piece.startswith(WORD_STARTS))


def _languages(tokenizer: Any) -> dict[str, int]:
    """Ids of the language tags by name; empty for a tokenizer that knows no languages."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    codes = getattr(tokenizer, "lang_code_to_id", None)
    if codes is None:  # NLLB's extra symbols are its languages
        codes = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.extra_special_tokens}
    return {name: id for name, id in codes.items() if id != tokenizer.unk_token_id}
