"""Total variation distance: bounded by 1, symmetric, deaf to ratios.

    TotalVariation = 1/2 sum_v |p^T(v) - q^T(v)|

Source: Wen et al. 2023 (f-distill, arXiv:2307.15190), section 3. No T^2. Its gradient is bounded too, and of the size of
p: where the student gives next to nothing, it hardly pulls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.objectives.divergence import Divergence


@dataclass(frozen=True, repr=False)
class TotalVariation(Divergence):
    """Half the L1 distance of the two distributions.

    Args:
        temperature: T > 0, of both sides.
    """

    temperature: float = 1.0
    kind: ClassVar[str] = "total_variation"
