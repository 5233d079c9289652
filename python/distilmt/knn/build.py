"""`distilmt knn build`: forced decoding of a text, and what the decoder thought at every token of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.interface.config import resolve
from distilmt.translator.compute_type import HELP as COMPUTE_TYPE_HELP
from distilmt.translator.compute_type import ComputeType

if TYPE_CHECKING:
    from distilmt.knn.datastore import Datastore

BLOCK = 1000  # pairs scored at a time


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Options of `distilmt knn build`."""

    model: str = field(metadata={"help": "the model whose states are the keys: a Marian folder or hub name"})
    source: str = field(metadata={"help": "source side of the training text"})
    target: str = field(metadata={"help": "its translations, line by line"})
    out: str = field(metadata={"help": "folder of the datastore"})
    compute_type: ComputeType = field(default="float32", metadata={"help": COMPUTE_TYPE_HELP})
    threads: int | None = field(default=None, metadata={"help": "workers; default: all CPUs this process may use"})


def build(config: BuildConfig | None = None, **options: Any) -> Datastore:
    """Makes a datastore of every target token of a text, end symbols included.

    Lines that are empty or too long for the model have no entries, and are counted. An interrupted call starts over.

    Args:
        config: a BuildConfig, or its fields as keywords.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(BuildConfig, config, **options)
    import numpy as np

    from distilmt import corpus, models
    from distilmt.interface import progress
    from distilmt.knn.datastore import KEYS, OFFSETS, VALUES, VOCAB, write_header
    from distilmt.marian.weights import weights_hash
    from distilmt.state.storage import disk_errors
    from distilmt.translate import Translator
    from distilmt.vocab import Vocab

    folder, model = Path(config.out), models.folder_of(config.model)
    text = corpus.load_corpus((config.source, config.target))
    translator = Translator(model, compute_type=config.compute_type, threads=config.threads)
    vocab = Vocab.load(model)
    vocab.save(folder / VOCAB)
    offsets, width, left_out = [0], 0, 0
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in (folder / "datastore.json", folder / "neighbours/neighbours.json", *folder.glob("index-*.json")):
            old.unlink(missing_ok=True)
        keys, values = ((folder / name).open("wb") for name in (KEYS, VALUES))
    with keys, values, disk_errors(folder), progress.bar(len(text.sources), "datastore", "line") as bar:
        for first in range(0, len(text.sources), BLOCK):
            part = slice(first, first + BLOCK)
            usable = [i for i, status in enumerate(text.statuses[part], first) if status == "ok"]
            targets = vocab.encode_target([text.targets[i] for i in usable])
            scored = translator.score_ids(
                vocab.encode_source([text.sources[i] for i in usable]), targets, hidden_states=True
            )
            found = dict(zip(usable, zip(targets, scored, strict=True), strict=True))
            for line in range(first, min(first + BLOCK, len(text.sources))):
                tokens = 0
                if line in found and found[line][1].log_probs:
                    ids, out = found[line]
                    tokens = len(out.log_probs)
                    assert out.hidden_states is not None and tokens == len(ids) + 1
                    width = out.hidden_states.shape[1]
                    keys.write(out.hidden_states.astype(np.float16).tobytes())
                    values.write(np.asarray([*ids, vocab.eos_id], np.int32).tobytes())
                left_out += tokens == 0
                offsets.append(offsets[-1] + tokens)
            bar.update(len(text.statuses[part]))
    (folder / OFFSETS).write_bytes(np.asarray(offsets, np.int64).tobytes())
    if left_out:
        print(f"distilmt: {left_out:,} of {len(text.sources):,} lines have no entries in {folder}", file=sys.stderr)
    return write_header(folder, {
        "width": width, "tokens": offsets[-1], "lines": len(text.sources), "vocab_size": vocab.target_size,
        "model": weights_hash(Path(model)), "vocab": vocab.hash, "source": text.source_hash, "target": text.target_hash,
    })  # fmt: skip
