"""The training loop: equal gradients however a batch is cut, exact resume, and what happens when a step goes wrong."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distilmt import models
from distilmt.objectives import parse
from distilmt.text.grammar import generate
from distilmt.train import TrainingOptions
from distilmt.training import stop, trainer
from distilmt.training.batches import Pairs
from distilmt.training.checkpoints import remove_checkpoints
from distilmt.vocab import Vocab

HERE = Path(__file__).parent
OPTIONS = TrainingOptions(
    updates=12, batch_tokens=256, learning_rate=3e-3, warmup=2, dropout=0.2, eval_every=4, log_every=1, threads=1,
    max_positions=64, precision="float32",
)  # fmt: skip
TEXT = generate(40, seed=1)
SENTENCES, TARGETS = [source for source, _ in TEXT], [target for _, target in TEXT]


def student(vocabulary: Vocab, seed: int = 1):
    return models.create(models.parse_size("1x1:16:32:2"), vocabulary, dropout=0.2, seed=seed, max_positions=64)


def fit(
    vocabulary: Vocab, pairs: Pairs, folder: Path, objective: str = "NLL()", teacher=None, mix=None, own=None, **options
):
    model = student(vocabulary)
    dev = (SENTENCES[:4], TARGETS[:4])
    result = trainer.fit(
        model,
        vocabulary,
        pairs,
        dev,
        objective=parse(objective),
        teacher=teacher,
        options=replace(OPTIONS, **options),
        folder=folder,
        mix=mix,
        own=own,
    )
    return model, result


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


def stop_at(monkeypatch: pytest.MonkeyPatch, update: int, action) -> None:
    original = stop.Stop.on_step_end

    def on_step_end(self, args, state, control, **kwargs):
        original(self, args, state, control, **kwargs)
        if state.global_step == update:
            action()
            original(self, args, state, control, **kwargs)

    monkeypatch.setattr(stop.Stop, "on_step_end", on_step_end)


def interrupt() -> None:
    raise KeyboardInterrupt


def in_parts(vocabulary, pairs, folder: Path, monkeypatch, **given) -> torch.nn.Module:
    """The student of a training that was interrupted at update 6 and begun again."""
    with monkeypatch.context() as patch:
        stop_at(patch, 6, interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(vocabulary, pairs, folder, **given)
    return fit(vocabulary, pairs, folder, **given)[0]


def test_training_learns_and_reports(vocabulary, pairs, tmp_path):
    model, result = fit(vocabulary, pairs, tmp_path, updates=60, eval_every=20)
    losses = [e["loss"] for e in events(tmp_path) if "loss" in e]
    assert losses[-1] < losses[0] - 0.8
    assert [p["update"] for p in result.curve] == [20, 40, 60]
    plain = [e for e in events(tmp_path) if "loss" in e]  # of NLL alone, the loss is the plain one
    assert all(abs(e["nll"] - e["term_NLL"]) < 1e-4 and e["updates_per_second"] > 0 for e in plain)
    assert all(abs(math.log(e["perplexity"]) - e["nll"]) < 1e-6 for e in plain)
    assert result.curve[-1]["perplexity"] == plain[-1]["perplexity"] and result.curve[-1]["updates_per_second"] > 0
    assert result.updates == 60 and result.target_tokens > 0 and result.seconds > 0
    assert models.load(result.model).config.architectures == ["MarianMTModel"]
    pad = model.model.shared.weight[-1]
    assert not pad.any(), "the pad row must stay zero"
    assert model.lm_head.weight.data_ptr() == model.model.shared.weight.data_ptr()


def test_interrupted_training_resumes_bit_exactly(vocabulary, pairs, tmp_path, monkeypatch):
    whole, result = fit(vocabulary, pairs, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 6, interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(vocabulary, pairs, tmp_path / "parts")
    resumed, again = fit(vocabulary, pairs, tmp_path / "parts")
    assert same_weights(whole, resumed)
    assert (again.target_tokens, again.dev_bleu) == (result.target_tokens, result.dev_bleu)
    assert [p["dev_bleu"] for p in again.curve] == [p["dev_bleu"] for p in result.curve]


@pytest.mark.parametrize("update", ["micro_batch", "step"])
def test_a_queue_resumes_bit_exactly_trap_7(vocabulary, pairs, tmp_path, monkeypatch, update):
    objective = f"NLL() + SelectiveKD(0.3, level='global', queue_size=300, update={update!r})"
    given = {"objective": objective, "teacher": student(vocabulary, seed=5), "accumulate": 2}
    whole, _ = fit(vocabulary, pairs, tmp_path / "whole", **given)
    assert same_weights(whole, in_parts(vocabulary, pairs, tmp_path / "parts", monkeypatch, **given))
    once, again = ({e["update"]: e["gates"] for e in events(tmp_path / f) if "loss" in e} for f in ("whole", "parts"))
    assert once == again and list(once) == list(range(1, 13))
    assert all(len(gates) == 2 and (gates[0] == gates[1]) == (update == "step") for gates in once.values())
    shares = [e["term_selected"] for e in events(tmp_path / "whole") if "loss" in e]
    assert 0 < shares[-1] < 0.6 and ("step" not in update or shares[0] == 1)


def test_what_is_learnt_beside_the_student_resumes_bit_exactly(vocabulary, pairs, tmp_path, monkeypatch):
    given = {"objective": "NLL() + LayerCombination()", "teacher": student(vocabulary, seed=5)}
    whole, _ = fit(vocabulary, pairs, tmp_path / "whole", **given)
    assert same_weights(whole, in_parts(vocabulary, pairs, tmp_path / "parts", monkeypatch, **given))
    once, again = ([e["loss"] for e in events(tmp_path / f) if "loss" in e] for f in ("whole", "parts"))
    assert once[-4:] == again[-4:]


def test_case_38_a_half_written_checkpoint_is_passed_over(vocabulary, pairs, tmp_path, monkeypatch):
    whole, _ = fit(vocabulary, pairs, tmp_path / "whole")
    folder = tmp_path / "parts"
    with monkeypatch.context() as patch:
        stop_at(patch, 10, interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(vocabulary, pairs, folder)
    assert trainer.last_checkpoint(folder) == folder / "checkpoint-8"
    weights = folder / "checkpoint-8" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert trainer.last_checkpoint(folder) == folder / "checkpoint-4"
    resumed, _ = fit(vocabulary, pairs, folder)
    assert same_weights(whole, resumed)


def test_case_39_sigterm_writes_a_checkpoint(vocabulary, pairs, tmp_path, monkeypatch):
    whole, _ = fit(vocabulary, pairs, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(KeyboardInterrupt, match="after update 3"):
            fit(vocabulary, pairs, tmp_path / "parts")
    assert trainer.last_checkpoint(tmp_path / "parts") == tmp_path / "parts" / "checkpoint-3"
    resumed, _ = fit(vocabulary, pairs, tmp_path / "parts")
    assert same_weights(whole, resumed)


def test_case_29_an_update_with_a_nan_is_skipped_and_its_lines_kept(vocabulary, pairs, tmp_path, monkeypatch):
    forward = trainer.StudentLoss.forward
    calls = []

    def poisoned(self, labels, denominator, **inputs):
        loss, sums = forward(self, labels, denominator, **inputs)
        calls.append(1)
        return (loss * float("nan") if len(calls) == 2 else loss), sums

    monkeypatch.setattr(trainer.StudentLoss, "forward", poisoned)
    model, result = fit(vocabulary, pairs, tmp_path)
    assert result.skipped_updates == 1
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    record = json.loads((tmp_path / "skipped.jsonl").read_text())
    assert record["update"] == 2 and set(record["lines"]) <= set(range(1, len(SENTENCES) + 1)) and record["lines"]


def test_the_teacher_is_a_constant_trap_5(vocabulary, pairs, tmp_path):
    teacher = student(vocabulary, seed=5).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    fit(vocabulary, pairs, tmp_path, "0.5 * NLL() + 0.5 * WordKD()", teacher, updates=4)
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    logged = [e for e in events(tmp_path) if "loss" in e]
    assert all({"term_NLL", "term_WordKD"} <= set(e) for e in logged)
    assert all(abs(e["loss"] - 0.5 * (e["term_NLL"] + e["term_WordKD"])) < 1e-4 for e in logged)


def test_patience_stops_early(vocabulary, pairs, tmp_path):
    _, result = fit(vocabulary, pairs, tmp_path, learning_rate=1e-9, patience=2, updates=40)
    assert result.updates == 12  # best at 4, then two evaluations without a better one


@pytest.mark.slow
def test_gradients_do_not_depend_on_how_a_batch_is_cut_trap_11(tmp_path):
    """One batch of 64; 8 accumulated batches of 8 of different lengths; 2 processes with 4 x 8 each."""
    gradients = {}
    for way, processes in {"1x64": 1, "8x8": 1, "2x4x8": 2}.items():
        out = tmp_path / way
        command = [sys.executable, str(HERE / "cut_batches.py"), way, str(out)]
        if processes > 1:
            command[1:1] = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
        gradients[way] = torch.load(out, weights_only=True)
    want = torch.cat([g.double().flatten() for g in gradients["1x64"].values()])
    for way in ("8x8", "2x4x8"):
        assert gradients[way].keys() == gradients["1x64"].keys()
        got = torch.cat([g.double().flatten() for g in gradients[way].values()])
        assert (got - want).norm() <= 1e-6 * want.norm(), way


def test_a_finished_training_is_not_done_again(vocabulary, pairs, tmp_path):
    whole, result = fit(vocabulary, pairs, tmp_path, updates=6)
    assert [p["update"] for p in result.curve] == [4, 6]  # the last update is evaluated whatever eval_every is
    seen = [e for e in events(tmp_path) if "loss" in e]
    again, same = fit(vocabulary, pairs, tmp_path, updates=6)
    assert (
        same_weights(whole, again)
        and same.curve == result.curve
        and [e for e in events(tmp_path) if "loss" in e] == seen
    )
    remove_checkpoints(tmp_path)
    assert not list(tmp_path.glob("checkpoint-*")) and (tmp_path / "best").exists()


@pytest.mark.parametrize(("objective", "kept"), [("LogitMSE(stages=2)", 6), ("LogitMSE()", 2), ("NLL() + WordKD()", 2)])
def test_of_equal_scores_annealing_keeps_the_last(
    objective: str, kept: int, vocabulary, pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "dev_scores", lambda *_, **__: {"bleu": 0.0, "chrf": 0.0})
    model, result = fit(vocabulary, pairs, tmp_path, objective, student(vocabulary), updates=6, eval_every=2)
    assert result.best_update == kept
    assert same_weights(models.load(result.model), model) == (kept == 6)
