"""A beam search as plain as it can be, over any distribution: it never stops before max_length, and keeps what is best."""

from __future__ import annotations

from collections.abc import Callable

import torch

# (tokens generated so far) -> log-probabilities [vocab]
Step = Callable[[list[int]], torch.Tensor]


def plain_beam_search(
    step: Step, worth: Callable[[float, list[int]], float], *, eos: int, beam_size: int, n_best: int, max_length: int
) -> list[tuple[list[int], float]]:
    """The n_best (ids with the end symbol, score). worth: score of a finished hypothesis, from its sum and ids."""
    living: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, max_length + 1):
        options = []
        for total, ids in living:
            values, words = step(ids).topk(2 * beam_size)
            options += [(total + v, [*ids, w]) for v, w in zip(values.tolist(), words.tolist(), strict=True)]
        options = sorted(options, key=lambda option: -option[0])[: 2 * beam_size]
        ends = [ids[-1] == eos or length == max_length for _, ids in options]
        pairs = list(zip(options, ends, strict=True))
        finished += [(worth(total, ids), ids) for (total, ids), end in pairs[:beam_size] if end]
        finished = sorted(finished, key=lambda each: -each[0])[:beam_size]
        living = [option for option, end in pairs if not end][:beam_size]
    return [(ids, score) for score, ids in finished[:n_best]]
