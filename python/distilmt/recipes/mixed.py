"""Gold and pseudo targets mixed by sentence: each line takes the teacher's target with probability `pseudo_share`.

Source: the data mixing of NVIDIA's NeMo recipe ("sequence-level interpolation" there, which is another thing; ratios 0.1 to
0.9), which draws whole batches of one kind or the other: hybrid.py. The draw depends on the line's number alone. Theirs has
no label smoothing; the method `mixed` smooths as the student alone does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distilmt.recipes.seq_kd import seq_kd
from distilmt.text.files import lines_hash

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """One pair a line. Lines without a usable label keep their reference."""
    text, pseudo = materials.text, seq_kd(materials.text, materials.labels())
    draws = np.random.default_rng(2).random(len(text)) < materials.options.pseudo_share
    taken = [bool(draw) and status == "ok" for draw, status in zip(draws, pseudo.statuses, strict=True)]
    targets = [p if take else g for take, p, g in zip(taken, pseudo.targets, text.targets, strict=True)]
    return replace(text, targets=targets, target_hash=lines_hash(targets))
