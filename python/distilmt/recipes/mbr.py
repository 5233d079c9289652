"""Minimum Bayes risk: of the teacher's n-best list the hypothesis with the highest expected chrF takes the reference's place.

Source: Finkelstein et al. 2024 (arXiv:2309.10966), with chrF for their learned metrics and the teacher's own list for its
samples: a generalised interpolation, in which the list stands for the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distilmt.labels.rank import RankOptions

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials

RANKING = RankOptions(rule="mbr")


def make(materials: Materials) -> Corpus:
    """Pairs of source and chosen hypothesis, line-aligned with the training text."""
    return materials.selected("select-mbr", RANKING)[0]
