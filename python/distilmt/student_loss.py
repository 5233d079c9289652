"""What a training step computes: hidden states of student and teacher, and the objective on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import MarianMTModel

from distilmt.errors import ConfigError
from distilmt.knn.stored import StoredNeighbours
from distilmt.objectives import Evaluation, Head, Layers, LayerTerm, Neighbours, Objective, Shape, TopK
from distilmt.stored_teacher import Stored, StoredTeacher


class StudentLoss(nn.Module):
    """Student and objective in one forward pass, so that a wrapper (DDP, autocast, compile) sees all of it.

    `beside` holds what terms learn for the training alone (projections of layers). `progress`, from 0 to 1, is where the
    training stands, for terms that change on the way. The teacher is held outside the module tree: it is never trained,
    wrapped, moved into train mode or saved. `own` takes the objective's place on targets that the student said.
    """

    accepts_loss_kwargs = True  # the Trainer then hands out the global count of targets

    def __init__(
        self,
        student: MarianMTModel,
        objective: Objective,
        teacher: MarianMTModel | Stored | None,
        own: Objective | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        self.own = own
        self.progress = 0.0
        self._stored = teacher if isinstance(teacher, StoredTeacher | StoredNeighbours) else None
        self._teacher = (teacher.eval().requires_grad_(False),) if isinstance(teacher, MarianMTModel) else ()
        both = [objective] if own is None else [objective, own]
        for each in both:
            if each.needs_layers and not self._teacher:
                raise ConfigError(f"{each!r} looks at the layers of a teacher model, got none")
            for _, term in each.terms:
                if term.looks_at == "snapshot" or (term.gated and term.choice() is None):
                    raise ConfigError(
                        f"{term!r}: a training keeps no earlier student and has no mask - leave it out, or evaluate it in a "
                        "loop of your own"
                    )
        if (objective.passes > 1 or own is not None) and self._stored is not None:
            raise ConfigError(
                f"{own or objective!r} asks the teacher about the student's words, what is stored knows the target's"
            )
        shapes = [Shape.of(model.config) for model in (student, *self._teacher)]
        made: dict[str, tuple[LayerTerm, nn.Module]] = {}
        for weight, term in [pair for each in both for pair in each.terms]:
            name = type(term).__name__
            if isinstance(term, LayerTerm) and weight and (name not in made or made[name][0] != term):
                module = term.module(*shapes)
                if module is not None and name in made:
                    raise ConfigError(
                        f"{name} learns once for both objectives, got {made[name][0]} and {term} - write one"
                    )
                if module is not None:
                    made[name] = term, module
        self.beside = nn.ModuleDict({name: module for name, (_, module) in made.items()})
        if any(each.attends for each in both):  # the fused kernels do not give their maps
            for model in (student, *self._teacher):
                model.set_attn_implementation("eager")

    def forward(
        self, labels: Tensor, denominator: Tensor, own: bool = False, **inputs: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch: sum over target tokens divided by `denominator`; and each term's unweighted sum over tokens.

        Beside the terms stand the plain `nll` of the first pass; where there is a dense teacher, `agreement`; where tokens are
        selected, `selected`; and the `gate` as it is.
        """
        objective = (self.own if own and self.own is not None else self.objective).at(self.progress)
        stored = None
        if self._stored is not None:
            stored = self._stored.of({name: inputs.pop(name) for name in list(inputs) if name.startswith("teacher_")})
        encoders: list[Any] = [None for _ in (self.student, *self._teacher)]
        loss = torch.zeros((), device=labels.device)
        sums: dict[str, Any] = {}
        gate: dict[str, Tensor] = {}
        for number in range(1, objective.passes + 1):
            part = objective.of_pass(number)
            out, encoders, student = self._pass(part, encoders, labels, denominator, inputs, stored)
            loss = loss + out.loss
            for name, value in out.terms.items():
                passes = next(t.passes if weight else 1 for weight, t in objective.terms if type(t).__name__ == name)
                sums[name] = sums.get(name, 0) + value * out.tokens / passes
            if number == 1:
                sums["nll"] = out.nll * out.tokens
                if any(term.looks_at == "teacher" for _, term in part.terms) and not isinstance(
                    stored, TopK | Neighbours
                ):
                    sums["agreement"] = out.agreement * out.tokens
                if any(term.gated for _, term in part.terms):
                    sums["selected"], gate["gate"] = out.selected * out.tokens, out.gate
            if number < objective.passes:
                inputs = {**inputs, "decoder_input_ids": prefixes_said(student, inputs["decoder_input_ids"], labels)}
        return loss, sums | gate

    def _pass(
        self,
        objective: Objective,
        encoders: list[Any],
        labels: Tensor,
        denominator: Tensor,
        inputs: dict[str, Tensor],
        stored: Head | TopK | Neighbours | None,
    ) -> tuple[Evaluation, list[Any], Head]:
        """One pass of the decoders; the encoders run at the first."""
        asked = {"output_hidden_states": objective.needs_layers, "output_attentions": objective.attends}
        outputs, heads = [], []
        for model, encoder in zip((self.student, *self._teacher), encoders, strict=True):
            with torch.set_grad_enabled(torch.is_grad_enabled() and model is self.student):
                found = model.to(labels.device).model(**inputs, encoder_outputs=encoder, use_cache=False, **asked)
            outputs.append(found)
            heads.append(head(model, found))
        source, target = inputs["attention_mask"].bool(), labels != -100
        out = objective.evaluate(
            student=heads[0], targets=labels.reshape(-1), teacher=heads[1] if self._teacher else stored,
            denominator=denominator, modules=self.beside,  # type: ignore[arg-type]
            layers=tuple(layers_of(each, source, target) for each in outputs) if objective.needs_layers else None,  # type: ignore[arg-type]
        )  # fmt: skip
        kept = [(o.encoder_last_hidden_state, o.encoder_hidden_states, o.encoder_attentions) for o in outputs]
        return out, kept, heads[0]


