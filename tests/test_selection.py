"""Rankings of n-best lists against the plain definitions, sacreBLEU and GLEU's formula, on random and on real text."""

from __future__ import annotations

import math
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

import plain_selection as plain
from distilmt import _native
from distilmt.errors import ConfigError
from distilmt.labels.rank import ASKED, BLOCK, Ranked, RankOptions, rank
from distilmt.labels.records import Record

MEASURES: dict[tuple[str, str], Callable[[Any, Any], float]] = {
    ("bleu", "kim-rush"): plain.kim_rush,
    ("bleu", "bergamot"): plain.bergamot,
    ("bleu", "sacrebleu"): plain.sacre,
    ("gleu", "sacrebleu"): plain.gleu,
}
EXACT = 1e-9  # of 100: what another order of the same sums may change


def ranked(
    records: Sequence[Record], golds: Sequence[str | None] | None, threads: int = 2, **options: Any
) -> list[Ranked]:
    encode = None
    if options.get("tokens") == "ids":

        def encode(texts: list[str]) -> list[list[int]]:
            return [[sum(word.encode()) for word in plain.tokens_of(text)] for text in texts]

    return [ranking for _, ranking in rank(records, golds, RankOptions(**options), encode=encode, threads=threads)]


def assert_ranked(record: Record, got: Ranked, expected: Sequence[float]) -> None:
    """The numbers are the expected ones, and the order is theirs; among equals the higher score, then the lower rank."""
    assert sorted(got.order) == list(range(len(record.candidates)))
    number = dict(zip(got.order, got.numbers, strict=True))
    assert [number[i] for i in range(len(expected))] == pytest.approx(expected, abs=EXACT, rel=0)
    assert got.order == sorted(number, key=lambda i: (-number[i], -record.candidates[i].score, i))
    if expected:
        assert expected[got.order[0]] >= max(expected) - EXACT


def both_kinds(shared: Path, count: int) -> list[tuple[list[Record], list[str]]]:
    return [plain.random_lists(count), plain.real_lists(shared, count)]


@pytest.mark.parametrize("tokens", ["13a", "words", "ids"])
@pytest.mark.parametrize(("rule", "smoothing"), MEASURES)
def test_nearest_by_words_and_ids_trap_14(rule: str, smoothing: str, tokens: str) -> None:
    records, golds = plain.random_lists(400)
    measure = MEASURES[rule, smoothing]
    for record, gold, got in zip(
        records, golds, ranked(records, golds, rule=rule, smoothing=smoothing, tokens=tokens), strict=True
    ):
        if tokens == "ids":
            reference: list[Any] = [sum(word.encode()) for word in plain.tokens_of(gold)]
            expected = [measure(c.ids, reference) if reference else 0 for c in record.candidates]
        else:
            reference = plain.tokens_of(gold, tokens)
            expected = [
                measure(plain.tokens_of(c.text, tokens), reference) if reference else 0 for c in record.candidates
            ]
        assert_ranked(record, got, expected)


def test_nearest_by_characters() -> None:
    records, golds = plain.random_lists(400)
    for record, gold, got in zip(records, golds, ranked(records, golds, rule="chrf"), strict=True):
        assert_ranked(record, got, [plain.chrf(c.text, gold) for c in record.candidates])


@pytest.mark.data
def test_nearest_on_real_text(shared: Path) -> None:
    records, golds = plain.real_lists(shared, 500)
    for (rule, smoothing), measure in MEASURES.items():
        for record, gold, got in zip(
            records, golds, ranked(records, golds, rule=rule, smoothing=smoothing), strict=True
        ):
            reference = plain.tokens_of(gold)
            assert_ranked(record, got, [measure(plain.tokens_of(c.text), reference) for c in record.candidates])
    for record, gold, got in zip(records, golds, ranked(records, golds, rule="chrf"), strict=True):
        assert_ranked(record, got, [plain.chrf(c.text, gold) for c in record.candidates])


