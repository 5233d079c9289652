"""Which layers of a teacher stand for those of a student, as the Hugging Face seq2seq distillation scripts published them.

Source: `make_student` and the distiller of huggingface/transformers-research-projects (seq2seq-distillation; Shleifer & Rush
2020, arXiv:2010.13002): tables of 6, 12 and 16 teacher layers. For other depths the scripts take the first layers, with a
warning; here they are spread evenly, first and last among them.
"""

from __future__ import annotations

from typing import Literal

from distilmt.errors import ConfigError

COPIED: dict[tuple[int, int], list[int]] = {
    (12, 1): [0], (12, 2): [0, 6], (12, 3): [0, 6, 11], (12, 4): [0, 4, 8, 11], (12, 6): [0, 2, 4, 7, 9, 11],
    (12, 9): [0, 1, 2, 4, 5, 7, 9, 10, 11],
    (16, 1): [0], (16, 2): [0, 15], (16, 3): [0, 8, 15], (16, 4): [0, 5, 10, 15], (16, 6): [0, 3, 6, 9, 12, 15],
    (16, 8): [0, 2, 4, 6, 8, 10, 12, 15], (16, 9): [0, 1, 3, 5, 7, 9, 11, 13, 15],
    (16, 12): [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 15],
    (6, 1): [0], (6, 2): [0, 5], (6, 3): [0, 2, 5], (6, 4): [0, 1, 3, 5],
}  # fmt: skip
SUPERVISED: dict[tuple[int, int], list[int]] = {
    (6, 1): [5], (6, 2): [3, 5], (6, 3): [1, 4, 5], (6, 4): [1, 2, 4, 5],
    (12, 1): [11], (12, 2): [5, 11], (12, 3): [3, 7, 11], (12, 6): [1, 3, 5, 8, 10, 11],
    (16, 1): [15], (16, 4): [4, 9, 12, 15], (16, 8): [1, 3, 5, 7, 9, 11, 13, 15],
}  # fmt: skip


Layers = Literal["published", "every-nth"]


def copied(teacher: int, student: int) -> list[int]:
    """Teacher layers that a student of so many layers begins with; indices from 0."""
    spread = [0] if student == 1 else [round(i * (teacher - 1) / (student - 1)) for i in range(student)]
    return _look_up(COPIED, teacher, student, spread)


def every_nth(teacher: int, student: int) -> list[int]:
    """One of every n teacher layers, ceil(s teacher / student) for s from 0: of one, the first. Source: NeMo's distillation, as it
    was meant; the released code counts to the student's layers and copies too few."""
    return _look_up({}, teacher, student, [min(-(-s * teacher // student), teacher - 1) for s in range(student)])


def supervised(teacher: int, student: int) -> list[int]:
    """Teacher layers whose output each student layer is to give; indices from 0. The last imitates the last."""
    return _look_up(SUPERVISED, teacher, student, [round((i + 1) * teacher / student) - 1 for i in range(student)])


def _look_up(table: dict[tuple[int, int], list[int]], teacher: int, student: int, other: list[int]) -> list[int]:
    if not 1 <= student <= teacher:
        raise ConfigError(f"layers: expected a student of 1 to {teacher} layers, as its teacher has, got {student}")
    return list(range(teacher)) if student == teacher else table.get((teacher, student), other)
