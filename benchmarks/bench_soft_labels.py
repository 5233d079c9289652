"""Stored soft labels: bytes and error per target token, and what they cost a training step.

    python benchmarks/bench_soft_labels.py --model TEACHER --text train.de.gz train.en.gz [--lines 29000] [--size 3x1:128:512:4]
        [--updates 40] [--threads 2]

Sizes count header, index and sentences; the error is the largest total variation of any token, tail included. Speed: target
tokens/s of training steps (batch, loss, gradients, optimizer) with 0.5 NLL + 0.5 WordKD from the store (k 8), over those of
NLL alone: the same batches in turn, by the clock and by processor time.

Writes benchmarks/results/soft_labels.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import save, signature
from distilmt import models
from distilmt.corpus import Corpus, load_corpus
from distilmt.objectives import parse
from distilmt.soft_labels import SoftLabels, SoftLabelsStore, SoftLabelsWriter, decode, encode
from distilmt.training.batches import BatchPlan, collate, encode_pairs
from distilmt.training.stored_teacher import StoredTeacher
from distilmt.training.student_loss import StudentLoss
from distilmt.training.trainer_support import pair_lengths
from distilmt.translate import Translator
from distilmt.vocab import Vocab

FILES = ("soft_labels.json", "index.bin", "sentences.bin")


def cut(labels: SoftLabels, k: int) -> SoftLabels:
    """The k best of them."""
    return SoftLabels(labels.ids[:, :k], labels.log_probs[:, :k], labels.tail_mass, labels.entropy)


def distance(labels: SoftLabels, blob: bytes) -> float:
    """Largest total variation of a token, what is not stored as one event."""
    found = decode(blob)[1]
    q = np.exp(found.log_probs.astype(float))
    p = np.exp(labels.log_probs.astype(float)) * (q > 0)
    return float(((np.abs(p - q)).sum(1) + np.abs(1 - p.sum(1) - found.tail_mass)).max() / 2)


def store(text: Corpus, labels: list[Any], model: str, folder: Path, k: int, floor: float) -> dict[str, Any]:
    """Writes one store; its sizes."""
    worst_error = worst_sentence = 0.0
    with SoftLabelsWriter(folder, model=model, source=text.source_hash, k=k, floor=floor) as writer:
        for ids, soft in labels:
            blob = encode(ids, cut(soft, k), floor)
            writer.append(blob)
            worst_error = max(worst_error, distance(cut(soft, k), blob))
            worst_sentence = max(worst_sentence, (len(blob) + 8) / len(ids))  # with its place in the index
        made = writer.finish(text.target_hash)
    size = sum((folder / name).stat().st_size for name in FILES)
    return {
        "k": k, "floor": floor, "tokens": made.tokens, "bytes": size, "bytes_per_token": size / made.tokens,
        "most_bytes_per_token_of_a_sentence": worst_sentence, "largest_total_variation": worst_error,
    }  # fmt: skip


def speed(pairs: Any, vocab: Any, found: SoftLabelsStore, given: argparse.Namespace) -> dict[str, Any]:
    """Target tokens a second of both trainings, which take the same batches in turn; the ratio holds on a busy machine."""
    torch.set_num_threads(given.threads)
    stored = StoredTeacher(found, vocab.pad_id)
    runs: dict[str, tuple[str, StoredTeacher | None]] = {
        "alone": ("NLL()", None), "soft_labels": ("0.5*NLL() + 0.5*WordKD()", stored)
    }  # fmt: skip
    losses = {}
    for name, (objective, teacher) in runs.items():
        student = models.create(models.parse_size(given.size), vocab, dropout=0.1, seed=1, max_positions=128)
        losses[name] = StudentLoss(student, parse(objective), teacher).train()
    optimizers = {name: torch.optim.AdamW(loss.parameters(), lr=1e-4, fused=True) for name, loss in losses.items()}
    seconds = {(clock, name): 0.0 for clock in ("wall", "processor") for name in runs}
    tokens, warm_up = 0, 3
    plan = BatchPlan(pair_lengths(pairs), tokens=4096, steps=warm_up + given.updates, seed=1)
    for step, indices in enumerate(plan):
        for name in runs if step % 2 else reversed(runs):
            wall, processor = time.perf_counter(), time.process_time()
            batch = collate(pairs, indices, eos=vocab.eos_id, pad=vocab.pad_id, teacher=runs[name][1])
            batch.pop("lines")
            count = (batch["labels"] >= 0).sum()
            losses[name](denominator=count, **batch)[0].backward()
            torch.nn.utils.clip_grad_norm_(losses[name].parameters(), 1.0)
            optimizers[name].step()
            optimizers[name].zero_grad()
            if step >= warm_up:
                seconds["wall", name] += time.perf_counter() - wall
                seconds["processor", name] += time.process_time() - processor
                tokens += int(count) * (name == "alone")
    return {
        clock: {name: tokens / seconds[clock, name] for name in runs}
        | {"ratio": seconds[clock, "alone"] / seconds[clock, "soft_labels"]}
        for clock in ("wall", "processor")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", nargs=2, required=True)
    parser.add_argument("--lines", type=int, default=29000)
    parser.add_argument("--size", default="3x1:128:512:4")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    text = load_corpus(tuple(given.text))
    for part in (text.sources, text.targets, text.statuses):
        del part[given.lines :]
    translator = Translator(given.model, threads=given.threads)
    vocab = Vocab.load(given.model)
    targets = vocab.encode_target(text.targets)
    scored = translator.score(text.sources, text.targets, soft_labels=12)
    labels = [([*ids, vocab.eos_id], out.soft_labels) for ids, out in zip(targets, scored, strict=True)]
    with tempfile.TemporaryDirectory() as root:
        sizes = [
            store(text, labels, given.model, Path(root) / f"{k}-{floor}", k, floor)
            for k, floor in ((8, 0.0), (8, 0.001), (8, 0.005), (12, 0.0), (12, 0.001))
        ]
        found = SoftLabels.open(Path(root) / "8-0.001")
        lines = range(1, len(text) + 1)
        pairs = encode_pairs(text.sources, text.targets, lines, vocab, max_tokens=128, what="text", store=found)
        rates = speed(pairs, vocab, found, given)
    shape = f"{len(text)}lines-{given.size}"
    print(save("soft_labels", {"signature": signature("soft_labels", shape), "sizes": sizes, "speed": rates}))
    for row in sizes:
        print(row)
    print(rates)


if __name__ == "__main__":
    main()
