"""The fused loss against eager PyTorch, torch.compile (on demand: slow to build) and its four matrix products alone.

    python benchmarks/bench_linear_kd.py [--rows 1024] [--vocab 32000] [--width 256 512] [--threads 2] [--compile]

NLL + KL with the gradients of hidden states and weight. Eager is what one writes by hand with torch.nn.functional. The
products (two projections, two gradients) are the floor of any exact method: they run over whole matrices, where ours
goes by chunks. Memory is what a call and its backward hold at their peak beyond the inputs, the gradients included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from common import interleaved, peak_bytes, save, signature, summary
from distilmt.ops.linear_kd import linear_kd


def fused(hidden: Tensor, weight: Tensor, targets: Tensor, teacher: Tensor, teacher_weight: Tensor) -> Tensor:
    return linear_kd(hidden, weight, targets, None, teacher, teacher_weight, nll_weight=0.5, kd_weight=0.5).loss


def eager(hidden: Tensor, weight: Tensor, targets: Tensor, teacher: Tensor, teacher_weight: Tensor) -> Tensor:
    student = hidden @ weight.T
    lq = F.log_softmax(teacher @ teacher_weight.T, dim=-1)
    kl = F.kl_div(F.log_softmax(student, dim=-1), lq, reduction="batchmean", log_target=True)
    return 0.5 * F.cross_entropy(student, targets) + 0.5 * kl


def competitors(rows: int, vocab: int, d: int, with_compile: bool) -> dict[str, Callable[[], object]]:
    """Named functions without arguments, each a whole forward and backward pass on the same tensors."""
    generator = torch.Generator().manual_seed(1)
    hidden, teacher = (torch.randn(rows, d, generator=generator) for _ in range(2))
    weight, teacher_weight = (torch.randn(vocab, d, generator=generator) / d**0.5 for _ in range(2))
    targets = torch.randint(0, vocab, (rows,), generator=generator)
    hidden.requires_grad_()
    weight.requires_grad_()
    tensors = (hidden, weight, targets, teacher, teacher_weight)
    torch.testing.assert_close(fused(*tensors), eager(*tensors))  # they compute the same

    def train(loss: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(*tensors), (hidden, weight))

    @torch.no_grad()
    def products() -> None:
        student = hidden @ weight.T
        student.copy_(teacher @ teacher_weight.T)  # so that neither product can be left out
        _ = student @ weight, student.T @ hidden

    found = {"fused": train(fused), "eager": train(eager), "products": products}
    if with_compile:
        found["compile"] = train(torch.compile(eager))
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=1024)
    arguments.add_argument("--vocab", type=int, default=32000)
    arguments.add_argument("--width", type=int, nargs="+", default=[256, 512])
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--compile", action="store_true")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    results = []
    for d in given.width:
        runs = competitors(given.rows, given.vocab, d, given.compile)
        memory = {name: peak_bytes(run) for name, run in runs.items() if name != "products"}
        seconds = interleaved(runs, given.rounds)
        table = summary(seconds, "eager")
        shape = f"{given.rows}x{d}x{given.vocab}"
        results.append(
            {"signature": signature("linear_kd", shape, dtype="f32"), "seconds": table, "peak_bytes": memory}
        )
        print(results[-1]["signature"])
        floor = median(seconds["products"])
        for name, row in table.items():
            print(
                f"  {name:9} {row['median_seconds']:7.3f} s [{row['min_seconds']:.3f}, {row['max_seconds']:.3f}]"
                f"  {row['speedup']:5.2f}x eager  {row['median_seconds'] / floor:5.2f}x the products"
                + (f"  {memory[name] / 2**20:7.0f} MiB" if name in memory else "")
            )
    print(save("linear_kd", {"results": results}))


if __name__ == "__main__":
    main()
