"""Fused loss of a linear output layer: every term on the output distribution, with all gradients, in one native call.

Native side: `csrc/ops/linear_kd.cpp`, formulas in `csrc/terms` and `csrc/divergences`; specification:
`distilmt.reference.linear_kd`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distilmt.ops.linear_kd_checks import blame, check

_CPU_WORKSPACE = 64 << 20  # stays near the last-level cache, and the products have rows enough
_CUDA_WORKSPACE = 512 << 20
_SELECTION = 1 << 30

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
        agreement: [rows] 1 where student and dense teacher have the same top token; 0 without a teacher.
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


def linear_kd(
    hidden: Tensor,
    weight: Tensor | None,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    terms: Sequence[NativeTerm],
    teachers: Sequence[DenseTeacher] = (),
    snapshot: DenseTeacher | None = None,
    mix_weights: Tensor | None = None,
    geometric: bool = False,
    sparse: SparseTeacher | None = None,
    row_weights: Tensor | None = None,
    choice: Choice | None = None,
    mask: Tensor | None = None,
    denominator: Tensor | float | None = None,
    workspace_bytes: int | None = None,
    selection_bytes: int = _SELECTION,
    dropped_mass: float = 0.0,
    teacher_bfloat16: bool = False,
    _as_on_cuda: bool = False,
) -> LinearKD:
    """Weighted sum of terms over the rows, from hidden states and output layers.

        loss = sum_rows row_weight * sum_terms weight * value / denominator

    Logits exist for one chunk of rows at a time, never as [rows, vocab]. Gradients go to whichever of `hidden`, `weight` and
    `bias` requires them, each in its tensor's dtype; every sum is float32, also under autocast.

    On a CPU rows whose target is -100 are dropped before any product, a teacher's projection is made for the rows that some
    term looks at, and half precision is computed in float32. On a GPU nothing is copied to the host, nothing waits, and
    shapes depend on shapes alone, so that the call can be captured in a graph: all rows are computed and the others masked,
    half precision is multiplied as it is, and logits lie in the hidden states' dtype if all models share it. A target or
    sparse id that cannot be makes the loss NaN there; `distilmt.ops.linear_kd_checks.blame` then says which. On a CPU it is
    an error at once.

    Args:
        hidden: student's states [rows, d], float64, float32, bfloat16 or float16; its logits [rows, vocab] without a
            weight.
        weight: student's output embedding [vocab, d], or None where `hidden` holds logits.
        targets: int64 [rows], -100 where a row has none.
        bias: [vocab]. A column of -inf is banned: it has probability 0 and smoothing skips it.
        terms: what is added up; at most 8, of at most 4 temperatures with 1.
        teachers: constants with the student's vocabulary. Several are one: the mean of their probabilities, at
            temperature 1.
        snapshot: a second dense teacher, for terms that ask for it.
        mix_weights: [teachers, rows], adding up to 1; equal where absent.
        geometric: mean of log-probabilities, normalised, in place of probabilities.
        sparse: a teacher known at k tokens.
        row_weights: [rows], 1 where absent.
        choice: which rows gated terms look at; all where neither this nor a mask is given.
        mask: bool [rows], the same said by the caller.
        denominator: what the sum is divided by; the number of targets (at least 1) where absent.
        workspace_bytes: limit for the chunk's logits; 64 MiB on a CPU, 512 MiB on a GPU.
        selection_bytes: a choice over the whole batch keeps the student's logits of all rows if they fit, and else
            computes them twice; 1 GiB.
        dropped_mass: above 0 an approximation: of each row of d loss / d logits the smallest entries are left out of the
            gradients, together at most this share of its absolute sum. Losses stay exact. CPU, with a weight, not float64.
        teacher_bfloat16: an approximation: dense teachers' projections in bfloat16, which errs by 1 in 256 of a logit.
        _as_on_cuda: on a CPU what is done on a GPU; for tests.

    Returns:
        Loss and, per row and in nats, the unweighted values, in float32 (float64 for float64 hidden states). A KL is
        infinite where the student gives 0 to what the teacher does not.

    Raises:
        ValueError: a shape, device or number that does not fit, or a term without its teacher.
        TypeError: targets not int64, or a tensor that is not floating point.

    Source: the terms name theirs (`distilmt.objectives`); smoothing as in fairseq's label_smoothed_cross_entropy.
    """
    check(hidden, weight, targets, bias, teachers, snapshot, mix_weights, sparse, row_weights, mask)
    _check_terms(terms, teachers, snapshot, sparse, hidden.shape[1] if weight is None else weight.shape[0])
    if not 0 <= dropped_mass < 1:
        raise ValueError(f"linear_kd: dropped_mass must be in [0, 1), got {dropped_mass}")
    masked = hidden.is_cuda or _as_on_cuda
    if dropped_mass > 0 and (weight is None or masked or hidden.dtype == torch.float64):
        raise ValueError(
            f"linear_kd: dropped_mass needs a weight and hidden on the CPU, not in float64, got {hidden.dtype} on {hidden.device}"
        )
    choice = choice or Choice("none")
    _check_choice(choice, teachers, mask)
    if workspace_bytes is None:
        workspace_bytes = _CUDA_WORKSPACE if hidden.is_cuda else _CPU_WORKSPACE
    if len(teachers) > 1 and mix_weights is None:
        mix_weights = hidden.new_full((len(teachers), len(targets)), 1 / len(teachers), dtype=torch.float64)
    numbers = [
        float(x)
        for t in terms
        for x in (t.weight, t.temperature, t.teacher_temperature, t.a, t.b,
                  sparse.ids.shape[1] if t.kind == "sparse_kl" and sparse else t.count, t.snapshot, t.gated)
    ]  # fmt: skip
    queue = [tensor.to(hidden.device) for tensor in choice.queue] if choice.queue else (None, None)
    gate = choice.gate
    if isinstance(gate, float | int):
        gate = hidden.new_full((1,), gate, dtype=torch.float32)
    with_grad = torch.is_grad_enabled()
    total, values, _, _, _, gate_after, scores, queue_values, queue_state, dropped = torch.ops.distilmt.linear_kd(
        hidden,
        weight,
        targets,
        bias,
        _tensors(teachers, hidden),
        _tensors((snapshot,) if snapshot else (), hidden),
        _constant(mix_weights),
        geometric,
        sparse.ids if sparse else None,
        _constant(sparse.log_probs) if sparse else None,
        _constant(row_weights),
        mask,
        [KINDS.index(t.kind) for t in terms],
        numbers,
        SCORES.index(choice.score),
        choice.rate,
        None if gate is None else gate.to(hidden.device),
        choice.lowest,
        *queue,
        workspace_bytes,
        selection_bytes,
        dropped_mass,
        teacher_bfloat16,
        masked,
        with_grad and hidden.requires_grad,
        with_grad and weight is not None and weight.requires_grad,
        with_grad and bias is not None and bias.requires_grad,
    )
    if not torch.compiler.is_compiling() and not hidden.is_cuda and bool(total.isnan()):
        blame(targets, hidden.shape[1] if weight is None else weight.shape[0], teachers, snapshot, sparse)
    if denominator is None:
        denominator = (targets != -100).sum().clamp(min=1)
    *each, nll, agreement, chosen = values.detach()
    each_term = torch.stack(each) if each else values.detach()[:0]
    queue_after = queue_values.detach(), queue_state.detach()
    return LinearKD(
        total / denominator,
        each_term,
        nll,
        agreement,
        chosen,
        gate_after.detach(),
        scores.detach(),
        queue_after,
        dropped.detach(),
    )


def score_queue(
    values: Tensor, state: Tensor, scores: Tensor, rate: float, lowest: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Pushes scores into a queue by itself, for a gate per optimizer step.

    Args:
        values: float32 [size].
        state: int64 [2]: where the next score goes, how many there are.
        scores: any shape, on the same device as both; a NaN is no score.
        rate: in (0, 1].
        lowest: the gate is the ceil(n rate)-th smallest, not largest.
    Returns: values and state after the push, and the gate, float32 [1]: one that all pass, of an empty queue.
    """
    out: tuple[Tensor, Tensor, Tensor] = torch.ops.distilmt.score_queue(values, state, scores, rate, lowest)
    return out


