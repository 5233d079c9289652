"""Choosing among n-best lists: native rankings against sacreBLEU's sentence functions, in one process.

    python benchmarks/bench_select.py [--lines 2000] [--size 8] [--threads 2] [--rounds 5] [--text FILE]

The lists are lines of FILE (one sentence a line; generated text by default) with words dropped, doubled or replaced; the
line itself is the gold. Ours is measured from Python lists to Python lists, nearness of the first and of the chosen
included; sacreBLEU's classes are made once, and their caches of tokens are warm. Both choose the same, which is checked.

Writes benchmarks/results/select.json.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from common import interleaved, save, signature, summary
from distilmt.labels.rank import RankOptions, rank
from distilmt.labels.records import Candidate, Record
from distilmt.text.grammar import generate
from distilmt.text.lines import read_lines

Score = Callable[[str, str], float]


def worse(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(words))
        words[at : at + 1] = rng.choice([[], [words[at]] * 2, [rng.choice(words)]]) or words[:1]
    return " ".join(words)


def nearest(score: Score, records: list[Record], golds: list[str]) -> list[int]:
    chosen = []
    for record, gold in zip(records, golds, strict=True):
        numbers = [score(candidate.text, gold) for candidate in record.candidates]
        chosen.append(numbers.index(max(numbers)))
    return chosen


def expected(score: Score, records: list[Record]) -> list[int]:
    chosen = []
    for record in records:
        texts = [candidate.text for candidate in record.candidates]
        numbers = [sum(score(text, other) for other in texts) for text in texts]
        chosen.append(numbers.index(max(numbers)))
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--text", help="a file of one sentence a line")
    given = parser.parse_args()
    rng = random.Random(1)
    texts = [line.text for line in read_lines(given.text)] if given.text else [t for _, t in generate(given.lines, 1)]
    golds = texts[: given.lines]
    records = [
        Record(line, "ok", [Candidate(worse(gold, rng), (), -rank / 8, -float(rank), 1) for rank in range(given.size)])
        for line, gold in enumerate(golds, 1)
    ]
    bleu, chrf = BLEU(effective_order=True), CHRF()
    peers: dict[str, Callable[[], list[int]]] = {
        "bleu": lambda: nearest(lambda a, b: float(bleu.sentence_score(a, [b]).score), records, golds),
        "chrf": lambda: nearest(lambda a, b: float(chrf.sentence_score(a, [b]).score), records, golds),
        "mbr": lambda: expected(lambda a, b: float(chrf.sentence_score(a, [b]).score), records),
    }
    results: list[dict[str, Any]] = []
    for rule, peer in peers.items():

        def ours(threads: int, rule: Any = rule) -> list[int]:
            options = RankOptions(rule=rule)
            found = rank(records, None if rule == "mbr" else golds, options, threads=threads)
            return [ranked.order[0] for _, ranked in found]

        same = sum(a == b for a, b in zip(ours(1), peer(), strict=True)) / len(golds)
        seconds = interleaved(
            {"sacrebleu": peer, "one thread": lambda: ours(1), "threads": lambda: ours(given.threads)}, given.rounds
        )
        table = summary(seconds, "sacrebleu")
        results.append(
            {
                "signature": signature(
                    f"select-{rule}", f"{len(golds)}x{given.size}", rounds=given.rounds, workers=given.threads
                ),
                "same_choice": same,
                "lines_per_second": {name: len(golds) / row["median_seconds"] for name, row in table.items()},
                "seconds": table,
            }
        )
        print(results[-1]["signature"])
        for name, row in table.items():
            print(f"  {name:12} {row['median_seconds']:8.3f} s   x {row['speedup']:.1f}   same choice {same:.2%}")
    print(save("select", {"results": results}))


if __name__ == "__main__":
    main()
