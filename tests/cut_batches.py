"""Writes the gradient of 64 pairs, cut as argv[1] says, to argv[2]. Run by test_trainer.py, alone or under torchrun."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from distilmt import models
from distilmt.objectives import parse
from distilmt.text.grammar import generate
from distilmt.train import TrainingOptions
from distilmt.training import trainer
from distilmt.training.batches import Pairs, Ragged
from distilmt.vocab import Vocab

way, out = sys.argv[1], Path(sys.argv[2])
rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
random = np.random.default_rng(0)
lists = [[random.integers(2, 50, n).tolist() for n in random.integers(2, 20, 64)] for _ in range(2)]
pairs = Pairs(Ragged.of(lists[0]), Ragged.of(lists[1]), np.arange(1, 65), {})
batches = [list(range(64))] if way == "1x64" else [list(range(i, i + 8)) for i in range(0, 64, 8)]
trainer.BatchPlan = lambda *args, **kwargs: batches[rank::world]  # type: ignore[assignment,misc]


class Enough(Exception):
    pass


def capture(self, model):
    if rank == 0:
        torch.save({name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}, out)
    torch.distributed.is_initialized() and torch.distributed.barrier()
    raise Enough


trainer._Trainer._clip_grad_norm = capture  # type: ignore[method-assign]
vocabulary = Vocab.train([line for pair in generate(40, seed=1) for line in pair], 120)
size = models.parse_size("1x1:16:32:2")
student, teacher = (models.create(size, vocabulary, dropout=0.0, seed=seed, max_positions=32) for seed in (1, 2))
options = TrainingOptions(
    updates=1, accumulate=len(batches) // world, batch_tokens=10_000, precision="float32", threads=1
)
try:
    with tempfile.TemporaryDirectory() as folder:
        trainer.fit(
            student, vocabulary, pairs, (["eins"], ["zwei"]),
            objective=parse("0.5 * NLL(label_smoothing=0.1) + 0.5 * WordKD(temperature=2.0)"),
            teacher=teacher, options=options, folder=Path(folder),
        )  # fmt: skip
except Enough:
    pass
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
