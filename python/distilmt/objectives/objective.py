"""A weighted sum of terms on the output distribution, evaluated together by one `linear_kd` call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from distilmt.errors import ConfigError
from distilmt.objectives.evaluation import Evaluation, sentences_of
from distilmt.objectives.layers import Layers
from distilmt.objectives.teachers import Head, Teacher, arguments
from distilmt.objectives.term import LayerTerm, Term
from distilmt.ops.linear_kd import NativeTerm, linear_kd


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms.

    Raises: ConfigError (a ValueError): a weight below 0 or not finite, two terms of the same kind, or two that select.
    """

    terms: tuple[tuple[float, Term], ...]

    def __post_init__(self) -> None:
        for weight, term in self.terms:
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"weight of {term} must be finite and at least 0, got {weight} - change it")
        names = [type(term).__name__ for _, term in self.terms]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{name} stands twice in one objective ({self!r}) - join the two")
        if sum(term.gated for _, term in self.terms) > 1:
            raise ConfigError(f"two terms select tokens in one objective ({self!r}) - leave one")

    @property
    def needs_teacher(self) -> bool:
        """True where a term looks at a teacher: its distribution, or its layers."""
        return any(term.needs_teacher for _, term in self.terms)

    @property
    def needs_layers(self) -> bool:
        """True where a term of weight above 0 looks at hidden states or attention maps of a teacher model."""
        return any(weight and term.looks_at == "layers" for weight, term in self.terms)

    @property
    def attends(self) -> bool:
        """True where a term of weight above 0 looks at attention maps."""
        return any(weight and getattr(term, "attends", False) for weight, term in self.terms)

    @property
    def passes(self) -> int:
        """Decoder passes of the term that asks for most; one of weight 0 asks for none of its own."""
        return max([1, *(term.passes for weight, term in self.terms if weight)])

    def of_pass(self, number: int) -> Objective:
        """The terms that take part in a pass, from 1 on, each with its share of its weight and a single pass to go."""
        return Objective(
            tuple(
                (weight / t.passes, replace(t, iterations=1) if t.passes > 1 else t)  # type: ignore[type-var]
                for weight, t in self.terms
                if number == 1 or (weight and t.passes >= number)
            )
        )

    def at(self, progress: float) -> Objective:
        """The objective at a point of the training, 0 at its start and 1 at its end."""
        return Objective(tuple((weight * term.strength(progress), term.at(progress)) for weight, term in self.terms))

    @property
    def changes(self) -> bool:
        """True where it is another at the end of a training than at its start."""
        return self.at(0.0) != self.at(1.0)

    @property
    def needs_snapshot(self) -> bool:
        """True where a term looks at an earlier state of the student."""
        return any(term.looks_at == "snapshot" for _, term in self.terms)

    def evaluate(
        self,
        *,
        student: Head,
        targets: Tensor,
        teacher: Teacher | Sequence[Any] | None = None,
        snapshot: Head | Tensor | None = None,
        weights: Tensor | None = None,
        mask: Tensor | None = None,
        sentences: Tensor | None = None,
        denominator: Tensor | float | None = None,
        layers: tuple[Layers, Layers] | None = None,
        modules: Mapping[str, nn.Module] | None = None,
        dropped_mass: float = 0.0,
        teacher_bfloat16: bool = False,
    ) -> Evaluation:
        """Loss and terms of a batch, with gradients for whatever of the student's head requires them.

        Args:
            student: `Head` of the student, [rows, d] and [vocab, d].
            targets: int64 [rows], -100 where a row is not a target.
            teacher: a constant with the student's vocabulary: `Head`, logits [rows, vocab], `TopK` or the `SoftLabels` of these
                rows, `Neighbours`, `Ensemble` or a list of heads or of (weight, head); ignored where no term looks at it.
            snapshot: an earlier state of the student, for terms that look at it.
            weights: [rows], multiply a row's loss (not the reported terms).
            mask: bool [rows], which rows a term selecting by mask looks at.
            sentences: int64 [rows], the sentence of each row, for a term that selects sentences.
            denominator: what the loss's sum is divided by; the number of targets where absent. With gradient
                accumulation or several processes, the global number of targets.
            layers: what student and teacher computed on their way, for terms that look at it.
            modules: what such terms learn beside the student, by their names (`LayerTerm.module`).
            dropped_mass: above 0 an approximation on the CPU: the words of least weight in d loss / d logits of a chunk of
                rows, together at most this share of its absolute sum, are left out of the gradients. Losses stay exact.
            teacher_bfloat16: another: the teacher's logits are computed in bfloat16.

        Raises: ValueError: shapes that do not fit. ConfigError, which is one: a term that needs a teacher and none given, or
            one of another kind; a term of several passes, which a training alone can do; weights beside terms on layers.
        """
        if self.passes > 1:
            raise ConfigError(
                f"{self!r}: one call is one decoder pass - evaluate objective.of_pass(1), of_pass(2), ..."
            )
        if weights is not None and self.needs_layers:
            raise ConfigError(f"{self!r}: terms on layers know no row weights - leave weights out")
        output = [(weight, term) for weight, term in self.terms if term.looks_at != "layers"]
        taught = any(term.looks_at == "teacher" for _, term in output)
        for needed, name, given in (
            (taught, "a teacher", teacher), (self.needs_snapshot, "a snapshot", snapshot),
            (self.needs_layers, "layers (of Hugging Face models: output_hidden_states=True)", layers),
        ):  # fmt: skip
            if needed and given is None:
                raise ConfigError(f"{self!r} needs {name}, got None")
        natives = [replace(term.native(teacher), gated=term.gated) for _, term in output]
        gated = next((term for _, term in self.terms if term.gated), None)
        choice = gated.choice() if gated else None
        own = gated.mask(student=student, teacher=teacher, targets=targets, sentences=sentences) if gated else None
        if own is not None:
            mask = own[0]
        if gated and choice is None and mask is None:
            raise ConfigError(f"{gated!r} selects by mask, got None - give evaluate(mask=...)")
        result = linear_kd(
            student.hidden,
            student.weight,
            targets,
            student.bias,
            terms=[replace(n, weight=w * n.weight) for (w, _), n in zip(output, natives, strict=True)]
            or [NativeTerm("nll", 0.0)],
            **(arguments(teacher, self, student, targets) if taught else {}),
            **(arguments(snapshot, self, student, targets, "snapshot") if self.needs_snapshot else {}),
            row_weights=weights,
            choice=choice,
            mask=mask if gated and choice is None else None,
            denominator=denominator,
            dropped_mass=dropped_mass,
            teacher_bfloat16=teacher_bfloat16,
        )
        if gated and torch.is_grad_enabled():
            gated.seen(result)
        tokens = (targets != -100).sum()
        count = tokens.clamp(min=1)
        terms = {
            type(term).__name__: native.weight * value.sum() / count
            for (_, term), native, value in zip(output, natives, result.values, strict=False)
        }
        loss = result.loss
        for weight, term in self.terms:
            if isinstance(term, LayerTerm) and layers is not None and weight:
                name = type(term).__name__
                total = term.value(*layers, modules[name] if modules and name in modules else None)
                loss = loss + weight * total / (count if denominator is None else denominator)
                terms[name] = total.detach() / count
        selected = result.chosen.sum() / count if gated else torch.ones_like(result.loss.detach())
        learning = [n for n in natives if n.teacher in ("teachers", "sparse")]
        looked = tokens * bool(learning)
        if learning and all(n.gated for n in learning):
            looked = result.chosen.sum().to(tokens.dtype)
        agreement = result.agreement.sum() / looked  # of no tokens: 0 / 0
        gate = result.gate[0] if own is None else own[1]
        return Evaluation(loss, terms, result.nll.sum() / count, tokens, selected, agreement, gate, looked)

    def know(self, counts: Tensor) -> None:
        """To be called before a training: how often each word stands in its targets, int64 [vocab]."""
        for _, term in self.terms:
            term.know(counts)

    def step(self) -> None:
        """To be called after each optimizer step: terms with a memory per step take note."""
        for _, term in self.terms:
            term.step()

    def state_dict(self) -> dict[str, Tensor]:
        """What terms remember between steps, for a checkpoint; empty for most objectives."""
        return {
            f"{type(term).__name__}.{name}": tensor
            for _, term in self.terms
            for name, tensor in term.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse. Raises ConfigError where the state is another objective's."""
        if state.keys() != self.state_dict().keys():
            raise ConfigError(f"{self!r}: the state of another objective, {sorted(state)} - start a new run")
        for _, term in self.terms:
            name = type(term).__name__
            term.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")})

    def __call__(
        self,
        student_outputs: Any,
        teacher_outputs: Any,
        labels: Tensor,
        *,
        words: int | None = None,
        attention_mask: Tensor | None = None,
        modules: Mapping[str, nn.Module] | None = None,
    ) -> Evaluation:
        """The same from outputs of Hugging Face models, in a plain training loop.

        The logits exist already, so this saves no memory; `evaluate` on hidden states does.

        Args:
            student_outputs: has `.logits` [batch, tokens, vocab].
            teacher_outputs: likewise, computed under `torch.no_grad()`; None where no term looks at it.
            labels: [batch, tokens], -100 where there is no target.
            words: how many of the first columns are words; all where absent. Marian's pad symbol is the last column and none:
                with `words=pad_id` the loss is that of `distilmt train`.
            attention_mask: [batch, source], 0 where the source is padding, for terms on layers; nothing is padding where absent.
                Both models then need `output_hidden_states=True`, for attention maps `output_attentions=True`.
            modules: as of `evaluate`.
        Raises: as `evaluate`.
        """
        both = [each for each in (student_outputs, teacher_outputs) if each is not None]
        heads = [Head(each.logits[..., :words].flatten(0, -2), None) for each in both]
        layers: Any = None
        if self.needs_layers and len(both) == 2 and all(getattr(each, "decoder_hidden_states", None) for each in both):
            states = student_outputs.encoder_hidden_states[0]
            source = states.new_ones(states.shape[:2]) if attention_mask is None else attention_mask
            layers = tuple(Layers.of(each, source.bool(), labels != -100) for each in both)
        return self.evaluate(
            student=heads[0], targets=labels.flatten(), teacher=heads[1] if len(both) == 2 else None,
            sentences=sentences_of(labels), layers=layers, modules=modules,
        )  # fmt: skip

    def __mul__(self, weight: float) -> Objective:
        return Objective(tuple((weight * own, term) for own, term in self.terms))

    __rmul__ = __mul__

    def __add__(self, other: Objective | Term) -> Objective:
        return Objective(self.terms + (other if isinstance(other, Objective) else 1.0 * other).terms)

    def __repr__(self) -> str:
        return " + ".join(f"{term!r}" if weight == 1 else f"{weight} * {term!r}" for weight, term in self.terms)