@pytest.mark.parametrize("weights", ["uniform", "model"])
def test_expected_utility(weights: Any) -> None:
    records, _ = plain.random_lists(150, seed=2)
    options = {"weights": weights, "temperature": 2.0} if weights == "model" else {}
    for record, got in zip(records, ranked(records, None, rule="mbr", **options), strict=True):
        shares = [math.exp(c.log_prob / 2 if weights == "model" else 0) for c in record.candidates]
        expected = plain.mbr([c.text for c in record.candidates], [share / sum(shares) for share in shares])
        assert_ranked(record, got, expected)


@pytest.mark.data
def test_expected_utility_on_real_text(shared: Path) -> None:
    records, _ = plain.real_lists(shared, 100, size=8)
    for record, got in zip(records, ranked(records, None, rule="mbr"), strict=True):
        assert_ranked(record, got, plain.mbr([c.text for c in record.candidates], [1 / 8] * 8))


def test_nearness_is_sacrebleus_of_the_models_first_and_the_rules() -> None:
    records, golds = plain.random_lists(200, seed=3)
    compared = 0
    for record, gold, got in zip(records, golds, ranked(records, golds, rule="chrf"), strict=True):
        if not record.candidates:
            assert got == Ranked([], [], None, None)
            continue
        assert got.before is not None and got.after is not None
        for near, text in ((got.before, record.text), (got.after, record.candidates[got.order[0]].text)):
            assert near.bleu == pytest.approx(sacrebleu.sentence_bleu(text, [gold]).score, abs=EXACT)
            assert near.chrf == pytest.approx(plain.chrf(text, gold), abs=EXACT)
            compared += 1
    assert compared > 200


def test_the_models_order_needs_no_gold() -> None:
    records, _ = plain.random_lists(50)
    assert [got.order for got in ranked(records, None)] == [list(range(len(r.candidates))) for r in records]


def test_samples_depend_on_seed_and_line_alone() -> None:
    records = [plain.record(line, ["a", "b", "c", "d"]) for line in range(1, 3001)]
    drawn = ranked(records, None, rule="sample", seed=7, temperature=2.0)
    behind = ranked(records[::-1], None, threads=1, rule="sample", seed=7, temperature=2.0)
    assert [got.order for got in behind[::-1]] == [got.order for got in drawn]
    assert [got.order for got in ranked(records, None, rule="sample", seed=8)] != [got.order for got in drawn]
    weights = [math.exp(-rank / 2) for rank in range(4)]  # log-probabilities -1, -2, ... at temperature 2
    for place, weight in enumerate(weights):
        share = weight / sum(weights)
        seen = sum(got.order[0] == place for got in drawn) / len(drawn)
        assert abs(seen - share) < 5 * math.sqrt(share * (1 - share) / len(drawn))


def test_it_streams() -> None:
    taken = 0

    def endless() -> Iterator[Record]:
        nonlocal taken
        while True:
            taken += 1
            yield plain.record(taken, ["a", "b"])

    found = rank(endless(), None, RankOptions(rule="mbr"))
    assert [next(found)[0].line for _ in range(BLOCK + 1)] == list(range(1, BLOCK + 2)) and taken == 2 * BLOCK


def test_a_line_that_is_no_label_is_not_ranked() -> None:
    records = [
        plain.record(1, ["a", "b"], "repetition"),
        plain.record(2, ["a", "b"], "non_finite_redone"),
        plain.record(3, [], "empty_source"),
    ]
    assert [got.order for got in ranked(records, ["b", "b", "b"], rule="chrf")] == [[], [1, 0], []]


def test_no_gold_leaves_the_choice_to_the_model() -> None:
    got = ranked([plain.record(1, ["a", "b"])] * 2, [None, "b"], rule="bleu")
    assert [each.order[0] for each in got] == [0, 1] and got[0].before is None


