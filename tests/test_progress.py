"""The progress bar where standard error is a file."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

from distilmt.interface import progress
from distilmt.training.stop import Stop


def test_a_file_gets_lines_and_the_last_one_is_complete(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.bar(200, "labelling", "line", done=100) as bar:
        for _ in range(100):
            bar.update(1)
    text = stream.getvalue()
    assert "\r" not in text and text.endswith("\n")
    first, *_, last = text.splitlines()
    assert first.startswith("labelling:  50%") and "200/200" in last and "100%" in last


def test_loss_and_speed_stay_beside_the_dev_bleu_of_an_evaluation(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    stop, state = Stop("student"), SimpleNamespace(is_world_process_zero=True, max_steps=2, global_step=0)
    stop.on_train_begin(None, state, None)
    stop.on_log(None, state, None, {"loss": 2.34567, "learning_rate": 1e-3, "tokens_per_second": 5678.9})
    stop.on_log(None, state, None, {"eval_bleu": 31.26})
    stop.on_log(None, state, None, {"train_runtime": 3.0})
    stop.on_train_end(None, state, None)
    assert "loss=2.346, tok/s=5,679, dev BLEU=31.3]" in stream.getvalue().splitlines()[-1]
