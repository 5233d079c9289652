"""The two approximations of the fused loss: gradients without the words of least weight, teachers projected in bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distilmt.ops.linear_kd import DenseTeacher, LinearKD, NativeTerm, linear_kd

VOCAB = 203
TERMS = [NativeTerm("nll", weight=0.5, a=0.1), NativeTerm("forward_kl", weight=0.5)]


def evaluate(**options: object) -> tuple[LinearKD, tuple[Tensor, ...]]:
    g = torch.Generator().manual_seed(1)
    hidden, weight, bias = (
        torch.randn(40, 24, generator=g),
        torch.randn(VOCAB, 24, generator=g),
        torch.randn(VOCAB, generator=g),
    )
    bias[3] = -torch.inf
    teacher = DenseTeacher(torch.randn(40, 9, generator=g), torch.randn(VOCAB, 9, generator=g), bias)
    targets = torch.randint(4, VOCAB, (40,), generator=g)
    targets[::6] = -100
    wanted = [t.requires_grad_() for t in (hidden, weight, bias)]
    arguments = {"terms": TERMS, "teachers": [teacher], "row_weights": torch.rand(40, generator=g)}
    out = linear_kd(hidden, weight, targets, bias, **(arguments | {"workspace_bytes": VOCAB * 4 * 2 * 16} | options))
    return out, torch.autograd.grad(out.loss, wanted)


def test_nothing_dropped_is_exact() -> None:
    exact, filtered = evaluate(), evaluate(dropped_mass=1e-12)
    assert exact[0].loss == filtered[0].loss and filtered[0].dropped == 0
    for x, y in zip(exact[1], filtered[1], strict=True):
        torch.testing.assert_close(x, y, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("mass", [0.01, 0.1, 0.5])
def test_no_more_is_dropped_than_promised(mass: float) -> None:
    exact, (out, gradients) = evaluate(), evaluate(dropped_mass=mass)
    assert exact[0].loss == out.loss and 0 < out.dropped <= mass
    for x, y in zip(exact[1], gradients, strict=True):
        assert 0 < (x - y).norm() < 2 * mass * x.norm()


def test_words_go_whole_and_the_others_are_exact() -> None:
    one_chunk = {"workspace_bytes": 1 << 20}
    _, (_, weight, bias) = evaluate(**one_chunk)
    out, (_, weight_left, bias_left) = evaluate(**one_chunk, dropped_mass=0.3)
    gone = ~weight_left.any(1)
    assert 1 < gone.sum() < VOCAB and gone.equal(bias_left == 0) and 0.2 < out.dropped <= 0.3
    torch.testing.assert_close(weight_left[~gone], weight[~gone])
    torch.testing.assert_close(bias_left[~gone], bias[~gone])


def test_a_bfloat16_teacher_is_near() -> None:
    exact, near = evaluate(), evaluate(teacher_bfloat16=True)
    torch.testing.assert_close(near[0].loss, exact[0].loss, atol=0, rtol=0.01)
    assert exact[0].loss != near[0].loss
    for x, y in zip(exact[1], near[1], strict=True):
        assert (x - y).norm() < 0.03 * x.norm()


def test_without_targets_nothing_is_filtered() -> None:
    hidden, weight = torch.randn(2, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    out = linear_kd(hidden, weight, torch.full((2,), -100), terms=[NativeTerm("nll")], dropped_mass=0.1)
    out.loss.backward()
    assert out.dropped == 0 and not hidden.grad.any() and not weight.grad.any()


@pytest.mark.parametrize("changes", [{"dropped_mass": 1.0}, {"dropped_mass": -0.1}])
def test_a_share_that_cannot_be_is_named(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"dropped_mass must be in \[0, 1\), got"):
        evaluate(**changes)


def test_float64_is_not_filtered() -> None:
    hidden, weight = torch.randn(2, 4, dtype=torch.float64), torch.randn(9, 4, dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"dropped_mass needs a weight and hidden on the CPU, not in float64, got torch.float64"
    ):
        linear_kd(hidden, weight, torch.tensor([1, 2]), terms=[NativeTerm("nll")], dropped_mass=0.1)