@torch.no_grad()
def prefixes_said(student: Head, before: Tensor, labels: Tensor) -> Tensor:
    """The next pass's prefixes [batch, tokens]: the first symbol, then what the student ranks first, to the last label."""
    assert student.weight is not None
    best = []
    for first in range(0, len(student.hidden), 256):  # not all logits at once
        logits = student.hidden[first : first + 256] @ student.weight.T
        best.append((logits if student.bias is None else logits + student.bias).argmax(-1))
    said = torch.cat(best).reshape(labels.shape)
    shifted = torch.cat([before[:, :1], said[:, :-1]], 1)
    return torch.where(labels == -100, before, shifted)


def head(model: MarianMTModel, outputs: Any) -> Head:
    """Last hidden states [rows, hidden] and output embedding [vocab - 1, hidden] of a Marian model.

    The pad symbol has the last id and is no word: leaving its row out bans it from every loss, and the row, whose gradient is
    then zero, keeps the zeros that CTranslate2 starts decoding from (Hugging Face starts from the row itself).
    """
    hidden = outputs.last_hidden_state
    bias = model.final_logits_bias[0, :-1]
    return Head(hidden.reshape(-1, hidden.shape[-1]), model.lm_head.weight[:-1], bias if bool(bias.any()) else None)


def layers_of(outputs: Any, source_mask: Tensor, target_mask: Tensor) -> Layers:
    """Layers from the outputs of a Hugging Face encoder-decoder."""
    attention = {
        "encoder": outputs.encoder_attentions,
        "decoder": outputs.decoder_attentions,
        "cross": outputs.cross_attentions,
    }
    return Layers(
        outputs.encoder_hidden_states, outputs.decoder_hidden_states, source_mask, target_mask,
        {side: maps or () for side, maps in attention.items()},  # type: ignore[misc]
    )  # fmt: skip
