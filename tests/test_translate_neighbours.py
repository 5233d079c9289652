"""Neighbours in the search (kNN-MT), against a plain loop; equal sentences."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from distilmt.errors import ConfigError
from distilmt.translate import Translator
from marian import random_sources
from plain_search import EOS, plain_beam_search, search_model


@pytest.fixture(scope="module")
def model() -> Any:
    return search_model()


@pytest.fixture(scope="module")
def translator(model: Any) -> Translator:
    return Translator.of(model, compute_type="float32", threads=1)


class Memory:
    """Neighbours that hang on the hidden state alone: words and weights from its random projection."""

    def __init__(self, hidden: int, k: int, share: float | None = None) -> None:
        chance = np.random.default_rng(5)
        self.words, self.logits = chance.normal(size=(hidden, k)), chance.normal(size=(hidden, k))
        self.share, self.rows = share, 0

    def __call__(self, hidden: Any) -> tuple[Any, Any, Any]:
        assert hidden.dtype == np.float32 and hidden.shape[1] == len(self.words)
        self.rows += len(hidden)
        wide = np.asarray(hidden, np.float64)
        ids = np.floor(np.abs(wide @ self.words) * 40).astype(int) % 66
        odds = np.exp(2 * np.sin(wide @ self.logits))
        share = 0.2 + 0.6 * (np.abs(wide[:, 0]) % 1) if self.share is None else self.share
        return ids, odds / odds.sum(1, keepdims=True), share


def mixed(model: Any, source: list[int], memory: Memory) -> Callable[[list[int]], torch.Tensor]:
    """The mixture in plain PyTorch, from the model's own last hidden state."""

    def step(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            out = model(
                input_ids=torch.tensor([[*source, EOS]]),
                decoder_input_ids=torch.tensor([[model.config.decoder_start_token_id, *ids]]),
                output_hidden_states=True,
            )
        words, odds, share = memory(out.decoder_hidden_states[-1][0, -1:].numpy())
        p = out.logits[0, -1].softmax(-1) * (1 - float(np.asarray(share).item()))
        p.index_add_(0, torch.tensor(words[0]), torch.tensor(odds[0] * np.asarray(share).item(), dtype=p.dtype))
        p[model.config.pad_token_id] = 0
        return p.log()

    return step


@pytest.mark.parametrize("share", [None, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_neighbours_as_a_plain_loop(model: Any, translator: Translator, beam_size: int, share: float | None) -> None:
    sources = random_sources(3)
    memory = Memory(64, 6, share)
    asked: dict[str, Any] = {"beam_size": beam_size, "n_best": min(2, beam_size), "max_length": 6}
    settings: dict[str, Any] = {"early_stopping": "exact", "length_penalty": 1.0, "neighbours": memory}
    found = translator.translate_ids(sources, **asked, **settings)
    for source, translation in zip(sources, found, strict=True):
        step = mixed(model, source, Memory(64, 6, share))
        if beam_size == 1:
            ids: list[int] = []
            while len(ids) < 6 and ids[-1:] != [EOS]:
                ids.append(int(step(ids).argmax()))
            truth = [ids]
        else:
            truth = [ids for ids, _ in plain_beam_search(step, lambda s, ids: s / len(ids), eos=EOS, **asked)]
        assert [h.ids for h in translation.hypotheses] == [[i for i in ids if i != EOS] for ids in truth]
    assert memory.rows > 0
    assert (found == translator.translate_ids(sources, **asked, **{**settings, "neighbours": None})) == (share == 0.0)
    parts = [translator.translate_ids([source], **asked, **settings)[0] for source in sources]
    assert parts == found


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda n: None, "expected .ids, probabilities, lambda., got NoneType"),
        (lambda n: (np.zeros((n + 1, 2), int), np.zeros((n + 1, 2)), 0.5), r"whole ids \[1, k\], got int64 \[2, 2\]"),
        (lambda n: (np.zeros((n, 2)), np.zeros((n, 2)), 0.5), "whole ids"),
        (lambda n: (np.full((n, 2), 67), np.zeros((n, 2)), 0.5), r"ids must lie in \[0, 67\), got 67 to 67"),
        (lambda n: (np.full((n, 2), -1), np.zeros((n, 2)), 0.5), "ids must lie in"),
        (lambda n: (np.zeros((n, 2), int), np.zeros((n, 3)), 0.5), r"expected probabilities \[1, 2\]"),
        (lambda n: (np.zeros((n, 2), int), np.full((n, 2), -0.1), 0.5), "must not be negative"),
        (lambda n: (np.zeros((n, 2), int), np.full((n, 2), np.nan), 0.5), "must not be negative"),
        (lambda n: (np.zeros((n, 2), int), np.full((n, 2), 0.7), 0.5), "sum to at most 1"),
        (lambda n: (np.zeros((n, 2), int), np.zeros((n, 2)), 1.5), r"lambda in \[0, 1\]"),
        (lambda n: (np.zeros((n, 2), int), np.zeros((n, 2)), [0.5, 0.5]), r"one or \[1\]"),
    ],
)
def test_wrong_neighbours(translator: Translator, returned: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"neighbours: .*{message}"):
        translator.translate_ids([[5]], neighbours=lambda hidden: returned(len(hidden)))