def test_wrong_use_is_said() -> None:
    for wrong in ({"temperature": 0.0}, {"temperature": math.inf}, {"seed": -1}):
        with pytest.raises(ConfigError, match="must be"):
            RankOptions(rule="sample", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tokens: serves the rule bleu and gleu, got chrf"):
        RankOptions(rule="chrf", tokens="ids")
    with pytest.raises(ConfigError, match="rule"):
        list(rank([], None, RankOptions(rule="best")))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ids need"):
        list(rank([], [], RankOptions(rule="bleu", tokens="ids")))
    with pytest.raises(ConfigError, match="temperature: serves weights by the model's probability"):
        RankOptions(rule="mbr", temperature=0.5)


def test_bytes_that_are_no_text_are_refused_where_they_stand() -> None:
    options = {
        "rule": "mbr",
        "smoothing": "sacrebleu",
        "tokens": "13a",
        "weights": "uniform",
        "temperature": 1.0,
        "seed": 0,
    }
    with pytest.raises(ValueError, match="line 9, hypothesis 2: invalid UTF-8 at byte 2"):
        _native.rank([(9, [("ä", [], 0.0, 0.0), (b"a\xff", [], 0.0, 0.0)], None, [], [])], options, 1)  # type: ignore[list-item]


def test_another_length_of_gold_is_an_error_in_a_stream_too() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ranked([plain.record(1, ["a"])], [], rule="bleu")


def test_ctrl_c_is_heard() -> None:
    rng = random.Random(1)
    texts = ["".join(rng.choices("abcdefghij ", k=2000)) for _ in range(60)]
    lists = [plain.record(line, texts) for line in range(1, 400)]  # half a minute of work
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        ranked(lists, None, threads=2, rule="mbr")
    timer.join()


LINES = [
    "", " ", "a.b,c", "1.0,5 .5. 5.-6", "x-\ny\nz", "&lt;b&gt; &amp;quot;", "<skipped>x<skip<skipped>ped>", "a\u2028b\u0085c\x1cd",
    "(\"'`~{|}^_[]\\@?=>;:/+*)", "日本語。、.,", "١٢.٣", "\u200ba .", "…“x”–—", "🇩🇪.5-5.",
]  # fmt: skip


def test_13a_tokens() -> None:
    for line in LINES:
        assert _native.tokenize_13a(line) == plain.tokens_of(line)


@pytest.mark.data
@pytest.mark.slow
def test_13a_tokens_of_all_real_text(shared: Path) -> None:
    import gzip

    lines = 0
    for path in sorted((shared / "data").glob("*.gz")):
        for line in dict.fromkeys(gzip.decompress(path.read_bytes()).decode().split("\n")):
            assert _native.tokenize_13a(line) == plain.tokens_of(line), path
            lines += 1
    assert lines > 500_000


def test_a_learned_metric_is_asked_block_by_block() -> None:
    """chrF as such a metric chooses what the rule chooses by itself."""
    records, _ = plain.random_lists(3 * ASKED + 5)
    sources = [f"line {record.line}" for record in records]

    def chrf(sources: Any, hypotheses: Any, references: Any) -> list[float]:
        return [sacrebleu.sentence_chrf(h, [r]).score for h, r in zip(hypotheses, references, strict=True)]

    for options in (RankOptions(rule="mbr"), RankOptions(rule="mbr", weights="model", temperature=2.0)):
        own, asked = (list(rank(records, None, options, **more)) for more in ({}, {"metric": chrf, "sources": sources}))
        for (_, expected), (_, found) in zip(own, asked, strict=True):
            assert found.numbers == pytest.approx(expected.numbers, abs=1e-9)


@pytest.mark.parametrize(
    ("rule", "metric", "sources"), [("mbr", len, None), ("mbr", None, []), ("estimate", None, None), ("model", len, [])]
)
def test_a_learned_metric_and_its_sources_go_together(rule: Any, metric: Any, sources: Any) -> None:
    with pytest.raises(ConfigError, match="a learned metric"):
        next(rank([], None, RankOptions(rule=rule), metric=metric, sources=sources))
