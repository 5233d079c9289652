"""What a call of `linear_kd` is made of, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

# Order and limits as in csrc/kernels/linear_kd.h.
KINDS = (
    "nll", "forward_kl", "cross_entropy", "reverse_kl", "jensen_shannon", "skew_kl", "skew_reverse_kl", "total_variation",
    "adaptive_kl", "logit_mse", "top1", "top1_to_gold", "ranking", "sparse_kl",
)  # fmt: skip
TAILS = ("renormalise", "drop", "rest")
SCORES = ("none", "student_nll", "teacher_entropy", "teacher_confidence", "teacher_margin")
MAX_TERMS, MAX_TEMPERATURES, MAX_RANKING = 8, 4, 64
_HARD = ("nll", "sparse_kl")  # kinds that look at no dense teacher


@dataclass(frozen=True)
class NativeTerm:
    """One term of the native loss: `weight * value`, the value as `kind` says.

    Args:
        kind: one of `KINDS`.
        weight: at least 0.
        temperature: divides the student's logits (logit_mse: unused).
        teacher_temperature: divides the teacher's.
        a, b: parameters of the kind. nll: label smoothing, and 1 for the definition with eps / V in every column.
            jensen_shannon: share of the teacher in the mixture, factor. skew_kl, skew_reverse_kl: share of the term's
            own side. adaptive_kl: mass of the head. logit_mse: factor of the teacher's logits, 1 to centre both. top1: 1
            to weigh by the teacher's probability. sparse_kl: index in `TAILS`.
        count: ranking: k.
        snapshot: compare with the second dense teacher.
        gated: look at chosen rows alone.
    """

    kind: str
    weight: float = 1.0
    temperature: float = 1.0
    teacher_temperature: float = 1.0
    a: float = 0.0
    b: float = 0.0
    count: int = 0
    snapshot: bool = False
    gated: bool = False

    @property
    def teacher(self) -> str:
        """Where its teacher stands among the arguments of `linear_kd`: "", "teachers", "snapshot" or "sparse"."""
        if self.kind in _HARD:
            return "" if self.kind == "nll" else "sparse"
        return "snapshot" if self.snapshot else "teachers"


class DenseTeacher(NamedTuple):
    """A constant distribution per row, softmax(hidden weight^T + bias); logits [rows, vocab] without a weight."""

    hidden: Tensor  # [rows, d]
    weight: Tensor | None = None  # [vocab, d]
    bias: Tensor | None = None  # [vocab]


class SparseTeacher(NamedTuple):
    """A distribution known at k tokens of each row.

    Args:
        ids: int64 [rows, k], distinct in a row.
        log_probs: [rows, k] in nats, at temperature 1; an entry of -inf is absent.
    """

    ids: Tensor
    log_probs: Tensor


@dataclass(frozen=True)
class Choice:
    """Which rows the gated terms look at: those whose score is at or beyond a gate.

    Args:
        score: student_nll, -log p(y); teacher_entropy; teacher_confidence, the largest probability; teacher_margin,
            q(y) - p(y).
        rate: in (0, 1]; the gate is the ceil(n rate)-th of the n scores of this call, or of the queue.
        gate: given instead of a rate; a float32 tensor [1] may stay on its device.
        lowest: choose scores at most the gate, the smallest ones.
        queue: values float32 [size] and state int64 [2]: the scores of this call are pushed, then the gate is taken.
    """

    score: str
    rate: float = 1.0
    gate: float | Tensor | None = None
    lowest: bool = False
    queue: tuple[Tensor, Tensor] | None = None


class LinearKD(NamedTuple):
    """What `linear_kd` returns, on hidden's device; all but `loss` are detached, and 0 in rows without a target.

    Attributes:
        loss: scalar.
        values: [terms, rows] of each term in nats, without its weight; 0 where a gated term does not look.
        nll: [rows] -log p(target) in nats, without smoothing, at temperature 1.
        agreement: [rows] 1 where student and teacher, a dense one before a sparse one, have the same top token; 0 without a
            teacher.
        chosen: [rows] 1 where gated terms look.
        gate: float32 [1]; NaN without a choice.
        scores: float32 [rows] of the choice, NaN in rows without a target; empty without a choice.
        queue: after the push; empty without a queue.
        dropped: float32 [1]: the share of sum |d loss / d logits| that the filter dropped.
    """

    loss: Tensor
    values: Tensor
    nll: Tensor
    agreement: Tensor
    chosen: Tensor
    gate: Tensor
    scores: Tensor
    queue: tuple[Tensor, Tensor]
    dropped: Tensor
