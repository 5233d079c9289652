"""Bad input to the fused loss, and the traps that published code fell into (numbered as in the list of methods)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distilmt.ops.linear_kd import linear_kd


def call(**changes: Any) -> Tensor:
    g = torch.Generator().manual_seed(3)
    arguments: dict[str, Any] = {
        "hidden": torch.randn(4, 8, generator=g),
        "weight": torch.randn(12, 8, generator=g),
        "targets": torch.tensor([3, -100, 0, 11]),
        "teacher_hidden": torch.randn(4, 6, generator=g),
        "teacher_weight": torch.randn(12, 6, generator=g),
    }
    return linear_kd(**{**arguments, **changes}).loss


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"teacher_weight": torch.zeros(11, 6)}, ValueError, "teacher_weight must have student's vocab 12, got 11"),
        (
            {"teacher_weight": torch.zeros(12, 5)},
            ValueError,
            "teacher_weight must have teacher_hidden's width 6, got 5",
        ),
        ({"teacher_hidden": torch.zeros(3, 6)}, ValueError, "teacher_hidden must have hidden's rows 4, got 3"),
        ({"teacher_hidden": None}, ValueError, "teacher_hidden is missing beside teacher_weight"),
        ({"teacher_weight": None}, ValueError, "teacher_hidden must have student's vocab 12, got 6"),
        ({"weight": torch.zeros(12, 7)}, ValueError, "weight must have hidden's width 8, got 7"),
        ({"weight": torch.zeros(0, 8)}, ValueError, "vocab must not be 0"),
        ({"bias": torch.zeros(13)}, ValueError, "bias must have student's vocab 12, got 13"),
        ({"bias": torch.zeros(12, 1)}, ValueError, r"bias must have 1 axes, got shape \(12, 1\)"),
        ({"targets": torch.zeros(5, dtype=torch.int64)}, ValueError, r"targets must have hidden's rows \(4,\), got"),
        ({"targets": torch.zeros(4)}, TypeError, "targets must be int64, got torch.float32"),
        ({"hidden": torch.zeros(4, 8, dtype=torch.int64)}, TypeError, "hidden must be floating point, got torch.int64"),
        ({"row_weights": torch.zeros(3)}, ValueError, "row_weights must have hidden's rows 4, got 3"),
        ({"temperature": 0.0}, ValueError, "temperature must be finite and above 0, got 0.0"),
        ({"temperature": -1.0}, ValueError, "temperature must be finite and above 0, got -1.0"),
        ({"label_smoothing": 1.0}, ValueError, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"nll_weight": -0.1}, ValueError, "nll_weight must be finite and at least 0, got -0.1"),
        ({"kd_weight": float("nan")}, ValueError, "kd_weight must be finite and at least 0, got nan"),
        (
            {"kd_weight": 1.0, "teacher_hidden": None, "teacher_weight": None},
            ValueError,
            "kd_weight 1.0 needs teacher_",
        ),
        (
            {"targets": torch.tensor([3, -100, 0, 12])},
            RuntimeError,
            r"targets must be -100 or in \[0, 12\), got 12 in row 3",
        ),
        ({"targets": torch.tensor([3, -1, 0, 1])}, RuntimeError, r"got -1 in row 1"),
    ],
)
def test_bad_input_is_named_c3_31(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(**changes)


def test_padding_changes_nothing_trap_1() -> None:
    g = torch.Generator().manual_seed(4)
    hidden, teacher = torch.randn(9, 8, generator=g), torch.randn(9, 6, generator=g)
    targets = torch.tensor([3, 5, 0, 11] + 5 * [-100])
    short = call(hidden=hidden[:4], teacher_hidden=teacher[:4], targets=targets[:4], kd_weight=1.0)
    assert call(hidden=hidden, teacher_hidden=teacher, targets=targets, kd_weight=1.0) == short


def test_a_weight_of_two_counts_twice_and_not_four_times_trap_2() -> None:
    hidden = torch.randn(4, 8, generator=torch.Generator().manual_seed(5)).requires_grad_()
    for name in ("nll_weight", "kd_weight"):
        options = {"nll_weight": 0.0, "kd_weight": 0.0}
        once, twice = (torch.autograd.grad(call(hidden=hidden, **{**options, name: w}), hidden)[0] for w in (1.0, 2.0))
        torch.testing.assert_close(twice, 2 * once)


def test_temperature_divides_logits_and_t_squared_restores_the_gradient_trap_3() -> None:
    # For T far above the logits the gradient tends to the centred difference of the logits / vocab (Hinton et al., 2.1).
    z = torch.randn(1, 12, generator=torch.Generator().manual_seed(6), dtype=torch.float64).requires_grad_()
    v = torch.randn(1, 12, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def gradient(temperature: float) -> Tensor:
        loss = linear_kd(
            z, None, torch.tensor([0]), teacher_hidden=v, nll_weight=0.0, kd_weight=1.0, temperature=temperature
        ).loss
        return torch.autograd.grad(loss, z)[0]

    p, q = torch.softmax(z / 4, dim=1), torch.softmax(v / 4, dim=1)
    torch.testing.assert_close(gradient(4.0), 4 * (p - q).detach())
    difference = z - v
    torch.testing.assert_close(gradient(1e4), ((difference - difference.mean()) / 12).detach(), rtol=1e-3, atol=1e-5)


def test_one_denominator_for_a_batch_in_pieces_trap_11() -> None:
    g = torch.Generator().manual_seed(8)
    hidden, teacher, targets = torch.randn(8, 8, generator=g), torch.randn(8, 6, generator=g), torch.arange(8)
    targets[5:7] = -100
    options = {"kd_weight": 0.5, "denominator": torch.tensor(6)}
    whole = call(hidden=hidden, teacher_hidden=teacher, targets=targets, kd_weight=0.5)
    pieces = sum(
        call(hidden=hidden[a:b], teacher_hidden=teacher[a:b], targets=targets[a:b], **options)
        for a, b in ((0, 3), (3, 8))
    )
    torch.testing.assert_close(pieces, whole)


def test_smoothing_gives_every_other_column_an_equal_share_of_v_minus_one_trap_13() -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    lp = torch.log_softmax(logits, dim=1)[0]
    want = -0.9 * lp[3] - sum(0.1 / 11 * lp[v] for v in range(12) if v != 3)
    got = linear_kd(logits, None, torch.tensor([3]), label_smoothing=0.1)
    torch.testing.assert_close(got.loss, want)
    torch.testing.assert_close(got.nll[0], -lp[3])
