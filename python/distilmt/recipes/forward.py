"""Pseudo pairs of the training source and of more text in its language.

Source: Aji & Heafield 2020 (Fully Synthetic Data, WNGT 2020): what a student learns from need not be what its teacher learnt
from, but of its domain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distilmt.text.corpora import joined

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """The pseudo pairs of the training text, then those of --monolingual-source."""
    return joined(materials.pseudo(), materials.forward())
