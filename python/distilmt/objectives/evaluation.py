"""What an objective says about a batch, and how its rows are counted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distilmt.errors import ConfigError


def sentences_of(labels: Tensor) -> Tensor:
    """The sentence of each row, int64 [batch x tokens], of labels [batch, tokens]."""
    return torch.arange(len(labels), device=labels.device).repeat_interleave(labels.shape[1])


def sum_by_sentence(values: Tensor, sentences: Tensor) -> Tensor:
    """Sums of values [rows] over the rows of each sentence, counted from 0; [rows], of which those beyond the last are 0.

    As many as rows, since to ask for the number of sentences would be to wait for a GPU.
    Raises: ConfigError: a sentence that is no number from 0 to rows - 1; said of a CPU's tensors alone.
    """
    if not (torch.compiler.is_compiling() or sentences.is_cuda) and bool(
        ((sentences < 0) | (sentences >= len(values))).any()
    ):
        raise ConfigError(
            f"sentences must be counted from 0, below {len(values)} of so many rows, got {sentences.min()} to {sentences.max()}"
        )
    return torch.zeros_like(values).index_add(0, sentences, values)


@dataclass(frozen=True)
class Evaluation:
    """What an objective says about a batch, in scalar tensors; only `loss` carries a gradient.

    Attributes:
        loss: weighted sum over all rows / denominator.
        terms: each term by name, in nats: mean over the targets, without weights.
        nll: -log p(target) in nats, mean over the targets, without smoothing: comparable whatever the objective.
        tokens: number of targets, int64.
        selected: share of the targets that selective terms looked at; 1 without such a term.
        agreement: share of the targets where student and teacher have the same top token, of a stored one among its stored
            words; where all terms that look at the teacher select tokens, of these tokens alone. NaN where that is none.
        gate: what decided the selection, float32; NaN without one.
        looked: number of the targets that `agreement` is about, int64.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    nll: Tensor
    tokens: Tensor
    selected: Tensor
    agreement: Tensor
    gate: Tensor
    looked: Tensor
