"""The criteria of Wang et al. 2021 beside the student's NLL: two sentences of three words, chosen by hand."""

from __future__ import annotations

from collections import Counter
from math import log
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives import Evaluation, Head, parse
from distilmt.objectives.criteria import CRITERIA
from distilmt.training.batches import encode_pairs
from distilmt.vocab import Vocab

# Two sentences, of three and of two targets, and a row without one.
TARGETS = torch.tensor([0, 1, 2, 2, 0, -100])
SENTENCES = torch.tensor([0, 0, 0, 1, 1, 1])
STUDENT = torch.tensor([[6, 2, 2], [1, 8, 1], [1, 1, 8], [1, 7, 2], [4, 3, 3], [1, 1, 8.0]]) / 10
TEACHER = torch.tensor([[9, 0.5, 0.5], [4, 3, 3], [1, 2, 7], [2, 2, 6], [1, 8, 1], [8, 1, 1.0]]) / 10
COUNTS = torch.tensor([50, 3, 20])
EMBEDDING = torch.eye(3) * torch.tensor([2.0, 5.0, 3.0])  # logits are hidden states times these


def evaluate(expression: str, **changed: object) -> Evaluation:
    student = Head((STUDENT.log() / EMBEDDING.diagonal()), EMBEDDING)
    objective = parse(expression)
    objective.know(COUNTS)
    given = {"student": student, "targets": TARGETS, "teacher": Head(TEACHER.log(), None), "sentences": SENTENCES}
    return objective.evaluate(**given | changed)


def kl(rows: list[int]) -> Tensor:
    """KL(q || p) over the rows, by the number of all targets."""
    return (TEACHER * (TEACHER / STUDENT).log()).sum(1)[rows].sum() / 5


@pytest.mark.parametrize(
    ("by", "rate", "lowest", "rows", "gate"),
    [
        ("gold_probability", 0.4, False, [0, 2], 0.7),  # of 0.9, 0.3, 0.7, 0.6, 0.1
        ("gold_probability", 0.4, True, [1, 4], 0.3),
        ("word_frequency", 0.2, False, [0, 4], 50),  # of 50, 3, 20, 20, 50: ties are chosen
        ("word_frequency", 0.2, True, [1], 3),
        ("embedding_norm", 0.6, False, [1, 2, 3], 3),  # of 2, 5, 3, 3, 2
        ("embedding_norm", 0.2, True, [0, 4], 2),
        ("sentence_length", 0.5, False, [0, 1, 2], 3),  # three tokens against two
        ("sentence_length", 0.5, True, [3, 4], 2),
        ("sentence_nll", 0.5, False, [3, 4], -(log(0.2) + log(0.4)) / 2),
        ("sentence_nll", 0.5, True, [0, 1, 2], -(log(0.6) + 2 * log(0.8)) / 3),
        ("sentence_nll", 1.0, False, [0, 1, 2, 3, 4], -(log(0.6) + 2 * log(0.8)) / 3),
    ],
)
def test_criteria_by_hand(by: str, rate: float, lowest: bool, rows: list[int], gate: float) -> None:
    out = evaluate(f"SelectiveKD({rate}, by='{by}', lowest={lowest})")
    torch.testing.assert_close(out.loss, kl(rows))
    assert float(out.selected) == pytest.approx(len(rows) / 5) and float(out.gate) == pytest.approx(gate, rel=1e-5)


@pytest.mark.parametrize("by", CRITERIA)
def test_a_criterion_asks_for_no_number_on_the_way(by: str) -> None:
    """Which would wait for a GPU, and break a graph."""
    objective = parse(f"SelectiveKD(0.4, by='{by}')")
    objective.know(COUNTS)

    def loss(hidden: Tensor, teacher: Tensor) -> Tensor:
        given = {"student": Head(hidden, EMBEDDING), "targets": TARGETS, "teacher": Head(teacher, None)}
        return objective.evaluate(**given, sentences=SENTENCES).loss

    inputs = STUDENT.log() / EMBEDDING.diagonal(), TEACHER.log()
    assert torch.compile(loss, fullgraph=True, backend="aot_eager")(*inputs) == loss(*inputs) > 0


def test_without_a_target_nothing_is_chosen() -> None:
    for rows in (0, 6):
        given = {"targets": torch.full((rows,), -100), "sentences": SENTENCES[:rows], "teacher": TEACHER.log()[:rows]}
        student = Head(STUDENT.log()[:rows], EMBEDDING)
        out = evaluate("SelectiveKD(by='sentence_length')", student=student, **given)
        assert out.loss == 0 and out.selected == 0 and out.gate.isnan()


def test_a_criterion_says_what_it_lacks() -> None:
    for by, changed, message in (
        ("sentence_length", {"sentences": None}, r"give evaluate\(sentences=...\)"),
        (
            "sentence_nll",
            {"sentences": SENTENCES + 5},
            "sentences must be counted from 0, below 6 of so many rows, got 5 to 6",
        ),
        ("embedding_norm", {"student": Head(STUDENT.log(), None)}, "needs the student's output embedding"),
        ("gold_probability", {"teacher": [Head(TEACHER.log(), None)] * 2}, "asks one teacher for the target, got list"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate(f"SelectiveKD(by='{by}')", **changed)
    with pytest.raises(ConfigError, match="needs the training text's words"):
        parse("SelectiveKD(by='word_frequency')").evaluate(
            student=Head(STUDENT.log(), None), targets=TARGETS, teacher=TEACHER.log()
        )
    with pytest.raises(ConfigError, match="level='global' keeps a queue of student_nll"):
        parse("SelectiveKD(by='word_frequency', level='global')")


def test_words_are_counted_with_end_symbols(tiny_vocab: Vocab) -> None:
    pairs = encode_pairs(["the dog"] * 2, ["the dog the", "dog"], [1, 2], tiny_vocab, max_tokens=64, what="text")
    counts = pairs.word_counts(tiny_vocab)
    assert counts[tiny_vocab.eos_id] == 2 and len(counts) == tiny_vocab.target_size
    words = Counter(id for ids in tiny_vocab.encode_target(["the dog the", "dog"]) for id in ids)
    assert {id: int(counts[id]) for id in words} == words and counts.sum() == words.total() + 2


def test_a_training_chooses_by_a_criterion(tiny_model_folder: Path, tmp_path: Path) -> None:
    """What the criteria look at reaches them: words of the training text, sentences of the batch."""
    import json

    from distilmt.train import train

    for name in ("text.en", "text.de"):
        (tmp_path / name).write_text("the dog sees the cat .\nthe house\n")
    text = (str(tmp_path / "text.en"), str(tmp_path / "text.de"))
    for by in ("word_frequency", "sentence_length"):
        train(
            train=text, dev=text, out=str(tmp_path / by), size="1x1:16:32:2", teacher=(str(tiny_model_folder),),
            objective=f"NLL() + SelectiveKD(0.5, by='{by}', lowest=True)", updates=2, batch_tokens=64, log_every=1, threads=1,
        )  # fmt: skip
        events = [json.loads(line) for line in (tmp_path / f"{by}.training" / "events.jsonl").read_text().splitlines()]
        shares = [event["term_selected"] for event in events if "loss" in event]
        assert shares and all(0 < share < 1 for share in shares)
