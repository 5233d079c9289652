"""Hierarchical ranking: the student's order of the likely tokens is to be the teacher's, its first above all.

    sum_i max(0, p(t_i) - p(t_1)) + sum_i sum_j [q(t_i) > q(s_j)] max(0, p(s_j) - p(t_i)),   i, j = 1 .. k

with t the teacher's and s the student's top-k tokens. TIE-KD is 0.5 * NLL(0.1) + 0.5 * WordKD(iterations=3) + 0.5 *
Ranking(iterations=3): the first pass reads gold prefixes, each other one what the student ranked first at the pass before,
shifted by one behind the first symbol, with the gold padding; NLL is of the first alone.
Source: Zhang et al. 2023 (TIE-KD, arXiv:2305.08096), equations 8 to 10; k = 5 and 3 iterations in the released code, whose
prefixes see dropout, as here. The indicator looks at the teacher, strictly (a later port by the same author looks at the
student), compared as logits: no ties by underflow. Their KL beside it takes log(p + 1e-6), WordKD does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.errors import ConfigError
from distilmt.objectives.checks import counts, full, temperatures
from distilmt.objectives.teachers import Teacher
from distilmt.objectives.term import Term
from distilmt.ops.linear_kd import MAX_RANKING, NativeTerm


@dataclass(frozen=True, repr=False)
class Ranking(Term):
    """Hinge losses on probabilities that stand in the wrong order.

    Args:
        k: tokens of each side, 1 to 64 and no more than the vocabulary has.
        temperature: T > 0 of the student.
        iterations: decoder passes to average over, as of WordKD.
    """

    k: int = 5
    temperature: float = 1.0
    iterations: int = 1
    letters: ClassVar[dict[str, str]] = {"k": "k", "temperature": "T"}
    looks_at: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        counts(self, "k", "iterations")
        if self.k > MAX_RANKING:
            raise ConfigError(f"Ranking: k must lie in [1, {MAX_RANKING}], got {self.k}")
        temperatures(self, "temperature")

    def native(self, teacher: Teacher) -> NativeTerm:
        full(self, teacher)
        return NativeTerm("ranking", 1.0, self.temperature, count=self.k)
