"""The fused loss at its edges: invariance, memory, empty batches, extreme logits, ties, layouts, registration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from distilmt.ops.linear_kd import Choice, DenseTeacher, NativeTerm, linear_kd
from distilmt.ops.score_queue import score_queue
from linear_kd_cases import (
    TERMS,
    TOGETHER,
    TOLERANCE,
    assert_close,
    assert_matches,
    batch,
    captured,
    gradients,
    results,
)

GROUPS = pytest.mark.parametrize("terms", TOGETHER, ids=range(len(TOGETHER)))
GATED = [NativeTerm("nll", a=0.1), NativeTerm("forward_kl", gated=True)]


def picked(arguments: dict[str, Any], index: Tensor, rows: int) -> dict[str, Any]:
    """The same call with other rows; what has no rows stays."""
    return tree_map_only(Tensor, lambda t: t.detach()[index] if t.shape[0] == rows else t, arguments)


@GROUPS
def test_result_does_not_depend_on_the_workspace(device: str, terms: list[NativeTerm]) -> None:
    arguments = batch(50, 101, device)
    whole = linear_kd(**arguments, terms=terms)
    for rows in (1, 7, 43):  # 43 rows have a target
        chunked = linear_kd(**arguments, terms=terms, workspace_bytes=rows * 101 * 8 * 3)
        assert_close(results(chunked, arguments), results(whole, arguments))


@GROUPS
def test_padding_order_and_splitting_change_nothing(device: str, terms: list[NativeTerm]) -> None:
    arguments = {**batch(20, 37, device), "terms": terms}
    whole = linear_kd(**arguments)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2)).to(device)
    assert_close(
        results(linear_kd(**picked(arguments, order, 20)), {}),
        [t if t.dim() == 0 else t[..., order] for t in whole[:5]],
    )
    padded = torch.arange(20, device=device).repeat_interleave(2)
    doubled = picked(arguments, padded, 20)
    doubled["targets"][1::2] = -100
    out = linear_kd(**doubled)
    assert_close([out.loss, out.values[:, ::2], out.nll[::2]], [whole.loss, whole.values, whole.nll])
    pieces = [linear_kd(**picked(arguments, part, 20), denominator=17.0) for part in order.split([3, 0, 16, 1])]
    assert_close(sum(piece.loss for piece in pieces), whole.loss.detach())


@pytest.mark.parametrize("terms", [*TOGETHER, GATED], ids=range(5))
def test_no_tensor_is_larger_than_the_workspace(terms: list[NativeTerm]) -> None:
    arguments = batch(128, 4000, dtype=torch.float32)
    choice = {"choice": Choice("student_nll", 0.5)} if terms is GATED else {}
    limits = {"workspace_bytes": 1 << 18, "selection_bytes": 0}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        linear_kd(**arguments, terms=terms, **choice, **limits).loss.backward()
    sizes = [e.nbytes() for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert max(sizes) <= 1 << 18  # all logits would be 2 MB


@GROUPS
@pytest.mark.parametrize("rows", [0, 1, 4])
def test_without_any_target_loss_and_gradients_are_zero_c3_30(device: str, rows: int, terms: list[NativeTerm]) -> None:
    arguments = batch(rows, 21, device, torch.float32)
    arguments["targets"].fill_(-100)
    out = assert_matches(arguments, terms=terms)
    assert out.loss == 0 and out.nll.shape == (rows,) and not any(g.any() for g in gradients(out.loss, arguments))


@GROUPS
def test_one_row(device: str, terms: list[NativeTerm]) -> None:
    assert_matches(batch(1, 21, device), terms=terms)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("queue", [None, (torch.zeros(3), torch.zeros(2, dtype=torch.int64))])
def test_a_choice_among_no_rows_or_one(device: str, rows: int, queue: tuple[Tensor, Tensor] | None) -> None:
    out = assert_matches(batch(rows, 21, device), terms=GATED, choice=Choice("student_nll", 0.5, queue=queue))
    assert out.chosen.sum() == rows and out.gate.isinf() == (rows == 0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@GROUPS
def test_columns_banned_on_both_sides_stay_finite(device: str, terms: list[NativeTerm], dtype: torch.dtype) -> None:
    arguments = batch(9, 37, device, dtype)
    with torch.no_grad():
        for bias in (arguments["bias"], arguments["teachers"][0].bias, arguments["snapshot"].bias):
            bias[30:] = -torch.inf
    arguments["targets"].clamp_(max=29)
    arguments["sparse"].ids[:] = torch.arange(4, device=device) * 7
    out = assert_matches(arguments, TOLERANCE[dtype], terms=terms)
    grads = gradients(out.loss, arguments)
    assert all(t.isfinite().all() for t in (out.loss, out.values, *grads))
    assert not grads[1][30:].any() and not grads[2][30:].any()


@pytest.mark.parametrize(
    "kind", ["cross_entropy", "forward_kl", "total_variation", "skew_reverse_kl", "jensen_shannon"]
)
def test_columns_banned_by_the_teacher_alone(device: str, kind: str) -> None:
    arguments = batch(9, 37, device)
    arguments["teachers"][0].bias[30:] = -torch.inf
    out = linear_kd(**arguments, terms=[NativeTerm(kind, a=0.3, b=1.0)])
    assert all(t.isfinite().all() for t in (out.loss, out.values, *gradients(out.loss, arguments)))


def test_a_divergence_from_what_the_other_side_bans_is_infinite(device: str) -> None:
    arguments = batch(9, 37, device)
    arguments["teachers"][0].bias[30:] = -torch.inf
    assert linear_kd(**arguments, terms=[NativeTerm("reverse_kl")]).loss == torch.inf
    with torch.no_grad():
        arguments["bias"][30:] = -torch.inf
    arguments["targets"].clamp_(max=29)
    arguments["teachers"][0].bias.zero_()
    assert linear_kd(**arguments, terms=[NativeTerm("forward_kl")]).loss == torch.inf


@pytest.mark.parametrize("scale", [1e4, -1e4])
@GROUPS
def test_huge_logits_stay_finite(device: str, terms: list[NativeTerm], scale: float) -> None:
    arguments = batch(9, 37, device, torch.float32)
    with torch.no_grad():
        arguments["bias"].mul_(scale)
        arguments["teachers"][0].bias.mul_(-scale)
    out = assert_matches(arguments, {"rtol": 1e-4, "atol": 1e-2}, terms=terms)
    assert all(t.isfinite().all() for t in (out.loss, out.values, *gradients(out.loss, arguments)))


@GROUPS
def test_ties(device: str, terms: list[NativeTerm]) -> None:
    g = torch.Generator().manual_seed(3)
    student, teacher, old = torch.randint(0, 3, (3, 40, 21), generator=g).double().to(device)
    student[:5] = teacher[:5]
    changes = {"hidden": student.requires_grad_(), "weight": None, "bias": None, "teachers": [DenseTeacher(teacher)]}
    assert_matches({**batch(40, 21, device), **changes, "snapshot": DenseTeacher(old)}, terms=terms)


def test_equal_scores_are_chosen_together(device: str) -> None:
    arguments = batch(4, 5, device)
    with torch.no_grad():
        arguments["hidden"].zero_()
        arguments["bias"].zero_()
    arguments["targets"] = torch.arange(4, device=device)
    for lowest in (False, True):
        out = linear_kd(**arguments, terms=GATED, choice=Choice("student_nll", 0.25, lowest=lowest))
        assert out.chosen.all()


def test_strided_and_expanded_inputs_c3_33(device: str) -> None:
    arguments = batch(8, 37, device)
    arguments["hidden"] = torch.randn(8, 16, dtype=torch.float64, device=device)[:, ::2].requires_grad_()
    arguments["weight"] = torch.randn(8, 37, dtype=torch.float64, device=device).T.requires_grad_()
    teacher, sparse = arguments["teachers"][0], arguments["sparse"]
    arguments["teachers"] = [
        teacher._replace(hidden=teacher.hidden[:1].expand(8, -1), bias=teacher.bias[:1].expand(37))
    ]
    arguments["sparse"] = sparse._replace(ids=sparse.ids.flip(0), log_probs=sparse.log_probs.T.contiguous().T)
    arguments["targets"] = arguments["targets"].repeat_interleave(2)[::2]
    arguments["row_weights"] = arguments["row_weights"][:1].expand(8)
    for terms in TOGETHER:
        assert_matches(arguments, terms=terms)


def test_rows_beyond_two_to_the_31_logits(tmp_path: Path) -> None:
    """Rows are found with 64-bit arithmetic. A chunk of more than 2^31 logits would be 8.6 GB and is not tried."""
    rows, vocab = 70_000, 33_000
    logits = torch.from_file(str(tmp_path / "logits"), shared=True, size=rows * vocab)  # a file of holes
    logits = logits.view(rows, vocab)
    last = torch.randn(2, vocab, generator=torch.Generator().manual_seed(1))
    logits[-2:] = last
    targets = torch.full((rows,), -100)
    targets[-2:] = torch.tensor([0, vocab - 1])
    want = torch.nn.functional.cross_entropy(last, targets[-2:])
    got = linear_kd(
        logits, None, targets, terms=[NativeTerm("nll"), NativeTerm("forward_kl")], teachers=[DenseTeacher(logits)]
    )
    torch.testing.assert_close(got.loss, want)
    assert got.agreement.sum() == 2


@pytest.mark.parametrize("way", ["dense", "sparse", "teachers", "logits", "queue", "mask"])
def test_registration(device: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = batch(5, 21, device, torch.float32, teachers=1 + (way == "teachers"))
    arguments["targets"].clamp_(min=0)
    queue = torch.zeros(7), torch.zeros(2, dtype=torch.int64)
    options = {
        "dense": {"terms": TOGETHER[0]},
        "sparse": {"terms": TOGETHER[3], "bias": None},
        "teachers": {"terms": TERMS[6:8], "geometric": True},
        "logits": {"terms": TOGETHER[1], "hidden": torch.randn(5, 21, device=device), "weight": None},
        "queue": {"terms": GATED, "choice": Choice("student_nll", 0.5, queue=queue)},
        "mask": {"terms": GATED, "mask": torch.arange(5, device=device) > 2, "choice": None},
    }[way]
    given = {**arguments, "choice": Choice("student_nll", gate=2.0), **options}
    native = captured(monkeypatch, "linear_kd", lambda: linear_kd(**given))
    tests = ["test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
    # The last one finds a NaN unequal to itself, which the gate is without a choice.
    torch.library.opcheck(torch.ops.distilmt.linear_kd, native, test_utils=tests[: 3 if way == "mask" else 4])


def test_registration_of_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (torch.zeros(7), torch.zeros(2, dtype=torch.int64), torch.rand(9), 0.5, True)
    torch.library.opcheck(
        torch.ops.distilmt.score_queue, captured(monkeypatch, "score_queue", lambda: score_queue(*given))
    )


@pytest.mark.parametrize("terms", [*TOGETHER, GATED], ids=range(5))
def test_compiles_without_a_graph_break(device: str, terms: list[NativeTerm]) -> None:
    arguments = batch(9, 37, device, torch.float32)
    options = {"terms": terms, "choice": Choice("student_nll", 0.5) if terms is GATED else None}
    got = torch.compile(linear_kd, fullgraph=True, backend="aot_eager")(**arguments, **options)
    want = linear_kd(**arguments, **options)
    torch.testing.assert_close(results(got, arguments), results(want, arguments), atol=0, rtol=0)


def test_autocast_computes_in_float32(device: str) -> None:
    arguments, terms = batch(9, 37, device, torch.float32), TOGETHER[0]
    want = linear_kd(**arguments, terms=terms).loss
    with torch.autocast(device, torch.bfloat16):
        assert linear_kd(**arguments, terms=terms).loss == want
        mixed = {**arguments, "hidden": arguments["hidden"].detach().bfloat16().requires_grad_()}
        loss = linear_kd(**mixed, terms=terms).loss
    torch.testing.assert_close(loss, want, atol=0.02, rtol=0.01)
    assert [g.dtype for g in gradients(loss, mixed)] == [torch.bfloat16, torch.float32, torch.float32]
