"""`distilmt check`: the contract item by item, greedy output of three engines, and why the pad row must stay zero."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from conftest import lively_model
from distilmt import models
from distilmt.errors import DataError
from distilmt.marian.check import check
from distilmt.marian.probe import Probe, _greedy, _probe_ids, ctranslate2_greedy
from distilmt.marian.weights import WEIGHTS
from distilmt.vocab import Vocab


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder: Path, **changes: Any) -> None:
    tensors = load_file(folder / WEIGHTS)
    for name, change in changes.items():
        key = name.replace("__", ".")
        tensors[key] = change(tensors.get(key))
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def failed(folder: Path) -> set[str]:
    report = check(folder, sentences=5)
    assert report.ok == (not any(item.status == "failed" for item in report.items))
    return {item.name for item in report.items if item.status == "failed"}


def test_a_sound_folder_is_identical_in_three_engines(tiny_model_folder: Path) -> None:
    pytest.importorskip("ctranslate2")
    report = check(tiny_model_folder)
    assert report.ok and [item.status for item in report.items] == ["ok"] * 12, str(report)
    assert "50 sentences" in report["ctranslate2"].detail and "identical" in report["native"].detail
    assert str(report).splitlines()[-1] == "12 ok, 0 failed, 0 not checked"


def test_the_probe_tells_models_apart(tiny_model_folder: Path, tiny_vocab: Vocab, tmp_path: Path) -> None:
    """Else identical outputs would prove nothing: they are varied, and another model gives others."""
    pytest.importorskip("ctranslate2")
    sources = tiny_vocab.encode_source(["the dog sees the cat .", "Garten 12 Uhr", "the river finds house ."])
    first = ctranslate2_greedy(tiny_model_folder, sources, 20)
    models.save(lively_model(tiny_vocab, seed=2), tiny_vocab, tmp_path / "other")
    assert len({token for ids in first for token in ids}) > 8
    assert all(a != b for a, b in zip(first, ctranslate2_greedy(tmp_path / "other", sources, 20), strict=True))


def test_one_other_token_fails_but_a_tie_does_not(tiny_vocab: Vocab, tmp_path: Path) -> None:
    model = lively_model(tiny_vocab)
    word = _greedy(model, [[5, 6, 7]], 10)[0][4]
    twin = 3 if word != 3 else 4
    model.model.shared.weight.data[twin] = model.model.shared.weight[word]  # equal logits: the lower id wins
    models.save(model, tiny_vocab, tmp_path / "m")
    probe = Probe(tmp_path / "m", model, None, 5)

    def engine(replaced: int, by: int) -> Any:
        return lambda folder, sources, longest: [
            [by if token == replaced else token for token in ids] for ids in _greedy(model, sources, longest)
        ]

    chosen = next(token for ids in _greedy(model, _probe_ids(tmp_path / "m", None, 5, 60), 60) for token in ids)
    with pytest.raises(DataError, match=f"transformers chose id {chosen}, engine {chosen + 1}, whose"):
        probe.compare("engine", engine(chosen, chosen + 1))
    with pytest.raises(DataError, match=r"token 8: .* engine 0, whose"):  # one engine stops early
        probe.compare("engine", lambda *a: [ids[:7] for ids in engine(0, 0)(*a)])
    low, high = sorted((word, twin))
    tied = probe.compare("engine", engine(low, high))
    assert "at a tie" in tied


def test_given_lines(tiny_model_folder: Path) -> None:
    assert "2 sentences" in check(tiny_model_folder, ["the dog", "", "a cat " * 200])["native"].detail
    assert check(tiny_model_folder, [""])["native"].status == "not checked"


def test_without_ctranslate2(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    report = check(tiny_model_folder, ["the dog"])
    assert report.ok and report["ctranslate2"].status == "not checked"
    assert "pip install 'distilmt[ctranslate2]'" in report["ctranslate2"].detail


@pytest.mark.parametrize(
    ("file", "change", "item"),
    [
        ("config", {"architectures": ["MarianModel"]}, "config"), ("config", {"dtype": "float16"}, "config"),
        ("config", {"pad_token_id": 3}, "ids"), ("config", {"decoder_start_token_id": 0}, "ids"),
        ("config", {"decoder_attention_heads": 2}, "architecture"),
        ("config", {"normalize_before": True}, "architecture"),
        ("config", {"activation_function": "tanh"}, "architecture"), ("config", {"tie_word_embeddings": False}, "ties"),
        ("generation_config", {"bad_words_ids": None}, "generation"),
        ("generation_config", {"decoder_start_token_id": 0}, "generation"),
        ("generation_config", {"num_beams": 0}, "generation"), ("generation_config", {"max_length": 900}, "generation"),
    ],
)  # fmt: skip
def test_each_broken_rule_is_named(folder: Path, file: str, change: dict[str, Any], item: str) -> None:
    edit_json(folder / f"{file}.json", **change)
    assert item in failed(folder)


def test_broken_weights_are_named(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    edit_tensors(folder, lm_head__weight=lambda _: load_file(folder / WEIGHTS)["model.shared.weight"].clone())
    assert failed(folder) == {"stored tensors"}
    (folder / WEIGHTS).write_bytes(whole)
    edit_tensors(folder, model__encoder__embed_positions__weight=lambda _: torch.zeros(128, 32))
    assert {"stored tensors", "ties", "transformers"} <= failed(folder)
    (folder / WEIGHTS).write_bytes(whole[:-9])
    report = check(folder)
    assert report["weights"].status == "failed" and report["native"].status == "not checked"
    (folder / WEIGHTS).write_bytes(whole)
    (folder / "target.spm").unlink()
    assert "vocabulary" in failed(folder)
    (folder / "config.json").unlink()
    assert failed(folder) == {"config"}


@pytest.mark.parametrize("seed", range(8))
def test_random_valid_configs_export_to_ctranslate2(seed: int, tiny_vocab: Vocab, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    chance = random.Random(seed)
    heads, width = chance.choice([2, 3, 4]), chance.choice([8, 10, 16])
    size = f"{chance.randint(1, 4)}x{chance.randint(1, 4)}:{heads * width}:{chance.choice([16, 50, 128])}:{heads}"
    activation = ["relu", "gelu", "swish"][seed % 3]
    model = lively_model(tiny_vocab, size, seed, activation=activation)
    if seed % 2:  # a bias on the output, as OPUS-MT models have
        model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(seed))
    models.save(model, tiny_vocab, tmp_path / "m")
    report = check(tmp_path / "m", sentences=20)
    assert report.ok and all(item.status == "ok" for item in report.items), f"{size} {activation}\n{report}"


def train_steps(model: Any, pad: int, logits_of: Any, steps: int = 5) -> None:
    """Plain steps on random ids: what a training loop does to the pad row."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        source, labels = torch.randint(0, pad, (2, 4, 7), generator=generator)
        source[:2, 5:] = pad
        start = torch.full((4, 1), pad)
        decoder_ids = torch.cat([start, labels[:, :-1]], 1)
        mask = (source != pad).long()
        hidden = model.model(input_ids=source, attention_mask=mask, decoder_input_ids=decoder_ids).last_hidden_state
        optimizer.zero_grad()
        functional.cross_entropy(logits_of(model, hidden).flatten(0, 1), labels.flatten()).backward()
        optimizer.step()


