"""When a direction's teacher still teaches: what its share of the loss is multiplied by, after each look at the dev set.

    threshold   1 while s < t + threshold, else 0                            threshold 1 BLEU, paper and released code
    adaptive    1 while s < t + threshold, else 0.5^(s - t - threshold)      threshold -2 BLEU, released code
    fixed       1                                                            what the released code does by default

s and t are the dev BLEU of student and teacher. The factor f leaves f L + (1 - f) L', where L is the objective and L' its
terms without a teacher, their weights scaled to add up to 1. With the paper's L = (1 - a) NLL + a T^2 KD that is
(1 - f a) NLL + f a T^2 KD. Source: Tan et al. 2019 (arXiv:1902.10461), algorithm 1, and RayeRen/multilingual-kd-pytorch,
`get_alpha`. The code looks every three epochs, here every evaluation does (--eval-every). Deviation: before its first
evaluation a student counts as behind its teacher; the code then says 0 BLEU, which is the same but for `adaptive` with a
teacher below 2 BLEU.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["threshold", "adaptive", "fixed"]
THRESHOLDS = {"threshold": 1.0, "adaptive": -2.0, "fixed": 0.0}


def factor(kind: Kind, student: float, teacher: float, threshold: float | None = None) -> float:
    """f, from 0 to 1; scores and threshold in BLEU points, the latter by kind where None."""
    ahead = student - teacher - (THRESHOLDS[kind] if threshold is None else threshold)
    if kind == "fixed" or ahead < 0:
        return 1.0
    return 0.0 if kind == "threshold" else float(0.5**ahead)
