"""Several hypotheses of the teacher for every source, and no gold: `keep` of each list.

Source: multi-hypothesis distillation, Galiano-Jimenez et al. 2025: more diverse targets than the best alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distilmt.labels.rank import RankOptions
from distilmt.text.corpora import joined

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """The pairs of each place of the lists."""
    return joined(*best(materials))


def best(materials: Materials) -> list[Corpus]:
    """The `keep` best of each list by the teacher's own score, a corpus for each place."""
    keep = materials.options.keep
    return materials.selected(f"select-best-{keep}", RankOptions(rule="model"), keep)
