"""The measures of published selections as their definitions have them, on lists of tokens; and lists of real text to try."""

from __future__ import annotations

import gzip
import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sacrebleu
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from distilmt.labels.records import Candidate, Record

_13A = Tokenizer13a()


def tokens_of(text: str, tokens: str = "13a") -> list[str]:
    return (_13A(text.rstrip()) if tokens == "13a" else text).split()


def grams(tokens: Sequence[Any], n: int) -> Counter[Any]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def kim_rush(candidate: Sequence[Any], reference: Sequence[Any]) -> float:
    """harvardnlp/seq2seq-attn, s2sa/scorers/bleu.lua, on what s2sa/beam.lua hands it."""
    candidate = ["<begin>", *candidate, "<end>"]
    smooth, product = 1.0, 1.0
    for n in range(1, 5):
        total = sum(grams(candidate, n).values())
        correct: float = sum((grams(candidate, n) & grams(reference, n)).values())
        if total > 0:
            if correct == 0:
                smooth *= 0.5
                correct = smooth
            product *= correct / total
    return 100 * product**0.25 * math.exp(1 - max(1, len(reference) / len(candidate)))


def bergamot(candidate: Sequence[Any], reference: Sequence[Any]) -> float:
    """browsermt/students, train-student/data/bestbleu.py, compute_bleu."""
    precisions = []
    for n in range(1, 5):
        total = max(0, len(candidate) - n + 1)
        correct = sum((grams(candidate, n) & grams(reference, n)).values())
        precisions.append(0 if correct == total == 0 else (correct + 1) / (total + 1))
    if min(precisions) == 0:
        return 0.0
    ratio = len(candidate) / len(reference)
    penalty = 1 if ratio > 1 or ratio == 0 else math.exp(1 - 1 / ratio)
    return 100 * math.exp(sum(math.log(p) / 4 for p in precisions)) * penalty


def sacre(candidate: Sequence[Any], reference: Sequence[Any]) -> float:
    lines = [" ".join(map(str, tokens)) for tokens in (candidate, reference)]
    return float(sacrebleu.sentence_bleu(lines[0], [lines[1]], tokenize="none").score)


def gleu(candidate: Sequence[Any], reference: Sequence[Any]) -> float:
    """nltk.translate.gleu_score.sentence_gleu: n-grams in common over the larger number of n-grams, orders 1 to 4."""
    both, mine, its = (
        sum(sum(counts(n).values()) for n in range(1, 5))
        for counts in (
            lambda n: grams(candidate, n) & grams(reference, n),
            lambda n: grams(candidate, n),
            lambda n: grams(reference, n),
        )
    )
    return 100 * both / max(mine, its) if both else 0.0


def chrf(candidate: str, reference: str) -> float:
    return float(sacrebleu.sentence_chrf(candidate, [reference]).score)


def mbr(texts: Sequence[str], weights: Sequence[float]) -> list[float]:
    """The mean utility of each text, all of them standing for what the reference might be."""
    return [sum(w * chrf(text, other) for w, other in zip(weights, texts, strict=True)) for text in texts]


def record(line: int, texts: Sequence[str], verdict: Any = "ok", **fields: Any) -> Record:
    """A record whose hypotheses have falling scores, and ids that spell their 13a tokens."""
    candidates = [
        Candidate(text, [sum(word.encode()) for word in tokens_of(text)], -0.1 - rank / 8, -1.0 - rank, 5)
        for rank, text in enumerate(texts)
    ]
    return Record(line, verdict, candidates, **fields)


def random_lists(count: int, seed: int = 1) -> tuple[list[Record], list[str]]:
    """Lists of 0 to 6 texts of few words and odd characters, many of them equal, and a gold text of the same kind."""
    rng = random.Random(seed)
    words = [
        "a",
        "b",
        "ab",
        "the",
        "1.5",
        "3-4",
        "U.S.",
        "ä",
        "“x”",
        "don't",
        "&amp;",
        "...",
        "a\u00a0b",
        "日本",
        "😀!",
        "x,y",
        "(",
        "-",
    ]

    def text() -> str:
        return rng.choice(["", " ", ""]) + " ".join(rng.choices(words, k=rng.choice([0, 1, 2, 3, 4, 5, 9, 17])))

    return [record(line, [text() for _ in range(rng.randrange(7))]) for line in range(1, count + 1)], [
        text() for _ in range(count)
    ]


def real_lists(shared: Path, count: int, size: int = 5, seed: int = 1) -> tuple[list[Record], list[str]]:
    """Captions with a word dropped, doubled, swapped or taken from the next caption, and the caption as gold."""
    with gzip.open(shared / "data" / "multi30k.train.de.gz", "rt", encoding="utf-8", newline="\n") as file:
        golds = [line.rstrip("\n") for line, _ in zip(file, range(count), strict=False)]
    rng = random.Random(seed)

    def worse(text: str, other: str) -> str:
        words = text.split(" ")
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(words))
            words[at : at + 1] = rng.choice([[], [words[at]] * 2, [rng.choice(other.split(" "))]])
            words = words or [text]
        return " ".join(words)

    return [
        record(line + 1, [worse(gold, golds[line - 1]) for _ in range(size)]) for line, gold in enumerate(golds)
    ], golds
