"""Pseudo pairs of the training source and of text that was translated back and forth.

Source: Aji & Heafield 2020 (Fully Synthetic Data, WNGT 2020): target text goes back through a reverse teacher, and its output
forward again; the original target is not used. Forward-translated source does better on tests that were written in the
source language, round trips on those written in the target language: report both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distilmt.text.corpora import joined

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """The pseudo pairs of the training text, then those of --monolingual-target, fully synthetic."""
    return joined(materials.pseudo(), materials.round_trip())
