"""What an objective is made of: terms on the output distribution, and terms on layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from distilmt.errors import ConfigError
from distilmt.objectives.checks import typed
from distilmt.objectives.evaluation import Evaluation
from distilmt.objectives.layers import Layers, Shape
from distilmt.ops.linear_kd import Choice, LinearKD, NativeTerm

if TYPE_CHECKING:
    from distilmt.objectives.objective import Objective


class Term(ABC):
    """One loss of an objective; a frozen dataclass whose fields are the loss's parameters.

    Multiply by a weight and add: `0.5 * NLL() + 0.5 * WordKD()`. A term alone is an objective of weight 1.

    Attributes:
        looks_at: "teacher", "snapshot", "layers" of a teacher, or "": nothing but the targets.
        gated: looks at the rows that it chooses itself.
        letters: of its formula, by the parameters that they stand for.
    """

    looks_at: ClassVar[str] = ""
    gated: ClassVar[bool] = False
    letters: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A term's parameters are of their types before its own `__post_init__` looks at them."""
        super().__init_subclass__(**kwargs)
        own = getattr(cls, "__post_init__", None)

        def checked(self: Any, *given: Any) -> None:
            if not torch.compiler.is_compiling():
                typed(self)
            if own is not None:
                own(self, *given)

        cls.__post_init__ = checked  # type: ignore[attr-defined]

    @abstractmethod
    def native(self, teacher: Any) -> NativeTerm:
        """What `linear_kd` computes for it; the native weight is the factor between its value and the native one.

        Raises: ConfigError: the term cannot use a teacher of this kind.
        """

    @property
    def needs_teacher(self) -> bool:
        """Whether it looks at a teacher or its layers."""
        return self.looks_at in ("teacher", "layers")

    @property
    def passes(self) -> int:
        """Decoder passes that its value is the mean of: the first on the given prefixes, each other one on what the student
        said at the pass before (TIE-KD's iterations; only a training with the models at hand can do more than the first)."""
        return int(getattr(self, "iterations", 1))

    def at(self, progress: float) -> Term:
        """The term at a point of the training, 0 at its start and 1 at its end; itself where nothing changes."""
        return self

    def strength(self, progress: float) -> float:
        """What its weight is multiplied by at that point."""
        return 1.0

    def choice(self) -> Choice | None:
        """Which rows a gated term looks at; None where a mask says so."""
        return None

    def mask(self, **given: Any) -> tuple[Tensor, Tensor] | None:
        """The mask bool [rows], and the gate, of a gated term without a choice; None where it is the caller's to give."""
        return None

    @property
    def asks_mask(self) -> bool:
        """True where the caller has to give it."""
        return False

    def know(self, counts: Tensor) -> None:
        """Takes note of how often each word stands in the training targets, int64 [vocab]."""
        return

    @property
    def neighbour_temperature(self) -> float | None:
        """What divides the distances of `Neighbours`, for a term that learns from them."""
        return None

    # A term with a memory (SelectiveKD's queue) overrides the four below.

    def seen(self, result: LinearKD) -> None:
        """Takes note of what has been computed; called where gradients are on."""
        return

    def step(self) -> None:
        """The end of an optimizer step."""
        return

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint has to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse."""
        return

    def __repr__(self) -> str:
        given = [f for f in fields(self) if f.init and getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in given)})"

    def __mul__(self, weight: float) -> Objective:
        from distilmt.objectives.objective import Objective  # which is made of terms

        return Objective(((weight, self),))

    __rmul__ = __mul__

    def __add__(self, other: Objective | Term) -> Objective:
        return 1.0 * self + other

    def evaluate(self, **given: Any) -> Evaluation:
        """As `Objective.evaluate`."""
        return (1.0 * self).evaluate(**given)

    def __call__(self, student_outputs: Any, teacher_outputs: Any, labels: Tensor) -> Evaluation:
        return (1.0 * self)(student_outputs, teacher_outputs, labels)


@dataclass(frozen=True, repr=False)
class LayerTerm(Term):
    """A term on hidden states or attention maps, in plain PyTorch; its teacher is a model that runs beside the student.

    Its value is a sum over tokens as that of any term and is divided by the same denominator, the number of targets: on the
    encoder, a sentence counts by its source length. Padding is never looked at.

    Attributes:
        attends: looks at attention maps.
    """

    looks_at: ClassVar[str] = "layers"
    attends: ClassVar[bool] = False

    def native(self, teacher: Any) -> NativeTerm:
        raise ConfigError(f"{type(self).__name__} looks at layers, not at the output distribution")

    def module(self, student: Shape, teacher: Shape) -> nn.Module | None:
        """What is learned beside the student and thrown away behind the training; None where nothing is.

        Raises: ConfigError: the term cannot compare models of these shapes.
        """
        return None

    @abstractmethod
    def value(self, student: Layers, teacher: Layers, module: nn.Module | None) -> Tensor:
        """Sum over the tokens of the batch, float32 scalar with a gradient for the student and the module."""
