"""The fused loss as a GPU runs it, on the CPU: nothing dropped, nothing copied, half precision multiplied as it is.

The tests of the CPU's loop again, with every call sent through the other one, and what that one alone promises.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

import linear_kd_cases
import test_linear_kd
import test_linear_kd_edges
from distilmt import reference
from distilmt.ops.linear_kd import Choice, NativeTerm, linear_kd
from distilmt.ops.score_queue import score_queue
from linear_kd_cases import TERMS, TOGETHER, batch, captured, cast, gradients, results
from test_linear_kd import (  # noqa: F401
    test_chosen_rows,
    test_each_term_matches_the_specification,
    test_gradcheck,
    test_gradients_go_only_where_they_are_wanted,
    test_half_precision_loses_at_most_twice_what_pytorch_loses,
    test_logits_in_place_of_hidden_states,
    test_rows_of_a_mask,
    test_several_teachers,
    test_terms_together_match_the_specification,
    test_without_bias_and_row_weights,
)
from test_linear_kd_edges import (  # noqa: F401
    GATED,
    test_a_choice_among_no_rows_or_one,
    test_columns_banned_on_both_sides_stay_finite,
    test_compiles_without_a_graph_break,
    test_equal_scores_are_chosen_together,
    test_huge_logits_stay_finite,
    test_one_row,
    test_padding_order_and_splitting_change_nothing,
    test_registration,
    test_result_does_not_depend_on_the_workspace,
    test_strided_and_expanded_inputs_c3_33,
    test_ties,
    test_without_any_target_loss_and_gradients_are_zero_c3_30,
)

masked = partial(linear_kd, _as_on_cuda=True)
HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])


@pytest.fixture(autouse=True)
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (linear_kd_cases, test_linear_kd, test_linear_kd_edges):
        monkeypatch.setattr(module, "linear_kd", masked)


@pytest.fixture
def device() -> str:
    return "cpu"


@HALF
@pytest.mark.parametrize("terms", [*TOGETHER, GATED], ids=range(5))
def test_half_precision_by_chunks_is_what_it_is_at_once(dtype: torch.dtype, terms: list[NativeTerm]) -> None:
    arguments = batch(50, 101, dtype=dtype, d=16)
    choice = Choice("student_nll", 0.4) if terms is GATED else None
    whole = masked(**arguments, terms=terms, choice=choice)
    parts = masked(**arguments, terms=terms, choice=choice, workspace_bytes=7 * 128 * 2 * 3)
    for got, want in zip(results(parts, arguments), results(whole, arguments), strict=True):
        torch.testing.assert_close(got, want, rtol=torch.finfo(dtype).eps, atol=1e-5, equal_nan=True)
    assert [g.dtype for g in gradients(whole.loss, arguments)] == [dtype] * 3


@HALF
@pytest.mark.parametrize(
    "terms", TOGETHER[:3], ids=range(3)
)  # the fourth has a ranking, which jumps when logits are rounded
def test_models_of_two_dtypes_lose_no_more_than_the_coarser(dtype: torch.dtype, terms: list[NativeTerm]) -> None:
    arguments = batch(40, 101, dtype=torch.float32, d=16)
    for coarse in (("hidden",), ("hidden", "weight"), ("teachers",), ("snapshot", "hidden", "weight", "bias")):
        given = {**arguments, **cast({n: arguments[n] for n in coarse}, dtype)}
        exact = cast(given, torch.float64)
        truth, got = reference.linear_kd(**exact, terms=terms), masked(**given, terms=terms)
        for want, ours in zip(results(truth, exact), results(got, given), strict=True):
            if want.dim() == 0 or want.shape[0] != 40:  # what is a count or an agreement may tip
                assert (ours.double() - want).norm() <= 4 * torch.finfo(dtype).eps * want.norm() + 1e-3, want.shape


@pytest.mark.parametrize("target", [-1, 37, -101, 1 << 40])
def test_a_target_that_cannot_be_is_named(target: int) -> None:
    arguments = batch(9, 37, dtype=torch.float32)
    arguments["targets"][4] = target
    with pytest.raises(ValueError, match=rf"targets must be -100 or in \[0, 37\), got {target} in row 4 - are they"):
        masked(**arguments, terms=TOGETHER[0])


def test_a_sparse_id_that_cannot_be_is_named() -> None:
    arguments = batch(9, 37)
    arguments["sparse"].ids[3, 1] = 37
    with pytest.raises(ValueError, match=r"sparse ids must lie in \[0, 37\), got 0 to 37 - is the teacher"):
        masked(**arguments, terms=[NativeTerm("sparse_kl", a=2)])


def test_a_target_that_cannot_be_makes_the_loss_and_its_row_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = batch(9, 37)
    arguments["targets"][4] = 99

    def call() -> None:
        with pytest.raises(ValueError, match="targets must be"):
            masked(**arguments, terms=TERMS[:1])

    native = captured(monkeypatch, "linear_kd", call)
    loss, _, hidden, weight, bias, *_ = torch.ops.distilmt.linear_kd(*native)
    rows = torch.arange(9) == 4
    assert loss.isnan() and weight.isnan().all() and bias.isnan().all()
    assert hidden[rows].isnan().all() and not hidden[~rows].isnan().any()


@pytest.mark.parametrize("kind", ["teacher_entropy", "student_nll"])
def test_a_teacher_of_nan_is_seen_by_the_choice_alone(kind: str) -> None:
    arguments = batch(9, 37)
    arguments["teachers"][0].hidden[3] = torch.nan
    choice = {"choice": Choice(kind, 0.1, lowest=True)}
    with pytest.raises(ValueError, match="teacher's hidden must be numbers, got 12 NaN"):
        masked(**arguments, terms=[NativeTerm("nll"), NativeTerm("forward_kl", gated=kind != "student_nll")], **choice)


def test_a_gate_may_be_a_tensor() -> None:
    arguments: dict[str, Any] = batch(23, 37)
    for loop in (linear_kd, masked):
        one, two = (
            loop(**arguments, terms=GATED, choice=Choice("student_nll", gate=g)) for g in (5.0, torch.tensor([5.0]))
        )
        assert torch.equal(one.chosen, two.chosen) and one.gate == two.gate == 5.0 and 0 < one.chosen.sum() < 20
    with pytest.raises(ValueError, match=r"gate must be a number or float32 \[1\], got torch.float64 \(1,\)"):
        linear_kd(**arguments, terms=GATED, choice=Choice("student_nll", gate=torch.tensor([5.0]).double()))


def test_a_queue_forgets_nan_wherever_it_stands() -> None:
    scores = torch.tensor([torch.nan, 1.0, torch.nan, 3.0, 2.0, torch.nan])
    values, state, gate = score_queue(torch.zeros(4), torch.zeros(2, dtype=torch.int64), scores, 0.5)
    assert values.tolist() == [1.0, 3.0, 2.0, 0.0] and state.tolist() == [3, 3] and gate == 2.0
