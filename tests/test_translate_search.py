"""Options of the search: against `generate` where it has them, else against CTranslate2 or a plain loop."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import lively_model
from distilmt import models
from distilmt.errors import ConfigError
from distilmt.translate import Translator
from distilmt.vocab import Vocab
from marian import compare, forced_logits, random_model, random_sources
from plain_search import plain_beam_search

EOS = 0


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model(seed=3, std=0.8, end_bias=0.0, d_model=64, decoder_layers=1, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def translator(model: Any) -> Translator:
    return Translator.of(model, compute_type="float32", threads=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.7},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2},
        {"no_repeat_ngram_size": 3, "repetition_penalty": 1.2, "min_length": 6},
    ],
    ids=str,
)
@pytest.mark.parametrize("beam_size", [1, 4, 12])
@pytest.mark.parametrize("prefixed", [False, True])
def test_penalties_and_prefixes_as_generate(
    model: Any, translator: Translator, beam_size: int, settings: dict[str, Any], prefixed: bool
) -> None:
    sources = random_sources(6)
    prefixes = random_sources(6, longest=4, seed=5) if prefixed else None
    n_best = min(beam_size, 4)
    parity = compare(
        translator, model, sources, prefixes, beam_size=beam_size, n_best=n_best, max_length=14, **settings
    )
    assert parity.worst_score < 1e-4
    plain = translator.translate_ids(sources, prefixes=prefixes, beam_size=beam_size, max_length=14)
    asked = translator.translate_ids(sources, prefixes=prefixes, beam_size=beam_size, max_length=14, **settings)
    assert plain != asked


@pytest.mark.parametrize("beam_size", [1, 5])
def test_prefixes_as_generate(model: Any, translator: Translator, beam_size: int) -> None:
    sources, prefixes = random_sources(8), [[], [7], [8, 9, 8, 9], [5] * 20, *random_sources(4, seed=7)]
    compare(translator, model, sources, prefixes, beam_size=beam_size, max_length=10, min_length=2)
    for prefix, translation in zip(
        prefixes, translator.translate_ids(sources, prefixes=prefixes, beam_size=beam_size, max_length=10), strict=True
    ):
        best = translation.hypotheses[0]
        assert best.ids[: len(prefix)] == prefix and best.log_probs[: len(prefix)] == [0.0] * len(prefix)
        generated = best.log_probs[len(prefix) :]
        assert len(generated) <= 10 and best.score == pytest.approx(sum(generated) / len(generated), abs=1e-6)


def test_a_prefix_leaves_fewer_positions(translator: Translator) -> None:
    sources = random_sources(3)
    long, full, over = translator.translate_ids(sources, prefixes=[[5] * 30, [5] * 39, [5] * 40], beam_size=2)
    assert len(long.hypotheses[0].log_probs) <= 40 and len(full.hypotheses[0].log_probs) == 40
    assert over.status == "too_long"


def test_the_models_own_penalties_hold_unless_others_are_asked_for(model: Any, translator: Translator) -> None:
    settings: dict[str, Any] = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}
    sources = random_sources(5)
    expected = translator.translate_ids(sources, beam_size=3, max_length=12, **settings)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    try:
        own = Translator.of(model, compute_type="float32", threads=1)
    finally:
        model.generation_config.repetition_penalty = model.generation_config.no_repeat_ngram_size = None
    assert own.translate_ids(sources, beam_size=3, max_length=12) == expected
    neutral = own.translate_ids(sources, beam_size=3, max_length=12, repetition_penalty=1.0, no_repeat_ngram_size=0)
    assert neutral == translator.translate_ids(sources, beam_size=3, max_length=12) != expected


@pytest.mark.parametrize("beam_size", [1, 4])
def test_renormalised_as_generate(beam_size: int) -> None:
    """Shares of what n-grams and min_length ban go to the rest, as do those of ids banned for good."""
    model = random_model(seed=1, std=0.5, end_bias=6.0)
    model.generation_config.renormalize_logits = True
    model.generation_config.bad_words_ids = [[66], [3], [4], [5]]
    translator = Translator.of(model, compute_type="float32", threads=1)
    parity = compare(
        translator, model, random_sources(6), beam_size=beam_size, n_best=beam_size, max_length=12, min_length=5,
        no_repeat_ngram_size=2,
    )  # fmt: skip
    assert parity.worst_score < 1e-4


def test_log_probs_are_the_models_under_a_penalty(model: Any, translator: Translator) -> None:
    for beam_size in (1, 4):
        for source in random_sources(4):
            found = translator.translate_ids([source], beam_size=beam_size, max_length=9, repetition_penalty=2.0)[0]
            check_log_probs(model, source, found.hypotheses[0])


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


@pytest.mark.parametrize(
    "settings",
    [
        {"length_penalty": 1.5},
        {"length_penalty": -1.0},
        {"length_penalty": 0.0},
        {"length_penalty": 0.9, "length_penalty_form": "gnmt"},
        {"length_penalty": -2.0, "length_penalty_form": "gnmt"},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_best", [1, 3])
def test_exact_stop_is_a_search_that_never_stops(
    model: Any, translator: Translator, settings: dict[str, Any], n_best: int
) -> None:
    def worth(total: float, ids: list[int]) -> float:
        gnmt = settings.get("length_penalty_form") == "gnmt"
        return float(total / (((5 + len(ids)) / 6) if gnmt else len(ids)) ** settings["length_penalty"])

    sources = random_sources(5)
    asked: dict[str, Any] = {"beam_size": 3, "n_best": n_best, "max_length": 10}
    for source, found in zip(
        sources, translator.translate_ids(sources, early_stopping="exact", **asked, **settings), strict=True
    ):
        truth = plain_beam_search(distribution(model, source), worth, eos=EOS, **asked)
        assert [h.ids for h in found.hypotheses] == [[i for i in ids if i != EOS] for ids, _ in truth]
        assert [h.score for h in found.hypotheses] == pytest.approx([score for _, score in truth], rel=1e-4)


# ---- neighbours ------------------------------------------------------------------------------------------------------


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


# ---- sampling --------------------------------------------------------------------------------------------------------


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


# ---- equal sentences --------------------------------------------------------------------------------------------------


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


# ---- CTranslate2 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"coverage_penalty": 0.3},
        {"coverage_penalty": 2.0, "patience": 2.0},
        {"patience": 0.5},
        {"patience": 3.0},
        {"no_repeat_ngram_size": 2, "patience": 1.5},
    ],
    ids=str,
)
def test_as_ctranslate2(tiny_vocab: Vocab, tmp_path: Path, settings: dict[str, Any]) -> None:
    """One head, since CTranslate2 counts the coverage of the first alone."""
    ctranslate2 = pytest.importorskip("ctranslate2")
    model = lively_model(tiny_vocab, "2x2:32:64:1", seed=2)
    model.final_logits_bias[0, model.config.eos_token_id] = 2.0  # so that it ends
    model.generation_config.renormalize_logits = True  # CTranslate2 knows no pad that could take probability
    models.save(model, tiny_vocab, tmp_path / "model")
    ctranslate2.converters.TransformersConverter(str(tmp_path / "model")).convert(str(tmp_path / "converted"))
    theirs = ctranslate2.Translator(str(tmp_path / "converted"), compute_type="float32", intra_threads=1)
    tokens = {i: token for token, i in json.loads((tmp_path / "model" / "vocab.json").read_text()).items()}
    chance = random.Random(4)
    sources = [[chance.randrange(2, tiny_vocab.size - 1) for _ in range(chance.randint(1, 15))] for _ in range(30)]
    found = Translator(tmp_path / "model", compute_type="float32", threads=1).translate_ids(
        sources, beam_size=4, max_length=20, early_stopping=True, length_penalty=1.0, **settings
    )
    same = []
    for source, ours in zip(sources, found, strict=True):  # alone: its coverage in a batch is not that of the sentence
        truth = theirs.translate_batch(
            [[*(tokens[i] for i in source), tokens[model.config.eos_token_id]]], beam_size=4, max_decoding_length=20,
            min_decoding_length=0, length_penalty=1.0, return_scores=True, **settings,
        )[0]  # fmt: skip
        best = ours.hypotheses[0]
        near = best.score == pytest.approx(truth.scores[0], rel=1e-4)
        same.append(near and [tokens[i] for i in best.ids] == truth.hypotheses[0])
    assert sum(same) >= len(same) - 1
    assert sum(len(t.hypotheses[0].log_probs) > len(t.hypotheses[0].ids) for t in found) > 5  # these end
