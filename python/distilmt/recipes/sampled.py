"""The teacher's samples in place of the references: one for each source, drawn once.

Source: Wen et al. 2023 (f-distill, arXiv:2307.15190): samples of the teacher that are fixed before the training, 2.25 to 2.31
times as fast as new ones at equal quality. From its 40 likeliest words at each step, as in the released translation script;
0 stands for all, the expectation as it is written. Deviations: the script samples inside beams of 5, here a sample is a plain
one; samples of doubtful verdict are left out, as of `seq-kd`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """Source and sample of each line, line-aligned with the training text."""
    return materials.sampled()
