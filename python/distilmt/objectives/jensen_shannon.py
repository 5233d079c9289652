"""Generalised Jensen-Shannon divergence: between forward KL (beta near 0) and reverse KL (beta near 1).

    JensenShannon = beta KL(q || m) + (1 - beta) KL(p || m),   m = beta q + (1 - beta) p

Source: Agarwal et al. 2024 (GKD, arXiv:2306.13649), equation 1: beta multiplies the teacher (f-distill and KDFlow put it on
the student). At beta = 0 and 1 the formula itself is 0, and TRL's trainer jumps to forward and reverse KL there: write WordKD
or ReverseKD for these. `continuous=True` divides by beta (1 - beta): a family that tends to the two KLs without a jump.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.objectives.checks import between
from distilmt.objectives.divergence import Divergence


@dataclass(frozen=True, repr=False)
class JensenShannon(Divergence):
    """Divergence of both sides from their mixture.

    Args:
        beta: share of the teacher in the mixture, between 0 and 1.
        temperature: T > 0, of both sides; no T^2.
        continuous: divide by beta (1 - beta).
    """

    beta: float = 0.5
    temperature: float = 1.0
    continuous: bool = False
    kind: ClassVar[str] = "jensen_shannon"
    letters: ClassVar[dict[str, str]] = {"beta": "beta", "temperature": "T"}

    def __post_init__(self) -> None:
        between(self, "beta", 0, 1, "for 0 write WordKD, for 1 ReverseKD")
        super().__post_init__()

    def parameters(self) -> tuple[float, float]:
        return self.beta, 1 / (self.beta * (1 - self.beta)) if self.continuous else 1.0
