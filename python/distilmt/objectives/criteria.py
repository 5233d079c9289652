"""Criteria that SelectiveKD chooses tokens or sentences by, besides those that the native call knows.

    gold_probability   q(y)                          the teacher's, of the target
    word_frequency     count of y in the training text's targets
    embedding_norm     || row y of the student's output embedding ||
    sentence_length    target tokens of the token's sentence
    sentence_nll       mean of -log p(y) over the token's sentence, of the student

Source: Wang et al. 2021 (arXiv:2105.12967), section 3, and the released code, which has each as high and as low. The gate is the
ceil(n rate)-th largest of the n tokens, or of the n sentences, of the batch; ties are chosen (theirs leaves out the gate itself by
gold_probability, and keeps what is beyond the other end by sentence_nll). theirs takes sentence_nll with label smoothing.
gold_probability and sentence_nll cost one more projection, of the teacher or of the student. Nothing waits for a GPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives.evaluation import sum_by_sentence
from distilmt.objectives.teachers import Head, Teacher, nll

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
    if not len(real):
        return real, torch.full((), math.nan, device=targets.device)
    counted, of = real, torch.arange(len(real), device=real.device)
    if term.by in OF_SENTENCES:
        if sentences is None:
            raise ConfigError(
                f"{term!r} needs to know which rows are one sentence, got None - give evaluate(sentences=...)"
            )
        of = sentences
        scores = lengths = sum_by_sentence(real.double(), of)
        counted = lengths > 0
        if term.by == "sentence_nll":
            scores = sum_by_sentence(nll(student, targets), of) / lengths
    else:
        scores = _of_tokens(term, student, teacher, targets).double()
    number = counted.sum()
    place = (number.double() * term.rate * (1 - 1e-12)).ceil().long() - 1  # three tenths of ten are three
    worst = math.inf if term.lowest else -math.inf
    ordered = scores.masked_fill(~counted, worst).sort(descending=not term.lowest).values
    gate = ordered.gather(0, place.clamp(min=0)[None])[0].masked_fill(number == 0, math.nan)
    beyond = scores <= gate if term.lowest else scores >= gate
    return real & beyond[of], gate.float()


def _of_tokens(term: SelectiveKD, student: Head, teacher: Any, targets: Tensor) -> Tensor:
    words = targets.clamp(min=0)
    if term.by == "gold_probability":
        if not isinstance(teacher, Head | Tensor):
            raise ConfigError(f"{term!r} asks one teacher for the target, got {type(teacher).__name__} - give a Head")
        return (-nll(teacher, targets)).exp()
    if term.by == "word_frequency":
        if "counts" not in term.memory:
            raise ConfigError(f"{term!r} needs the training text's words - call objective.know(counts), int64 [vocab]")
        counts: Tensor = term.memory["counts"].to(targets.device)
        term.memory["counts"] = counts  # copied once
        return counts[words]
    if student.weight is None:
        raise ConfigError(f"{term!r} needs the student's output embedding, got logits - give Head(hidden, weight)")
    norms: Tensor = torch.linalg.vector_norm(student.weight.detach(), dim=1)
    return norms[words]
