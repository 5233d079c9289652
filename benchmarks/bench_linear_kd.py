"""The fused loss against eager PyTorch, its four matrix products alone and, on demand, the fused losses of others.

    python benchmarks/bench_linear_kd.py [--rows 1024 4096] [--vocab 32000] [--width 256 512 1024] [--threads 2]
        [--rounds 5] [--compile] [--peers] [--bfloat16] [--device cuda]

NLL + KL with the gradients of hidden states and weight. Eager is what one writes by hand with torch.nn.functional.
--compile adds torch.compile of it (slow to build). --peers adds Liger's chunked loss (`pip install liger-kernel`; 1,024
rows a chunk, as is its default; with --compile also compiled, likewise) and, for NLL alone,
torch.nn.functional.linear_cross_entropy by chunks; a peer that is absent or fails on this machine is named and left
out. --bfloat16 gives all of them states and weights of bfloat16, eager and compiled under autocast. The products (two
projections, two gradients; for NLL one projection) run over whole matrices, where ours go by chunks.

Writes benchmarks/results/linear_kd.json, with _bfloat16 and _cuda in its name where these are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import torch
import torch.nn.functional as F
from torch import Tensor

from common import save
from distilmt.ops.linear_kd import DenseTeacher, NativeTerm, linear_kd
from losses import Size, Student, measured, new_head, new_student, options, products, sizes, training

Loss = Callable[..., Tensor]


def fused(hidden: Tensor, weight: Tensor, targets: Tensor, teacher: Tensor, teacher_weight: Tensor) -> Tensor:
    terms = [NativeTerm("nll", weight=0.5), NativeTerm("forward_kl", weight=0.5)]
    return linear_kd(hidden, weight, targets, terms=terms, teachers=[DenseTeacher(teacher, teacher_weight)]).loss


def eager(hidden: Tensor, weight: Tensor, targets: Tensor, teacher: Tensor, teacher_weight: Tensor) -> Tensor:
    student = hidden @ weight.T
    lq = F.log_softmax(teacher @ teacher_weight.T, dim=-1)
    kl = F.kl_div(F.log_softmax(student, dim=-1), lq, reduction="batchmean", log_target=True)
    return 0.5 * F.cross_entropy(student, targets) + 0.5 * kl


def liger(compiled: bool) -> Loss:
    """Its Jensen-Shannon loss, which at beta 0 is the KL from the teacher."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.5, weight_soft_loss=0.5, beta=0.0, compiled=compiled)
    return lambda hidden, weight, targets, teacher, teacher_weight: loss(
        hidden, weight, teacher, teacher_weight, targets
    )


def fused_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return linear_kd(hidden, weight, targets, terms=[NativeTerm("nll")]).loss


def autocast(loss: Loss, device: str) -> Loss:
    return torch.autocast(device, torch.bfloat16)(loss)  # type: ignore[no-any-return]


def eager_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(hidden @ weight.T, targets)


def chunked_nll() -> Loss:
    from torch.nn import LinearCrossEntropyOptions  # torch 2.13

    chunks = LinearCrossEntropyOptions()
    return lambda hidden, weight, targets: F.linear_cross_entropy(hidden, weight, targets, options=chunks)


def peers(makers: dict[str, Callable[[], Loss]], student: Student, *teacher: Tensor) -> dict[str, Loss]:
    """Those that are installed and run here; the others are named."""
    found = {}
    for name, make in makers.items():
        try:
            loss = make()
            training(loss, student, *teacher)()
            found[name] = loss
        except Exception as error:
            print(f"{name}: not measured, {type(error).__name__}: {str(error).partition(chr(10))[0]}")
    return found


def compete(
    losses: dict[str, Loss], size: Size, rounds: int, terms: str, student: Student, *teacher: Tensor
) -> dict[str, object]:
    half = student.hidden.dtype == torch.bfloat16
    for loss in losses.values():  # they compute the same
        told, expected = (each(*student, *teacher).float() for each in (loss, losses["eager"]))
        torch.testing.assert_close(told, expected, rtol=1e-2 if half else 1e-5, atol=0)
    runs = {name: training(loss, student, *teacher) for name, loss in losses.items()}
    runs["products"] = products(student, *teacher)
    facts = {"terms": terms}
    if any(name.startswith("liger") for name in losses):
        facts["liger"] = version("liger-kernel")
    return measured(
        "linear_kd", size, runs, rounds, baseline="eager", floor="products", dtype="bf16" if half else "f32", **facts
    )


def main() -> None:
    parser = options(__doc__, rows=[1024, 4096])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    given = parser.parse_args()
    torch.set_default_device(given.device)
    results = []
    dtype = torch.bfloat16 if given.bfloat16 else torch.float32
    by_hand = autocast(eager, given.device) if given.bfloat16 else eager
    for size in sizes(given):
        ours, teacher = new_student(size, dtype), new_head(size, dtype)
        losses: dict[str, Loss] = {"fused": fused, "eager": by_hand}
        if given.compile:
            losses["compile"] = torch.compile(by_hand)
        if given.peers:
            makers: dict[str, Callable[[], Loss]] = {"liger": partial(liger, False)}
            if given.compile:
                makers["liger compiled"] = partial(liger, True)
            losses |= peers(makers, ours, *teacher)
        results.append(compete(losses, size, given.rounds, "nll+forward_kl", ours, *teacher))
        if given.peers:
            losses = {"fused": fused_nll, "eager": eager_nll}
            losses |= peers({"linear_cross_entropy": chunked_nll}, ours)
            results.append(compete(losses, size, given.rounds, "nll", ours))
    name = "linear_kd" + "_bfloat16" * given.bfloat16 + "_cuda" * (given.device == "cuda")
    print(save(name, {"results": results}))


if __name__ == "__main__":
    main()
