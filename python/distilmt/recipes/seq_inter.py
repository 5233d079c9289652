"""Sequence-level interpolation: of the teacher's n-best list the hypothesis nearest the reference takes its place.

Source: Kim & Rush 2016 (arXiv:1606.07947), section 3.3, chosen as their released code chooses: smoothed sentence BLEU on the
teacher's ids (`kim-rush` of docs/selection.md). They choose among 35 hypotheses, here among `--label-beam-size`, 5 unless
given. They fine-tune a trained student with it, as `seq-kd/seq-inter` does; alone it is the data of a whole training. Not to be
confused with mixing gold and pseudo data (mixed.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from distilmt.labels.rank import RankOptions

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials
    from distilmt.label import Labels

RANKING = RankOptions(rule="bleu", smoothing="kim-rush", tokens="ids")


def make(materials: Materials) -> Corpus:
    """Pairs of source and chosen hypothesis, line-aligned with the training text."""
    return materials.selected("select", RANKING)[0]


def seq_inter(text: Corpus, labels: Labels, encode: Callable[[list[str]], list[list[int]]]) -> Corpus:
    """The same from labels at hand; `encode` gives the teacher's ids of targets."""
    from distilmt.recipes.chosen import chosen

    return chosen(text, labels, RANKING, encode)[0]
