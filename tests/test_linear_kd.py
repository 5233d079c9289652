"""The fused loss against its specification (`distilmt.reference`), its gradients, its edges and its registration."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from distilmt import _native, reference
from distilmt.ops.linear_kd import linear_kd

EXACT = {"atol": 1e-9, "rtol": 1e-9}


def batch(
    rows: int, vocab: int, device: str = "cpu", dtype: torch.dtype = torch.float64, d: int = 8, seed: int = 1
) -> dict[str, Any]:
    """All tensors of a call; student's gradients wanted, a seventh of the rows without a target."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(device, dtype)

    targets = torch.randint(0, vocab, (rows,), generator=g).to(device)
    targets[2::7] = -100
    student = {"hidden": randn(rows, d), "weight": randn(vocab, d), "bias": randn(vocab)}
    teacher = {
        "teacher_hidden": randn(rows, d + 4),
        "teacher_weight": randn(vocab, d + 4),
        "teacher_bias": randn(vocab),
    }
    row_weights = torch.rand(rows, generator=g, dtype=torch.float64).to(device, dtype)
    return {
        **{k: v.requires_grad_() for k, v in student.items()},
        **teacher,
        "targets": targets,
        "row_weights": row_weights,
    }


def gradients(loss: Tensor, tensors: dict[str, Any]) -> list[Tensor]:
    wanted = [
        t for t in (tensors["hidden"], tensors["weight"], tensors.get("bias")) if t is not None and t.requires_grad
    ]
    return list(torch.autograd.grad(loss, wanted))


def assert_matches(tensors: dict[str, Any], options: dict[str, Any], tolerance: dict[str, float]) -> None:
    got, want = linear_kd(**tensors, **options), reference.linear_kd(**tensors, **options)
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y, **tolerance)
    for x, y in zip(gradients(got.loss, tensors), gradients(want.loss, tensors), strict=True):
        torch.testing.assert_close(x, y, **tolerance)


OPTIONS = [
    {"nll_weight": 1.0},
    {"nll_weight": 1.0, "label_smoothing": 0.1},
    {"nll_weight": 0.0, "kd_weight": 1.0},
    {"nll_weight": 0.3, "kd_weight": 1.7, "temperature": 2.0, "label_smoothing": 0.2},
    {"nll_weight": 0.0, "kd_weight": 0.0, "temperature": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("vocab", [1, 5, 64, 501])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, {"atol": 2e-5, "rtol": 2e-5})]
)
def test_loss_terms_and_gradients_match_the_specification(
    device: str, options: dict[str, float], vocab: int, dtype: torch.dtype, tolerance: dict[str, float]
) -> None:
    tensors = batch(9, vocab, device, dtype)
    assert_matches(tensors, options, tolerance)
    assert_matches({**tensors, "bias": None, "teacher_bias": None, "row_weights": None}, options, tolerance)
    if not options.get("kd_weight"):
        assert_matches({k: v for k, v in tensors.items() if "teacher" not in k}, options, tolerance)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits_in_place_of_hidden_states(device: str, options: dict[str, float]) -> None:
    tensors = batch(9, 37, device)
    student = torch.randn(9, 37, dtype=torch.float64, device=device, requires_grad=True)
    assert_matches({**tensors, "hidden": student, "weight": None}, options, EXACT)
    teacher = torch.randn(9, 37, dtype=torch.float64, device=device)
    assert_matches({**tensors, "teacher_hidden": teacher, "teacher_weight": None}, options, EXACT)


def test_gradcheck(device: str) -> None:
    tensors = batch(5, 11, device)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        student = {"hidden": hidden, "weight": weight, "bias": bias}
        options = {"kd_weight": 0.7, "temperature": 2.0, "label_smoothing": 0.1, "workspace_bytes": 2 * 11 * 8}
        return linear_kd(**{**tensors, **student}, **options).loss

    assert torch.autograd.gradcheck(loss, (tensors["hidden"], tensors["weight"], tensors["bias"]))


