"""The fused loss's backward pass: gradients handed out without a copy, and still there for whoever asks again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distilmt.ops.linear_kd import NativeTerm, linear_kd
from linear_kd_cases import batch


class Made(TorchDispatchMode):
    """Shapes of what operators return."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and func not in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            self.shapes.append(out.shape)
        return out


def test_gradients_of_the_mean_are_handed_out_as_they_are() -> None:
    arguments = batch(12, 37, "cpu")
    loss = linear_kd(**arguments, terms=[NativeTerm("nll"), NativeTerm("forward_kl")]).loss
    with Made() as plain:
        loss.backward(retain_graph=True)  # somebody may ask again: a copy
    assert arguments["weight"].shape in plain.shapes
    arguments["weight"].grad = None
    with Made() as last:
        loss.backward()
    assert arguments["weight"].grad is not None
    assert arguments["weight"].shape not in last.shapes


def test_backward_again_gives_the_same_again() -> None:
    arguments = batch(12, 37, "cpu")
    weight = arguments["weight"]
    loss = linear_kd(**arguments, terms=[NativeTerm("nll")]).loss
    loss.backward(retain_graph=True)
    once = weight.grad.clone()
    weight.grad.zero_()  # in place, as a training loop may
    for _ in range(3):
        loss.backward(retain_graph=True)
    torch.testing.assert_close(weight.grad, 3 * once)
    (half,) = torch.autograd.grad(0.5 * loss, weight)
    torch.testing.assert_close(half, 0.5 * once)
