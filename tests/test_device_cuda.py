"""The translator on a CUDA device: what it says is what the CPU says, whatever the batch, slots and memory."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from distilmt import ConfigError, Translator, device
from distilmt.errors import ResourceError
from distilmt.translate import Translation
from marian import random_model, save

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module", autouse=True)
def one() -> None:
    try:
        device.opened(0)
    except ResourceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(random_model(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def sources() -> list[list[int]]:
    rng = random.Random(1)
    return [[rng.randrange(1, 66) for _ in range(rng.randint(1, 39))] for _ in range(300)]


SEARCHES: list[dict[str, Any]] = [
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 4, "soft_labels": 5},
    {"beam_size": 5, "early_stopping": "exact", "length_penalty": 0.6, "min_length": 3},
    {"beam_size": 3, "patience": 2.0, "early_stopping": True},
    {"sample": True, "n_best": 3, "top_k": 20, "temperature": 1.3},
]


def said(translations: list[Translation]) -> list[Any]:
    return [(t.status, [(h.ids, h.score, h.log_probs) for h in t.hypotheses]) for t in translations]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_float32_says_what_the_cpu_says(folder: Path, sources: list[list[int]], search: dict[str, Any]) -> None:
    """On at least 99.9 % (here: all but one of 300, since roundings may meet a tie), its numbers to rounding."""
    truth = Translator(folder, compute_type="float32").translate_ids(sources, max_length=25, **search)
    found = Translator(folder, device="cuda", compute_type="float32").translate_ids(sources, max_length=25, **search)
    same = [
        a.status == b.status and [h.ids for h in a.hypotheses] == [h.ids for h in b.hypotheses]
        for a, b in zip(truth, found, strict=True)
    ]
    assert sum(same) >= len(sources) - 1
    for a, b in (pair for pair, equal in zip(zip(truth, found, strict=True), same, strict=True) if equal):
        for x, y in zip(a.hypotheses, b.hypotheses, strict=True):
            assert y.log_probs == pytest.approx(x.log_probs, abs=1e-4)


@pytest.mark.parametrize("compute_type", ["float32", "float16", "bfloat16"])
def test_a_result_depends_on_its_sentence_alone(folder: Path, sources: list[list[int]], compute_type: str) -> None:
    search: dict[str, Any] = {"beam_size": 4, "n_best": 2, "max_length": 25}
    translator = Translator(folder, device="cuda", compute_type=compute_type)  # type: ignore[arg-type]
    truth = said(translator.translate_ids(sources, **search))
    order = random.Random(2).sample(range(len(sources)), len(sources))
    shuffled = said(translator.translate_ids([sources[i] for i in order], **search))
    assert [shuffled[order.index(i)] for i in range(len(order))] == truth
    assert [said(translator.translate_ids([each], **search))[0] for each in sources[:40]] == truth[:40]
    for slots in (1, 7, 64):
        few = Translator(folder, device="cuda", compute_type=compute_type, slots=slots)  # type: ignore[arg-type]
        assert said(few.translate_ids(sources[:100], **search)) == truth[:100]


def test_prefixes(folder: Path, sources: list[list[int]]) -> None:
    prefixes = [source[: i % 4] for i, source in enumerate(sources[:50])]
    truth = Translator(folder, compute_type="float32").translate_ids(sources[:50], prefixes=prefixes, max_length=20)
    found = Translator(folder, device="cuda", compute_type="float32").translate_ids(
        sources[:50], prefixes=prefixes, max_length=20
    )
    assert [t.hypotheses[0].ids for t in found] == [t.hypotheses[0].ids for t in truth]


@pytest.mark.parametrize("asked", [{"coverage_penalty": 0.2}, {"repetition_penalty": 1.2}], ids=str)
def test_what_is_not_there_is_named(folder: Path, sources: list[list[int]], asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(asked))}: not there on a device yet"):
        Translator(folder, device="cuda").translate_ids(sources[:1], **asked)