def test_full_softmax_moves_the_pad_row_and_then_engines_disagree(tiny_vocab: Vocab, tmp_path: Path) -> None:
    """The derivation of the contract: with tied weights the output's gradient reaches the row in spite of padding_idx."""
    pytest.importorskip("ctranslate2")
    model = lively_model(tiny_vocab)
    pad = tiny_vocab.pad_id
    train_steps(model, pad, lambda model, hidden: model.lm_head(hidden))
    drifted = model.model.shared.weight[pad].detach().clone()
    assert drifted.abs().max() > 1e-3

    model.model.shared.weight.data[pad] = 50 * drifted  # what a long training does
    model.config.dtype = "float32"
    models.save(model, tiny_vocab, tmp_path / "m")  # zero on disk ...
    edit_tensors(tmp_path / "m", model__shared__weight=lambda _: model.model.shared.weight.detach().clone())
    assert {"pad row", "ctranslate2"} <= failed(tmp_path / "m")  # ... and here as transformers would have saved it


def test_saving_writes_a_drifted_pad_row_as_zero_and_says_so(
    tiny_vocab: Vocab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = lively_model(tiny_vocab)
    model.model.shared.weight.data[tiny_vocab.pad_id] = 0.5
    models.save(model, tiny_vocab, tmp_path / "m")
    assert "has drifted from zero by 0.5; it is written as zero" in caplog.text
    assert not failed(tmp_path / "m")
    assert model.model.shared.weight[tiny_vocab.pad_id, 0].item() == 0.5  # the model in memory is left alone


def test_loss_without_the_pad_logit_keeps_the_pad_row_zero(tiny_vocab: Vocab) -> None:
    """Exactly zero, under AdamW with weight decay: no gradient from output, none from input, and 0 decays to 0."""
    model = lively_model(tiny_vocab)
    before = model.model.shared.weight.detach().clone()
    train_steps(model, tiny_vocab.pad_id, lambda model, hidden: functional.linear(hidden, model.lm_head.weight[:-1]))
    after = model.model.shared.weight.detach()
    assert after[tiny_vocab.pad_id].abs().max() == 0
    assert (after[:-1] - before[:-1]).abs().min(dim=1).values.max() > 0  # while the others learn


@pytest.mark.data
def test_the_shared_teacher_keeps_the_contract(shared: Path) -> None:
    report = check(
        shared / "models" / "multi30k-de-en", ["Ein Hund läuft durch den Garten.", "Zwei Männer sitzen am Fluss."]
    )
    assert report.ok, str(report)
