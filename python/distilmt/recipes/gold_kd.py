"""Gold and pseudo pairs together: every source stands there twice.

Source: Gordon & Duh 2019 (arXiv:1912.03334), "base+kd": concatenated and shuffled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distilmt.text.corpora import joined

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """The training text, then its pseudo pairs."""
    return joined(materials.text, materials.pseudo())
