"""What an objective says about a batch, and how its rows are counted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def sentences_of(labels: Tensor) -> Tensor:
    """The sentence of each row, int64 [batch x tokens], of labels [batch, tokens]."""
    return torch.arange(len(labels), device=labels.device).repeat_interleave(labels.shape[1])


@dataclass(frozen=True)
class Evaluation:
    """What an objective says about a batch; only `loss` carries a gradient."""

    loss: Tensor  # scalar: weighted sum over all rows / denominator
    terms: dict[str, Tensor]  # each term, in nats: mean over the targets, without weights
    nll: Tensor  # -log p(target), mean over the targets, without smoothing: comparable whatever the objective
    tokens: Tensor  # number of targets, int64 scalar
    selected: Tensor  # share of the targets that selective terms looked at; 1 without such a term
    agreement: Tensor  # share of the targets where student and dense teacher have the same top token; NaN without one
    gate: Tensor  # what decided the selection, float32 scalar on the host; NaN without one
