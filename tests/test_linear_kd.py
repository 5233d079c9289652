"""The fused loss against its specification (`distilmt.reference`) and against its own differences."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from distilmt import _native, reference
from distilmt.ops.linear_kd import SCORES, Choice, DenseTeacher, NativeTerm, linear_kd
from linear_kd_cases import (
    EXACT,
    TERMS,
    TOGETHER,
    TOLERANCE,
    assert_matches,
    batch,
    cast,
    fitted,
    gradients,
    name,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


@pytest.mark.parametrize("term", TERMS, ids=name)
@pytest.mark.parametrize("vocab", [1, 5, 64, 501])
@DTYPES
def test_each_term_matches_the_specification(device: str, term: NativeTerm, vocab: int, dtype: torch.dtype) -> None:
    rows = 9 if vocab < 500 else 4
    assert_matches(batch(rows, vocab, device, dtype), TOLERANCE[dtype], terms=fitted([term], vocab))


@pytest.mark.parametrize("terms", TOGETHER, ids=range(len(TOGETHER)))
@DTYPES
def test_terms_together_match_the_specification(device: str, terms: list[NativeTerm], dtype: torch.dtype) -> None:
    arguments = batch(23, 37, device, dtype)
    out = assert_matches(arguments, TOLERANCE[dtype], terms=terms, workspace_bytes=5 * 37 * 8 * 4)
    each = torch.tensor([t.weight for t in terms], dtype=dtype, device=device) @ out.values
    torch.testing.assert_close(out.loss, (each * arguments["row_weights"]).sum() / 20, check_dtype=False)


@pytest.mark.parametrize("terms", TOGETHER, ids=range(len(TOGETHER)))
def test_without_bias_and_row_weights(device: str, terms: list[NativeTerm]) -> None:
    arguments = batch(9, 37, device)
    plain = [DenseTeacher(t.hidden, t.weight) for t in arguments["teachers"]]
    assert_matches({**arguments, "bias": None, "row_weights": None, "teachers": plain}, terms=terms)


@pytest.mark.parametrize("terms", TOGETHER, ids=range(len(TOGETHER)))
def test_logits_in_place_of_hidden_states(device: str, terms: list[NativeTerm]) -> None:
    arguments = batch(9, 37, device)
    student, teacher, old = torch.randn(3, 9, 37, dtype=torch.float64, device=device)
    changes = {"hidden": student.requires_grad_(), "weight": None, "teachers": [DenseTeacher(teacher)]}
    assert_matches({**arguments, **changes, "snapshot": DenseTeacher(old)}, terms=terms)


@pytest.mark.parametrize("members", [2, 3])
@pytest.mark.parametrize("geometric", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@DTYPES
def test_several_teachers(device: str, members: int, geometric: bool, weighted: bool, dtype: torch.dtype) -> None:
    arguments = batch(9, 37, device, dtype, teachers=members)
    weights = torch.softmax(torch.randn(members, 9, device=device, dtype=dtype), 0) if weighted else None
    given = {"mix_weights": weights, "geometric": geometric, "workspace_bytes": 2 * 37 * 8 * 4}
    assert_matches(arguments, TOLERANCE[dtype], terms=TERMS[6:10], **given)


@pytest.mark.parametrize("way", ["batch", "queue", "gate"])
@pytest.mark.parametrize("lowest", [False, True])
@pytest.mark.parametrize(("score", "gate"), list(zip(SCORES[1:], [5.0, 2.0, 0.5, 0.0], strict=True)))
@pytest.mark.parametrize("selection_bytes", [1 << 30, 0])
def test_chosen_rows(device: str, score: str, gate: float, lowest: bool, way: str, selection_bytes: int) -> None:
    queue = (torch.linspace(0, 2 * gate, 16), torch.tensor([3, 12]))
    given = {"batch": {"rate": 0.5}, "queue": {"rate": 0.3, "queue": queue}, "gate": {"gate": gate}}[way]
    terms = [NativeTerm("nll", a=0.1), NativeTerm("forward_kl", 0.7, 2.0, 2.0, gated=True)]
    limits = {"selection_bytes": selection_bytes, "workspace_bytes": 5 * 37 * 8 * 2}
    out = assert_matches(batch(23, 37, device), terms=terms, choice=Choice(score, lowest=lowest, **given), **limits)
    assert 0 < out.chosen.sum() < 20


def test_rows_of_a_mask(device: str) -> None:
    terms = [NativeTerm("nll"), *(NativeTerm(t.kind, t.weight, a=t.a, b=t.b, gated=True) for t in TERMS[8:14])]
    mask = (torch.arange(23) % 3 == 0).to(device)
    out = assert_matches(batch(23, 37, device), terms=terms, mask=mask, workspace_bytes=5 * 37 * 8 * 3)
    assert not out.values[1:, ~mask].any() and out.values[0, ~mask].any()


@pytest.mark.parametrize("term", [t for t in TERMS if t.kind != "adaptive_kl"], ids=name)  # its share is a constant
def test_gradcheck(device: str, term: NativeTerm) -> None:
    arguments = batch(4, 7, device, d=3)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        student = {"hidden": hidden, "weight": weight, "bias": bias}
        return linear_kd(**{**arguments, **student}, terms=fitted([term], 7), workspace_bytes=2 * 7 * 8 * 3).loss

    assert torch.autograd.gradcheck(loss, [arguments[n] for n in ("hidden", "weight", "bias")])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("term", TERMS, ids=name)
def test_half_precision_loses_at_most_twice_what_pytorch_loses(
    device: str, term: NativeTerm, dtype: torch.dtype
) -> None:
    arguments = batch(64, 101, device, dtype, d=32)
    exact = cast(arguments, torch.float64)
    found = []
    for function, given in ((reference.linear_kd, exact), (reference.linear_kd, arguments), (linear_kd, arguments)):
        loss = function(**given, terms=[term]).loss
        found.append([t.double() for t in (loss.detach(), *gradients(loss, given))])
    for truth, plain, ours in zip(*found, strict=True):
        assert (ours - truth).norm() <= 2 * (plain - truth).norm() + 1e-6 * truth.norm()


def test_gradients_go_only_where_they_are_wanted(device: str) -> None:
    arguments = batch(9, 37, device)
    full = gradients(linear_kd(**arguments, terms=TOGETHER[0]).loss, arguments)
    for index, wanted in enumerate(("hidden", "weight", "bias")):
        alone = {**cast(arguments, torch.float64), **{n: arguments[n].detach() for n in ("hidden", "weight", "bias")}}
        alone[wanted].requires_grad_()
        (gradient,) = gradients(linear_kd(**alone, terms=TOGETHER[0]).loss, alone)
        torch.testing.assert_close(gradient, full[index], **EXACT)
    with torch.no_grad():
        assert not linear_kd(**arguments, terms=TOGETHER[0]).loss.requires_grad


@pytest.mark.parametrize("isa", [isa for isa in ("portable", "avx2", "avx512") if isa in _native.available_isas()])
def test_every_instruction_set(isa: str) -> None:
    chosen = "float32 and (specification or several or banned) or huge"  # float64 is one number at a time everywhere
    edges = __file__.replace("linear_kd", "linear_kd_edges")
    command = [sys.executable, "-m", "pytest", "-q", "-x", __file__, edges, "-m", "not cuda", "-k", chosen]
    done = subprocess.run(command, env={**os.environ, "DISTILMT_ISA": isa}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
