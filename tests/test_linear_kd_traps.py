"""Bad input to the fused loss, and the traps that published code fell into (numbered as in the list of methods)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distilmt.ops.linear_kd import Choice, DenseTeacher, NativeTerm, SparseTeacher, linear_kd
from linear_kd_cases import TERMS, batch, captured, gradients, name

NLL, KD = NativeTerm("nll"), NativeTerm("forward_kl")


def call(**changes: Any) -> Tensor:
    g = torch.Generator().manual_seed(3)
    arguments: dict[str, Any] = {
        "hidden": torch.randn(4, 8, generator=g),
        "weight": torch.randn(12, 8, generator=g),
        "targets": torch.tensor([3, -100, 0, 11]),
        "teachers": [DenseTeacher(torch.randn(4, 6, generator=g), torch.randn(12, 6, generator=g))],
        "terms": [NLL, KD],
    }
    return linear_kd(**{**arguments, **changes}).loss


def teacher(*shapes: tuple[int, ...] | None) -> dict[str, Any]:
    return {"teachers": [DenseTeacher(*(None if s is None else torch.zeros(s) for s in shapes))]}


def sparse(ids: Tensor, *shape: int) -> dict[str, Any]:
    return {"terms": [NativeTerm("sparse_kl")], "sparse": SparseTeacher(ids, torch.zeros(shape))}


def term(kind: str, **given: Any) -> dict[str, Any]:
    return {"terms": [NativeTerm(kind, **given)]}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (teacher((4, 6), (11, 6)), ValueError, "teacher's weight must have student's vocab 12, got 11"),
        (teacher((4, 6), (12, 5)), ValueError, "teacher's weight must have its hidden's width 6, got 5"),
        (teacher((3, 6), (12, 6)), ValueError, "teacher's hidden must have hidden's rows 4, got 3"),
        (teacher((4, 6), None), ValueError, "teacher's hidden must have student's vocab 12, got 6"),
        (teacher((4, 6), (12, 6), (11,)), ValueError, "teacher's bias must have student's vocab 12, got 11"),
        ({"weight": torch.zeros(12, 7)}, ValueError, "weight must have hidden's width 8, got 7"),
        ({"weight": torch.zeros(0, 8)}, ValueError, "vocab must not be 0"),
        ({"bias": torch.zeros(13)}, ValueError, "bias must have student's vocab 12, got 13"),
        ({"bias": torch.zeros(12, 1)}, ValueError, r"bias must have 1 dimensions, got shape \(12, 1\)"),
        ({"targets": torch.zeros(5, dtype=torch.int64)}, ValueError, r"targets must have hidden's rows \(4,\), got"),
        ({"targets": torch.zeros(4)}, TypeError, "targets must be int64, got torch.float32"),
        ({"hidden": torch.zeros(4, 8, dtype=torch.int64)}, TypeError, "hidden must be floating point, got torch.int64"),
        ({"row_weights": torch.zeros(3)}, ValueError, "row_weights must have hidden's rows 4, got 3"),
        ({"mix_weights": torch.zeros(2, 4)}, ValueError, r"mix_weights must be \[1, 4\], got shape \(2, 4\)"),
        ({"mask": torch.zeros(4)}, ValueError, r"mask must be bool \[4\] on cpu, got torch.float32 \(4,\)"),
        ({"teachers": []}, ValueError, "forward_kl needs teachers, got none"),
        ({"terms": [NativeTerm("forward_kl", snapshot=True)]}, ValueError, "forward_kl needs snapshot, got none"),
        (term("sparse_kl"), ValueError, "sparse_kl needs sparse, got none"),
        (sparse(torch.zeros(4, 13, dtype=torch.int64), 4, 13), ValueError, r"with k in \[1, 12\], got \(4, 13\)"),
        (sparse(torch.zeros(4, 3, dtype=torch.int64), 4, 2), ValueError, r"got \(4, 3\) and \(4, 2\)"),
        (sparse(torch.zeros(4, 3), 4, 3), TypeError, "sparse ids must be int64, got torch.float32"),
        (sparse(torch.full((4, 3), 12), 4, 3), RuntimeError, r"sparse ids must lie in \[0, 12\), got 12"),
        (term("forward_kll"), ValueError, "kind must be one of nll, .*, got 'forward_kll'"),
        (term("nll", temperature=0.0), ValueError, "temperature must be finite and above 0, got 0.0"),
        (term("forward_kl", teacher_temperature=-1.0), ValueError, "teacher_temperature must be .* above 0, got -1.0"),
        (term("nll", a=1.0), ValueError, "a of nll must lie in"),
        (term("jensen_shannon", a=0.0), ValueError, "a of jensen_shannon must lie in .* got 0.0"),
        (term("nll", weight=-0.1), ValueError, "weight of nll must be finite and at least 0, got -0.1"),
        (term("forward_kl", weight=float("nan")), ValueError, "weight of forward_kl must be .* got nan"),
        (term("ranking", count=13), ValueError, r"k of ranking must lie in \[1, 12\], got 13"),
        (term("ranking", count=0), ValueError, r"k of ranking must lie in \[1, 12\], got 0"),
        ({"terms": [KD] * 9}, ValueError, "terms must be at most 8, got 9"),
        ({"terms": [NLL, NLL]}, ValueError, "terms must have one nll at most"),
        ({"terms": [NativeTerm("forward_kl", temperature=t) for t in (2, 3, 4, 5)]}, ValueError, "temperatures must be"),
        ({"choice": Choice("student_nll", 0.0)}, ValueError, r"rate must be in \(0, 1\], got 0.0"),
        ({"choice": Choice("student_nll", 1.5)}, ValueError, r"rate must be in \(0, 1\], got 1.5"),
        ({"choice": Choice("nll")}, ValueError, "score must be one of student_nll, .* got 'nll'"),
        ({"choice": Choice("teacher_entropy"), "teachers": [], "terms": [NLL]}, ValueError, "needs teachers, got none"),
        ({"choice": Choice("student_nll"), "mask": torch.ones(4) > 0}, ValueError, "choice and mask .* got both"),
        ({"targets": torch.tensor([3, -100, 0, 12])}, RuntimeError, r"in \[0, 12\), got 12 in row 3"),
        ({"targets": torch.tensor([3, -1, 0, 1])}, RuntimeError, r"got -1 in row 1"),
    ],
)  # fmt: skip
def test_bad_input_is_named_c3_31(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(**changes)


@pytest.mark.parametrize("term", [t for t in TERMS if t.teacher and t.weight], ids=name)
def test_a_nan_in_the_teacher_is_named_c3_31(term: NativeTerm) -> None:
    arguments = batch(9, 37)
    where = {"teachers": arguments["teachers"][0].hidden, "snapshot": arguments["snapshot"].hidden}
    where.get(term.teacher, arguments["sparse"].log_probs)[4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"must be numbers, got 1 NaN in \(9, "):
        linear_kd(**arguments, terms=[term])


@pytest.mark.parametrize("score", ["teacher_entropy", "teacher_confidence", "teacher_margin"])
def test_a_nan_in_the_teacher_is_named_where_it_chooses_c3_31(score: str) -> None:
    arguments = batch(9, 37)
    arguments["teachers"][0].hidden[4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"teacher's hidden must be numbers, got 1 NaN"):
        linear_kd(**arguments, terms=[NativeTerm("forward_kl", gated=True)], choice=Choice(score, 0.5))


@pytest.mark.parametrize("term", [t for t in TERMS if t.weight], ids=name)
def test_a_nan_of_the_student_is_a_nan_in_its_loss(term: NativeTerm) -> None:
    arguments = batch(9, 37)
    with torch.no_grad():
        arguments["hidden"][4] = torch.nan
    out = linear_kd(**arguments, terms=[term])
    assert out.loss.isnan() and out.nll.isnan().sum() == 1
    assert (gradients(out.loss, arguments)[0].isnan().all(1).nonzero() == 4).all()  # and no other row's


def test_the_operator_itself_takes_one_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    states = DenseTeacher(torch.randn(4, 6), torch.randn(12, 6))
    terms = [NativeTerm("forward_kl", snapshot=True)]
    native = list(captured(monkeypatch, "linear_kd", lambda: call(terms=terms, snapshot=states)))
    native[5] = 2 * native[5]
    with pytest.raises(RuntimeError, match="more than one snapshot"):
        torch.ops.distilmt.linear_kd(*native)


def test_padding_changes_nothing_trap_1() -> None:
    g = torch.Generator().manual_seed(4)
    hidden, states, weight = (torch.randn(*s, generator=g) for s in ((9, 8), (9, 6), (12, 6)))
    targets = torch.tensor([3, 5, 0, 11] + 5 * [-100])
    short = call(hidden=hidden[:4], teachers=[DenseTeacher(states[:4], weight)], targets=targets[:4])
    assert call(hidden=hidden, teachers=[DenseTeacher(states, weight)], targets=targets) == short


@pytest.mark.parametrize("kind", ["nll", "forward_kl", "reverse_kl", "total_variation", "logit_mse"])
def test_a_weight_of_two_counts_twice_and_not_four_times_trap_2(kind: str) -> None:
    hidden = torch.randn(4, 8, generator=torch.Generator().manual_seed(5)).requires_grad_()
    once, twice = (torch.autograd.grad(call(hidden=hidden, **term(kind, weight=w)), hidden)[0] for w in (1.0, 2.0))
    torch.testing.assert_close(twice, 2 * once)


def test_temperature_divides_logits_and_t_squared_restores_the_gradient_trap_3() -> None:
    # For T far above the logits the gradient tends to the centred difference of the logits / vocab (Hinton et al., 2.1).
    z = torch.randn(1, 12, generator=torch.Generator().manual_seed(6), dtype=torch.float64).requires_grad_()
    v = torch.randn(1, 12, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def gradient(t: float) -> Tensor:
        kd = NativeTerm("forward_kl", t**2, t, t)
        loss = linear_kd(z, None, torch.tensor([0]), teachers=[DenseTeacher(v)], terms=[kd]).loss
        return torch.autograd.grad(loss, z)[0]

    p, q = torch.softmax(z / 4, dim=1), torch.softmax(v / 4, dim=1)
    torch.testing.assert_close(gradient(4.0), 4 * (p - q).detach())
    difference = z - v
    torch.testing.assert_close(gradient(1e4), ((difference - difference.mean()) / 12).detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("tail", [0, 1, 2], ids=["renormalise", "drop", "rest"])
def test_what_becomes_of_a_top_k_teachers_tail_is_explicit_trap_6(tail: int) -> None:
    z = torch.randn(1, 12, generator=torch.Generator().manual_seed(6), dtype=torch.float64).requires_grad_()
    ids, q = torch.tensor([[7, 2, 9]]), torch.tensor([[0.5, 0.2, 0.1]], dtype=torch.float64)
    terms = [NativeTerm("sparse_kl", a=tail)]
    loss = linear_kd(z, None, torch.tensor([0]), terms=terms, sparse=SparseTeacher(ids, q.log())).loss
    p, sparse_q = torch.softmax(z, 1).detach(), torch.zeros(1, 12, dtype=torch.float64).scatter(1, ids, q)
    known, mass = p.gather(1, ids).sum(), q.sum()
    rest = torch.where(sparse_q > 0, p - sparse_q, p * (1 - (1 - mass) / (1 - known)))
    want = [p - sparse_q / mass, mass * p - sparse_q, rest][tail]
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], want)


def ranking(z: list[float], v: list[float], k: int, dtype: torch.dtype = torch.float64) -> Tensor:
    student, teacher = torch.tensor([z], dtype=dtype), torch.tensor([v], dtype=dtype)
    given = {"teachers": [DenseTeacher(teacher)], "terms": [NativeTerm("ranking", count=k)]}
    return linear_kd(student, None, torch.tensor([0]), **given).loss


def test_ranking_asks_the_teacher_strictly_and_compares_logits_trap_9() -> None:
    p = torch.softmax(torch.tensor([1.0, 2.0, 0.0, 3.0], dtype=torch.float64), 0)
    # t = 0, 1; s = 3, 1. p(1) - p(0); then (0, 3): p(3) - p(0), (0, 1): p(1) - p(0), (1, 3): p(3) - p(1).
    want = 2 * (p[1] - p[0]) + (p[3] - p[0]) + (p[3] - p[1])
    torch.testing.assert_close(ranking([1.0, 2.0, 0.0, 3.0], [9.0, 8.0, 7.0, 6.0], 2), want)
    assert ranking([1.0, 2.0], [5.0, 5.0], 1) == 0  # equal in the teacher: no order to keep
    # As float32 probabilities the teacher's two small ones would be equal; by the order of its logits they are not.
    assert ranking([0.0, 1.0, 2.0], [200.0, 50.0, 40.0], 3, torch.float32) > ranking(
        [0.0, 1.0, 2.0], [200.0, 45.0, 45.0], 3
    )


def test_one_denominator_for_a_batch_in_pieces_trap_11() -> None:
    g = torch.Generator().manual_seed(8)
    hidden, states, weight = (torch.randn(*s, generator=g) for s in ((8, 8), (8, 6), (12, 6)))
    targets = torch.arange(8)
    targets[5:7] = -100

    def part(a: int, b: int, **given: Any) -> Tensor:
        return call(hidden=hidden[a:b], teachers=[DenseTeacher(states[a:b], weight)], targets=targets[a:b], **given)

    denominator = torch.tensor(6)
    torch.testing.assert_close(part(0, 3, denominator=denominator) + part(3, 8, denominator=denominator), part(0, 8))


def test_selected_rows_are_divided_by_all_targets_trap_11() -> None:
    mask = torch.tensor([True, True, False, True])
    gated = [NativeTerm("forward_kl", gated=True)]
    both, whole = call(terms=gated, mask=mask), call(terms=gated, mask=mask, denominator=1.0)
    torch.testing.assert_close(3 * both, whole)  # three targets, two of them selected


@pytest.mark.parametrize("all_columns", [False, True])
def test_smoothing_by_v_or_by_v_minus_one_trap_13(all_columns: bool) -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    target, lp = torch.tensor([3]), torch.log_softmax(logits, dim=1)[0]
    want = -0.9 * lp[3] - sum(0.1 / 11 * lp[v] for v in range(12) if v != 3)
    if all_columns:
        want = torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
    got = linear_kd(logits, None, target, terms=[NativeTerm("nll", a=0.1, b=all_columns)])
    torch.testing.assert_close(got.loss, want)
    torch.testing.assert_close(got.nll[0], -lp[3])
