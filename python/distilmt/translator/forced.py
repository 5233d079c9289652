"""`distilmt score --out FOLDER`: a teacher's distribution at every token of given targets, stored for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from distilmt import corpus
from distilmt.errors import ConfigError, DataError, MemoryExhausted, ResourceError, UserError
from distilmt.interface import progress
from distilmt.soft_labels import SoftLabelsStore, SoftLabelsWriter, encode, encode_states
from distilmt.vocab import Vocab

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.translate import Translator

BLOCK = 1000  # pairs scored at a time
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


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
    Raises: ConfigError: an ensemble, or k. DataError: the model gives no finite numbers for a line. ResourceError: no
        memory for one.
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
    eos = Vocab.load(translator.folder).eos_id
    for first in range(0, len(text), BLOCK):
        block = range(first, min(first + BLOCK, len(text)))
        usable = [i for i in block if text.statuses[i] == corpus.OK]
        blobs = forced_blobs(translator, [(text.sources[i], text.targets[i]) for i in usable], k, floor, eos)
        found = {}
        for i, blob in zip(usable, blobs, strict=True):
            if isinstance(blob, UserError):
                raise type(blob)(f"{what}: line {i + 1}: {blob}")
            found[i] = blob
        yield from (found.get(i, b"") for i in block)


def forced_blobs(
    translator: Translator, pairs: Sequence[tuple[str, str]], k: int, floor: float, eos: int
) -> list[bytes | UserError]:
    """The stored form of a translator's soft labels (k 0: hidden states) of each pair's target.

    Returns: b"" where source or target is empty or too long; an error where there are no finite numbers, or no memory for
        the pair alone.
    """

    def score(some: Sequence[tuple[str, str]]) -> list[bytes | UserError]:
        sources, targets = [source for source, _ in some], [target for _, target in some]
        found: list[bytes | UserError] = []
        scored = translator.score(sources, targets, soft_labels=k, hidden_states=k == 0)
        for target, out in zip(translator.vocab.encode_target(targets), scored, strict=True):
            labels = out.hidden_states if k == 0 else out.soft_labels
            if out.status == "not_finite":
                found.append(DataError(f"{translator.folder} gives no finite numbers - check its weights"))
            elif not out.log_probs or labels is None:
                found.append(b"")
            else:
                ids = [*target, eos]
                found.append(encode(ids, labels, floor) if k else encode_states(ids, labels))  # type: ignore[arg-type]
        return found

    return in_halves(pairs, score, lambda _, error: ResourceError(f"no memory for it alone ({error})"))


def in_halves(
    items: Sequence[A], call: Callable[[Sequence[A]], list[B]], alone: Callable[[A, MemoryExhausted], C]
) -> list[B | C]:
    """`call(items)`, in halves where memory does not suffice; `alone` says what stands for an item that is too large by
    itself (fault case 34). Whatever else `call` raises is raised."""
    if not items:
        return []
    try:
        return list(call(items))
    except MemoryExhausted as error:
        if len(items) == 1:
            return [alone(items[0], error)]
        half = len(items) // 2
        return [*in_halves(items[:half], call, alone), *in_halves(items[half:], call, alone)]
