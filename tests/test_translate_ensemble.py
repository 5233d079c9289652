"""Ensembles: the mean of several models at every step, against plain PyTorch loops over Hugging Face's forward passes."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import lively_model
from distilmt import models as model_files
from distilmt.errors import ConfigError, DataError
from distilmt.translate import Translator
from distilmt.vocab import Vocab
from marian import forced_logits, random_model, random_sources, save

SHAPES: list[dict[str, Any]] = [
    {"seed": 1, "std": 0.3, "end_bias": 3.0, "max_position_embeddings": 60},
    {"seed": 2, "std": 0.3, "end_bias": 3.0, "d_model": 20, "decoder_layers": 1, "tie_word_embeddings": False},
    {"seed": 4, "std": 0.3, "end_bias": 2.0, "d_model": 64, "encoder_layers": 1},
]
WEIGHTS = [0.2, 0.5, 0.3]
MEANS = ["arithmetic", "geometric"]


@pytest.fixture(scope="module")
def models() -> list[Any]:
    return [random_model(**shape) for shape in SHAPES]


@pytest.fixture(scope="module")
def folders(models: list[Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [save(model, tmp_path_factory.mktemp("member")) for model in models]


def mean(models: list[Any], kind: str, source: list[int], target: list[int]) -> torch.Tensor:
    """Log-probabilities [len(target) + 1, vocab] of the ensemble, in double."""
    each = torch.stack([forced_logits(model, source, target).double().log_softmax(-1) for model in models])
    w = torch.tensor(WEIGHTS, dtype=torch.float64)[:, None, None]
    return torch.logsumexp(each + w.log(), 0) if kind == "arithmetic" else (w * each).sum(0).log_softmax(-1)


def plain_beam(
    models: list[Any], kind: str, source: list[int], width: int, longest: int
) -> list[tuple[float, list[int]]]:
    """Beam search to the longest length, in the plainest way: (score, ids) of the `width` best, best first."""
    living: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, longest + 1):
        options = []
        for total, ids in living:
            last = mean(models, kind, source, ids)[-1]
            last[models[0].config.pad_token_id] = -math.inf
            options += [(total + p, [*ids, i]) for i, p in enumerate(last.tolist())]
        options = sorted(options, key=lambda option: -option[0])[: 2 * width]
        done = [option[1][-1] == 0 or length == longest for option in options]
        finished += [(o[0] / length, o[1]) for o, d in zip(options[:width], done, strict=False) if d]
        living = [o for o, d in zip(options, done, strict=True) if not d][:width]
    finished.sort(key=lambda f: -f[0])
    return [(score, [i for i in ids if i != 0]) for score, ids in finished[:width]]


@pytest.mark.parametrize("kind", MEANS)
@pytest.mark.parametrize("width", [1, 3])
def test_same_as_a_plain_search(models: list[Any], folders: list[Path], kind: str, width: int) -> None:
    translator = Translator(
        folders, ensemble=kind, weights=[10 * w for w in WEIGHTS], compute_type="float32", threads=1
    )
    sources = random_sources(5)
    found = translator.translate_ids(
        sources, beam_size=width, n_best=width, max_length=6, **({} if width == 1 else {"early_stopping": "exact"})
    )
    for source, translation in zip(sources, found, strict=True):
        truth = plain_beam(models, kind, source, width, 6)
        if width == 1:  # greedy stops at its first end
            truth = truth[:1] if translation.hypotheses[0].ids == truth[0][1] else greedy(models, kind, source, 6)
        assert [h.ids for h in translation.hypotheses] == [ids for _, ids in truth]
        for hypothesis, (score, _) in zip(translation.hypotheses, truth, strict=True):
            assert hypothesis.score == pytest.approx(score, abs=2e-5)


def greedy(models: list[Any], kind: str, source: list[int], longest: int) -> list[tuple[float, list[int]]]:
    ids: list[int] = []
    total = 0.0
    while len(ids) < longest:
        last = mean(models, kind, source, ids)[-1]
        last[models[0].config.pad_token_id] = -math.inf
        best = int(last.argmax())
        total += float(last[best])
        if best == 0:
            return [(total / (len(ids) + 1), ids)]
        ids.append(best)
    return [(total / longest, ids)]


@pytest.mark.parametrize("kind", MEANS)
def test_scores_and_soft_labels_are_those_of_the_mean(models: list[Any], folders: list[Path], kind: str) -> None:
    translator = Translator(folders, ensemble=kind, weights=WEIGHTS, compute_type="float32", threads=2)
    sources, targets = random_sources(12), random_sources(12, seed=2, longest=38)
    for index, scored in enumerate(translator.score_ids(sources, targets, soft_labels=5)):
        truth = mean(models, kind, sources[index], targets[index])
        tokens = torch.tensor([*targets[index], 0])
        expected = truth[torch.arange(len(tokens)), tokens]
        torch.testing.assert_close(torch.tensor(scored.log_probs).double(), expected, atol=5e-5, rtol=0)
        soft = scored.soft_labels
        assert soft is not None
        top = torch.from_numpy(soft.log_probs).double()
        torch.testing.assert_close(top, truth.topk(5).values, atol=5e-5, rtol=0)
        tail = 1 - truth.topk(5).values.exp().sum(1)
        torch.testing.assert_close(torch.from_numpy(soft.tail_mass).double(), tail, atol=1e-5, rtol=0)
        entropy = -(truth.exp() * truth).sum(1)
        torch.testing.assert_close(torch.from_numpy(soft.entropy).double(), entropy, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", MEANS)
def test_a_model_with_itself_is_the_model(folders: list[Path], kind: str) -> None:
    sources = random_sources(12)
    settings: dict[str, Any] = {"beam_size": 4, "n_best": 4, "max_length": 12}
    one = Translator(folders[1], compute_type="float32", threads=1).translate_ids(sources, **settings)
    twice = Translator([folders[1]] * 2, ensemble=kind, compute_type="float32", threads=1).translate_ids(
        sources, **settings
    )
    for a, b in zip(one, twice, strict=True):
        assert [h.ids for h in a.hypotheses] == [h.ids for h in b.hypotheses] and a.status == b.status
        for x, y in zip(a.hypotheses, b.hypotheses, strict=True):
            assert x.log_probs == pytest.approx(y.log_probs, abs=2e-5)


@pytest.mark.parametrize("compute_type", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("kind", MEANS)
def test_results_do_not_depend_on_company(folders: list[Path], kind: str, compute_type: Any) -> None:
    sources, targets = random_sources(40), random_sources(40, seed=2)
    settings: dict[str, Any] = {"beam_size": 3, "n_best": 3, "max_length": 11, "soft_labels": 2}
    alone = Translator(folders, ensemble=kind, compute_type=compute_type, threads=1, slots=1)
    truth = [alone.translate_ids([source], **settings)[0] for source in sources]
    forced = [alone.score_ids([s], [t], soft_labels=2)[0] for s, t in zip(sources, targets, strict=True)]
    for options in ({"threads": 1}, {"threads": 2, "slots": 3}, {"threads": 1, "slots": 30}):
        other = Translator(folders, ensemble=kind, compute_type=compute_type, **options)
        assert other.translate_ids(sources[::-1], **settings) == truth[::-1]
        assert other.score_ids(sources[::-1], targets[::-1], soft_labels=2) == forced[::-1]


@pytest.mark.parametrize("options", [{}, {"temperature": 3.0}, {"top_p": 0.7, "temperature": 3.0}, {"top_k": 5}])
def test_samples_are_drawn_from_the_mean(models: list[Any], folders: list[Path], options: dict[str, Any]) -> None:
    """First tokens of 1,024 samples: all from the nucleus, each as often as its share says (within 5 deviations)."""
    translator = Translator(folders, compute_type="float32", threads=1, weights=WEIGHTS)
    (source,) = random_sources(1)
    logits = mean(models, "arithmetic", source, [])[0] / options.get("temperature", 1.0)
    logits[models[0].config.pad_token_id] = -math.inf
    p, order = logits.softmax(-1).sort(descending=True)
    p[options.get("top_k", len(p)) :] = 0
    p[p.cumsum(0) / p.sum() - p / p.sum() >= options.get("top_p", 1.0)] = 0
    share = dict(zip(order.tolist(), (p / p.sum()).tolist(), strict=True))
    (out,) = translator.translate_ids([source], sample=True, n_best=1024, max_length=1, seed=3, **options)
    drawn = Counter(h.ids[0] if h.ids else 0 for h in out.hypotheses)
    for id, expected in share.items():
        assert abs(drawn[id] / 1024 - expected) <= 5 * math.sqrt(expected * (1 - expected) / 1024), id


def test_samples_carry_the_log_probabilities_of_the_mean(folders: list[Path]) -> None:
    translator = Translator(folders, compute_type="float32", threads=1)
    settings: dict[str, Any] = {"sample": True, "n_best": 4, "max_length": 6, "seed": 3}
    sources = random_sources(4)
    for source, translation in zip(sources, translator.translate_ids(sources, **settings), strict=True):
        for h in translation.hypotheses:
            (scored,) = translator.score_ids([source], [h.ids])
            assert h.log_probs == pytest.approx(scored.log_probs[: len(h.log_probs)], abs=1e-6)


def test_positions_are_those_of_the_shortest(folders: list[Path]) -> None:
    translator = Translator(folders, compute_type="float32", threads=1)
    assert [t.status == "too_long" for t in translator.translate_ids([[5] * 39, [5] * 40], max_length=3)] == [
        False,
        True,
    ]


def test_wrong_ensembles_are_refused(folders: list[Path], tmp_path: Path) -> None:
    other = save(random_model(seed=1, std=0.3, end_bias=2.0, vocab=66), tmp_path / "other")
    with pytest.raises(DataError, match=r"expected 67 source and 67 target ids as in .*, got 66 and 66"):
        Translator([folders[0], other])
    config = json.loads((folders[1] / "generation_config.json").read_text())
    same = save(random_model(**SHAPES[1]), tmp_path / "same")
    (same / "generation_config.json").write_text(json.dumps({**config, "forced_eos_token_id": 0}))
    with pytest.raises(ConfigError, match=r"an ensemble needs one forced_eos, expected -1 as in .*, got 0"):
        Translator([folders[0], same])
    for weights in ([1.0], [1.0, 0.0], [1.0, math.inf], [1.0, "1"]):
        with pytest.raises(ConfigError, match="weights: expected 2 positive numbers, one per folder"):
            Translator(folders[:2], weights=weights)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ensemble: expected arithmetic or geometric, got 'mean'"):
        Translator(folders, ensemble="mean")
    with pytest.raises(ConfigError, match="got an empty list"):
        Translator([])
    both = Translator(folders[:2], compute_type="float32", threads=1)
    with pytest.raises(ConfigError, match="hidden_states: expected none for an ensemble"):
        both.score_ids([[5]], [[5]], hidden_states=True)
    with pytest.raises(ConfigError, match="coverage_penalty: expected none for an ensemble"):
        both.translate_ids([[5]], coverage_penalty=0.2)


def test_equal_sizes_are_not_equal_vocabularies(tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path) -> None:
    pair = Translator(
        [tiny_model_folder, shutil.copytree(tiny_model_folder, tmp_path / "copy")], compute_type="float32", threads=1
    )
    assert pair.translate(["the dog sees the cat ."], max_length=5)[0].hypotheses
    nouns = ["maison", "chien", "chat", "arbre", "jardin", "fleuve", "porte", "ville", "gatto", "cane", "casa", "fiume"]
    verbs = ["voit", "trouve", "aime", "construit", "vede", "trova", "ama", "costruisce"]
    words = [f"le {n} {v} {m} ." for n in nouns for v in verbs for m in nouns] + [f"{i} h {i * 7}" for i in range(99)]
    vocab = Vocab.train(words, tiny_vocab.size, seed=1)
    assert vocab.size == tiny_vocab.size
    model_files.save(lively_model(vocab), vocab, tmp_path / "other")
    with pytest.raises(DataError, match="its vocabulary has as many pieces"):
        Translator([tiny_model_folder, tmp_path / "other"])
