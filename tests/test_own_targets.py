"""On-policy batches: what the student says becomes the target, positions behind its end do not count."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import MarianMTModel, TrainerState

from conftest import lively_model
from distilmt.errors import ConfigError
from distilmt.objectives import parse
from distilmt.train import TrainingOptions
from distilmt.training import stop
from distilmt.training.batches import encode_pairs
from distilmt.training.own_batches import Sayer, own_objective
from distilmt.training.own_targets import OwnTargets
from distilmt.training.trainer import fit
from distilmt.vocab import Vocab


def sayer(vocab: Vocab, **options: object) -> Sayer:
    return Sayer(OwnTargets(share=1.0, **options), eos=vocab.eos_id, pad=vocab.pad_id, seed=1, threads=1)  # type: ignore[arg-type]


def test_targets_are_the_students_greedy_output_trap_10(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    student = lively_model(tiny_vocab).train()
    out = sayer(tiny_vocab).say(student, two_sentences, 0)
    assert student.training
    labels, decoder = out["labels"], out["decoder_input_ids"]
    assert labels.shape == decoder.shape and labels.shape[1] <= two_sentences["labels"].shape[1]
    assert torch.equal(out["input_ids"], two_sentences["input_ids"])
    with torch.no_grad():
        best = (
            student.eval()(input_ids=out["input_ids"], attention_mask=out["attention_mask"], decoder_input_ids=decoder)
            .logits[..., :-1]
            .argmax(-1)
        )
    known = labels != -100
    assert torch.equal(best[known], labels[known]) and bool(known[:, 0].all())
    assert bool((decoder[:, 0] == tiny_vocab.pad_id).all())
    assert torch.equal(decoder[:, 1:][known[:, 1:]], labels[:, :-1][known[:, 1:]])
    ended = labels == tiny_vocab.eos_id
    assert not bool((known[:, 1:] & ended[:, :-1]).any())  # nothing behind an end symbol


def test_weights_are_at_most_every_updates_old(
    tiny_vocab: Vocab, two_sentences: dict[str, Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    student, one = lively_model(tiny_vocab, seed=1), sayer(tiny_vocab, every=3)
    first = one.say(student, two_sentences, 0)["labels"]
    with torch.no_grad():
        student.load_state_dict(lively_model(tiny_vocab, seed=2).state_dict())
    assert torch.equal(one.say(student, two_sentences, 2)["labels"], first)
    assert not torch.equal(one.say(student, two_sentences, 3)["labels"], first)
    assert capfd.readouterr().err == ""  # no progress of files that are written in between


def test_a_checkpoint_waits_for_newer_weights(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    """SIGTERM ends a training where the next batch is decoded anew: one that resumes there says what one that went on says."""
    own = sayer(tiny_vocab, every=3)
    ending = stop.Stop("training", own.fresh)
    ending.terminated = True

    def saves(update: int, due: bool = False) -> bool:
        control = SimpleNamespace(should_save=due, should_training_stop=False)
        ending.on_step_end(None, SimpleNamespace(global_step=update, max_steps=100), control)
        assert control.should_save == control.should_training_stop
        return control.should_save

    assert saves(4)
    own.say(lively_model(tiny_vocab, seed=1), two_sentences, 5)
    assert [saves(update) for update in (6, 7, 8, 9)] == [False, False, True, True]
    own.say(lively_model(tiny_vocab, seed=1), two_sentences, 10)
    assert not saves(11) and saves(11, due=True)  # a checkpoint that is due is such a one


def test_samples_differ_by_update_and_not_by_chance(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    student = lively_model(tiny_vocab)
    labels = [
        sayer(tiny_vocab, sample=True, temperature=2.0).say(student, two_sentences, update)["labels"].tolist()
        for update in (5, 5, 6)
    ]
    assert labels[0] == labels[1] != labels[2]


def test_samples_of_the_likeliest_word_alone_are_greedy(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    student = lively_model(tiny_vocab, seed=1)
    one, greedy = (
        sayer(tiny_vocab, **options).say(student, two_sentences, 1) for options in ({"sample": True, "top_k": 1}, {})
    )
    assert torch.equal(one["labels"], greedy["labels"])
    with pytest.raises(ConfigError, match="own_top_k must be at least 0, got -1"):
        OwnTargets(top_k=-1)


def test_shares() -> None:
    constant = OwnTargets(share=0.5)
    assert constant.share_at(0) == constant.share_at(1) == 0.5
    drawn = [bool(constant.chosen(1, update, 0, 0.3, 2).all()) for update in range(1000)]
    assert 450 < sum(drawn) < 550 and drawn == [bool(constant.chosen(1, u, 0, 0.3, 2).all()) for u in range(1000)]
    assert all(constant.chosen(1, update, 0, 0.3, 5).sum() in (0, 5) for update in range(100))  # whole batches
    assert not any(OwnTargets().chosen(1, update, 0, 0.3, 2).any() for update in range(100))
    for wrong in ({"share": 1.5}, {"every": 0}, {"temperature": 0}):
        with pytest.raises(ConfigError, match="own_"):
            OwnTargets(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "at_a_quarter"),
    [("exponential", 1 - 200**-0.25), ("linear", 0.25), ("reverse_sigmoid", 1 - 1 / (1 + math.exp(-5)))],
)
def test_the_schedules_of_imitkd(schedule: Any, at_a_quarter: float) -> None:
    """Share of the student's own, 1 - b(t): 0.7341, 0.25 and 0.0067 at t = 1/4."""
    own = OwnTargets(share=1.0, schedule=schedule)
    assert own.share_at(0.25) == pytest.approx(at_a_quarter)
    assert own.share_at(0) == pytest.approx(0, abs=1e-4) and own.share_at(1) == pytest.approx(1, abs=0.0051)


