"""Total variation distance: half the sum of |p - q|; bounded by 1, symmetric, deaf to ratios.

Source: Wen et al. 2023 (f-distill, arXiv:2307.15190), section 3. No T^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.objectives.checks import full, positive
from distilmt.objectives.objective import Teacher, Term
from distilmt.ops.linear_kd import NativeTerm


@dataclass(frozen=True, repr=False)
class TotalVariation(Term):
    """Half the L1 distance of the two distributions.

    Args:
        temperature: T > 0, of both sides.
    """

    temperature: float = 1.0
    looks_at: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        positive(self, "temperature")

    def native(self, teacher: Teacher) -> NativeTerm:
        full(self, teacher)
        return NativeTerm("total_variation", 1.0, self.temperature, self.temperature)
