"""Ways of making training data, one file each, named like it: `make(materials)` gives the corpus a student learns from.

A recipe takes what it needs from `Materials` (distilling/materials.py): training text, labels, selections, back-translations. It
goes with any objective.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials
    from distilmt.recipes.hybrid import Mixture


def make(name: str, materials: Materials) -> Corpus | Mixture:
    """The data of a recipe. Raises: ConfigError: it needs what was not given; the message says which option or command."""
    found: Corpus | Mixture = import_module(f"distilmt.recipes.{name.replace('-', '_')}").make(materials)
    return found
