"""Inheritance: what the student already knew, it is not to forget.

    Inheritance = T^2 KL(s^T || p^T),   s an earlier state of the student

In a training s is the student as the training began (another one where `fit` or --snapshot gives it): of a phase, what the
phase before made; under --init-from, the model of the old domain.
Source: Zhang et al. 2023 (Continual KD, arXiv:2212.09097), as one of its two parts, for every teacher of a sequence the
student of the one before; the other part, a filter, is `SelectiveKD(by="teacher_better")`. Their released code shows masked
means of KL alone; how the parts are weighed we have not seen: 1 each in the method `continual`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.objectives.checks import temperatures
from distilmt.objectives.teachers import Teacher
from distilmt.objectives.term import Term
from distilmt.ops.linear_kd import NativeTerm


@dataclass(frozen=True, repr=False)
class Inheritance(Term):
    """KL from a snapshot of the student to the student.

    Args:
        temperature: T > 0, of both sides.
    """

    temperature: float = 1.0
    letters: ClassVar[dict[str, str]] = {"temperature": "T"}
    looks_at: ClassVar[str] = "snapshot"

    def __post_init__(self) -> None:
        temperatures(self, "temperature")

    def native(self, teacher: Teacher) -> NativeTerm:
        return NativeTerm("forward_kl", self.temperature**2, self.temperature, self.temperature, snapshot=True)
