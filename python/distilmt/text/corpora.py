"""Corpora made of others: without targets yet, a share of one, several behind each other."""

from __future__ import annotations

import numpy as np

from distilmt.corpus import Corpus
from distilmt.text.files import lines_hash


def alone(lines: list[str], statuses: list[str]) -> Corpus:
    """Source text without targets, as a corpus that a labelling completes; statuses as those of lines, or of labels."""
    found = [
        "empty_source" if status == "ok" and not line.strip() else status
        for line, status in zip(lines, statuses, strict=True)
    ]
    return Corpus(lines, [""] * len(lines), found, lines_hash(lines), "")


def subset(text: Corpus, share: float) -> Corpus:
    """A share of a corpus's usable pairs, the same ones each time, as a corpus with line numbers of its own."""
    if share == 1:
        return text
    pairs = list(text.pairs())
    chosen = np.random.default_rng(1).permutation(len(pairs))[: max(1, round(share * len(pairs)))]
    kept = [pairs[i] for i in sorted(chosen.tolist())]
    sources, targets = [source for _, source, _ in kept], [target for _, _, target in kept]
    return Corpus(
        sources, targets, ["ok"] * len(kept), lines_hash(sources), lines_hash(targets), notes=list(text.notes)
    )


def joined(*parts: Corpus) -> Corpus:
    """Corpora one behind the other, as a corpus of its own."""
    sources, targets, statuses = (
        [entry for part in parts for entry in getattr(part, name)] for name in ("sources", "targets", "statuses")
    )
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    return Corpus(sources, targets, statuses, lines_hash(sources), lines_hash(targets), notes=notes)
