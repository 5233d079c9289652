"""What of the teacher matters: its top token alone, or everything but it. The analyses of the TIE paper.

    Top1        = -w log p(t_1),   w = 1, or q(t_1) where weighted: "without correlation information"
    WithoutTop1 = -sum q' log p,   q' = q with the mass of t_1 moved to the target: "without top-1 information"

The third analysis, without distillation, is NLL alone.
Source: Zhang et al. 2023 (TIE-KD, arXiv:2305.08096), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.objectives.divergence import Divergence


@dataclass(frozen=True, repr=False)
class Top1(Divergence):
    """Cross-entropy with the teacher's most likely token.

    Args:
        weighted: times the teacher's probability of it, as in the paper's analysis.
        temperature: T > 0, of both sides; no factor.
    """

    weighted: bool = False
    temperature: float = 1.0
    kind: ClassVar[str] = "top1"

    def parameters(self) -> tuple[float, float]:
        return float(self.weighted), 0.0


@dataclass(frozen=True, repr=False)
class WithoutTop1(Divergence):
    """Cross-entropy with a teacher whose first choice has been replaced by the target.

    Args:
        temperature: T > 0, of both sides; no factor.
    """

    temperature: float = 1.0
    kind: ClassVar[str] = "top1_to_gold"
