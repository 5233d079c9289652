"""Gold pairs and the best hypotheses of the teacher's beam: `keep` of each list.

Source: Gordon & Duh 2019 (arXiv:1912.03334), "base+best-2", keep = 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distilmt.recipes.n_best import best
from distilmt.text.corpora import joined

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """The training text, then the pairs of each place of the lists."""
    return joined(materials.text, *best(materials))
