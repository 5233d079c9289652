"""Skewed KL: a little of the own side is mixed into the other, so that the loss stays finite and its gradient tame.

    SkewKD = KL(q || l q + (1 - l) p)        SkewReverseKD = KL(p || l p + (1 - l) q)

Source: Ko et al. 2024 (DistiLLM, arXiv:2402.03898), definition 1; l = 0.1 there. No T^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.objectives.checks import between
from distilmt.objectives.divergence import Divergence


@dataclass(frozen=True, repr=False)
class SkewKD(Divergence):
    """Forward KL with a share of the teacher mixed into the student.

    Args:
        skew: l, between 0 and 1.
        temperature: T > 0, of both sides.

    Attributes:
        at_zero: the term that it is with a skew of 0.
    """

    skew: float = 0.1
    temperature: float = 1.0
    kind: ClassVar[str] = "skew_kl"
    at_zero: ClassVar[str] = "WordKD"
    letters: ClassVar[dict[str, str]] = {"skew": "l", "temperature": "T"}

    def __post_init__(self) -> None:
        between(self, "skew", 0, 1, f"for 0 write {self.at_zero}")
        super().__post_init__()

    def parameters(self) -> tuple[float, float]:
        return self.skew, 0.0


@dataclass(frozen=True, repr=False)
class SkewReverseKD(SkewKD):
    """Reverse KL with a share of the student mixed into the teacher. Args as for SkewKD."""

    kind: ClassVar[str] = "skew_reverse_kl"
    at_zero: ClassVar[str] = "ReverseKD"
