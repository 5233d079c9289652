"""Squared distance of logits, the first stage of annealing.

    LogitMSE = mean over the vocabulary of (z - factor v)^2

Source: Jafari et al. 2021 (Annealing KD, arXiv:2104.07163), equation 3, where factor = 1 - (T - 1) / T_max rises from 1 / T_max
to 1 in T_max steps of equal length: `stages`. A second training on NLL follows, from the best checkpoint (by dev BLEU, of equal
ones the last: with factors still small it is often 0 throughout), with a fresh optimizer; the method `annealing` halves the
updates between the two (200 and 100 epochs there) and smooths the second as the student alone. The released code raises the
factor every int(epochs / T_max) epochs; here after every T_max-th of the updates, which is the same where T_max divides the
epochs (all have equally many updates), and never above 1 where it does not: one schedule does for both. Logits are defined up
to a shift per token, so the plain form spends capacity on a number without meaning: `centred=True` compares them after their
means are taken away. The mean over a vocabulary of thousands makes the loss small; choose its weight accordingly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from distilmt.errors import ConfigError
from distilmt.objectives.checks import full, settled
from distilmt.objectives.teachers import Teacher
from distilmt.objectives.term import Term
from distilmt.ops.linear_kd import NativeTerm


@dataclass(frozen=True, repr=False)
class LogitMSE(Term):
    """Mean squared difference of the student's and the teacher's logits.

    Args:
        factor: multiplies the teacher's logits, in (0, 1].
        stages: T_max; above 0 the factor begins at 1 / stages and rises to `factor` = 1 over the training.
        centred: compare without the mean over the vocabulary.
    """

    factor: float = 1.0
    stages: int = 0
    centred: bool = False
    letters: ClassVar[dict[str, str]] = {"factor": "factor", "stages": "T_max"}
    looks_at: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        if not 0 < self.factor <= 1:
            raise ConfigError(f"LogitMSE: factor must be in (0, 1], got {self.factor}")
        if self.stages < 0 or (self.stages and self.factor != 1):
            raise ConfigError(
                f"LogitMSE: stages must be at least 0 and go with factor 1, got {self.stages}, {self.factor}"
            )

    def at(self, progress: float) -> LogitMSE:
        if not self.stages:
            return self
        return replace(self, factor=min(1.0, (math.floor(progress * self.stages) + 1) / self.stages), stages=0)

    def native(self, teacher: Teacher) -> NativeTerm:
        full(self, teacher)
        settled(self, not self.stages)
        return NativeTerm("logit_mse", a=self.factor, b=self.centred)
