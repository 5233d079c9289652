"""Distillation in a training loop of your own: the objective is one call on what two Hugging Face models say.

python examples/plain_loop.py TEACHER SOURCE TARGET OUT [UPDATES]
"""

import random
import sys
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from distilmt import models
from distilmt.objectives import parse
from distilmt.vocab import Vocab

folder, source, target, out = sys.argv[1:5]
updates = int(sys.argv[5]) if len(sys.argv) > 5 else 1000
vocab, teacher = Vocab.load(folder), models.load(folder).eval()
student = models.create(models.parse_size("1x1:64:256:4"), vocab, dropout=0.1, seed=1)
objective = parse("0.5 * NLL(label_smoothing=0.1) + 0.5 * WordKD(temperature=1.0)")
optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3, betas=(0.9, 0.98))
texts = [Path(path).read_text(encoding="utf-8").splitlines() for path in (source, target)]
pairs = list(zip(vocab.encode_source(texts[0]), vocab.encode_target(texts[1]), strict=True))
random.seed(1)
torch.manual_seed(1)

student.train()
for update in range(1, updates + 1):
    sides = zip(*random.sample(pairs, min(32, len(pairs))), strict=True)
    ids, labels = ([torch.tensor([*each, vocab.eos_id]) for each in side] for side in sides)
    batch = {"input_ids": pad_sequence(ids, True, vocab.pad_id), "labels": pad_sequence(labels, True, -100)}
    batch["attention_mask"] = (batch["input_ids"] != vocab.pad_id).long()
    with torch.no_grad():
        said = teacher(**batch)
    found = objective(student(**batch), said, batch["labels"], words=vocab.pad_id)  # means per target
    optimizer.zero_grad()
    found.loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    objective.step()
    if update % 100 == 0 or update == updates:
        terms = ", ".join(f"{name} {float(value):.3f}" for name, value in found.terms.items())
        print(f"update {update}: loss {found.loss.item():.3f} ({terms}), top-1 agreement {float(found.agreement):.2f}")
models.save(student, vocab, out)
