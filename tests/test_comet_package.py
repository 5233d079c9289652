"""The worker with the real package: DISTILMT_COMET_PYTHON names an interpreter that has it (docs/metrics.md)."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from distilmt.quality.learned_metrics import Learned, learned

PYTHON = os.environ.get("DISTILMT_COMET_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs DISTILMT_COMET_PYTHON, an interpreter with unbabel-comet")
LINES = (["ein Mann geht", "zwei Hunde"], ["a man walks", "two dogs"], ["a man is walking", "two dogs"])
# COMET's own regression model with a small encoder of letters and random weights, saved as its released checkpoints are.
CHECKPOINT = """
import sys, pathlib, pytorch_lightning, torch, yaml
from tokenizers import Tokenizer, models
from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast
from comet.models import RegressionMetric
folder = pathlib.Path(sys.argv[1])
letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "\\u2581", *map(chr, range(33, 127))]
tokenizer = XLMRobertaTokenizerFast(tokenizer_object=Tokenizer(models.Unigram([(letter, -1.0) for letter in letters], unk_id=3)))
tokenizer.save_pretrained(folder / "encoder")
size = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
XLMRobertaConfig(vocab_size=len(tokenizer), **size).save_pretrained(folder / "encoder")
torch.manual_seed(0)
encoder = dict(pretrained_model=str(folder / "encoder"), load_pretrained_weights=False, local_files_only=True)
model = RegressionMetric(hidden_sizes=[16, 8], **encoder)
(folder / "hparams.yaml").write_text(yaml.dump(dict(model.hparams)))
trainer = pytorch_lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.strategy.connect(model)
trainer.save_checkpoint(folder / "checkpoints" / "model.ckpt", weights_only=True)
"""
DIRECT = """
import json, sys
from comet import load_from_checkpoint
rows = [dict(zip(("src", "mt", "ref"), row)) for row in json.loads(sys.argv[2])]
print(json.dumps(load_from_checkpoint(sys.argv[1]).predict(rows, gpus=0, progress_bar=False).scores))
"""


def package(script: str, *words: str) -> str:
    done = subprocess.run([PYTHON, "-c", script, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_worker_gives_what_the_package_gives(tmp_path):
    package(CHECKPOINT, str(tmp_path))
    checkpoint = str(tmp_path / "checkpoints" / "model.ckpt")
    found = learned("comet", PYTHON, *LINES, model=checkpoint)
    assert isinstance(found, Learned), found
    assert found.scores == pytest.approx(
        json.loads(package(DIRECT, checkpoint, json.dumps(list(zip(*LINES, strict=True)))))
    )
    assert checkpoint in found.signature


def test_a_model_that_cannot_be_fetched_is_said():
    found = learned("comet", PYTHON, *LINES, model="nobody/no-such-model")
    assert "not supported by COMET" in str(found)
