"""What the terms have in common that compare whole distributions at one temperature of both sides."""

from __future__ import annotations

from typing import ClassVar

from distilmt.objectives.checks import full, temperatures
from distilmt.objectives.teachers import Teacher
from distilmt.objectives.term import Term
from distilmt.ops.linear_kd import NativeTerm


class Divergence(Term):
    """A native term of weight 1 and a `temperature`, which stands among the fields of every one of them.

    Attributes:
        kind: its native name.
    """

    looks_at: ClassVar[str] = "teacher"
    kind: ClassVar[str]
    letters: ClassVar[dict[str, str]] = {"temperature": "T"}
    temperature: float

    def __post_init__(self) -> None:
        temperatures(self, "temperature")

    def parameters(self) -> tuple[float, float]:
        """a and b of the native term."""
        return 0.0, 0.0

    def native(self, teacher: Teacher) -> NativeTerm:
        full(self, teacher)
        return NativeTerm(self.kind, 1.0, self.temperature, self.temperature, *self.parameters())
