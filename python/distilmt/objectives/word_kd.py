"""Word-level knowledge distillation: at every target position, the student imitates the teacher's distribution.

    WordKD = T^2 KL(q^T || p^T),   p^T = softmax(z / T) of the student, q^T of the teacher

Source: Hinton, Vinyals & Dean 2015 (arXiv:1503.02531); for translation Kim & Rush 2016 (arXiv:1606.07947), section 3.1,
with T = 1. They write the cross-entropy -sum q log p; the KL differs from it by the teacher's entropy, a constant: the
gradient is the same and 0 means "equal to the teacher". T^2 keeps the gradient's size independent of T. T divides the
logits (NeMo divides the hidden states, which differs where the output layer has a bias).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives.objective import Term
from distilmt.ops.linear_kd import LinearKD


@dataclass(frozen=True)
class WordKD(Term):
    """Kullback-Leibler divergence from the teacher's distribution to the student's.

    Args:
        temperature: T > 0; above 1 it lets the student see more of the unlikely words. 1 is right for translation.
    """

    temperature: float = 1.0
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"WordKD: temperature must be finite and above 0, got {self.temperature} - 1 is usual")

    def options(self, weight: float) -> dict[str, float]:
        return {"kd_weight": weight, "temperature": self.temperature}

    def rows(self, result: LinearKD) -> Tensor:
        return result.kl * self.temperature**2
