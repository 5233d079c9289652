"""What `torch.compile` and autograd have to know of the native `linear_kd`: the shapes of its outputs, its backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
    # The forward pass has computed the gradients; they are scaled in their own precision and cast last, or handed out if
    # nothing is to scale and nobody asks again. To look is to wait for a GPU; while a graph is traced there is no number.
    again = torch._C._autograd._get_current_graph_task_keep_graph()
    done = not again and type(grad_loss) is Tensor and not grad_loss.is_cuda and grad_loss.item() == 1
    hidden, weight, bias = (
        (grad if done else grad * grad_loss).to(dtype) if needed else None
        for grad, dtype, needed in zip(
            ctx.saved_tensors, ctx.dtypes, (ctx.needs_input_grad[i] for i in (0, 1, 3)), strict=True
        )
    )
    return hidden, weight, None, bias, *rest


torch.library.register_autograd("distilmt::linear_kd", _backward, setup_context=_setup_context)
