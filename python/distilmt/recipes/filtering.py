"""Without the pseudo pairs whose source a model of the other direction finds least likely.

Source: the Bergamot recipe (browsermt/students, mozilla/translations): pairs are scored by a target-to-source model, normalised by
length, and the worst 5 % are dropped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def without_worst(text: Corpus, materials: Materials) -> Corpus:
    """The corpus with the worst `drop_worst` of its usable pairs left out, each in its place."""
    share = materials.options.drop_worst
    if not share:
        return text
    scores = materials.reverse_scores(text)
    usable = sorted((score, index) for index, score in enumerate(scores) if score is not None)
    worst = {index for _, index in usable[: int(share * len(usable))]}
    statuses = ["reverse_score" if index in worst else status for index, status in enumerate(text.statuses)]
    return replace(text, statuses=statuses)
