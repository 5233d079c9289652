"""Gold and pseudo pairs by the batch: each batch is of one kind, the teacher's with probability `pseudo_share`.

Source: NVIDIA's NeMo recipe for hybrid distillation: two data sets sampled batch by batch; with a word-level term in the
objective the teacher also speaks on the prefixes of its own output. Published shares of gold and teacher are 0.34 and 0.66, in
an example of their README the other way round; here 0.5 each unless given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


@dataclass(frozen=True)
class Mixture:
    """Corpora whose batches alternate by chance; shares add up to 1."""

    parts: list[Corpus]
    shares: list[float]


def make(materials: Materials) -> Mixture:
    """Both corpora, with their shares of the batches."""
    share = materials.options.pseudo_share
    return Mixture([materials.text, materials.pseudo()], [1 - share, share])
