"""Gold, pseudo and back-translated pairs together: every line stands there three times.

Source: Gordon & Duh 2019 (arXiv:1912.03334), "base+kd+bt": a teacher of the other direction translates the references, and
its output is the source of a third copy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distilmt.recipes.seq_kd import seq_kd
from distilmt.text.corpora import joined

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """The training text, its pseudo pairs, and its references with back-translated sources."""
    text, back = materials.text, materials.reverse_labels()
    turned = replace(text, sources=text.targets, targets=text.sources)
    reverse = seq_kd(turned, back)
    returned = replace(reverse, sources=reverse.targets, targets=reverse.sources)
    return joined(text, materials.pseudo(), returned)
