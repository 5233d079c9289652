"""Samples, against the distributions that the warpers of `generate` leave."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from distilmt.translate import Translator
from marian import forced_logits, random_sources
from plain_search import EOS, check_log_probs, search_model


@pytest.fixture(scope="module")
def model() -> Any:
    return search_model()


@pytest.fixture(scope="module")
def translator(model: Any) -> Translator:
    return Translator.of(model, compute_type="float32", threads=1)


def exact_first(model: Any, source: list[int], *, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """Probabilities of the first token, as the warpers of `generate` leave them."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = forced_logits(model, source, [])[-1:]
    scores[:, model.config.pad_token_id] = -torch.inf
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    return warpers(torch.zeros(1, 1, dtype=torch.long), scores)[0].double().softmax(-1)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (2.5, 0, 1.0), (0.5, 0, 1.0), (1.5, 9, 1.0), (2.0, 0, 0.7), (2.0, 20, 0.6), (9.0, 0, 0.999)],
)
def test_samples_follow_the_distribution(
    model: Any, translator: Translator, temperature: float, top_k: int, top_p: float
) -> None:
    """Pearson's statistic of 10,240 first tokens against exact probabilities, within 4.5 deviations of its mean."""
    source, draws = [5, 9, 13], Counter[int]()
    for seed in range(10):
        found = translator.translate_ids(
            [source], sample=True, n_best=1024, max_length=1, temperature=temperature, top_k=top_k, top_p=top_p,
            seed=seed,
        )[0]  # fmt: skip
        draws.update(h.ids[0] if h.ids else EOS for h in found.hypotheses)
    p = exact_first(model, source, temperature=temperature, top_k=top_k, top_p=top_p)
    assert all(p[i] > 0 for i in draws)
    # Rare words together, so that every cell expects five at least.
    cells: list[tuple[float, int]] = [(0.0, 0)]
    for i in p.argsort():
        if p[i] > 0:
            expected, seen = cells.pop() if cells[-1][0] < 5 else (0.0, 0)
            cells.append((expected + float(p[i]) * draws.total(), seen + draws[int(i)]))
    statistic = sum((seen - expected) ** 2 / expected for expected, seen in cells)
    assert abs(statistic - (len(cells) - 1)) <= 4.5 * (2 * len(cells)) ** 0.5


def test_samples_hang_on_sentence_seed_and_number_alone(model: Any, translator: Translator) -> None:
    sources = random_sources(12)
    asked: dict[str, Any] = {"sample": True, "max_length": 12, "temperature": 1.3, "top_p": 0.95}
    found = translator.translate_ids(sources, n_best=4, **asked)
    assert (
        Translator.of(model, compute_type="float32", threads=2, slots=3).translate_ids(
            sources[::-1], n_best=4, **asked
        )[::-1]
        == found
    )
    few = translator.translate_ids(sources, n_best=2, **asked)
    assert [t.hypotheses[:2] for t in found] == [t.hypotheses for t in few]
    assert translator.translate_ids(sources, n_best=4, seed=1, **asked) != found
    assert len({tuple(h.ids) for t in found for h in t.hypotheses}) > 24
    for source, translation in zip(sources, found, strict=True):
        for hypothesis in translation.hypotheses:
            check_log_probs(model, source, hypothesis)


def test_a_cold_sample_is_greedy_search(translator: Translator) -> None:
    sources, prefixes = random_sources(8), random_sources(8, longest=3, seed=4)
    asked: dict[str, Any] = {"max_length": 10, "repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_length": 3}
    greedy = translator.translate_ids(sources, prefixes=prefixes, beam_size=1, **asked)
    for cold in ({"temperature": 0.001}, {"top_k": 1}, {"top_p": 1e-9}):
        sampled = translator.translate_ids(sources, prefixes=prefixes, sample=True, **cold, **asked)
        assert [t.hypotheses[0].ids for t in sampled] == [t.hypotheses[0].ids for t in greedy]
