"""What a training step computes: hidden states of student and teacher, and the objective on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import MarianMTModel

from distilmt.objectives import Head, Objective, TopK
from distilmt.stored_teacher import StoredTeacher


class StudentLoss(nn.Module):
    """Student and objective in one forward pass, so that a wrapper (DDP, autocast, compile) sees all of it.

    The teacher is held outside the module tree: it is never trained, wrapped, moved into train mode or saved.
    """

    accepts_loss_kwargs = True  # the Trainer then hands out the global count of targets

    def __init__(
        self, student: MarianMTModel, objective: Objective, teacher: MarianMTModel | StoredTeacher | None
    ) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        if isinstance(teacher, MarianMTModel):
            teacher.eval().requires_grad_(False)
        self._teacher = (teacher,)

    def _teacher_of(self, labels: Tensor, inputs: dict[str, Tensor]) -> Head | TopK | None:
        """The teacher's distribution at the batch's targets; takes what is the teacher's alone out of `inputs`."""
        (teacher,) = self._teacher
        if teacher is None:
            return None
        if isinstance(teacher, StoredTeacher):
            return teacher.of({name: inputs.pop(name) for name in list(inputs) if name.startswith("teacher_")})
        with torch.no_grad():
            return head(teacher.to(labels.device), inputs)

    def forward(self, labels: Tensor, denominator: Tensor, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch: sum over target tokens divided by `denominator`; and each term's unweighted sum over tokens.

        Beside the terms stand, where there is a dense teacher, `agreement`, and where tokens are selected, `selected`; and the
        `gate` as it is.
        """
        targets = labels.reshape(-1)
        teacher = self._teacher_of(labels, inputs)
        out = self.objective.evaluate(
            student=head(self.student, inputs), targets=targets, teacher=teacher, denominator=denominator
        )
        facts = dict(out.terms)
        if isinstance(teacher, Head):
            facts["agreement"] = out.agreement
        gate = {}
        if any(term.gated for _, term in self.objective.terms):
            facts["selected"], gate["gate"] = out.selected, out.gate
        return out.loss, {name: value * out.tokens for name, value in facts.items()} | gate


def head(model: MarianMTModel, inputs: dict[str, Tensor]) -> Head:
    """Last hidden states [rows, hidden] and output embedding [vocab - 1, hidden] of a Marian model.

    The pad symbol has the last id and is no word: leaving its row out bans it from every loss, and the row, whose gradient is
    then zero, keeps the zeros that CTranslate2 starts decoding from (Hugging Face starts from the row itself).
    """
    hidden = model.model(**inputs, use_cache=False).last_hidden_state
    bias = model.final_logits_bias[0, :-1]
    return Head(hidden.reshape(-1, hidden.shape[-1]), model.lm_head.weight[:-1], bias if bool(bias.any()) else None)
