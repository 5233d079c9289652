"""kNN-KD: the student learns what a nearest-neighbour search over the training text would have said.

    KNNKD = KL(p_kNN || p),   p_kNN(w) = sum over neighbours j with token w of softmax(-d_j / T_k)

Source: Yang et al. 2022 (arXiv:2205.00479), equation 5; neighbours as in kNN-MT, Khandelwal et al. 2021 (arXiv:2010.00710).
Its weight is 1 beside NLL(label_smoothing=0.1, smoothing="all"). The teacher is p_kNN alone, without the model's own
distribution. Shares of one token are added, so the KL is that of tokens and not of neighbours. T_k is 10 or 100 in both
papers, by domain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.errors import ConfigError
from distilmt.objectives.checks import positive
from distilmt.objectives.objective import Teacher, Term
from distilmt.objectives.teachers import Neighbours
from distilmt.ops.linear_kd import NativeTerm


@dataclass(frozen=True, repr=False)
class KNNKD(Term):
    """KL from the neighbours' distribution to the student's; the teacher is `Neighbours`.

    Args:
        temperature: T_k > 0, divides the distances.
    """

    temperature: float = 10.0
    looks_at: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        positive(self, "temperature")

    @property
    def neighbour_temperature(self) -> float:
        return self.temperature

    def native(self, teacher: Teacher) -> NativeTerm:
        if not isinstance(teacher, Neighbours):
            raise ConfigError(
                f"KNNKD needs Neighbours, got {type(teacher).__name__} - ids and distances of a datastore"
            )
        return NativeTerm("sparse_kl")
