"""Criteria that SelectiveKD chooses tokens or sentences by, besides those that the native call knows.

    gold_probability   q(y)                          the teacher's, of the target
    word_frequency     count of y in the training text's targets
    embedding_norm     || row y of the student's output embedding ||
    sentence_length    target tokens of the token's sentence
    sentence_nll       mean of -log p(y) over the token's sentence, of the student

Source: Wang et al. 2021 (arXiv:2105.12967), section 3, and the released code, which has each as high and as low. The gate is the
ceil(n rate)-th largest of the n tokens, or of the n sentences, of the batch; ties are chosen (theirs leaves out the gate itself by
gold_probability, and keeps what is beyond the other end by sentence_nll). theirs takes sentence_nll with label smoothing.
gold_probability and sentence_nll cost one more projection, of the teacher or of the student.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives.teachers import Head, Teacher, dense
from distilmt.ops.linear_kd import NativeTerm, linear_kd

if TYPE_CHECKING:
    from distilmt.objectives.selective_kd import SelectiveKD

OF_SENTENCES = ("sentence_length", "sentence_nll")
CRITERIA = ("gold_probability", "word_frequency", "embedding_norm", *OF_SENTENCES)


@torch.no_grad()
def chosen(
    term: SelectiveKD, student: Head, teacher: Teacher, targets: Tensor, sentences: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Which rows a term looks at, bool [rows], and its gate, float32 scalar.

    Args:
        targets: int64 [rows], -100 where there is none.
        sentences: int64 [rows], the sentence of each row, from 0; for criteria of sentences.
    Raises: ConfigError: the criterion lacks what it looks at.
    """
    real = targets != -100
    if term.by in OF_SENTENCES:
        if sentences is None:
            raise ConfigError(
                f"{term!r} needs to know which rows are one sentence, got None - give evaluate(sentences=...)"
            )
        _, of = torch.unique(sentences[real], return_inverse=True)
        lengths = torch.bincount(of).double()
        scores = lengths
        if term.by == "sentence_nll":
            scores = torch.zeros_like(lengths).index_add(0, of, _nll(student, targets)[real]) / lengths
    else:
        scores, of = _of_tokens(term, student, teacher, targets)[real], None
    if not len(scores):
        return real, torch.tensor(math.nan)
    place = math.ceil(len(scores) * term.rate * (1 - 1e-12))  # three tenths of ten are three
    gate = scores.sort(descending=not term.lowest).values[place - 1]
    beyond = scores <= gate if term.lowest else scores >= gate
    mask = torch.zeros_like(real)
    mask[real] = beyond if of is None else beyond[of]
    return mask, gate.float().cpu()


def _of_tokens(term: SelectiveKD, student: Head, teacher: Any, targets: Tensor) -> Tensor:
    words = targets.clamp(min=0)
    if term.by == "gold_probability":
        if not isinstance(teacher, Head | Tensor):
            raise ConfigError(f"{term!r} asks one teacher for the target, got {type(teacher).__name__} - give a Head")
        return (-_nll(teacher, targets)).exp()
    if term.by == "word_frequency":
        if "counts" not in term.memory:
            raise ConfigError(f"{term!r} needs the training text's words - call objective.know(counts), int64 [vocab]")
        counts: Tensor = term.memory["counts"]
        return counts.to(targets.device)[words]
    if student.weight is None:
        raise ConfigError(f"{term!r} needs the student's output embedding, got logits - give Head(hidden, weight)")
    norms: Tensor = torch.linalg.vector_norm(student.weight.detach(), dim=1)
    return norms[words]


def _nll(model: Head | Tensor, targets: Tensor) -> Tensor:
    """-log p(target), float64 [rows]; 0 without one."""
    head = dense(model)
    return linear_kd(head.hidden, head.weight, targets, head.bias, terms=[NativeTerm("nll")]).nll.double()
