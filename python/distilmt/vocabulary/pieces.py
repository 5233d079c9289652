"""One side of a vocabulary: a SentencePiece model and the model's ids of its pieces."""

from __future__ import annotations

import re
from typing import Any

from distilmt.errors import DataError
from distilmt.vocabulary.vocab_files import EOS, PAD, UNK

LANGUAGE_TAG = re.compile(">>.+<<")
FEW_LINES = 64  # starting threads takes longer than encoding so many


class Side:
    """Text to ids and back for one side.

    Where SentencePiece's ids are the vocabulary's own, its C++ does all; else (OPUS-MT) names of pieces connect them.
    Symbols and language tags have names too, but no text spells them: they are reserved.

    Args:
        model: SentencePieceProcessor.
        pieces: Names by id; `</s>` 0, `<unk>` 1, `<pad>` last.
    """

    def __init__(self, model: Any, pieces: list[str]) -> None:
        self.model, self.pieces = model, pieces
        self.unk_id, self.pad_id = 1, len(pieces) - 1
        self.tags = {piece: i for i, piece in enumerate(pieces) if LANGUAGE_TAG.fullmatch(piece)}
        self._dropped = {0, self.unk_id, self.pad_id}  # in decoding, as transformers with skip_special_tokens
        names = model.id_to_piece(list(range(model.get_piece_size())))
        # A model without <pad> (one piece fewer) counts the same way. Filler ids before <pad> need the table.
        self.same_ids = names == pieces[: len(names)] and len(names) >= len(pieces) - 1
        self.same_ids &= model.eos_id() == 0 and model.unk_id() == 1
        self.same_ids &= len(names) < len(pieces) or model.is_control(self.pad_id)  # else text could spell <pad>
        self._ids = {piece: i for i, piece in enumerate(pieces) if piece not in (EOS, UNK, PAD, *self.tags)}
        self._table = [self._ids.get(name, self.unk_id) for name in names]  # SentencePiece's id -> ours

    def encode(self, lines: list[str], threads: int) -> list[list[int]]:
        """Ids of each line, without the end symbol."""
        threads = threads if len(lines) > FEW_LINES else 1
        if not lines:
            return []
        try:
            rows: list[list[int]] = self.model.encode(lines, out_type=int, num_threads=threads)
        except (RuntimeError, TypeError) as error:  # what versions of SentencePiece say of what UTF-8 cannot express
            raise surrogate_error(lines) or error from None
        if self.same_ids:
            return rows
        ids = [[self._table[i] for i in row] for row in rows]
        # OPUS-MT's vocabulary may have a name for what this side's SentencePiece does not know.
        unknown = self.model.unk_id()
        strange = [number for number, row in enumerate(rows) if unknown in row]
        if strange:
            names = self.model.encode([lines[i] for i in strange], out_type=str, num_threads=threads)
            for number, row_names in zip(strange, names, strict=True):
                ids[number] = [self._ids.get(name, self.unk_id) for name in row_names]
        return ids

    def decode(self, rows: list[list[int]], threads: int) -> list[str]:
        """Text of each row; symbols (`</s>`, `<unk>`, `<pad>`) are dropped."""
        for row in rows:
            if len(row) and not 0 <= min(row) <= max(row) < len(self.pieces):
                raise ValueError(f"decode: ids must lie in 0 .. {len(self.pieces) - 1}, got {min(row)} .. {max(row)}")
        if not rows:
            return []
        kept: list[list[Any]] = [[int(i) for i in row if i not in self._dropped] for row in rows]
        if not self.same_ids:
            kept = [[self.pieces[i] for i in row] for row in kept]
        texts = self.model.decode(kept, num_threads=threads if len(rows) > FEW_LINES else 1)
        return [text.replace("\u2581", " ").strip() for text in texts]  # as MarianTokenizer does


def surrogate_error(lines: list[str]) -> DataError | None:
    """What to say of the first line that holds a lone surrogate; None where none does."""
    for number, line in enumerate(map(str, lines), 1):
        try:
            line.encode()
        except UnicodeEncodeError as error:
            return DataError(
                f"text {number}, character {error.start + 1}: lone surrogate {line[error.start]!a} is not text - "
                "decode the input with errors='replace'"
            )
    return None