def test_neighbours_are_asked_by_one_worker_at_a_time(model: Any) -> None:
    asking: list[int] = []

    def find(hidden: Any) -> Any:
        asking.append(1)
        time.sleep(0.001)  # hands the GIL over
        alone = len(asking) == 1
        asking.pop()
        assert alone
        return np.zeros((len(hidden), 1), np.int64), np.ones((len(hidden), 1)), 0.1

    translator = Translator.of(model, compute_type="float32", threads=3, slots=2)
    translator.translate_ids(random_sources(30), beam_size=2, max_length=4, neighbours=find)


@pytest.mark.parametrize("settings", [{"beam_size": 1}, {"beam_size": 3}, {"sample": True}], ids=str)
def test_a_sentence_without_any_continuation_harms_no_other(translator: Translator, settings: dict[str, Any]) -> None:
    sources = random_sources(6)
    found = translator.translate_ids(sources, max_length=8, **settings)
    calls: list[int] = []

    def find(hidden: Any) -> Any:
        """All mass on the banned pad, for the first row of the first step."""
        weight = np.zeros(len(hidden))
        weight[0] = 0.0 if calls else 1.0
        calls.append(1)
        return np.full((len(hidden), 1), 66), np.ones((len(hidden), 1)), weight

    others = translator.translate_ids(sources, max_length=8, neighbours=find, **settings)
    impossible = [i for i, t in enumerate(others) if t.status == "empty_hypothesis" and not t.hypotheses[0].log_probs]
    assert len(impossible) == 1
    assert [t.hypotheses[0].ids for i, t in enumerate(others) if i not in impossible] == [
        t.hypotheses[0].ids for i, t in enumerate(found) if i not in impossible
    ]


def test_an_exception_of_neighbours_is_passed_on(model: Any) -> None:
    def fail(hidden: Any) -> Any:
        raise OSError("no index")

    with pytest.raises(OSError, match="no index"):
        Translator.of(model, compute_type="float32", threads=2).translate_ids(random_sources(40), neighbours=fail)


def test_equal_sentences_are_decoded_once(translator: Translator) -> None:
    memory = Memory(64, 3)
    sources, prefixes = random_sources(4), [[5], [6], [5], [5]]
    once = translator.translate_ids(sources, prefixes=prefixes, neighbours=memory, max_length=8)
    rows = memory.rows
    found = translator.translate_ids(sources * 5, prefixes=prefixes * 5, neighbours=memory, max_length=8)
    assert found == once * 5 and memory.rows == 2 * rows
    other = translator.translate_ids([sources[0]] * 2, prefixes=[[5], [6]], max_length=8)
    assert other[0] != other[1]
    targets = random_sources(4, seed=9)
    assert translator.score_ids(sources * 2, targets * 2) == translator.score_ids(sources, targets) * 2
