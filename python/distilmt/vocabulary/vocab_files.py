"""The vocabulary's files of a Marian folder: read once, judged, never repaired.

`vocab.json` maps pieces to the model's ids and rules; `source.spm` and `target.spm` cut text into pieces. In folders
that this package writes, ids of the two agree; in those of OPUS-MT only the names of pieces connect them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distilmt.errors import DataError
from distilmt.vocabulary.spm import load_spm

EOS, UNK, PAD = "</s>", "<unk>", "<pad>"
MAX_JSON_BYTES = 256 << 20
STRANGERS = 0.1  # share of a model's pieces that an OPUS-MT vocab.json may lack: those its training text never showed


@dataclass
class VocabFiles:
    """What the files hold, as far as they could be read, and what is wrong with them."""

    source: Any = None  # SentencePieceProcessor
    target: Any = None
    pieces: list[str] = field(default_factory=list)  # by id
    target_pieces: list[str] | None = None  # where the sides have vocabularies of their own
    config: dict[str, Any] = field(default_factory=dict)  # tokenizer_config.json
    problems: list[str] = field(default_factory=list)


def vocabulary_problems(folder: str | Path) -> list[str]:
    """All that is wrong with a folder's vocabulary, a sentence each, with the ids concerned; empty if it is sound."""
    return read_vocab_files(Path(folder)).problems


def read_vocab_files(folder: Path) -> VocabFiles:
    """Reads and judges `vocab.json`, `source.spm`, `target.spm`, `tokenizer_config.json` and `target_vocab.json`."""
    files = VocabFiles()
    problems = files.problems
    if (folder / "tokenizer_config.json").exists():
        config = _read_json(folder / "tokenizer_config.json", problems)
        files.config = config if isinstance(config, dict) else {}
    files.pieces = _read_pieces(folder / "vocab.json", problems)
    if files.config.get("separate_vocabs", (folder / "target_vocab.json").exists()):
        files.target_pieces = _read_pieces(folder / "target_vocab.json", problems)
    for side, pieces, name in (
        ("source", files.pieces, "vocab.json"),
        ("target", files.target_pieces or files.pieces, "target_vocab.json" if files.target_pieces else "vocab.json"),
    ):
        try:
            model = load_spm(folder / f"{side}.spm")
        except DataError as error:
            problems.append(str(error))
            continue
        setattr(files, side, model)
        if pieces:
            problems += _disagreements(f"{side}.spm", model, name, pieces)
    return files


def _read_json(path: Path, problems: list[str]) -> Any:
    """The file's value; None, and a problem, where it cannot be read."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            problems.append(f"{path}: {path.stat().st_size} bytes, expected at most {MAX_JSON_BYTES} - fetch it again")
            return None
        text = path.read_text(encoding="utf-8")
        doubles: list[str] = []
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, doubles))
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror}) - a Marian folder holds this file")
        return None
    except (ValueError, RecursionError) as error:
        problems.append(f"{path}: not JSON ({error}) - fetch it again")
        return None
    if doubles:
        problems.append(f"{path}: keys given twice: {_some(map(repr, doubles))}")
    return value


def _unique(pairs: list[tuple[str, Any]], doubles: list[str]) -> dict[str, Any]:
    if len(value := dict(pairs)) < len(pairs):
        doubles += [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    return value


def _read_pieces(path: Path, problems: list[str]) -> list[str]:
    """Pieces by id; empty where the ids are not 0 .. size - 1, each once."""
    value = _read_json(path, problems)
    if value is None:
        return []
    if not isinstance(value, dict) or not value:
        problems.append(f"{path}: expected an object that maps pieces to ids - fetch it again")
        return []
    strange = [piece for piece, index in value.items() if type(index) is not int or index < 0]
    if strange:
        shown = _some(f"{piece!r} {value[piece]!r}" for piece in strange)
        problems.append(f"{path}: ids that are no whole numbers from 0: {shown}")
        return []
    uses = Counter(value.values())
    twice = sorted(index for index, count in uses.items() if count > 1)
    last = max(uses)
    gaps = (index for index in range(last + 1) if index not in uses)
    missing = last + 1 - len(uses)
    if twice:
        problems.append(f"{path}: ids used twice: {_some(twice)}")
    if missing:
        problems.append(f"{path}: {missing} ids missing below {last}: {_some(gaps, missing)}")
    for piece, index in ((EOS, 0), (UNK, 1), (PAD, last)):
        if piece not in value:
            problems.append(f"{path}: no piece {piece}, expected at id {index}")
        elif value[piece] != index:
            place = "the last, " if piece == PAD else ""
            problems.append(f"{path}: {piece} has id {value[piece]}, expected {place}{index}")
    if twice or missing:
        return []
    return sorted(value, key=value.__getitem__)


def _disagreements(spm_name: str, model: Any, json_name: str, pieces: list[str]) -> list[str]:
    """Pieces of a SentencePiece model that the vocabulary lacks, or has elsewhere though both count as Marian does."""
    ids = range(model.get_piece_size())
    if model.eos_id() == 0 and model.unk_id() == 1:
        wrong = [i for i in ids if i >= len(pieces) or model.id_to_piece(i) != pieces[i]]
        return [f"{spm_name} and {json_name} disagree on {len(wrong)} ids: {_some(wrong)}"] if wrong else []
    known = set(pieces)
    wrong = [i for i in ids if _is_text(model, i) and model.id_to_piece(i) not in known]
    if len(wrong) <= STRANGERS * len(ids):
        return []
    return [f"{json_name} lacks {len(wrong)} of {len(ids)} pieces of {spm_name}, ids {_some(wrong)}"]


def _is_text(model: Any, index: int) -> bool:
    return not (model.is_control(index) or model.is_unknown(index) or model.is_unused(index) or model.is_byte(index))


def _some(items: Iterable[Any], count: int | None = None, shown: int = 10) -> str:
    """The first ten, and how many more there are."""
    listed = []
    iterator = iter(items)
    for item in iterator:
        listed.append(str(item))
        if len(listed) == shown:
            break
    more = (count - len(listed)) if count is not None else sum(1 for _ in iterator)
    return ", ".join(listed) + (f" and {more} more" if more > 0 else "")
