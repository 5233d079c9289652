"""A weighted sum of terms on the output distribution, evaluated together by one `linear_kd` call."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.ops.linear_kd import LinearKD, linear_kd


@dataclass(frozen=True)
class Head:
    """A model's output distribution at each target position: softmax(hidden weight^T + bias).

    Without a weight, `hidden` holds the logits themselves, [rows, vocab].
    """

    hidden: Tensor  # [rows, d]
    weight: Tensor | None  # [vocab, d]
    bias: Tensor | None = None  # [vocab]


@dataclass(frozen=True)
class Evaluation:
    """What an objective says about a batch; only `loss` carries a gradient."""

    loss: Tensor  # scalar: weighted sum over all rows / denominator
    terms: dict[str, Tensor]  # each term, in nats: mean over the targets, without weights
    nll: Tensor  # -log p(target), mean over the targets, without smoothing: comparable whatever the objective
    tokens: Tensor  # number of targets, int64 scalar


class Term(ABC):
    """One loss of an objective; a frozen dataclass whose fields are the loss's parameters.

    Multiply by a weight and add: `0.5 * NLL() + 0.5 * WordKD()`. A term alone is an objective of weight 1.
    """

    needs_teacher: ClassVar[bool] = False

    @abstractmethod
    def options(self, weight: float) -> dict[str, float]:
        """The arguments of `linear_kd` that make it compute this term with a weight."""

    @abstractmethod
    def rows(self, result: LinearKD) -> Tensor:
        """This term's unweighted value in each row, [rows]."""

    def __mul__(self, weight: float) -> Objective:
        return Objective(((weight, self),))

    __rmul__ = __mul__

    def __add__(self, other: Objective | Term) -> Objective:
        return 1.0 * self + other

    def evaluate(self, **arguments: Any) -> Evaluation:
        """As `Objective.evaluate`."""
        return (1.0 * self).evaluate(**arguments)

    def __call__(self, student_outputs: Any, teacher_outputs: Any, labels: Tensor) -> Evaluation:
        return (1.0 * self)(student_outputs, teacher_outputs, labels)


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms.

    Raises: ConfigError (a ValueError): a weight below 0 or not finite, or two terms of the same kind.
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

    @property
    def needs_teacher(self) -> bool:
        """True where a term looks at a teacher's distribution."""
        return any(term.needs_teacher for _, term in self.terms)

    def evaluate(
        self,
        *,
        student: Head,
        targets: Tensor,
        teacher: Head | None = None,
        weights: Tensor | None = None,
        denominator: Tensor | float | None = None,
    ) -> Evaluation:
        """Loss and terms of a batch, with gradients for whatever of the student's head requires them.

        Args:
            student: `Head` of the student, [rows, d] and [vocab, d].
            targets: int64 [rows], -100 where a row is not a target.
            teacher: `Head` of the teacher, a constant with the student's vocab; ignored where no term looks at it.
            weights: [rows], multiply a row's loss (not the reported terms).
            denominator: what the loss's sum is divided by; the number of targets where absent. With gradient
                accumulation or several processes, the global number of targets.

        Raises: ValueError: shapes that do not fit, or a term that needs a teacher and none given.
        """
        if self.needs_teacher and teacher is None:
            raise ConfigError(f"{self!r} needs a teacher, got None")
        if teacher is None or not self.needs_teacher:
            t_hidden = t_weight = t_bias = None
        else:
            t_hidden, t_weight, t_bias = teacher.hidden, teacher.weight, teacher.bias
        options: dict[str, Any] = {"nll_weight": 0.0}
        for weight, term in self.terms:
            options |= term.options(weight)
        result = linear_kd(
            student.hidden,
            student.weight,
            targets,
            student.bias,
            t_hidden,
            t_weight,
            t_bias,
            weights,
            denominator=denominator,
            **options,
        )
        tokens = (targets != -100).sum()
        count = tokens.clamp(min=1)
        terms = {type(term).__name__: term.rows(result).sum() / count for _, term in self.terms}
        return Evaluation(result.loss, terms, result.nll.sum() / count, tokens)

    def __call__(self, student_outputs: Any, teacher_outputs: Any, labels: Tensor) -> Evaluation:
        """The same from outputs of Hugging Face models, in a plain training loop.

        The logits exist already, so this saves no memory; `evaluate` on hidden states does.

        Args:
            student_outputs: has `.logits` [batch, tokens, vocab].
            teacher_outputs: likewise, computed under `torch.no_grad()`; None where no term looks at it.
            labels: [batch, tokens], -100 where there is no target.
        """
        teacher = None if teacher_outputs is None else Head(teacher_outputs.logits.flatten(0, -2), None)
        return self.evaluate(
            student=Head(student_outputs.logits.flatten(0, -2), None), targets=labels.flatten(), teacher=teacher
        )

    def __mul__(self, weight: float) -> Objective:
        return Objective(tuple((weight * own, term) for own, term in self.terms))

    __rmul__ = __mul__

    def __add__(self, other: Objective | Term) -> Objective:
        return Objective(self.terms + (other if isinstance(other, Objective) else 1.0 * other).terms)

    def __repr__(self) -> str:
        return " + ".join(f"{term!r}" if weight == 1 else f"{weight} * {term!r}" for weight, term in self.terms)