def _tensors(teachers: Sequence[DenseTeacher], like: Tensor) -> list[Tensor]:
    absent = like.new_empty(0)
    return [absent if tensor is None else tensor.detach() for teacher in teachers for tensor in teacher]


def _constant(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _check_terms(
    terms: Sequence[NativeTerm],
    teachers: Sequence[DenseTeacher],
    snapshot: DenseTeacher | None,
    sparse: SparseTeacher | None,
    vocab: int,
) -> None:
    if len(terms) > MAX_TERMS:
        raise ValueError(f"linear_kd: terms must be at most {MAX_TERMS}, got {len(terms)}")
    if len({1.0, *(t.temperature for t in terms)}) > MAX_TEMPERATURES:
        raise ValueError(f"linear_kd: temperatures must be at most {MAX_TEMPERATURES} with 1, got {terms}")
    if sum(t.kind == "nll" for t in terms) > 1:
        raise ValueError("linear_kd: terms must have one nll at most")
    given = {"": True, "teachers": bool(teachers), "snapshot": snapshot is not None, "sparse": sparse is not None}
    for t in terms:
        if t.kind not in KINDS:
            raise ValueError(f"linear_kd: kind must be one of {', '.join(KINDS)}, got {t.kind!r}")
        if not 0 <= t.weight < math.inf:
            raise ValueError(f"linear_kd: weight of {t.kind} must be finite and at least 0, got {t.weight}")
        for name, value in (("temperature", t.temperature), ("teacher_temperature", t.teacher_temperature)):
            if not 0 < value < math.inf:
                raise ValueError(f"linear_kd: {name} must be finite and above 0, got {value}")
        if not given[t.teacher]:
            raise ValueError(f"linear_kd: {t.kind} needs {t.teacher}, got none")
        low, high = _LIMITS.get(t.kind, (-math.inf, math.inf))
        if not low <= t.a <= high:
            raise ValueError(f"linear_kd: a of {t.kind} must lie in [{low}, {high}], got {t.a}")
        if t.kind == "ranking" and not 1 <= t.count <= min(vocab, MAX_RANKING):
            raise ValueError(f"linear_kd: k of ranking must lie in [1, {min(vocab, MAX_RANKING)}], got {t.count}")


_LIMITS = {"nll": (0, 1 - 1e-12), "jensen_shannon": (1e-12, 1 - 1e-12), "skew_kl": (1e-12, 1 - 1e-12),
           "skew_reverse_kl": (1e-12, 1 - 1e-12), "adaptive_kl": (0, 1), "sparse_kl": (0, 2)}  # fmt: skip


def _check_choice(choice: Choice, teachers: Sequence[DenseTeacher], mask: Tensor | None) -> None:
    if choice.score not in SCORES:
        raise ValueError(f"linear_kd: score must be one of {', '.join(SCORES[1:])}, got {choice.score!r}")
    if isinstance(choice.gate, Tensor) and (choice.gate.shape != (1,) or choice.gate.dtype != torch.float32):
        raise ValueError(
            f"linear_kd: gate must be a number or float32 [1], got {choice.gate.dtype} {tuple(choice.gate.shape)}"
        )
    if not 0 < choice.rate <= 1:
        raise ValueError(f"linear_kd: rate must be in (0, 1], got {choice.rate}")
    if choice.score != "none" and mask is not None:
        raise ValueError("linear_kd: choice and mask are two ways to choose rows, got both")
    if choice.score.startswith("teacher") and not teachers:
        raise ValueError(f"linear_kd: score {choice.score} needs teachers, got none")


@torch.library.register_fake("distilmt::linear_kd")  # type: ignore[untyped-decorator]
def _fake(
    hidden: Tensor,
    weight: Tensor | None,
    targets: Tensor,
    bias: Tensor | None,
    teachers: list[Tensor],
    snapshot: list[Tensor],
    mix_weights: Tensor | None,
    geometric: bool,
    sparse_ids: Tensor | None,
    sparse_log_probs: Tensor | None,
    row_weights: Tensor | None,
    mask: Tensor | None,
    kinds: list[int],
    numbers: list[float],
    score: int,
    rate: float,
    gate: Tensor | None,
    lowest: bool,
    queue: Tensor | None,
    queue_state: Tensor | None,
    workspace_bytes: int,
    selection_bytes: int,
    dropped_mass: float,
    teacher_bfloat16: bool,
    masked: bool,
    grad_hidden: bool,
    grad_weight: bool,
    grad_bias: bool,
) -> tuple[Tensor, ...]:
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32

    def gradient(wanted: bool, tensor: Tensor | None) -> Tensor:
        return hidden.new_empty(tensor.shape if wanted and tensor is not None else (0,), dtype=dtype)

    pushed = queue is not None and score > 0 and gate is None

    def single(count: int) -> Tensor:
        return hidden.new_empty(count, dtype=torch.float32)

    return (
        hidden.new_empty((), dtype=dtype),
        hidden.new_empty((len(kinds) + 3, hidden.shape[0]), dtype=dtype),
        gradient(grad_hidden, hidden),
        gradient(grad_weight, weight),
        gradient(grad_bias, bias),
        single(1),
        single(hidden.shape[0] if score else 0),
        torch.empty_like(queue) if pushed and queue is not None else single(0),
        torch.empty_like(queue_state) if pushed and queue_state is not None else hidden.new_empty(0, dtype=torch.int64),
        single(1),
    )


@torch.library.register_fake("distilmt::score_queue")  # type: ignore[untyped-decorator]
def _fake_score_queue(
    values: Tensor, state: Tensor, scores: Tensor, rate: float, lowest: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(values), torch.empty_like(state), values.new_empty(1)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, _, bias, *_ = inputs
    ctx.arguments = len(inputs)
    ctx.lists = len(inputs[4]), len(inputs[5])
    ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in (hidden, weight, bias)]
    ctx.save_for_backward(*output[2:5])
    ctx.set_materialize_grads(False)  # no [vocab, d] of zeros for the outputs that nobody differentiates


def _backward(ctx: Any, grad_loss: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    teachers, snapshot = ([None] * count for count in ctx.lists)
    rest = (teachers, snapshot, *[None] * (ctx.arguments - 6))
    if grad_loss is None:
        return None, None, None, None, *rest
    # The forward pass has computed the gradients of the sum; they are scaled in their own precision and cast last.
    hidden, weight, bias = (
        (grad * grad_loss).to(dtype) if needed else None
        for grad, dtype, needed in zip(
            ctx.saved_tensors, ctx.dtypes, (ctx.needs_input_grad[i] for i in (0, 1, 3)), strict=True
        )
    )
    return hidden, weight, None, bias, *rest


torch.library.register_autograd("distilmt::linear_kd", _backward, setup_context=_setup_context)
