"""`torchrun -m distilmt train`: two processes train what one trains with twice the accumulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distilmt import distill
from distilmt.errors import ConfigError
from distilmt.quickstart import write_corpus


def train(folder: Path, out: str, launcher: list[str], accumulate: int) -> list[dict]:
    command = [
        sys.executable, *launcher, "-m", "distilmt", "train", "--train", "train.de", "train.en", "--dev", "dev.de", "dev.en",
        "--out", out, "--size", "1x1:16:32:2", "--vocab-size", "300", "--updates", "4", "--batch-tokens", "512", "--threads", "1",
        "--accumulate", str(accumulate), "--dropout", "0", "--eval-every", "4", "--log-every", "1", "--precision", "float32",
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    lines = (folder / f"{out}.training" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if "loss" in event]


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path):
    write_corpus(tmp_path, 1, train=300, dev=4, test=4)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    together, alone = train(tmp_path, "two", torchrun, 1), train(tmp_path, "one", [], 2)
    assert [e["update"] for e in together] == [e["update"] for e in alone] == [1, 2, 3, 4]
    for a, b in zip(together, alone, strict=True):
        assert a["target_tokens"] == b["target_tokens"]
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
    assert (tmp_path / "two" / "model.safetensors").exists()


def test_distill_refuses_several_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    pair = ("a.de", "a.en")
    with pytest.raises(ConfigError, match="runs in one process"):
        distill(train=pair, dev=pair, test=(pair,), out=str(tmp_path), student_size="tiny", teacher="x")
