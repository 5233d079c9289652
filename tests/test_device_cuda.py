"""The translator on a CUDA device: what it says is what the CPU says, whatever the batch, slots and memory."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distilmt
from distilmt import ConfigError, Translator
from distilmt.errors import MemoryExhausted, ResourceError
from distilmt.translate import Translation
from distilmt.translator import attention, device
from distilmt.translator.model_options import ModelOptions
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
    return save(random_model(seed=1, std=0.3, end_bias=2.0), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def sources() -> list[list[int]]:
    rng = random.Random(1)
    return [[rng.randrange(1, 66) for _ in range(rng.randint(1, 39))] for _ in range(300)]


def two_words(hidden: Any) -> tuple[list[list[int]], list[list[float]], float]:
    return [[5, 9, 5]] * len(hidden), [[0.5, 0.2, 0.2]] * len(hidden), 0.3


SEARCHES: list[dict[str, Any]] = [
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 4, "soft_labels": 5},
    {"beam_size": 5, "early_stopping": "exact", "length_penalty": 0.6, "min_length": 3},
    {"beam_size": 3, "patience": 2.0, "early_stopping": True},
    {"sample": True, "n_best": 3, "top_k": 20, "temperature": 1.3},
    {"beam_size": 4, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "soft_labels": 5},
    {"beam_size": 1, "repetition_penalty": 0.7},
    {"beam_size": 4, "coverage_penalty": 0.3},
    {"beam_size": 3, "neighbours": two_words},
]


def needed(name: str) -> Any:
    """The name of an attention that can be had here; skips where it is cuDNN and that cannot."""
    if name == "cudnn" and (why := attention.missing()):
        pytest.skip(why)
    return name


def said(translations: list[Translation]) -> list[Any]:
    return [(t.status, [(h.ids, h.score, h.log_probs) for h in t.hypotheses]) for t in translations]


def named(search: dict[str, Any]) -> str:
    return ", ".join(f"{key}={getattr(value, '__name__', value)}" for key, value in search.items())


@pytest.mark.parametrize("search", SEARCHES, ids=named)
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
            if search.get("soft_labels"):
                assert x.soft_labels is not None and y.soft_labels is not None
                assert np.mean(x.soft_labels.ids == y.soft_labels.ids) > 0.99  # the last two may be near each other
                for name in ("log_probs", "tail_mass", "entropy"):
                    assert getattr(y.soft_labels, name) == pytest.approx(getattr(x.soft_labels, name), abs=1e-4)


KINDS = [("float32", "own"), *product(("float16", "bfloat16", "int8"), ("own", "cudnn"))]


@pytest.mark.parametrize(("compute_type", "by"), KINDS)
def test_a_result_depends_on_its_sentence_alone(
    folder: Path, sources: list[list[int]], compute_type: str, by: str
) -> None:
    search: dict[str, Any] = {"beam_size": 4, "n_best": 2, "max_length": 25}
    options: Any = {"device": "cuda", "compute_type": compute_type, "attention": needed(by)}
    translator = Translator(folder, **options)
    truth = said(translator.translate_ids(sources, **search))
    order = random.Random(2).sample(range(len(sources)), len(sources))
    shuffled = said(translator.translate_ids([sources[i] for i in order], **search))
    assert [shuffled[order.index(i)] for i in range(len(order))] == truth
    assert [said(translator.translate_ids([each], **search))[0] for each in sources[:40]] == truth[:40]
    for slots in (1, 7, 64):
        few = Translator(folder, slots=slots, **options)
        assert said(few.translate_ids(sources[:100], **search)) == truth[:100]


def test_int8_of_a_few_rows(folder: Path, sources: list[list[int]]) -> None:
    """Steps of 1 to 16 rows, and encoder passes of as many tokens, give the bits of large ones."""
    short = [source[: 1 + i % 16] for i, source in enumerate(sources[:48])]
    for beam_size in (1, 3, 4):
        search: dict[str, Any] = {"beam_size": beam_size, "max_length": 20}
        truth = said(Translator(folder, device="cuda", compute_type="int8").translate_ids(short, **search))
        for slots in range(1, 16 // beam_size + 1):
            few = Translator(folder, device="cuda", compute_type="int8", slots=slots)
            assert said(few.translate_ids(short, **search)) == truth
        assert [said(few.translate_ids([each], **search))[0] for each in short] == truth


def test_little_memory_makes_it_slower_and_nothing_else(folder: Path, sources: list[list[int]]) -> None:
    """Whatever the device says is free another may take: fewer slots are tried, down to one."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a torch for CUDA, to take the memory")
    translator = Translator(folder, device="cuda", compute_type="float16", slots=4096)
    search: dict[str, Any] = {"beam_size": 12, "n_best": 12, "soft_labels": 50, "max_length": 39}
    truth = said(translator.translate_ids(sources, **search))
    for left in (2**30, 2**28, 2**26):
        torch.cuda.empty_cache()
        taken = torch.empty(max(0, torch.cuda.mem_get_info()[0] - left), dtype=torch.uint8, device="cuda")
        try:
            assert said(translator.translate_ids(sources, **search)) == truth
        except ResourceError as error:
            assert isinstance(error, MemoryExhausted) and left < 2**28
        del taken
    assert said(translator.translate_ids(sources, **search)) == truth


