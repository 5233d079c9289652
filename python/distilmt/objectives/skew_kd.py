"""Skewed KL: a little of the own side is mixed into the other, so that the loss stays finite and its gradient tame.

    SkewKD = KL(q || l q + (1 - l) p)        SkewReverseKD = KL(p || l p + (1 - l) q)

Source: Ko et al. 2024 (DistiLLM, arXiv:2402.03898), definition 1; l = 0.1 there. No T^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.objectives.checks import between, full, positive
from distilmt.objectives.objective import Teacher, Term
from distilmt.ops.linear_kd import NativeTerm


@dataclass(frozen=True, repr=False)
class SkewKD(Term):
    """Forward KL with a share of the teacher mixed into the student.

    Args:
        skew: l, between 0 and 1.
        temperature: T > 0, of both sides.
    """

    skew: float = 0.1
    temperature: float = 1.0
    looks_at: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        between(self, "skew", 0, 1, "for 0 write WordKD")
        positive(self, "temperature")

    def native(self, teacher: Teacher) -> NativeTerm:
        full(self, teacher)
        return NativeTerm("skew_kl", 1.0, self.temperature, self.temperature, a=self.skew)


@dataclass(frozen=True, repr=False)
class SkewReverseKD(Term):
    """Reverse KL with a share of the student mixed into the teacher. Args as for SkewKD."""

    skew: float = 0.1
    temperature: float = 1.0
    looks_at: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        between(self, "skew", 0, 1, "for 0 write ReverseKD")
        positive(self, "temperature")

    def native(self, teacher: Teacher) -> NativeTerm:
        full(self, teacher)
        return NativeTerm("skew_reverse_kl", 1.0, self.temperature, self.temperature, a=self.skew)
