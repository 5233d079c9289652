"""Training speed: our trainer against a plain PyTorch loop over the same batches, at equal loss.

The plain loop is what a user writes today: `MarianMTModel(..., labels=...)`, the mean cross-entropy of Hugging Face, AdamW,
gradient clipping. Both start from the same weights and see the same batches with dropout off, so the losses must agree. The
differences: the loss comes from hidden states in one native call, and the trainer tells the C library to keep freed memory.
The latter holds for a whole process, so each measurement runs in a fresh one, plain and ours in turn.

    python benchmarks/bench_train.py --size 4x4:256:1024:4 --updates 30 --rounds 3

Both are on a GPU where torch finds one, unless CUDA_VISIBLE_DEVICES is empty. Prints target tokens/s of both, the ratio
of the medians, and the last losses; writes benchmarks/results/train.json, on a GPU train_cuda.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import torch
from transformers import MarianMTModel

from common import save, signature
from distilmt import models
from distilmt.corpus import load_corpus
from distilmt.objectives import parse
from distilmt.text.grammar import generate
from distilmt.train import TrainingOptions
from distilmt.training.batches import BatchPlan, Pairs, collate, encode_pairs
from distilmt.training.trainer import fit
from distilmt.training.trainer_support import pair_lengths
from distilmt.vocab import Vocab


def plain_loop(model: MarianMTModel, pairs: Pairs, vocab: Vocab, options: TrainingOptions) -> tuple[float, float]:
    """Target tokens per second and the mean loss of the last five updates."""
    device = "cuda" if torch.cuda.is_available() else "cpu"  # as the trainer
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), eps=1e-9, weight_decay=0
    )
    plan = BatchPlan(pair_lengths(pairs), tokens=options.batch_tokens, steps=options.updates, seed=options.seed)
    tokens, losses, start = 0, [], time.perf_counter()
    for step, indices in enumerate(plan):
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * min(1, step / max(1, options.warmup))
        batch = collate(pairs, indices, eos=vocab.eos_id, pad=vocab.pad_id)
        batch.pop("lines")
        loss = model(**{key: value.to(device) for key, value in batch.items()}, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += int((batch["labels"] != -100).sum())
        losses.append(float(loss.detach()))
    return tokens / (time.perf_counter() - start), sum(losses[-5:]) / 5


def ours(model: MarianMTModel, pairs: Pairs, vocab: Vocab, options: TrainingOptions) -> tuple[float, float]:
    """The same through `distilmt.training.trainer.fit`, whose clock leaves evaluation out."""
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            model, vocab, pairs, (["eins"], ["one"]), objective=parse("NLL()"), teacher=None, options=options,
            folder=Path(folder),
        )  # fmt: skip
        return result.tokens_per_second, result.curve[-1]["train_loss"]


def measure(loop: str, given: argparse.Namespace) -> tuple[float, float]:
    """Speed and last loss of one loop, from text to weights made anew."""
    torch.set_num_threads(given.threads)
    text = [pair[1:] for pair in load_corpus(given.text).pairs()] if given.text else generate(20_000, seed=1)
    vocab = Vocab.train([line for pair in text for line in pair], given.vocab_size, model_type="bpe")
    pairs = encode_pairs(
        [s for s, _ in text], [t for _, t in text], range(len(text)), vocab, max_tokens=256, what="text"
    )
    options = TrainingOptions(
        updates=given.updates, eval_every=given.updates, log_every=5, schedule="constant_with_warmup", warmup=given.updates // 4,
        dropout=0.0, precision="float32", threads=given.threads, learning_rate=5e-4,
    )  # fmt: skip
    model = models.create(models.parse_size(given.size), vocab, dropout=0.0, seed=1, max_positions=256)
    return {"plain": plain_loop, "ours": ours}[loop](model, pairs, vocab, options)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", default="4x4:256:1024:4")
    arguments.add_argument("--vocab-size", type=int, default=1000)
    arguments.add_argument("--updates", type=int, default=30, help="a multiple of 5")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--text", nargs=2, help="source and target text; default: generated")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)  # for the signature
    runs: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": []}
    for _ in range(given.rounds):
        for loop, seen in runs.items():
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
                seen.append(fresh.submit(measure, loop, given).result())
    plain, mine = (median(speed for speed, _ in seen) for seen in runs.values())
    print(f"plain loop {plain:,.0f} tokens/s, loss {runs['plain'][-1][1]:.4f}")
    print(f"distilmt   {mine:,.0f} tokens/s, loss {runs['ours'][-1][1]:.4f}")
    print(f"ratio      {mine / plain:.2f}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    save(
        "train" if device == "cpu" else "train_cuda",
        {
            "signature": signature("train", f"{given.size}|vocab:{given.vocab_size}|batch_tokens:4096", device=device),
            "tokens_per_second_and_loss": runs,
            "ratio_of_medians": mine / plain,
        },
    )


if __name__ == "__main__":
    main()
