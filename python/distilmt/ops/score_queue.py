"""The queue of a `Choice` by itself: csrc/ops/score_queue.cpp, csrc/kernels/choose_rows.h."""

from __future__ import annotations

import torch
from torch import Tensor


def score_queue(
    values: Tensor, state: Tensor, scores: Tensor, rate: float, lowest: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Pushes scores into a queue by itself, for a gate per optimizer step.

    Args:
        values: float32 [size].
        state: int64 [2]: where the next score goes, how many there are.
        scores: any shape, on the same device as both; a NaN is no score.
        rate: in (0, 1].
        lowest: the gate is the ceil(n rate)-th smallest, not largest.
    Returns: values and state after the push, and the gate, float32 [1]: one that all pass, of an empty queue.
    """
    out: tuple[Tensor, Tensor, Tensor] = torch.ops.distilmt.score_queue(values, state, scores, rate, lowest)
    return out


@torch.library.register_fake("distilmt::score_queue")  # type: ignore[untyped-decorator]
def _fake_score_queue(
    values: Tensor, state: Tensor, scores: Tensor, rate: float, lowest: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(values), torch.empty_like(state), values.new_empty(1)
