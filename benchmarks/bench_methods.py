"""What a method adds to a training step: the same batches in turn, by processor time and by the clock.

    python benchmarks/bench_methods.py --model TEACHER --text train.de.gz train.en.gz [--lines 3000] [--updates 30] [--threads 1]

Steps (batch, loss, gradients, optimizer) of the student alone, of word-level distillation from a teacher that runs and from its
stored words (k 8), of selection by batch and by queue, of the ranking on given prefixes, of queue and ranking together, and from
stored neighbours (k 64); and the teacher's forward pass, output layer included, by itself. Prints each by the step of the student
alone; writes benchmarks/results/methods.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from common import save, signature
from distilmt import knn, models
from distilmt.corpus import load_corpus, write_lines
from distilmt.label import label
from distilmt.objectives import parse
from distilmt.soft_labels import SoftLabels
from distilmt.training.batches import BatchPlan, collate, encode_pairs
from distilmt.training.stored_teacher import StoredTeacher
from distilmt.training.student_loss import StudentLoss
from distilmt.training.trainer_support import keep_freed_memory, pair_lengths
from distilmt.vocab import Vocab

SMOOTHED = "0.5 * NLL(label_smoothing=0.1) + 0.5 * "
ONLINE = {
    "word-kd": SMOOTHED + "WordKD()",
    "selective": SMOOTHED + "SelectiveKD(rate=0.5)",
    "selective-global": SMOOTHED + "SelectiveKD(rate=0.5, level='global', queue_size=30000)",
    "ranking": SMOOTHED + "WordKD() + 0.5 * Ranking()",
    "queue and ranking": SMOOTHED + "SelectiveKD(rate=0.5, level='global', queue_size=30000) + 0.5 * Ranking()",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", nargs=2, required=True)
    parser.add_argument("--lines", type=int, default=3000)
    parser.add_argument("--size", default="3x1:128:512:4")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    text, vocab = load_corpus(tuple(given.text)), Vocab.load(given.model)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        files = [str(root / side) for side in ("source", "target")]
        for file, side in zip(files, (text.sources, text.targets), strict=True):
            write_lines(file, side[: given.lines])
        label(model=given.model, source=files[0], target=files[1], out=str(root / "labels"), beam_size=1, soft_labels=8)
        knn.build(model=given.model, source=files[0], target=files[1], out=str(root / "store"))
        stored: dict[str, tuple[str, Any]] = {
            "word-kd, stored": (SMOOTHED + "WordKD()", StoredTeacher(SoftLabels.open(root / "labels" / "forced"), vocab.pad_id)),
            "knn-kd": (SMOOTHED + "KNNKD(temperature=100)", knn.search(store=str(root / "store"), k=64)),
        }  # fmt: skip
        lines = range(1, given.lines + 1)
        pairs = encode_pairs(
            text.sources[: given.lines], text.targets[: given.lines], lines, vocab, max_tokens=128, what="text"
        )
        found = measure(pairs, vocab, stored, given)
    alone = {clock: median(found["alone"][clock]) for clock in ("processor", "wall")}
    rows = {
        name: {clock: median(times[clock]) / alone[clock] for clock in alone}
        | {"seconds": median(times["wall"]), "rounds": len(times["wall"])}
        for name, times in found.items()
    }
    for name, row in rows.items():
        print(
            f"{name:17} {row['processor']:.3f} of the student alone by processor time, {row['wall']:.3f} by the clock"
        )
    shape = f"{given.size}x{given.batch_tokens}"
    print(save("methods", {"signature": signature("methods", shape), "by_the_student_alone": rows}))


def measure(
    pairs: Any, vocab: Vocab, stored: dict[str, tuple[str, Any]], given: Any
) -> dict[str, dict[str, list[float]]]:
    """Seconds of every step after three of warming up, by name and clock."""
    teacher = models.load(given.model).eval().requires_grad_(False)
    asked = {"alone": ("NLL(label_smoothing=0.1)", None), **{k: (v, teacher) for k, v in ONLINE.items()}, **stored}
    steps: dict[str, Callable[[dict[str, Any]], None]] = {}
    for name, (objective, looked_at) in asked.items():
        student = models.create(models.parse_size(given.size), vocab, dropout=0.1, seed=1, max_positions=128)
        loss = StudentLoss(student, parse(objective), looked_at).train()
        steps[name] = stepper(loss, torch.optim.AdamW(loss.parameters(), lr=1e-4, fused=True))

    def forward(batch: dict[str, Any]) -> None:
        with torch.no_grad():
            teacher(**{key: value for key, value in batch.items() if key != "labels"}, use_cache=False)

    steps["teacher forward"] = forward
    times: dict[str, dict[str, list[float]]] = {name: {"processor": [], "wall": []} for name in steps}
    plan = BatchPlan(pair_lengths(pairs), tokens=given.batch_tokens, steps=3 + given.updates, seed=1)
    for number, indices in enumerate(plan):
        for name in steps if number % 2 else reversed(steps):
            wall, processor = time.perf_counter(), time.process_time()
            batch = collate(
                pairs, indices, eos=vocab.eos_id, pad=vocab.pad_id, teacher=stored[name][1] if name in stored else None
            )
            batch.pop("lines")
            steps[name](batch)
            if number >= 3:
                times[name]["wall"].append(time.perf_counter() - wall)
                times[name]["processor"].append(time.process_time() - processor)
    return times


def stepper(loss: StudentLoss, optimizer: torch.optim.Optimizer) -> Callable[[dict[str, Any]], None]:
    """A training step on a batch."""

    def step(batch: dict[str, Any]) -> None:
        loss(denominator=(batch["labels"] >= 0).sum(), **batch)[0].backward()
        torch.nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.objective.step()

    return step


if __name__ == "__main__":
    main()
