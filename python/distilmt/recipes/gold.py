"""The training text as it is: the data of word-level distillation and of the student alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """The pairs of the text, unchanged."""
    return materials.text
