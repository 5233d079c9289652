"""Pre-training without a teacher: lines of the target language out of themselves, with words left out and moved.

Source: Turc et al. 2019 (Well-Read Students, arXiv:1908.08962): small students gain where they are pre-trained on text without
labels before they are distilled. Theirs are masked language models. A translation model's noise is that of Lample et al. 2018
(arXiv:1711.00043): each word is left out with probability 0.1, and none moves by more than three places. The checkpoint is the
one that restores the development text best. The noise of a line depends on its number alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distilmt.corpus import Corpus
from distilmt.text.files import lines_hash
from distilmt.text.lines import read_lines

if TYPE_CHECKING:
    from distilmt.distilling.materials import Materials

LEFT_OUT, PLACES = 0.1, 3


def make(materials: Materials) -> Corpus:
    """The targets of the training text, then --monolingual-target where there is some."""
    lines, statuses = list(materials.text.targets), list(materials.text.statuses)
    if more := materials.options.monolingual_target:
        found = list(read_lines(more, on_invalid_utf8=materials.config.on_invalid_utf8))
        lines, statuses = lines + [line.text for line in found], statuses + [line.status for line in found]
    return of(Corpus([], lines, statuses, "", lines_hash(lines), notes=list(materials.text.notes)))


def of(text: Corpus) -> Corpus:
    """The same targets, with noise of them as sources."""
    sources = [noised(line, number) for number, line in enumerate(text.targets)]
    statuses = [  # a line without a source is a pair here, one of blanks alone is none
        status if status == "quarantined" else "ok" if target.strip() else "empty_target"
        for status, target in zip(text.statuses, text.targets, strict=True)
    ]
    return replace(text, sources=sources, statuses=statuses, source_hash=lines_hash(sources))


def noised(line: str, number: int) -> str:
    """A line without a tenth of its words, the others within three places of where they were."""
    random, words = np.random.default_rng([4, number]), line.split()
    kept = [word for word, draw in zip(words, random.random(len(words)), strict=True) if draw >= LEFT_OUT] or words
    order = np.argsort(np.arange(len(kept)) + random.random(len(kept)) * (PLACES + 1), kind="stable")
    return " ".join(kept[i] for i in order)
