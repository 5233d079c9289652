"""Fused loss of a linear output layer: every term on the output distribution, with all gradients, in one native call.

Native side: `csrc/ops/linear_kd.cpp`, formulas in `csrc/terms` and `csrc/divergences`; specification:
`distilmt.reference.linear_kd`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import distilmt.ops.linear_kd_autograd  # noqa: F401  # what torch has to know of the operator
from distilmt.ops.linear_kd_call import (
    KINDS,
    MAX_RANKING,
    SCORES,
    TAILS,
    Choice,
    DenseTeacher,
    LinearKD,
    NativeTerm,
    SparseTeacher,
)
from distilmt.ops.linear_kd_checks import blame, check, check_choice, check_terms

__all__ = [
    "KINDS", "MAX_RANKING", "SCORES", "TAILS", "Choice", "DenseTeacher", "LinearKD", "NativeTerm", "SparseTeacher", "linear_kd",
]  # fmt: skip

_CPU_WORKSPACE = 64 << 20  # stays near the last-level cache, and the products have rows enough
_CUDA_WORKSPACE = 512 << 20
_SELECTION = 1 << 30


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
    term looks at, and half precision is computed in float32, but for bfloat16 where the machine has instructions for it
    (AVX512-BF16, AMX). On a GPU nothing is copied to the host, nothing waits, and shapes depend on shapes alone, so that the
    call can be captured in a graph: all rows are computed and the others masked. There half precision is multiplied as it is,
    as is bfloat16 on such a CPU, and logits lie in the hidden states' dtype if all models share it. A target or sparse id
    that cannot be makes the loss NaN on a GPU; `distilmt.ops.linear_kd_checks.blame` then says which. On a CPU it is an error
    at once.

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
        dropped_mass: above 0 an approximation: of d loss / d logits of each chunk of rows the columns of least weight are left
            out of the gradients, together at most this share of its absolute sum. Losses stay exact. CPU, with a weight,
            not float64.
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
    vocab = check(hidden, weight, targets, bias, teachers, snapshot, mix_weights, sparse, row_weights, mask)
    check_terms(terms, teachers, snapshot, sparse, vocab)
    if not 0 <= dropped_mass < 1:
        raise ValueError(f"linear_kd: dropped_mass must be in [0, 1), got {dropped_mass}")
    masked = hidden.is_cuda or _as_on_cuda
    if dropped_mass > 0 and (weight is None or masked or hidden.dtype == torch.float64):
        raise ValueError(
            f"linear_kd: dropped_mass needs a weight and hidden on the CPU, not in float64, got {hidden.dtype} on {hidden.device}"
        )
    choice = choice or Choice("none")
    check_choice(choice, teachers, mask)
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
    if denominator is None:
        denominator = (targets != -100).sum().clamp(min=1)
    if not masked:
        # Gradients of the mean, not of the sum: `backward` then has nothing to scale, and makes no copy of them.
        share = torch.as_tensor(1.0, dtype=torch.promote_types(hidden.dtype, torch.float32)) / denominator
        row_weights = share.expand(len(targets)) if row_weights is None else row_weights.to(share.dtype) * share
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
        blame(targets, vocab, teachers, snapshot, sparse)
    values = values.detach()
    nll, agreement, chosen = values[-3:]
    return LinearKD(
        total / denominator if masked else total,
        values[:-3],
        nll,
        agreement,
        chosen,
        gate_after.detach(),
        scores.detach(),
        (queue_values.detach(), queue_state.detach()),
        dropped.detach(),
    )


def _tensors(teachers: Sequence[DenseTeacher], like: Tensor) -> list[Tensor]:
    absent = like.new_empty(0)
    return [absent if tensor is None else tensor.detach() for teacher in teachers for tensor in teacher]


def _constant(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()
