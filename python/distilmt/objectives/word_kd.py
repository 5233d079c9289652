"""Word-level knowledge distillation: at every target position, the student imitates the teacher's distribution.

    WordKD = T^2 KL(q^T || p^T)        WordCE = -T^2 sum q^T log p^T        p^T = softmax(z / T) of the student

Source: Hinton, Vinyals & Dean 2015 (arXiv:1503.02531); for translation Kim & Rush 2016 (arXiv:1606.07947), section 3.1,
with T = 1. They write the cross-entropy; the KL differs from it by the teacher's entropy, a constant: the gradient is the
same and 0 means "equal to the teacher". T^2 keeps the gradient's size independent of T. T divides the logits (NeMo divides
the hidden states, which differs where the output layer has a bias).

With a teacher known at its top k tokens, `tail` says what becomes of the rest: csrc/terms/sparse_kl.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from distilmt.errors import ConfigError
from distilmt.objectives.checks import counts, full, temperatures
from distilmt.objectives.teachers import Neighbours, Teacher, is_sparse
from distilmt.objectives.term import Term
from distilmt.ops.linear_kd import TAILS, NativeTerm


@dataclass(frozen=True, repr=False)
class WordKD(Term):
    """Kullback-Leibler divergence from the teacher's distribution to the student's.

    Args:
        temperature: T > 0; above 1 it lets the student see more of the unlikely words. Translation does best with 0.5 to 1.
        teacher_temperature: the teacher's own, where it is to be softer or sharper than the student; else T.
        tail: of a top-k teacher. "renormalise": the k tokens are all there is. "drop": they keep their probabilities, so
            uncertain positions count less. "rest": all other tokens are one more event, the exact KL of that.
        iterations: decoder passes to average over; from the second on the prefixes are the student's own (TIE-KD: 3).
    """

    temperature: float = 1.0
    teacher_temperature: float | None = None
    tail: Literal["renormalise", "drop", "rest"] = "renormalise"
    iterations: int = 1
    letters: ClassVar[dict[str, str]] = {"temperature": "T", "teacher_temperature": "the teacher's own T"}
    looks_at: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        temperatures(self, "temperature", "teacher_temperature")
        counts(self, "iterations")

    def native(self, teacher: Teacher) -> NativeTerm:
        return forward_kl(self, teacher, self.temperature, self.teacher_temperature or self.temperature, self.tail)


@dataclass(frozen=True, repr=False)
class WordCE(Term):
    """Cross-entropy with the teacher's distribution: WordKD's gradient, reported with the teacher's entropy in it.

    Args: temperature, teacher_temperature as for WordKD.
    """

    temperature: float = 1.0
    teacher_temperature: float | None = None
    letters: ClassVar[dict[str, str]] = {"temperature": "T", "teacher_temperature": "the teacher's own T"}
    looks_at: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        temperatures(self, "temperature", "teacher_temperature")

    def native(self, teacher: Teacher) -> NativeTerm:
        full(self, teacher)
        its = self.teacher_temperature or self.temperature
        return NativeTerm("cross_entropy", self.temperature**2, self.temperature, its)


def forward_kl(term: Term, teacher: Teacher, temperature: float, its: float, tail: str) -> NativeTerm:
    """T^2 KL(q || p) from a dense or a top-k teacher; its: the teacher's temperature. Raises: ConfigError: from neither."""
    name = type(term).__name__
    if not is_sparse(teacher):
        return NativeTerm("forward_kl", temperature**2, temperature, its)
    if isinstance(teacher, Neighbours):
        raise ConfigError(f"{name} cannot use Neighbours, whose distances have a temperature of their own - use KNNKD")
    if tail != "renormalise" and its != 1:
        raise ConfigError(
            f"{name}: a top-k teacher with tail={tail!r} has temperature 1, got {its} - the tail's shape is unknown"
        )
    return NativeTerm("sparse_kl", temperature**2, temperature, its, a=TAILS.index(tail))
