"""Negative log-likelihood of the target, with label smoothing: the loss every translation model is trained with.

    smoothed_nll = -(1 - e) log p(y) - e / (V - 1) sum_{v != y} log p(v)

Source: Szegedy et al. 2016 (arXiv:1512.00567), section 7; e / (V - 1) is fairseq's definition since 2020 (before, and
in `torch.nn.functional.cross_entropy`, every column including the target gets e / V). Reported beside it, always, is
the plain NLL: values with different smoothing cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives.objective import Term
from distilmt.ops.linear_kd import LinearKD


@dataclass(frozen=True)
class NLL(Term):
    """Cross-entropy with the target.

    Args:
        label_smoothing: e, the share of the target's weight that goes to all other symbols, in [0, 1).
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"NLL: label_smoothing must be in [0, 1), got {self.label_smoothing} - 0.1 is usual")

    def options(self, weight: float) -> dict[str, float]:
        return {"nll_weight": weight, "label_smoothing": self.label_smoothing}

    def rows(self, result: LinearKD) -> Tensor:
        return result.smoothed_nll
