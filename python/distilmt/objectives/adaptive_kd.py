"""Adaptive KL: forward and reverse KL, weighed by where the student errs at this position.

    AdaptiveKD = a KL(q || p) + (1 - a) KL(p || q),   a = share of sum |p - q| that lies in the teacher's head

The head is the teacher's most likely tokens with a mass of at most `mass`, and at least the first. Forward KL works on the
head first, reverse KL on the tail. a is a constant of the gradient.
Source: Wu et al. 2024 (AKL, arXiv:2404.02657), section 4; mass 0.5 there. Tokens of equal probability enter the head together,
where their code leaves it to the sort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.objectives.checks import between
from distilmt.objectives.divergence import Divergence


@dataclass(frozen=True, repr=False)
class AdaptiveKD(Divergence):
    """Mixture of forward and reverse KL, per token.

    Args:
        mass: the teacher's probability that the head may have, between 0 and 1.
        temperature: T > 0, of both sides; no T^2.
    """

    mass: float = 0.5
    temperature: float = 1.0
    kind: ClassVar[str] = "adaptive_kl"
    letters: ClassVar[dict[str, str]] = {"mass": "the head's mass", "temperature": "T"}

    def __post_init__(self) -> None:
        between(self, "mass", 0, 1, "0.5 is usual")
        super().__post_init__()

    def parameters(self) -> tuple[float, float]:
        return self.mass, 0.0