def test_a_killed_worker_loses_nothing(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "text").write_text("".join(f"the dog sees {i} .\n" for i in range(3000)))
    options: dict[str, Any] = {"model": str(tiny_model_folder), "source": str(tmp_path / "text"), "beam_size": 4}
    options |= {"asked": ModelOptions(device="cuda"), "shard_lines": 200, "batch_lines": 50}
    distilmt.label(**options, out=str(tmp_path / "one"))
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            for path in (tmp_path / "two" / "leases").glob("*.0"):
                lease = json.loads(path.read_bytes())
                if lease["state"] == "held" and lease["records"] > 0:
                    os.kill(lease["owner"]["pid"], signal.SIGKILL)
                    return killed.append(lease["owner"]["pid"])
            time.sleep(0.005)

    threading.Thread(target=kill, daemon=True).start()
    distilmt.label(**options, out=str(tmp_path / "two"), workers=2)
    assert killed
    for name in ("pseudo.txt", "statuses.txt", "labels.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.mark.parametrize("compute_type", ["float16", "bfloat16", "int8"])
def test_cudnn_attends_as_the_own_kernel(folder: Path, sources: list[list[int]], compute_type: str) -> None:
    """To the rounding of half precision, which this model of large random weights makes much of."""
    own, by_cudnn = (
        Translator(folder, device="cuda", compute_type=compute_type, attention=name)  # type: ignore[arg-type]
        for name in ("own", needed("cudnn"))
    )
    assert (own.attention, by_cudnn.attention) == ("own", "cudnn")
    for a, b in zip(own.score_ids(sources, sources), by_cudnn.score_ids(sources, sources), strict=True):
        assert b.log_probs == pytest.approx(a.log_probs, abs=0.5)


def test_prefixes(folder: Path, sources: list[list[int]]) -> None:
    prefixes = [source[: i % 4] for i, source in enumerate(sources[:50])]
    truth = Translator(folder, compute_type="float32").translate_ids(sources[:50], prefixes=prefixes, max_length=20)
    found = Translator(folder, device="cuda", compute_type="float32").translate_ids(
        sources[:50], prefixes=prefixes, max_length=20
    )
    assert [t.hypotheses[0].ids for t in found] == [t.hypotheses[0].ids for t in truth]


def test_ensembles_and_hidden_states(
    folder: Path, sources: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folders = [folder, save(random_model(seed=2, std=0.3, end_bias=2.0), tmp_path_factory.mktemp("other"))]
    cpu, cuda = (Translator(folders, device=each, compute_type="float32", weights=[2, 1]) for each in ("cpu", "cuda"))
    truth, found = (each.translate_ids(sources, max_length=25, repetition_penalty=1.2) for each in (cpu, cuda))
    assert sum(a.hypotheses[0].ids != b.hypotheses[0].ids for a, b in zip(truth, found, strict=True)) <= 1
    cpu, cuda = (Translator(folder, device=each, compute_type="float32") for each in ("cpu", "cuda"))
    targets = [source[:20] for source in sources]
    for a, b in zip(*(each.score_ids(sources, targets, hidden_states=True) for each in (cpu, cuda)), strict=True):
        assert b.hidden_states == pytest.approx(a.hidden_states, abs=1e-4)


@pytest.mark.parametrize("asked", [{"sample": True, "top_k": 129}, {"beam_size": 65}], ids=str)
def test_what_is_not_there_is_named(folder: Path, sources: list[list[int]], asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{list(asked)[-1]} above [0-9]+: not there on a device yet"):
        Translator(folder, device="cuda").translate_ids(sources[:1], **asked)
