"""The engine that is transformers itself: same results object, same arguments, for models the native one does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5ForConditionalGeneration

from distilmt.errors import ConfigError, DataError
from distilmt.translate import Translator
from distilmt.translator.results import repeats
from distilmt.translator.search import DEFAULTS
from distilmt.translator.transformers_engine import NATIVE_ALONE
from marian import TIE, beam_margin, greedy_margin, random_model, random_sources


def random_t5() -> Any:
    torch.manual_seed(3)
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=67, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.6)
    model.generation_config.bad_words_ids = [[0]]
    return model.eval()


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    random_t5().save_pretrained(folder)
    return folder


def forced(model: Any, source: list[int], target: list[int]) -> torch.Tensor:
    """Log-probability of each token of a T5's target, end symbol included."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*source, 1]]), decoder_input_ids=torch.tensor([[0, *target]])).logits[0]
    return logits.log_softmax(-1)[torch.arange(len(target) + 1), torch.tensor([*target, 1])]


@pytest.mark.parametrize("settings", [{"beam_size": 1}, {"beam_size": 4, "n_best": 3, "length_penalty": 0.7}], ids=str)
def test_t5_as_generate_sentence_by_sentence(t5: Path, settings: dict[str, Any]) -> None:
    model = random_t5()
    sources = [[max(id, 2) for id in ids] for ids in random_sources(9)]
    seen: list[int] = []
    translator = Translator(t5, engine="transformers", slots=1)
    found = translator.translate_ids([*sources, []], max_length=9, progress=seen.append, **settings)
    assert seen == list(range(2, 11)) and translator.stats.sentences == 10
    assert found[-1].status == "empty_source" and found[-1].text == ""
    for source, translation in zip(sources, found, strict=False):
        beams = settings["beam_size"]
        with torch.no_grad():
            out = model.generate(
                torch.tensor([[*source, 1]]), num_beams=beams, num_return_sequences=settings.get("n_best", 1),
                max_new_tokens=9, return_dict_in_generate=True, output_scores=True,
                **({"length_penalty": 0.7} if beams > 1 else {}),
            )  # fmt: skip
        for row, hypothesis in zip(out.sequences.tolist(), translation.hypotheses, strict=True):
            ended = 1 in row[1:]
            assert hypothesis.ids == (row[1 : row.index(1)] if ended else row[1:])
            expected = forced(model, source, hypothesis.ids)[: len(hypothesis.ids) + ended]
            torch.testing.assert_close(torch.tensor(hypothesis.log_probs), expected, atol=2e-5, rtol=0)
        if beams > 1:
            scores = torch.tensor([hypothesis.score for hypothesis in translation.hypotheses])
            torch.testing.assert_close(scores, out.sequences_scores, atol=2e-5, rtol=0)
        best = translation.hypotheses[0]
        unfinished = len(best.ids) == len(best.log_probs)
        if not repeats(best.ids):
            assert translation.status == ("max_length" if unfinished else "ok" if best.ids else "empty_hypothesis")


def test_t5_scores(t5: Path) -> None:
    model = random_t5()
    sources, targets = random_sources(5), [*random_sources(4, seed=2), []]
    scored = Translator(t5, engine="transformers", slots=2).score_ids(sources, targets, length_penalty=0.5)
    for source, target, got in zip(sources, targets, scored, strict=True):
        expected = forced(model, source, target)
        torch.testing.assert_close(torch.tensor(got.log_probs), expected, atol=2e-5, rtol=0)
        assert got.score == pytest.approx(float(expected.sum()) / len(expected) ** 0.5, abs=1e-4)


