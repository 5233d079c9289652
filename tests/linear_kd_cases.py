"""Every term of the fused loss with its parameters, and tensors to try them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from distilmt import reference
from distilmt.ops.linear_kd import TAILS, DenseTeacher, LinearKD, NativeTerm, SparseTeacher, linear_kd

EXACT = {"atol": 1e-9, "rtol": 1e-9}
SINGLE = {"atol": 2e-5, "rtol": 2e-5}
TOLERANCE = {torch.float64: EXACT, torch.float32: SINGLE}

TERMS = [
    NativeTerm("nll"),
    NativeTerm("nll", a=0.1),
    NativeTerm("nll", 3.0, temperature=3.0, a=0.2, b=1),
    *(NativeTerm(kind) for kind in ("forward_kl", "reverse_kl", "total_variation")),
    *(NativeTerm(k, 0.7, 2.0, 1.5) for k in ("forward_kl", "cross_entropy", "reverse_kl", "total_variation")),
    *(NativeTerm("jensen_shannon", temperature=t, teacher_temperature=2, a=a, b=b) for t, a, b in ((1, 0.1, 1), (2, 0.6, 4))),
    *(NativeTerm(kind, 0.7, 2.0, 1.5, a=a) for kind in ("skew_kl", "skew_reverse_kl", "adaptive_kl") for a in (0.1, 0.6)),
    *(NativeTerm("logit_mse", 1.3, a=0.4, b=centred) for centred in (0, 1)),
    *(NativeTerm("top1", temperature=2.0, teacher_temperature=1.5, a=weighted) for weighted in (0, 1)),
    NativeTerm("top1_to_gold", temperature=0.5, teacher_temperature=2.0),
    *(NativeTerm("ranking", temperature=t, count=count) for t, count in ((1.0, 1), (1.0, 5), (2.0, 20))),
    *(NativeTerm("sparse_kl", temperature=2.0, teacher_temperature=1.5 if a == 0 else 1.0, a=a) for a in range(len(TAILS))),
    NativeTerm("forward_kl", temperature=2.0, teacher_temperature=2.0, snapshot=True),
    NativeTerm("forward_kl", weight=0.0),
]  # fmt: skip

# All of them, in as few calls as the limits allow.
TOGETHER = [
    [NativeTerm("nll", a=0.1), *TERMS[3:10]],
    [NativeTerm("nll", a=0.1, b=1), *TERMS[10:14], *TERMS[18:21]],
    [*TERMS[14:18], *TERMS[26:29], TERMS[29]],
    [*TERMS[21:26], NativeTerm("total_variation", 0.3, snapshot=True)],
]


def name(term: NativeTerm) -> str:
    plain = NativeTerm(term.kind)
    given = [f"{n}={getattr(term, n)}" for n in vars(term) if getattr(term, n) != getattr(plain, n)]
    return ",".join([term.kind, *given])


def fitted(terms: list[NativeTerm], vocab: int) -> list[NativeTerm]:
    """The same with a ranking of no more tokens than there are."""
    return [replace(term, count=min(term.count, vocab)) for term in terms]


def batch(
    rows: int, vocab: int, device: str = "cpu", dtype: torch.dtype = torch.float64, d: int = 8, seed: int = 1, teachers: int = 1
) -> dict[str, Any]:  # fmt: skip
    """All tensors of a call; student's gradients wanted, a seventh of the rows without a target."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(device, dtype)

    def teacher() -> DenseTeacher:
        return DenseTeacher(randn(rows, d + 4), randn(vocab, d + 4), randn(vocab))

    targets = torch.randint(0, vocab, (rows,), generator=g)
    targets[2::7] = -100
    k = min(vocab, 4)
    ids = torch.rand(rows, vocab, generator=g).argsort(1)[:, :k]
    log_probs = torch.log_softmax(randn(rows, k + 2), 1)[:, :k]
    log_probs[1::5, 0] = -torch.inf
    return {
        "hidden": randn(rows, d).requires_grad_(),
        "weight": randn(vocab, d).requires_grad_(),
        "bias": randn(vocab).requires_grad_(),
        "targets": targets.to(device),
        "teachers": [teacher() for _ in range(teachers)],
        "snapshot": teacher(),
        "sparse": SparseTeacher(ids.to(device), log_probs),
        "row_weights": randn(rows).abs(),
    }


def cast(arguments: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """A copy of a call's arguments in another precision."""

    def one(t: Tensor) -> Tensor:
        return t.detach().to(dtype).requires_grad_(t.requires_grad) if t.is_floating_point() else t

    return tree_map_only(Tensor, one, arguments)


def gradients(loss: Tensor, arguments: dict[str, Any]) -> list[Tensor]:
    wanted = [arguments.get(n) for n in ("hidden", "weight", "bias")]
    wanted = [t for t in wanted if t is not None and t.requires_grad]
    how = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    return list(torch.autograd.grad(loss, wanted, **how)) if wanted else []


def results(out: LinearKD, arguments: dict[str, Any]) -> list[Tensor]:
    """What is computed in the precision of the call: loss, rows and gradients."""
    return [*(t.detach() for t in out[:5]), *gradients(out.loss, arguments)]


def assert_close(got: Any, want: Any, **tolerance: float) -> None:
    torch.testing.assert_close(
        got, want, check_dtype=False, check_device=False, equal_nan=True, **(tolerance or EXACT)
    )  # fmt: skip


def assert_matches(arguments: dict[str, Any], tolerance: dict[str, float] = EXACT, **options: Any) -> LinearKD:
    """The native call says what the specification says in float64."""
    got = linear_kd(**arguments, **options)
    precise = cast(arguments, torch.float64)
    options.pop("workspace_bytes", None)
    options.pop("selection_bytes", None)
    want = reference.linear_kd(**precise, **options)
    assert_close(results(got, arguments), results(want, precise), **tolerance)
    host = {"atol": max(1e-6, tolerance["atol"]), "rtol": max(1e-6, tolerance["rtol"])}  # gates are float32
    assert_close([got.gate, got.scores, *got.queue], [want.gate, want.scores, *want.queue], **host)
    return got


def captured(monkeypatch: pytest.MonkeyPatch, operator: str, call: Callable[[], Any]) -> tuple[Any, ...]:
    """The arguments with which an operator is called."""
    seen = []
    native = getattr(torch.ops.distilmt, operator)
    with monkeypatch.context() as patch:
        patch.setattr(torch.ops.distilmt, operator, lambda *arguments: seen.append(arguments) or native(*arguments))
        call()
    return seen[0]
