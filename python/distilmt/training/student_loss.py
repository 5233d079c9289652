"""What a training step computes: hidden states of student and teacher, and the objective on them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import MarianMTModel

from distilmt.errors import ConfigError
from distilmt.knn.stored import StoredNeighbours
from distilmt.objectives import Ensemble, Evaluation, Head, Layers, LayerTerm, Neighbours, Objective, Shape, TopK
from distilmt.objectives.evaluation import sentences_of
from distilmt.training.stored_teacher import Stored, StoredTeacher
from distilmt.training.teachers import TeacherMix


class StudentLoss(nn.Module):
    """Student and objective in one forward pass, so that a wrapper (DDP, autocast, compile) sees all of it.

    `beside` holds what terms learn for the training alone (projections of layers). `progress`, from 0 to 1, is where the
    training stands, for terms that change on the way. Teachers and `snapshot`, the earlier student, are held outside the module
    tree: they are never trained, wrapped, moved into train mode or saved with the student.

    Args:
        teacher: one model, several of one vocabulary, or what is stored of one.
        own: takes the objective's place on targets that the student said.
        snapshot: for terms that look at one; absent, the student as it is now.
        mix: how several teachers are one.
    Raises: ConfigError: a term asks for what is not there.
    """

    accepts_loss_kwargs = True  # the Trainer then hands out the global count of targets

    def __init__(
        self,
        student: MarianMTModel,
        objective: Objective,
        teacher: MarianMTModel | Sequence[MarianMTModel] | Stored | None,
        own: Objective | None = None,
        *,
        snapshot: MarianMTModel | None = None,
        mix: TeacherMix | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        self.own = own
        self.mix = mix or TeacherMix()
        self.progress = 0.0
        self._stored = teacher if isinstance(teacher, StoredTeacher | StoredNeighbours) else None
        models = [teacher] if isinstance(teacher, MarianMTModel) else [] if self._stored or not teacher else teacher
        self._teachers = tuple(at_rest(model) for model in models)  # type: ignore[union-attr]
        require(objective, own, len(self._teachers), stored=self._stored is not None, mix=self.mix)
        both = [objective] if own is None else [objective, own]
        needed = any(each.needs_snapshot for each in both)
        self._snapshot = (at_rest(copy.deepcopy(student) if snapshot is None else snapshot),) if needed else ()
        shapes = [Shape.of(model.config) for model in (student, *self._teachers[:1])]
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
            for model in (student, *self._teachers):
                model.set_attn_implementation("eager")

    @property
    def snapshot(self) -> MarianMTModel | None:
        """The earlier student, for checkpoints; None where no term looks at it."""
        return self._snapshot[0] if self._snapshot else None

    def forward(
        self,
        labels: Tensor,
        denominator: Tensor,
        own: bool = False,
        said: dict[str, Tensor] | None = None,
        **inputs: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch: sum over target tokens divided by `denominator`; and each term's unweighted sum over tokens.

        Beside the terms stand the number of `tokens`, and the plain `nll` of the first pass; where there is a teacher,
        `agreement` (with its own words, not with neighbours) and the number of tokens that were `looked` at for it; where
        tokens are selected, `selected`; and the `gate` as it is.
        Those of targets that the student said begin with `own_`, and have no nll.

        Args:
            own: the targets are the student's.
            said: another batch whose targets are: labels, denominator and inputs of its own. Its loss is added.
        """
        loss, sums = self._loss((self.own or self.objective) if own else self.objective, labels, denominator, inputs)
        if own:
            sums = _of_own(sums)
        if said is not None:
            more, of_said = self(**said, own=True)
            return loss + more, sums | of_said
        return loss, sums

    def _loss(
        self, objective: Objective, labels: Tensor, denominator: Tensor, inputs: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        objective = objective.at(self.progress)
        stored: Head | TopK | Neighbours | None = None
        if self._stored is not None:
            rows = {name: inputs.pop(name) for name in list(inputs) if name.startswith("teacher_")}
            if isinstance(self._stored, StoredNeighbours):
                stored = Neighbours(rows["teacher_ids"].flatten(0, 1), rows["teacher_distances"].flatten(0, 1))
            else:
                stored = self._stored.of(rows)
        encoders: dict[nn.Module, Any] = {}
        loss = torch.zeros((), device=labels.device)
        sums: dict[str, Any] = {"tokens": (labels != -100).sum()}
        gate: dict[str, Tensor] = {}
        for number in range(1, objective.passes + 1):
            part = objective.of_pass(number)
            out, student = self._pass(part, encoders, labels, denominator, inputs, stored)
            loss = loss + out.loss
            for name, value in out.terms.items():
                passes = next(t.passes if weight else 1 for weight, t in objective.terms if type(t).__name__ == name)
                sums[name] = sums.get(name, 0) + value * out.tokens / passes
            if number == 1:
                sums["nll"] = out.nll * out.tokens
                if any(term.looks_at == "teacher" for _, term in part.terms) and not isinstance(stored, Neighbours):
                    sums["agreement"] = out.agreement.nan_to_num() * out.looked
                    sums["looked"] = out.looked
                if any(term.gated for _, term in part.terms):
                    sums["selected"], gate["gate"] = out.selected * out.tokens, out.gate
            if number < objective.passes:
                inputs = {**inputs, "decoder_input_ids": prefixes_said(student, inputs["decoder_input_ids"], labels)}
        return loss, sums | gate

    def _pass(
        self,
        objective: Objective,
        encoders: dict[nn.Module, Any],
        labels: Tensor,
        denominator: Tensor,
        inputs: dict[str, Tensor],
        stored: Head | TopK | Neighbours | None,
    ) -> tuple[Evaluation, Head]:
        """One pass of the decoders; the encoders run at the first, and `encoders` remembers them."""
        asked = {"output_hidden_states": objective.needs_layers, "output_attentions": objective.attends}
        outputs: list[Any] = []
        heads: list[Head] = []
        for model in (self.student, *self._teachers, *(self._snapshot if objective.needs_snapshot else ())):
            with torch.set_grad_enabled(torch.is_grad_enabled() and model is self.student):
                found = model.to(labels.device).model(
                    **inputs, encoder_outputs=encoders.get(model), use_cache=False, **asked if len(outputs) < 2 else {}
                )
            encoders[model] = (found.encoder_last_hidden_state, found.encoder_hidden_states, found.encoder_attentions)
            outputs.append(found)
            heads.append(head(model, found))
        source, target = inputs["attention_mask"].bool(), labels != -100
        out = objective.evaluate(
            student=heads[0], targets=labels.reshape(-1), denominator=denominator, modules=self.beside,  # type: ignore[arg-type]
            teacher=self._taught(heads[1 : 1 + len(self._teachers)], labels) if self._teachers else stored,
            snapshot=heads[-1] if objective.needs_snapshot else None, sentences=sentences_of(labels),
            layers=tuple(Layers.of(each, source, target) for each in outputs[:2]) if objective.needs_layers else None,  # type: ignore[arg-type]
        )  # fmt: skip
        return out, heads[0]

    def _taught(self, heads: list[Head], labels: Tensor) -> Head | Ensemble:
        """The teachers as one; weights by NLL are those of the prefixes of this pass."""
        if len(heads) == 1:
            return heads[0]
        return Ensemble(heads, self.mix.weights, self.mix.by_nll, sentences_of(labels), self.mix.mean == "geometric")


def require(objective: Objective, own: Objective | None, teachers: int, *, stored: bool, mix: TeacherMix) -> None:
    """Raises: ConfigError: a training with so many teachers, or with what is `stored` of one, has not what a term asks for."""
    for each in filter(None, (objective, own)):
        if each.needs_layers and teachers != 1:
            raise ConfigError(f"{each!r} looks at the layers of a teacher model, got {teachers or 'none'} - give one")
        for _, term in each.terms:
            if term.asks_mask:
                raise ConfigError(
                    f"{term!r}: a training has no mask - leave it out, or evaluate it in a loop of your own"
                )
    if stored and (objective.passes > 1 or own is not None):
        raise ConfigError(
            f"{own or objective!r} asks the teacher about the student's words, what is stored knows the target's"
        )
    if teachers:
        mix.check(teachers)
        if own is not None and mix.by_nll:
            raise ConfigError(
                "teachers weighed by their NLL of the gold target know none in the student's own words - fix their weights"
            )


def at_rest(model: MarianMTModel) -> MarianMTModel:
    """The same model, without dropout and gradients."""
    return model.eval().requires_grad_(False)


def _of_own(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """Named as of the student's own words; their NLL is of no gold."""
    return {f"own_{name}": value for name, value in sums.items() if name != "nll"}


@torch.no_grad()
def prefixes_said(student: Head, before: Tensor, labels: Tensor) -> Tensor:
    """The next pass's prefixes [batch, tokens]: the first symbol, then what the student ranks first, to the last label."""
    said = torch.cat([logits.argmax(-1) for logits in student.logits()]).reshape(labels.shape)
    shifted = torch.cat([before[:, :1], said[:, :-1]], 1)
    return torch.where(labels == -100, before, shifted)


def head(model: MarianMTModel, outputs: Any) -> Head:
    """Last hidden states [rows, hidden] and output embedding [vocab - 1, hidden] of a Marian model.

    The pad symbol has the last id and is no word: leaving its row out bans it from every loss, and the row, whose gradient is
    then zero, keeps the zeros that CTranslate2 starts decoding from (Hugging Face starts from the row itself).
    """
    hidden = outputs.last_hidden_state
    return Head(hidden.reshape(-1, hidden.shape[-1]), model.lm_head.weight[:-1], output_bias(model))


def output_bias(model: MarianMTModel) -> Tensor | None:
    """[vocab - 1], None where it is zero everywhere. Asked anew only where it was written since: to ask is to wait for a GPU."""
    bias = model.final_logits_bias
    written = bias.data_ptr(), bias._version
    if _BIASED.get(model, (None,))[0] != written:
        _BIASED[model] = written, bool(bias.any())
    return bias[0, :-1] if _BIASED[model][1] else None


_BIASED: WeakKeyDictionary[MarianMTModel, tuple[tuple[int, int], bool]] = WeakKeyDictionary()