def test_registration(device: str) -> None:
    order = ["hidden", "weight", "targets", "bias", "teacher_hidden", "teacher_weight", "teacher_bias", "row_weights"]
    tensors = batch(5, 11, device, torch.float32)
    arguments = [tensors[name] for name in order]
    torch.library.opcheck(torch.ops.distilmt.linear_kd, (*arguments, 0.5, 0.5, 0.1, 2.0, 1 << 20, True, True, True))
    without = [tensors["hidden"], tensors["weight"], tensors["targets"], None, None, None, None, None]
    torch.library.opcheck(torch.ops.distilmt.linear_kd, (*without, 1.0, 0.0, 0.0, 1.0, 1 << 20, True, True, False))


def test_compiles_without_a_graph_break(device: str) -> None:
    tensors = batch(9, 37, device, torch.float32)
    compiled = torch.compile(linear_kd, fullgraph=True, backend="aot_eager")
    got, want = compiled(**tensors, kd_weight=0.5), linear_kd(**tensors, kd_weight=0.5)
    torch.testing.assert_close(got, want, atol=0, rtol=0)
    for x, y in zip(gradients(got.loss, tensors), gradients(want.loss, tensors), strict=True):
        torch.testing.assert_close(x, y, atol=0, rtol=0)


def test_autocast_computes_in_float32(device: str) -> None:
    tensors = batch(9, 37, device, torch.float32)
    want = linear_kd(**tensors, kd_weight=0.5).loss
    with torch.autocast(device, torch.bfloat16):
        assert linear_kd(**tensors, kd_weight=0.5).loss == want
        mixed = {**tensors, "hidden": tensors["hidden"].detach().bfloat16().requires_grad_()}
        loss = linear_kd(**mixed, kd_weight=0.5).loss
    torch.testing.assert_close(loss, want, atol=0.02, rtol=0.01)
    assert [g.dtype for g in gradients(loss, mixed)] == [torch.bfloat16, torch.float32, torch.float32]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_at_most_twice_what_pytorch_loses(device: str, dtype: torch.dtype) -> None:
    tensors = batch(64, 501, device, dtype, d=32)
    options = {"nll_weight": 0.5, "kd_weight": 0.5, "temperature": 2.0, "label_smoothing": 0.1}
    exact = {k: v.detach().double() if v.is_floating_point() else v for k, v in tensors.items()}
    for name in ("hidden", "weight", "bias"):
        exact[name].requires_grad_()
    results = []
    for function, arguments in ((reference.linear_kd, exact), (reference.linear_kd, tensors), (linear_kd, tensors)):
        loss = function(**arguments, **options).loss
        results.append([t.double() for t in (loss.detach(), *gradients(loss, arguments))])
    for truth, plain, ours in zip(*results, strict=True):
        assert (ours - truth).norm() <= 2 * (plain - truth).norm() + 1e-12


def test_result_does_not_depend_on_the_workspace(device: str) -> None:
    tensors, options = batch(50, 101, device), {"kd_weight": 0.5, "label_smoothing": 0.1}
    whole = linear_kd(**tensors, **options)
    whole_gradients = gradients(whole.loss, tensors)
    for rows in (1, 7, 43):  # 43 rows have a target
        chunked = linear_kd(**tensors, **options, workspace_bytes=rows * 101 * 8 * 2)
        torch.testing.assert_close(chunked, whole, **EXACT)
        for x, y in zip(gradients(chunked.loss, tensors), whole_gradients, strict=True):
            torch.testing.assert_close(x, y, **EXACT)