@pytest.mark.parametrize("forced_symbols", [{}, {"forced_bos_token_id": 7, "forced_eos_token_id": 0}], ids=str)
def test_marian_as_the_native_engine(tmp_path: Path, forced_symbols: dict[str, int]) -> None:
    model = random_model(seed=1, std=0.5, end_bias=6.0)
    for name, value in forced_symbols.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(tmp_path)
    native, other = Translator(tmp_path, compute_type="float32"), Translator(tmp_path, engine="transformers", slots=4)
    sources = [*random_sources(10), [], [5] * 50]
    for beam_size in (1, 4):
        settings = {"beam_size": beam_size, "max_length": 8}
        pairs = zip(
            sources, native.translate_ids(sources, **settings), other.translate_ids(sources, **settings), strict=True
        )
        same = 0
        for source, ours, theirs in pairs:
            if ours.hypotheses[0].ids != theirs.hypotheses[0].ids:
                greedy = greedy_margin(model, source, ours.hypotheses[0].ids, 8)
                assert (greedy if beam_size == 1 else beam_margin(model, source, **settings)) <= TIE
                continue
            same += 1
            assert ours.status == theirs.status
            assert theirs.hypotheses[0].log_probs == pytest.approx(ours.hypotheses[0].log_probs, abs=1e-4)
            assert theirs.hypotheses[0].score == pytest.approx(ours.hypotheses[0].score, abs=1e-4)
        assert same >= 10
    targets = random_sources(len(sources), seed=5)
    for ours, theirs in zip(native.score_ids(sources, targets), other.score_ids(sources, targets), strict=True):
        assert ours.status == theirs.status
        assert theirs.log_probs == pytest.approx(ours.log_probs, abs=1e-4)


def test_every_option_of_a_search_is_honoured_or_refused() -> None:
    honoured = {"beam_size", "n_best", "length_penalty", "early_stopping", "max_length", "min_length"}
    honoured |= {"repetition_penalty", "no_repeat_ngram_size"}
    of_sampling = {"temperature", "top_k", "top_p", "seed"}  # without `sample` they mean nothing
    assert set(DEFAULTS) == honoured | of_sampling | (set(NATIVE_ALONE) & set(DEFAULTS))


def test_what_cannot_be_honoured_is_refused(t5: Path) -> None:
    translator = Translator(t5, engine="transformers")
    for asked in (
        {"patience": 2.0}, {"sample": True}, {"coverage_penalty": 0.1}, {"length_penalty_form": "gnmt"},
        {"early_stopping": "exact"}, {"soft_labels": 3}, {"prefixes": [[4]]}, {"neighbours": lambda states: None},
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=rf'{next(iter(asked))}: .*not available with engine="transformers"'):
            translator.translate_ids([[5]], **asked)
    with pytest.raises(ConfigError, match="engine: expected native or transformers, got 'torch'"):
        Translator(t5, engine="torch")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r'model_type must be .*, got \'t5\'.*engine="transformers"'):
        Translator(t5)
    with pytest.raises(ConfigError, match="device"):
        Translator(t5, engine="transformers", device="cuda")
    with pytest.raises(ConfigError, match="compute_type"):
        Translator(t5, engine="transformers", compute_type="int8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("encoder.block.0.layer.0.SelfAttention.q.weight"), "tensors are missing: encoder"),
        (lambda tensors: tensors.update({"shared.weight": torch.zeros(5, 32)}), "cannot load this"),
    ],
    ids=["missing", "shape"],
)
def test_damaged_folders(tmp_path: Path, change: Any, message: str) -> None:
    random_t5().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=message):
        Translator(tmp_path, engine="transformers")


def test_numbers_that_are_not_finite_have_a_status(tmp_path: Path) -> None:
    model = random_t5()
    with torch.no_grad():
        model.shared.weight[5] = float("nan")
    model.save_pretrained(tmp_path)
    translator = Translator(tmp_path, engine="transformers", slots=1)
    found = translator.translate_ids([[5], [6]], beam_size=2, max_length=4)
    assert [t.status for t in found] == ["not_finite", "not_finite"]  # the output layer is the embedding
    assert [s.status for s in translator.score_ids([[6]], [[7]])] == ["not_finite"]


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    model = random_t5()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="cannot load this"):
        Translator(tmp_path, engine="transformers")
