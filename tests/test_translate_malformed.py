"""10,000 random calls, most of them malformed: each gives results or one of our errors, never a crash."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from distilmt.errors import UserError
from distilmt.translate import Translator
from marian import random_model

CALLS = 10_000
ODD: list[Any] = [
    -1, 0, 1, 2, 3, 7, 0.5, 1.5, -0.5, 1e-12, 1e300, -(1 << 70), 1 << 70, float("nan"), float("inf"), -float("inf"),
    True, False, None, "", "never", "exact", "gnmt", "x" * 99, b"1", [], [1], {}, 1j, object(),
]  # fmt: skip
OPTIONS = [
    "beam_size", "n_best", "length_penalty", "length_penalty_form", "coverage_penalty", "patience", "early_stopping",
    "max_length", "min_length", "repetition_penalty", "no_repeat_ngram_size", "sample", "temperature", "top_k", "top_p",
    "seed", "prefixes", "neighbours", "progress", "nonsense",
]  # fmt: skip


def ids(chance: random.Random) -> Any:
    """An id list: sound, empty, out of range, too long, or none at all."""
    kind = chance.randrange(12)
    if kind == 0:
        return []
    if kind == 1:
        return [chance.choice([-1, 67, 1 << 31, -(1 << 31), 1 << 40, 1 << 70])]
    if kind == 2:
        return [5] * chance.choice([39, 40, 5000])
    if kind == 3:
        return chance.choice(ODD)
    if kind == 4:
        return [3, chance.choice(ODD)]
    return [chance.randrange(67) for _ in range(chance.randint(1, 4))]


def lists(chance: random.Random) -> Any:
    return chance.choice(ODD) if chance.random() < 0.03 else [ids(chance) for _ in range(chance.randint(0, 2))]


@pytest.mark.parametrize("part", range(4))
def test_random_calls(part: int) -> None:
    translator = Translator.of(
        random_model(seed=3, std=0.8, end_bias=0.0, decoder_layers=1), compute_type="float32", threads=1
    )
    chance, outcomes = random.Random(part), Counter[str]()
    for _ in range(CALLS // 4):
        settings: dict[str, Any] = {"max_length": 3, "beam_size": 2}
        for name in chance.sample(OPTIONS, chance.choice([0, 0, 0, 1, 1, 2, 3])):
            settings[name] = lists(chance) if name == "prefixes" else chance.choice(ODD)
        sources = lists(chance)
        try:
            if chance.random() < 0.2:
                found: list[Any] = list(translator.score_ids(sources, lists(chance)))
            else:
                found = list(translator.translate_ids(sources, **settings))
        except UserError as error:
            assert len(str(error)) > 10
            outcomes["refused"] += 1
        else:
            assert len(found) == len(sources)
            outcomes.update(each.status for each in found)
    assert outcomes["refused"] > 300 and outcomes["ok"] + outcomes["max_length"] > 300
    assert outcomes["empty_source"] > 20 and outcomes["too_long"] > 20