def test_imitation_sentence_by_sentence(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    batch = {name: each.repeat(50, 1) for name, each in two_sentences.items()}
    state = SimpleNamespace(global_step=3, max_steps=12)
    one = sayer(tiny_vocab, schedule="linear", by="sentence")
    kept, own = one.parts(state, 1, batch)
    assert 10 < len(own["labels"]) < 40 and len(kept["labels"]) + len(own["labels"]) == 100
    again = one.parts(state, 1, batch)[1]
    assert all(torch.equal(own[name], again[name]) for name in batch)
    sums = [sum(int((each["input_ids"] == row).all(1).sum()) for each in (kept, own)) for row in batch["input_ids"][:2]]
    assert sums == [50, 50]  # each sentence is on one side
    beside, said = sayer(tiny_vocab, schedule="linear", by="sentence", beside=True).parts(state, 1, batch)
    assert beside is batch and torch.equal(said["labels"], own["labels"])
    assert sayer(tiny_vocab).parts(state, 1, batch)[0] == {}  # all of them


@pytest.mark.parametrize("by", ["batch", "sentence"])
def test_a_training_on_own_targets_resumes_bit_exactly(
    tiny_vocab: Vocab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    lines = [f"the {n} sees the {m} ." for n in ("dog", "cat", "tree") for m in ("house", "river", "dog")]
    pairs = encode_pairs(lines, lines[::-1], list(range(1, 10)), tiny_vocab, max_tokens=128, what="text")

    def train(folder: Path, objective: str = "NLL() + JensenShannon()", **own: object) -> MarianMTModel:
        student = lively_model(tiny_vocab, "1x1:16:32:2", seed=3, dropout=0.1)
        options = TrainingOptions(
            updates=8, batch_tokens=64, learning_rate=0.03, warmup=1, eval_every=4, log_every=1, threads=1
        )
        fit(
            student, tiny_vocab, pairs, (lines[:2], lines[:2]), objective=parse(objective),
            teacher=lively_model(tiny_vocab, seed=5), options=options, folder=folder,
            own=OwnTargets(share=0.5, sample=True, temperature=1.0, every=50, by=by, **own),  # type: ignore[arg-type]
        )  # fmt: skip
        return student

    whole = train(tmp_path / "whole")
    original = stop.Stop.on_step_end

    def on_step_end(self: object, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        original(self, args, state, control, **kwargs)
        if state.global_step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stop.Stop, "on_step_end", on_step_end)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts")
    resumed = train(tmp_path / "parts").state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.state_dict().items())
    logs = [json.loads(line) for line in (tmp_path / "whole" / "events.jsonl").read_text().splitlines()]
    terms = {name for log in logs for name in log if name.startswith("term_")}
    assert {"term_NLL", "term_JensenShannon", "term_own_JensenShannon", "term_own_agreement"} <= terms
    assert "term_own_NLL" not in terms
    with pytest.raises(ConfigError, match="the student's own words are no gold"):
        train(tmp_path / "wrong", "NLL()")
    with pytest.raises(ConfigError, match="the student's own words are no gold"):
        own_objective(OwnTargets(share=0.5, objective="NLL() + WordKD()"), parse("NLL()"))
    with pytest.raises(ConfigError, match="a memory of its own is never filled"):
        own_objective(OwnTargets(share=0.5, objective="SelectiveKD(level='global')"), parse("NLL()"))


def test_targets_are_as_wide_as_batches_are(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    one = Sayer(OwnTargets(share=1.0), eos=tiny_vocab.eos_id, pad=tiny_vocab.pad_id, seed=1, threads=1, pad_to=8)
    out = one.say(lively_model(tiny_vocab), two_sentences, 0)
    assert out["labels"].shape == out["decoder_input_ids"].shape == (2, 8)
    assert bool((out["labels"][:, 5:] == -100).all())
