"""The fused loss with a sparse teacher, against eager PyTorch and its three matrix products alone.

    python benchmarks/bench_sparse_kd.py [--rows 1024 4096] [--vocab 32000] [--width 256 512 1024] [--k 8] [--threads 2]
        [--rounds 5]

NLL + KL of a teacher known at k tokens of each row, renormalised, with the gradients of hidden states and weight. Eager
takes one log_softmax and gathers from it. The products (one projection, two gradients) run over whole matrices, where
ours go by chunks.

Writes benchmarks/results/sparse_kd.json.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from common import save
from distilmt.ops.linear_kd import NativeTerm, SparseTeacher, linear_kd
from losses import Size, measured, new_student, options, products, sizes, training


def fused(hidden: Tensor, weight: Tensor, targets: Tensor, ids: Tensor, log_probs: Tensor) -> Tensor:
    terms = [NativeTerm("nll", weight=0.5), NativeTerm("sparse_kl", weight=0.5)]
    return linear_kd(hidden, weight, targets, terms=terms, sparse=SparseTeacher(ids, log_probs)).loss


def eager(hidden: Tensor, weight: Tensor, targets: Tensor, ids: Tensor, log_probs: Tensor) -> Tensor:
    lp = F.log_softmax(hidden @ weight.T, dim=-1)
    lq = F.log_softmax(log_probs, dim=-1)
    kl = F.kl_div(lp.gather(1, ids), lq, reduction="batchmean", log_target=True)
    return 0.5 * F.nll_loss(lp, targets) + 0.5 * kl


def compete(size: Size, k: int, rounds: int) -> dict[str, object]:
    ours = new_student(size)
    ids = (torch.randint(size.vocab, (size.rows, 1)) + torch.arange(k) * (size.vocab // k)) % size.vocab  # distinct
    teacher = ids, torch.log_softmax(torch.randn(size.rows, k), dim=-1) - 0.1  # most of the mass
    # They compute the same.
    torch.testing.assert_close(fused(*ours, *teacher), eager(*ours, *teacher), rtol=1e-5, atol=0)
    runs = {
        "fused": training(fused, ours, *teacher),
        "eager": training(eager, ours, *teacher),
        "products": products(ours),
    }
    return measured("sparse_kd", size, runs, rounds, baseline="eager", floor="products", k=k)


def main() -> None:
    parser = options(__doc__, rows=[1024, 4096])
    parser.add_argument("--k", type=int, default=8)
    given = parser.parse_args()
    print(save("sparse_kd", {"results": [compete(size, given.k, given.rounds) for size in sizes(given)]}))


if __name__ == "__main__":
    main()
