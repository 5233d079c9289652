"""Negative log-likelihood of the target, with label smoothing: the loss every translation model is trained with.

    NLL = T (-(1 - e) log p^T(y) - e / (V - 1) sum_{v != y} log p^T(v)),   p^T = softmax(z / T)

Source: Szegedy et al. 2016 (arXiv:1512.00567), section 7; e / (V - 1) is fairseq's definition since 2020. Before, and in
`torch.nn.functional.cross_entropy`, every column including the target gets e / V: `smoothing="all"`. T > 1 is softmax
tempering, Dabre & Fujita 2020 (arXiv:2009.09372): for training alone, times T, not T^2, because the target is hard.
Reported beside it, always, is the plain NLL: values with different smoothing cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from distilmt.errors import ConfigError
from distilmt.objectives.checks import temperatures
from distilmt.objectives.teachers import Teacher
from distilmt.objectives.term import Term
from distilmt.ops.linear_kd import NativeTerm


@dataclass(frozen=True, repr=False)
class NLL(Term):
    """Cross-entropy with the target.

    Args:
        label_smoothing: e, the share of the target's weight that goes to other symbols, in [0, 1).
        smoothing: "others", all but the target get it (fairseq since 2020); "all", every symbol does.
        temperature: T > 0, divides the logits.
    """

    label_smoothing: float = 0.0
    smoothing: Literal["others", "all"] = "others"
    temperature: float = 1.0
    letters: ClassVar[dict[str, str]] = {"label_smoothing": "e", "temperature": "T"}

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"NLL: label_smoothing must be in [0, 1), got {self.label_smoothing} - 0.1 is usual")
        temperatures(self, "temperature")

    def native(self, teacher: Teacher) -> NativeTerm:
        return NativeTerm(
            "nll", self.temperature, temperature=self.temperature, a=self.label_smoothing, b=self.smoothing == "all"
        )
