"""`distilmt score --out FOLDER`: a teacher's distribution at every token of given targets, stored for training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from distilmt import corpus, progress
from distilmt.errors import ConfigError, DataError
from distilmt.soft_labels import SoftLabelsStore, SoftLabelsWriter, encode, encode_states
from distilmt.vocab import Vocab

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.translate import Translator

BLOCK = 1000  # pairs scored at a time


def store_forced(
    text: Corpus, translator: Translator, folder: str | Path, *, k: int, floor: float, what: str = "text"
) -> SoftLabelsStore:
    """Stores the translator's soft labels of a text's targets, forced.

    Args:
        text: line-aligned pairs; lines that take no part, or are longer than the teacher, have no soft labels.
        translator: of one Marian folder.
        k: the most entries of a token; 0: hidden states, from which training computes the whole distribution.
        floor: probability below which an entry joins the tail.
        what: name of the text in messages.
    Returns: the store, opened.
    Raises: ConfigError: an ensemble, or k. DataError: the model gives no finite numbers for a line.
    """
    if len(translator.folders) > 1:
        raise ConfigError("soft labels are stored with one teacher's hash - store those of each model by itself")
    with SoftLabelsWriter(folder, model=translator.folder, source=text.source_hash, k=k, floor=floor) as writer:
        with progress.bar(len(text), "scoring", "line") as bar:
            for blob in _blobs(text, translator, k, floor, what):
                writer.append(blob)
                bar.update(1)
        return writer.finish(text.target_hash)


def _blobs(text: Corpus, translator: Translator, k: int, floor: float, what: str) -> Iterator[bytes]:
    vocab = Vocab.load(translator.folder)
    for first in range(0, len(text), BLOCK):
        block = range(first, min(first + BLOCK, len(text)))
        usable = [i for i in block if text.statuses[i] == corpus.OK]
        targets = [text.targets[i] for i in usable]
        ids = vocab.encode_target(targets)
        scored = translator.score([text.sources[i] for i in usable], targets, soft_labels=k, hidden_states=k == 0)
        found = {}
        for i, target, out in zip(usable, ids, scored, strict=True):
            if out.status == "not_finite":
                raise DataError(
                    f"{what}: line {i + 1}: {translator.folder} gives no finite numbers - check its weights"
                )
            labels = out.hidden_states if k == 0 else out.soft_labels
            if out.log_probs and labels is not None:
                whole = list(chain(target, [vocab.eos_id]))
                found[i] = encode(whole, labels, floor) if k else encode_states(whole, labels)  # type: ignore[arg-type]
        yield from (found.get(i, b"") for i in block)
