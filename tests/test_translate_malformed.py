"""10,000 random calls, most of them malformed: each gives results or one of our errors, never a crash."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from distilmt.errors import ConfigError, UserError
from distilmt.translate import Translator
from marian import random_model, save

CALLS = 10_000
ODD: list[Any] = [
    -1, 0, 1, 2, 3, 7, 0.5, 1.5, -0.5, 1e-12, 1e300, -(1 << 70), 1 << 70, float("nan"), float("inf"), -float("inf"),
    True, False, None, "", "never", "exact", "gnmt", "x" * 99, b"1", [], [1], {}, 1j, object(),
]  # fmt: skip
OPTIONS = [
    "beam_size",
    "n_best",
    "length_penalty",
    "length_penalty_form",
    "coverage_penalty",
    "patience",
    "early_stopping",
    "max_length",
    "min_length",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "sample",
    "temperature",
    "top_k",
    "top_p",
    "seed",
    "prefixes",
    "neighbours",
    "progress",
    "soft_labels",
    "nonsense",
]
CONSTRUCTOR = [
    "engine", "device", "compute_type", "threads", "slots", "source_language", "target_language", "ensemble", "weights",
]  # fmt: skip
SCORING = ["length_penalty", "soft_labels", "hidden_states", "progress"]


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
                asked = {name: chance.choice(ODD) for name in chance.sample(SCORING, chance.choice([0, 0, 1, 2]))}
                found: list[Any] = list(translator.score_ids(sources, lists(chance), **asked))
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


def test_random_constructors(tmp_path: Path) -> None:
    folder = save(random_model(seed=3, std=0.8, end_bias=0.0, decoder_layers=1), tmp_path / "model")
    chance, refused = random.Random(1), 0
    for _ in range(1000):
        where = chance.choice([folder, str(folder), [folder], [folder, folder], tmp_path, chance.choice(ODD)])
        settings: dict[str, Any] = {
            name: chance.choice(ODD) for name in chance.sample(CONSTRUCTOR, chance.choice([0, 1, 2]))
        }
        try:
            Translator(where, **settings)
        except UserError as error:
            assert len(str(error)) > 10
            refused += 1
    assert 300 < refused < 1000


def test_options_of_samples_ask_for_samples() -> None:
    translator = Translator.of(random_model(seed=3, std=0.8, end_bias=0.0), compute_type="float32", threads=1)
    for name, value in (("temperature", 0.5), ("top_k", 5), ("top_p", 0.5), ("seed", 1)):
        with pytest.raises(ConfigError, match=f"{name}: is of sampling alone, got {value} - add sample=True"):
            translator.translate_ids([[5]], **{name: value})  # type: ignore[arg-type]
