"""Hidden states as the teacher has them, layer by layer.

    HiddenMSE = sum over tokens of sum over layers of mean over features of (W h_student - h_teacher)^2

Source: the seq2seq distiller of huggingface/transformers-research-projects (Shleifer & Rush 2020, arXiv:2010.13002), where its
weight is 0 or 3 beside 0.8 of KL at T = 2 and 0.2 of cross-entropy. Which teacher layer each student layer imitates: by
`map="supervised"` the table of its --supervise_forward, whose last is the teacher's last; by `map="copied"` those that a student
of its layers begins with, which is what it does else. The released code compares the inputs of layers, since its list of states
begins with the embeddings, so that the student's last output is never supervised: `compare="inputs"`; ours compares outputs. Its
normalisation runs over batch, time and features at once; `normalise` here is a layer norm of each token. It divides each
side by that side's tokens, here both are divided by the targets. Layers and sides are added. W is learned where the widths differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilmt.objectives.layer_tables import copied, supervised
from distilmt.objectives.layers import Layers, Shape, Side
from distilmt.objectives.term import LayerTerm

SIDES: dict[str, tuple[Side, ...]] = {"both": ("encoder", "decoder"), "encoder": ("encoder",), "decoder": ("decoder",)}
MAPS = {"supervised": supervised, "copied": copied}


@dataclass(frozen=True, repr=False)
class HiddenMSE(LayerTerm):
    """Mean squared difference of hidden states, a token.

    Args:
        side: "encoder", "decoder" or "both".
        normalise: compare after a layer norm of each token, without gain and bias.
        compare: "outputs" of layers, or their "inputs", as released.
        map: which of the teacher's layers (layer_tables.py): "supervised" or "copied".
    """

    side: Literal["both", "encoder", "decoder"] = "both"
    normalise: bool = False
    compare: Literal["outputs", "inputs"] = "outputs"
    map: Literal["supervised", "copied"] = "supervised"

    def module(self, student: Shape, teacher: Shape) -> nn.Module | None:
        for side in SIDES[self.side]:
            MAPS[self.map](teacher.layers(side), student.layers(side))  # refuses a student that is deeper
        if student.hidden == teacher.hidden:
            return None
        return nn.ModuleDict({s: nn.Linear(student.hidden, teacher.hidden, bias=False) for s in SIDES[self.side]})

    def value(self, student: Layers, teacher: Layers, module: nn.Module | None) -> Tensor:
        total = torch.zeros((), device=student.target_mask.device)
        first = 1 if self.compare == "outputs" else 0
        for side in SIDES[self.side]:
            (ours, mask), (theirs, _) = student.states(side), teacher.states(side)
            for index, other in enumerate(MAPS[self.map](len(theirs) - 1, len(ours) - 1)):
                h, truth = ours[first + index][mask], theirs[first + other][mask].float()
                h = (h if module is None else module[side](h)).float()  # type: ignore[index]
                if self.normalise:
                    h, truth = (F.layer_norm(x, x.shape[-1:]) for x in (h, truth))
                total = total + (h - truth).square().mean(-1).sum()
        return total
