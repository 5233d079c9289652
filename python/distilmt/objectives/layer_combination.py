"""CKD: a student layer imitates several teacher layers at once, instead of one while the others are skipped.

    LayerCombination = sum over layers l and source tokens of || norm(W_l h_l) - norm([t_a ; t_b ; ...]) ||^2

with h the student's states, t the teacher's, and norm the division by the Euclidean length over features. Source: Wu et al.
2020 (Why Skip If You Can Combine, arXiv:2010.03034), equations 2 and 3, encoder alone, as theirs (the decoder lost): 0.1 *
NLL() + 0.2 * WordKD() + 0.7 * LayerCombination(). `map="skip"` with single layers is PKD (Sun et al. 2019, arXiv:1908.09355) as
their code has it, with a projection.
The W_l are learned and thrown away. Their six maps are for 6 teacher and 2 student layers; regular, overlap, cross, skip and
skip-comb have a plain meaning wherever the student's depth divides the teacher's, others are written out in `groups`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilmt.errors import ConfigError
from distilmt.objectives.layers import Layers, Shape
from distilmt.objectives.term import LayerTerm

MAPS = ("skip", "regular", "overlap", "skip-middle", "cross", "skip-comb")


def groups(map: str, teacher: int, student: int) -> list[list[int]]:
    """Teacher layers of each student layer, counted from 1; [1,2,3] [4,5,6] for regular, 6 and 2.

    Raises: ConfigError: the map is not defined for these depths.
    """
    if student < 1 or teacher % student:
        raise ConfigError(
            f"LayerCombination: map {map!r} wants a teacher of a multiple of {student} encoder layers, got {teacher} - "
            "write groups='1,2/3,4,5'"
        )
    size = teacher // student
    regular = [list(range(1 + i * size, 1 + (i + 1) * size)) for i in range(student)]
    if map == "skip-middle":
        if (teacher, student) != (6, 2):
            raise ConfigError(
                f"LayerCombination: map 'skip-middle' is for 6 and 2 encoder layers, got {teacher} and {student} - write "
                "groups='1,2/3,4,5'"
            )
        return [[1, 2], [5, 6]]
    if map == "overlap":
        return [list(range(max(1, g[0] - 1), min(teacher, g[-1] + 1) + 1)) for g in regular]
    if map == "skip-comb":
        return [list(range(1 + i, teacher + 1, student)) for i in range(student)]
    if map == "cross":
        return [sorted({g[0], g[-1]}) for g in regular]
    return [g[-1:] for g in regular] if map == "skip" else regular


@dataclass(frozen=True, repr=False)
class LayerCombination(LayerTerm):
    """Distance of projected student layers from concatenated teacher layers, of the encoder.

    Args:
        map: skip, regular, overlap, skip-middle, cross or skip-comb.
        groups: in place of map: teacher layers for each student layer, from 1, as in "1,2,3/4,5,6".
    """

    map: str = "regular"
    groups: str = ""

    def __post_init__(self) -> None:
        if self.map not in MAPS:
            raise ConfigError(f"LayerCombination: map must be one of {', '.join(MAPS)}, got {self.map!r}")
        if self.groups:
            self._written()

    def _written(self) -> list[list[int]]:
        try:
            return [[int(number) for number in group.split(",")] for group in self.groups.split("/")]
        except ValueError:
            raise ConfigError(
                f"LayerCombination: groups must be written as in '1,2,3/4,5,6', got {self.groups!r}"
            ) from None

    def chosen(self, teacher: int, student: int) -> list[list[int]]:
        """Teacher layers of each student layer, counted from 1. Raises: ConfigError: `groups` does not fit the two models."""
        found = self._written() if self.groups else groups(self.map, teacher, student)
        if len(found) != student or not all(1 <= layer <= teacher for group in found for layer in group):
            raise ConfigError(
                f"LayerCombination: expected {student} groups of encoder layers from 1 to {teacher}, got {self.groups!r}"
            )
        return found

    def module(self, student: Shape, teacher: Shape) -> nn.Module | None:
        return nn.ModuleList(
            nn.Linear(student.hidden, len(group) * teacher.hidden)
            for group in self.chosen(teacher.encoder_layers, student.encoder_layers)
        )

    def value(self, student: Layers, teacher: Layers, module: nn.Module | None) -> Tensor:
        assert isinstance(module, nn.ModuleList)
        mask, total = student.source_mask, torch.zeros((), device=student.source_mask.device)
        chosen = self.chosen(len(teacher.encoder) - 1, len(student.encoder) - 1)
        for index, (project, group) in enumerate(zip(module, chosen, strict=True), 1):
            ours = F.normalize(project(student.encoder[index][mask]).float(), dim=-1)
            theirs = F.normalize(torch.cat([teacher.encoder[layer][mask] for layer in group], -1).float(), dim=-1)
            total = total + (ours - theirs).square().sum()
        return total
