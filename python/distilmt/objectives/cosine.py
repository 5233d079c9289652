"""DistilBERT's cosine loss: the student's last hidden states are to point where the teacher's do.

    Cosine = sum over tokens of 1 - cos(W h_student, h_teacher)

Source: Sanh et al. 2019 (DistilBERT, arXiv:1910.01108): a weight of 1 beside 5 of KL and 2 of cross-entropy, at T = 2; the
triple loss is 2 * NLL() + 5 * WordKD(temperature=2.0) + 1 * Cosine(). NeMo offers it for translation, but its released code
never computes it, so its published effect is chance. One cosine a token, where NeMo's wrapper would take one of the whole
tensor, padding included. W is learned where the widths differ, and absent where they are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilmt.objectives.layers import Layers, Shape
from distilmt.objectives.term import LayerTerm


@dataclass(frozen=True, repr=False)
class Cosine(LayerTerm):
    """One minus the cosine of the last layer's hidden states, a token.

    Args:
        side: "decoder", whose states the output is read from, or "encoder".
    """

    side: Literal["encoder", "decoder"] = "decoder"

    def module(self, student: Shape, teacher: Shape) -> nn.Module | None:
        return None if student.hidden == teacher.hidden else nn.Linear(student.hidden, teacher.hidden, bias=False)

    def value(self, student: Layers, teacher: Layers, module: nn.Module | None) -> Tensor:
        states, mask = student.states(self.side)
        ours, theirs = states[-1][mask], teacher.states(self.side)[0][-1][mask]
        ours = ours if module is None else module(ours)
        total: Tensor = (1 - F.cosine_similarity(ours.float(), theirs.float(), dim=-1)).sum()
        return total if len(ours) else torch.zeros((), device=ours.device)
