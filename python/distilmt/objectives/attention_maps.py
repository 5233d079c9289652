"""Attention as the teacher pays it: the map of each student layer, mean over heads, against that of a teacher layer.

    AttentionMaps = sum over layers and queries of sum over keys of (mean_heads A_student - mean_heads A_teacher)^2

Source: the optional attention term of Wu et al. 2020's released code (CKD, arXiv:2010.03034); cross attention has a weight of its
own there. Changed: padding is left out (theirs is not masked), and teacher layers are those of `layer_tables.supervised`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilmt.objectives.layer_tables import supervised
from distilmt.objectives.layers import Layers, Shape, Side
from distilmt.objectives.term import LayerTerm


@dataclass(frozen=True, repr=False)
class AttentionMaps(LayerTerm):
    """Squared difference of attention maps, a query.

    Args:
        side: "encoder", "decoder" (its own positions) or "cross" (the source's).
    """

    side: Side = "encoder"
    attends: ClassVar[bool] = True

    def module(self, student: Shape, teacher: Shape) -> nn.Module | None:
        supervised(teacher.layers(self.side), student.layers(self.side))
        return None

    def value(self, student: Layers, teacher: Layers, module: nn.Module | None) -> Tensor:
        ours, theirs = student.attention[self.side], teacher.attention[self.side]
        queries = student.source_mask if self.side == "encoder" else student.target_mask
        total = torch.zeros((), device=queries.device)
        for map, layer in zip(ours, supervised(len(theirs), len(ours)), strict=True):
            # Keys that are padding have weight 0 in both.
            difference = map.float().mean(1) - theirs[layer].float().mean(1)
            total = total + difference[queries].square().sum()
        return total
