"""Training speed: our trainer against a plain PyTorch loop over the same batches, at equal loss.

The plain loop is what a user writes today: `MarianMTModel(..., labels=...)`, the mean cross-entropy of Hugging Face, AdamW,
gradient clipping. Both start from the same weights and see the same batches with dropout off, so the losses must agree; the
difference is the loss computed from hidden states in one native call, without logits for the whole batch.

    python benchmarks/bench_train.py --size 4x4:256:1024:4 --updates 40 --rounds 3

Prints target tokens/s of both, the ratio of the medians, and the last losses; writes benchmarks/results/train.json.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from common import save, signature
from distilmt import models
from distilmt.batches import BatchPlan, collate, encode_pairs
from distilmt.grammar import generate
from distilmt.objectives import parse
from distilmt.train import TrainingOptions
from distilmt.trainer import fit, pair_lengths
from distilmt.vocab import Vocab


def plain_loop(model, pairs, vocab, options) -> tuple[float, float]:
    """Target tokens per second and the mean loss of the last ten updates."""
    model = copy.deepcopy(model).train()
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
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += int((batch["labels"] != -100).sum())
        losses.append(float(loss))
    return tokens / (time.perf_counter() - start), sum(losses[-10:]) / 10


def ours(model, pairs, vocab, options) -> tuple[float, float]:
    """The same through `distilmt.trainer.fit`, whose clock leaves evaluation out."""
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            copy.deepcopy(model), vocab, pairs, (["eins"], ["one"]), objective=parse("NLL()"), teacher=None, options=options,
            folder=Path(folder),
        )  # fmt: skip
        return result.tokens_per_second, result.curve[-1]["train_loss"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", default="4x4:256:1024:4")
    arguments.add_argument("--vocab-size", type=int, default=700)
    arguments.add_argument("--updates", type=int, default=40)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--text", nargs=2, help="source and target text; default: generated")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    if given.text:
        from distilmt.corpus import load_corpus

        text = [(s, t) for _, s, t in load_corpus(given.text).pairs()]
    else:
        text = generate(20_000, seed=1)
    vocab = Vocab.train([line for pair in text for line in pair], given.vocab_size)
    pairs = encode_pairs(
        [s for s, _ in text], [t for _, t in text], range(len(text)), vocab, max_tokens=256, what="text"
    )
    options = TrainingOptions(
        updates=given.updates, eval_every=given.updates, log_every=10, schedule="constant_with_warmup", warmup=given.updates // 4,
        dropout=0.0, precision="float32", threads=given.threads, learning_rate=5e-4,
    )  # fmt: skip
    model = models.create(models.parse_size(given.size), vocab, dropout=0.0, seed=1, max_positions=256)
    plain_loop(model, pairs, vocab, TrainingOptions(updates=3, threads=given.threads))
    plain, mine = [], []
    for _ in range(given.rounds):
        plain.append(plain_loop(model, pairs, vocab, options))
        mine.append(ours(model, pairs, vocab, options))
    speeds = [[speed for speed, _ in runs] for runs in (plain, mine)]
    result = {
        "signature": signature("train", f"{given.size}|vocab:{vocab.size}|batch_tokens:{options.batch_tokens}"),
        "plain_tokens_per_second": speeds[0], "ours_tokens_per_second": speeds[1],
        "ratio_of_medians": median(speeds[1]) / median(speeds[0]),
        "plain_loss": plain[-1][1], "ours_loss": mine[-1][1],
    }  # fmt: skip
    print(f"plain loop {median(speeds[0]):,.0f} tokens/s, loss {plain[-1][1]:.4f}")
    print(f"distilmt   {median(speeds[1]):,.0f} tokens/s, loss {mine[-1][1]:.4f}")
    print(f"ratio      {result['ratio_of_medians']:.2f}")
    save("train", result)


if __name__ == "__main__":
    main()