def test_no_tensor_is_larger_than_the_workspace() -> None:
    tensors = batch(512, 4000, dtype=torch.float32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        linear_kd(**tensors, kd_weight=0.5, label_smoothing=0.1, workspace_bytes=1 << 20).loss.backward()
    sizes = [e.nbytes() for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert max(sizes) <= 1 << 20  # all logits would be 8 MB


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_without_any_target_loss_and_gradients_are_zero_c3_30(device: str, rows: int) -> None:
    tensors = batch(rows, 11, device, torch.float32)
    tensors["targets"] = torch.full_like(tensors["targets"], -100)
    out = linear_kd(**tensors, kd_weight=0.5, label_smoothing=0.1)
    assert out.loss == 0 and out.nll.shape == (rows,)
    for gradient, name in zip(gradients(out.loss, tensors), ("hidden", "weight", "bias"), strict=True):
        assert gradient.shape == tensors[name].shape and not gradient.any()


def test_one_row(device: str) -> None:
    assert_matches(batch(1, 11, device), {"kd_weight": 0.5, "label_smoothing": 0.1}, EXACT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_banned_columns_stay_finite(device: str, dtype: torch.dtype) -> None:
    tensors = batch(9, 37, device, dtype)
    with torch.no_grad():
        tensors["bias"][30:] = tensors["teacher_bias"][30:] = -torch.inf
    tensors["targets"].clamp_(max=29)
    options = {"kd_weight": 0.5, "label_smoothing": 0.1, "temperature": 2.0}
    assert_matches(tensors, options, EXACT if dtype == torch.float64 else {"atol": 2e-5, "rtol": 2e-5})
    out = linear_kd(**tensors, **options)
    grads = gradients(out.loss, tensors)
    assert all(t.isfinite().all() for t in (*out, *grads))
    assert not grads[1][30:].any() and not grads[2][30:].any()


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_huge_logits_stay_finite(device: str, scale: float) -> None:
    tensors = batch(9, 37, device, torch.float32)
    with torch.no_grad():
        tensors["bias"].mul_(scale)
    out = linear_kd(**tensors, kd_weight=0.5, label_smoothing=0.1)
    assert all(t.isfinite().all() for t in (*out, *gradients(out.loss, tensors)))
    torch.testing.assert_close(
        out, reference.linear_kd(**tensors, kd_weight=0.5, label_smoothing=0.1), rtol=1e-4, atol=1e-3
    )


def test_strided_and_expanded_inputs_c3_33(device: str) -> None:
    tensors = batch(8, 37, device)
    tensors["hidden"] = torch.randn(8, 16, dtype=torch.float64, device=device)[:, ::2].requires_grad_()
    tensors["weight"] = torch.randn(8, 37, dtype=torch.float64, device=device).T.requires_grad_()
    tensors["teacher_hidden"] = tensors["teacher_hidden"][:1].expand(8, -1)
    tensors["teacher_bias"] = tensors["teacher_bias"][:1].expand(37)
    tensors["targets"] = tensors["targets"].repeat_interleave(2)[::2]
    tensors["row_weights"] = tensors["row_weights"][:1].expand(8)
    assert_matches(tensors, {"kd_weight": 0.5, "label_smoothing": 0.1}, EXACT)


def test_gradients_go_only_where_they_are_wanted(device: str) -> None:
    tensors = batch(9, 37, device)
    full = gradients(linear_kd(**tensors).loss, tensors)
    for index, name in enumerate(("hidden", "weight", "bias")):
        alone = {k: v.detach() for k, v in tensors.items()}
        alone[name].requires_grad_()
        (gradient,) = torch.autograd.grad(linear_kd(**alone).loss, alone[name])
        torch.testing.assert_close(gradient, full[index], **EXACT)
    with torch.no_grad():
        assert not linear_kd(**tensors).loss.requires_grad


@pytest.mark.parametrize("isa", [isa for isa in ("portable", "avx2", "avx512") if isa in _native.available_isas()])
def test_every_instruction_set(isa: str) -> None:
    chosen = "matches_the_specification or banned or huge or half_precision"
    command = [sys.executable, "-m", "pytest", "-q", "-x", __file__, "-m", "not cuda", "-k", chosen]
    done = subprocess.run(command, env={**os.environ, "DISTILMT_ISA": isa}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
