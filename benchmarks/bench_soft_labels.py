"""Stored soft labels: bytes and error per target token, and what they cost a training step.

    python benchmarks/bench_soft_labels.py --model TEACHER --text train.de.gz train.en.gz [--lines 29000] [--size 3x1:128:512:4]
        [--updates 40] [--rounds 5] [--threads 2]

Sizes count header, index and sentences; the error is the largest total variation of any token, tail included. Speed: target
tokens/s of `distilmt.trainer.fit` with 0.5 NLL + 0.5 WordKD from the store (k 8), over those of NLL alone, same text, same
batches, both in turn; the ratio of the medians.

Writes benchmarks/results/soft_labels.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from common import save, signature
from distilmt import models
from distilmt.batches import encode_pairs
from distilmt.corpus import Corpus, load_corpus
from distilmt.objectives import parse
from distilmt.soft_labels import SoftLabels, SoftLabelsStore, SoftLabelsWriter, decode, encode
from distilmt.train import TrainingOptions
from distilmt.trainer import fit
from distilmt.translate import Translator

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
    """Tokens per second of the student alone and from the store."""
    options = TrainingOptions(
        updates=given.updates, eval_every=given.updates, log_every=10, threads=given.threads, max_positions=128
    )
    runs: dict[str, tuple[str, Any]] = {
        "alone": ("NLL(label_smoothing=0.1)", None), "soft_labels": ("0.5*NLL() + 0.5*WordKD()", found)
    }  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(1 + given.rounds):
        for name, (objective, teacher) in runs.items():
            student = models.create(models.parse_size(given.size), vocab, dropout=0.1, seed=1, max_positions=128)
            with tempfile.TemporaryDirectory() as folder:
                result = fit(
                    student, vocab, pairs, (["eins"], ["one"]), objective=parse(objective), teacher=teacher,
                    options=options, folder=Path(folder),
                )  # fmt: skip
            if turn:
                rates[name].append(result.tokens_per_second)
    medians = {name: median(values) for name, values in rates.items()}
    return {"tokens_per_second": rates, "ratio": medians["soft_labels"] / medians["alone"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", nargs=2, required=True)
    parser.add_argument("--lines", type=int, default=29000)
    parser.add_argument("--size", default="3x1:128:512:4")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    text = load_corpus(tuple(given.text))
    for part in (text.sources, text.targets, text.statuses):
        del part[given.lines :]
    translator = Translator(given.model, threads=given.threads)
    vocab = translator.vocab
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
