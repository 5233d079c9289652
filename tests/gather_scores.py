"""One of two processes with a gathered queue: its half of a batch, one step. Run by test_selective.py: rank, folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from distilmt.objectives import Head, parse

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
given = torch.load(folder / "batch", weights_only=True)
mine = slice(rank * 6, rank * 6 + 6)
objective = parse(given["objective"])
student = Head(given["student"][mine].requires_grad_(), None)
objective.evaluate(student=student, targets=given["targets"][mine], teacher=given["teacher"][mine])
objective.step()
torch.save(objective.state_dict(), folder / f"queue-{rank}")
torch.distributed.destroy_process_group()
