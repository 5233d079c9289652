"""A beam search as plain as it can be, over any distribution: it never stops before max_length, and keeps what is best. And a model
for it, whose searches differ by their options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from marian import forced_logits, random_model

EOS = 0  # of the models here

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


def search_model() -> Any:
    """A random model whose searches differ by their options."""
    return random_model(seed=3, std=0.8, end_bias=0.0, d_model=64, decoder_layers=1, tie_word_embeddings=False)


def check_log_probs(model: Any, source: list[int], hypothesis: Any) -> None:
    tokens = [*hypothesis.ids, EOS][: len(hypothesis.log_probs)]
    log_probs = forced_logits(model, source, hypothesis.ids).log_softmax(-1)[range(len(tokens)), tokens]
    # The model is ill-conditioned: the float32 of both sides is off by up to 7e-3 from float64.
    torch.testing.assert_close(torch.tensor(hypothesis.log_probs), log_probs, atol=1e-2, rtol=0)


def distribution(model: Any, source: list[int]) -> Callable[[list[int]], torch.Tensor]:
    """log p of the next token, pad banned."""

    def step(ids: list[int]) -> torch.Tensor:
        log_probs = forced_logits(model, source, ids)[-1].log_softmax(-1)
        log_probs[model.config.pad_token_id] = -torch.inf
        return log_probs

    return step
