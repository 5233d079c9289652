"""SentencePiece models: loading those of others, which are hostile until proven harmless, and training our own.

A damaged model can crash the process that loads it (CVE-2026-1260: a stack overflow from one long piece), so a child
process loads every model file first.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.text.files import file_facts, read_blocks

MAX_MODEL_BYTES = 64 << 20  # 256,000 pieces take about 5 MB
MAX_PIECE_CHARACTERS = 1024
PROBE_SECONDS = 30

# Runs isolated and without `site`, which starts in 30 ms; the limits bind the child alone.
PROBE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
sys.path.append(sys.argv[1])
try:
    from sentencepiece import SentencePieceProcessor
    model = SentencePieceProcessor(model_proto=sys.stdin.buffer.read())
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    bad = [i for i, piece in enumerate(pieces) if "\\0" in piece or not 0 < len(piece) <= int(sys.argv[2])]
    if bad:
        raise ValueError(f"empty, over-long or NUL piece at ids {bad[:10]}")
    every_plane = "".join(map(chr, [*range(1, 0xd800, 7), *range(0xe000, 0x20000, 31)]))
    model.decode(model.encode(every_plane + " \\u2581 word " * 100))
except Exception as error:
    print(" ".join(str(error).split())[:300])
    sys.exit(3)
"""


def load_spm(path: Path) -> Any:
    """A SentencePieceProcessor of a file that may be damaged or hostile.

    Raises:
        DataError: Missing, too large, or a child process cannot load it; the message names the library's version.
    """
    size = file_facts(path).size
    if not 0 < size <= MAX_MODEL_BYTES:
        raise DataError(f"{path}: {size} bytes, a SentencePiece model has 1 to {MAX_MODEL_BYTES} - fetch it again")
    data = b"".join(read_blocks(str(path)))
    if reason := _probe(hashlib.sha256(data).digest(), data):
        raise DataError(
            f"{path}: SentencePiece {sentencepiece.__version__} cannot use this model ({reason}) - "
            "fetch it again, or install the version of sentencepiece that wrote it"
        )
    return sentencepiece.SentencePieceProcessor(model_proto=data)


_probed: dict[bytes, str] = {}  # digest of a model -> why it is refused, "" where it loads


def _probe(digest: bytes, data: bytes) -> str:
    if digest in _probed:
        return _probed[digest]
    packages = str(Path(sentencepiece.__file__).parents[1])
    command = [sys.executable, "-I", "-S", "-c", PROBE, packages, str(MAX_PIECE_CHARACTERS)]
    # What is preloaded here (a sanitizer) would not start within the child's limits.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    try:
        child = subprocess.run(
            command, input=data, capture_output=True, timeout=PROBE_SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        reason = f"not loaded after {PROBE_SECONDS} s"
    except OSError as error:
        raise ResourceError(
            f"{sys.executable}: cannot start, to probe a SentencePiece model ({error.strerror})"
        ) from None
    else:
        reason = "" if child.returncode == 0 else child.stdout.decode(errors="replace").strip()
        if child.returncode and not reason:
            reason = f"it crashed a child process, exit {child.returncode}"
    _probed[digest] = reason
    return reason


def train_spm(
    lines: Sequence[str], size: int, *, model_type: str, threads: int, character_coverage: float, byte_fallback: bool,
    symbols: Sequence[str] = (),
) -> bytes:  # fmt: skip
    """Trains a model of Marian's layout: `</s>` 0, `<unk>` 1, symbols, pieces, `<pad>` size - 1; returns the bytes of its file.

    Args:
        lines: None longer than SentencePiece's limit of 4,192 bytes, none with control characters.
        size: Ids in all.
        model_type: `unigram` or `bpe`.
        threads: Unigram pieces depend on it in their last digits, so it belongs to the recipe.
        character_coverage: Share of the text's characters that get a piece.
        byte_fallback: Spell other characters in bytes.
        symbols: Names of ids that no text can spell.

    Raises:
        ConfigError: The text does not support this size; the message says which it does.
    """

    def trained(pad_id: int) -> bytes:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=size,
            model_type=model_type,
            character_coverage=character_coverage,
            byte_fallback=byte_fallback,
            control_symbols=list(symbols),
            num_threads=threads,
            eos_id=0,
            unk_id=1,
            bos_id=-1,
            pad_id=pad_id,  # reserved, so that no text can earn a piece `<pad>`
            input_sentence_size=0,
            minloglevel=2,
        )
        return model.getvalue()

    try:
        return trained(pad_id=size - 1)
    except RuntimeError as error:
        message = str(error)
    if too_small := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        raise ConfigError(
            f"vocabulary: {size} ids are fewer than the text's characters need - ask for {too_small[1]} or more"
        )
    try:  # with <pad> at a place that is never reached, SentencePiece does not say how far it came; without, it does
        trained(pad_id=-1)
    except RuntimeError as error:
        message = str(error)
    if too_large := re.search(r"set it to a value <= (\d+)", message):
        largest = int(too_large[1]) + 1
        raise ConfigError(f"vocabulary: the text supports at most {largest} ids, {size} asked for - ask for {largest}")
    raise DataError(f"vocabulary: SentencePiece {sentencepiece.__version__} could not be trained ({message})")


def with_symbols(model: bytes, symbols: Sequence[str]) -> bytes:
    """The file of a model that `train_spm` wrote, with further symbols before `<pad>`, its last piece.

    A piece is field 1 of the file's protocol buffer: name (field 1), score (2, float32), type (3: control is 3).

    Raises:
        ConfigError: Its last piece is another.
    """

    def piece(name: str) -> bytes:
        text = name.encode()
        body = b"\x0a" + bytes([len(text)]) + text + b"\x15\0\0\0\0\x18\x03"
        return b"\x0a" + bytes([len(body)]) + body

    before, pad, behind = model.partition(piece("<pad>"))
    known = sentencepiece.SentencePieceProcessor(model_proto=model)
    if not pad or known.id_to_piece(known.get_piece_size() - 1) != "<pad>":
        raise ConfigError(
            "vocabulary: <pad> is not its last piece, so none can be added before it - train a new vocabulary"
        )
    return b"".join([before, *map(piece, symbols), pad, behind])
