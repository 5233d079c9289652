"""Align-to-Distill: which heads of the student are to look like which of the teacher is learned.

    AttentionAlignment = KL_encoder + (KL_decoder + KL_cross) / 2
    KL = sum over sentences of KL(softmax(A_teacher) || softmax(C A_student))

where A stacks the maps of all layers and heads, C is a learned 1 x 1 convolution from the student's stack to the teacher's,
and the softmax runs over heads and positions of a sentence together. Source: Jin et al. 2024 (arXiv:2403.01479) and its released
code: 0.5 * NLL(0.1) + 0.5 * WordCE() + AttentionAlignment(), whose weight falls as 0.9 to the power of the epochs behind:
`final_weight`, geometrically over the training. Changed: padding takes no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilmt.errors import ConfigError
from distilmt.objectives.layers import Layers, Shape, Side
from distilmt.objectives.term import LayerTerm

SHARES: dict[Side, float] = {"encoder": 1.0, "decoder": 0.5, "cross": 0.5}


@dataclass(frozen=True, repr=False)
class AttentionAlignment(LayerTerm):
    """KL of the teacher's attention maps from learned mixtures of the student's.

    Args:
        final_weight: what the term's weight has fallen to at the end of the training, in (0, 1]; 1 keeps it.
    """

    final_weight: float = 1.0
    attends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.final_weight <= 1:
            raise ConfigError(f"AttentionAlignment: final_weight must be in (0, 1], got {self.final_weight}")

    def strength(self, progress: float) -> float:
        return float(self.final_weight**progress)

    def module(self, student: Shape, teacher: Shape) -> nn.Module | None:
        return nn.ModuleDict(
            {
                side: nn.Linear(student.layers(side) * student.heads(side), teacher.layers(side) * teacher.heads(side))
                for side in SHARES
            }
        )

    def value(self, student: Layers, teacher: Layers, module: nn.Module | None) -> Tensor:
        assert isinstance(module, nn.ModuleDict)
        total = torch.zeros((), device=student.target_mask.device)
        for side, share in SHARES.items():
            ours = torch.cat(list(student.attention[side]), 1).float()  # [batch, layers * heads, queries, keys]
            theirs = torch.cat(list(teacher.attention[side]), 1).float()
            mixed = module[side](ours.movedim(1, -1)).movedim(-1, 1)  # a 1 x 1 convolution
            queries = student.source_mask if side == "encoder" else student.target_mask
            keys = student.target_mask if side == "decoder" else student.source_mask
            padding = ~(queries[:, None, :, None] & keys[:, None, None, :])
            lp, lq = (map.masked_fill(padding, -1e9).flatten(1).log_softmax(-1) for map in (mixed, theirs))
            total = total + share * (lq.exp() * (lq - lp)).masked_fill(padding.expand_as(mixed).flatten(1), 0).sum()
        return total
