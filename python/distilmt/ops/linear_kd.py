"""Fused loss of a linear output layer: NLL and word-level distillation with all gradients in one native call.

Native side: `csrc/ops/linear_kd.cpp`; specification: `distilmt.reference.linear_kd`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

_CPU_WORKSPACE = 64 << 20  # stays near the last-level cache, and the products have rows enough
_CUDA_WORKSPACE = 512 << 20


class LinearKD(NamedTuple):
    """What `linear_kd` returns; all but `loss` are detached, and 0 in rows without a target."""

    loss: Tensor  # scalar
    nll: Tensor  # [rows] -log p(target), without smoothing
    smoothed_nll: Tensor  # [rows]
    kl: Tensor  # [rows] KL(q^T || p^T), without T^2


def linear_kd(
    hidden: Tensor,
    weight: Tensor | None,
    targets: Tensor,
    bias: Tensor | None = None,
    teacher_hidden: Tensor | None = None,
    teacher_weight: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    row_weights: Tensor | None = None,
    *,
    nll_weight: float = 1.0,
    kd_weight: float = 0.0,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    denominator: Tensor | float | None = None,
    workspace_bytes: int | None = None,
) -> LinearKD:
    """Weighted sum of NLL and T^2 KL(teacher || student) over the rows, from hidden states and output layers.

        loss = sum_rows row_weight * (nll_weight * smoothed_nll + kd_weight * T^2 * kl) / denominator

    Logits exist for one chunk of rows at a time, never as [rows, vocab]; rows whose target is -100 are dropped before
    any product. Gradients go to whichever of `hidden`, `weight` and `bias` requires them. Half precision is computed in
    float32, also under autocast, and each gradient has its tensor's dtype. On a GPU the targets are copied to the host.

    Args:
        hidden: student's states [rows, d], float64, float32, bfloat16 or float16; its logits [rows, vocab] without a
            weight.
        weight: student's output embedding [vocab, d], or None where `hidden` holds logits.
        targets: int64 [rows], -100 where a row has none.
        bias: [vocab]. A column of -inf is banned: it has probability 0 and smoothing skips it.
        teacher_hidden: [rows, teacher's d], a constant; the teacher's logits [rows, vocab] without a weight.
        teacher_weight: [vocab, teacher's d]; the vocabulary is the student's.
        teacher_bias: [vocab].
        row_weights: [rows], 1 where absent.
        nll_weight: weight of the (smoothed) negative log-likelihood.
        kd_weight: weight of T^2 KL(q^T || p^T).
        label_smoothing: e in target 1 - e, every other column e / (vocab - 1). The uniform part is computed in closed
            form from the sum of the weight's rows.
        temperature: T, divides both logits inside the KL.
        denominator: what the sum is divided by; the number of targets (at least 1) where absent.
        workspace_bytes: limit for the chunk's logits; 64 MiB on a CPU, 512 MiB on a GPU.

    Returns:
        Loss and, per row and in nats, the unweighted terms, in float32 (float64 for float64 hidden states). The KL is
        infinite where the student gives 0 to what the teacher does not.

    Raises:
        ValueError: a shape, device or number that does not fit, or kd_weight without a teacher.
        TypeError: targets not int64, or a tensor that is not floating point.

    Source: Hinton, Vinyals & Dean 2015 (arXiv:1503.02531); Kim & Rush 2016 (arXiv:1606.07947); smoothing as in
    fairseq's label_smoothed_cross_entropy since 2020 (before, it took e / vocab for every column).
    """
    _check(hidden, weight, targets, bias, teacher_hidden, teacher_weight, teacher_bias, row_weights)
    _check_numbers(nll_weight, kd_weight, label_smoothing, temperature, teacher_hidden)
    if workspace_bytes is None:
        workspace_bytes = _CUDA_WORKSPACE if hidden.is_cuda else _CPU_WORKSPACE
    with_grad = torch.is_grad_enabled()
    total, terms, *_ = torch.ops.distilmt.linear_kd(
        hidden,
        weight,
        targets,
        bias,
        _constant(teacher_hidden),
        _constant(teacher_weight),
        _constant(teacher_bias),
        _constant(row_weights),
        nll_weight,
        kd_weight,
        label_smoothing,
        temperature,
        workspace_bytes,
        with_grad and hidden.requires_grad,
        with_grad and weight is not None and weight.requires_grad,
        with_grad and bias is not None and bias.requires_grad,
    )
    if denominator is None:
        denominator = (targets != -100).sum().clamp(min=1)
    nll, smoothed_nll, kl = terms.detach()
    return LinearKD(total / denominator, nll, smoothed_nll, kl)


def _constant(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _check_numbers(
    nll_weight: float, kd_weight: float, label_smoothing: float, temperature: float, teacher_hidden: Tensor | None
) -> None:
    for name, value in (("nll_weight", nll_weight), ("kd_weight", kd_weight)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"linear_kd: {name} must be finite and at least 0, got {value}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"linear_kd: label_smoothing must be in [0, 1), got {label_smoothing}")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"linear_kd: temperature must be finite and above 0, got {temperature}")
    if kd_weight > 0 and teacher_hidden is None:
        raise ValueError(f"linear_kd: kd_weight {kd_weight} needs teacher_hidden, got None")


def _check(
    hidden: Tensor,
    weight: Tensor | None,
    targets: Tensor,
    bias: Tensor | None,
    teacher_hidden: Tensor | None,
    teacher_weight: Tensor | None,
    teacher_bias: Tensor | None,
    row_weights: Tensor | None,
) -> None:
    for name, tensor, axes in (
        ("hidden", hidden, 2),
        ("weight", weight, 2),
        ("teacher_hidden", teacher_hidden, 2),
        ("teacher_weight", teacher_weight, 2),
        ("bias", bias, 1),
        ("teacher_bias", teacher_bias, 1),
        ("row_weights", row_weights, 1),
    ):
        if tensor is None:
            continue
        if tensor.dim() != axes:
            raise ValueError(f"linear_kd: {name} must have {axes} axes, got shape {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            raise TypeError(f"linear_kd: {name} must be floating point, got {tensor.dtype}")
        if tensor.device != hidden.device:
            raise ValueError(f"linear_kd: {name} must be on hidden's device {hidden.device}, got {tensor.device}")
    if targets.dtype != torch.int64:
        raise TypeError(f"linear_kd: targets must be int64, got {targets.dtype}")
    if targets.device != hidden.device:
        raise ValueError(f"linear_kd: targets must be on hidden's device {hidden.device}, got {targets.device}")
    rows, width = hidden.shape
    vocab = width if weight is None else weight.shape[0]
    if vocab == 0:
        raise ValueError("linear_kd: the student's vocab must not be 0")
    if targets.shape != (rows,):
        raise ValueError(f"linear_kd: targets must have hidden's rows ({rows},), got shape {tuple(targets.shape)}")
    _same("weight", "hidden's width", weight, 1, width)
    _same("bias", "student's vocab", bias, 0, vocab)
    _same("row_weights", "hidden's rows", row_weights, 0, rows)
    if teacher_hidden is None:
        if teacher_weight is not None or teacher_bias is not None:
            raise ValueError("linear_kd: teacher_hidden is missing beside teacher_weight or teacher_bias")
        return
    _same("teacher_hidden", "hidden's rows", teacher_hidden, 0, rows)
    _same("teacher_weight", "student's vocab", teacher_weight, 0, vocab)
    _same("teacher_weight", "teacher_hidden's width", teacher_weight, 1, teacher_hidden.shape[1])
    _same("teacher_bias", "student's vocab", teacher_bias, 0, vocab)
    if teacher_weight is None:
        _same("teacher_hidden", "student's vocab", teacher_hidden, 1, vocab)


def _same(name: str, what: str, tensor: Tensor | None, axis: int, size: int) -> None:
    if tensor is not None and tensor.shape[axis] != size:
        raise ValueError(f"linear_kd: {name} must have {what} {size}, got {tensor.shape[axis]}")


@torch.library.register_fake("distilmt::linear_kd")  # type: ignore[untyped-decorator]
def _fake(
    hidden: Tensor,
    weight: Tensor | None,
    targets: Tensor,
    bias: Tensor | None,
    teacher_hidden: Tensor | None,
    teacher_weight: Tensor | None,
    teacher_bias: Tensor | None,
    row_weights: Tensor | None,
    nll_weight: float,
    kd_weight: float,
    label_smoothing: float,
    temperature: float,
    workspace_bytes: int,
    grad_hidden: bool,
    grad_weight: bool,
    grad_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32

    def gradient(wanted: bool, tensor: Tensor | None) -> Tensor:
        return hidden.new_empty(tensor.shape if wanted and tensor is not None else (0,), dtype=dtype)

    return (
        hidden.new_empty((), dtype=dtype),
        hidden.new_empty((3, hidden.shape[0]), dtype=dtype),
        gradient(grad_hidden, hidden),
        gradient(grad_weight, weight),
        gradient(grad_bias, bias),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, _, bias, *_ = inputs
    ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in (hidden, weight, bias)]
    ctx.save_for_backward(*output[2:])
    ctx.set_materialize_grads(False)  # no [vocab, d] of zeros for the outputs that nobody differentiates


def _backward(ctx: Any, grad_loss: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad_loss is None:
        return (None,) * 16
    # The forward pass has computed the gradients of the sum; they are scaled in their own precision and cast last.
    hidden, weight, bias = (
        (grad * grad_loss).to(dtype) if needed else None
        for grad, dtype, needed in zip(
            ctx.saved_tensors, ctx.dtypes, (ctx.needs_input_grad[i] for i in (0, 1, 3)), strict=True
        )
    )
    return hidden, weight, None, bias, *(None,) * 12


torch.library.register_autograd("distilmt::linear_kd", _backward, setup_context=_setup_context)
