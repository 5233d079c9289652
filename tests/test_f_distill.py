"""f-distill (Wen et al. 2023): divergences of sequences, one half on the teacher's samples, the other on the student's own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import test_trainer as training
from conftest import lively_model
from distilmt.distilling.methods import ALONE, METHODS, named
from distilmt.objectives import Head, parse
from distilmt.training.batches import Pairs
from distilmt.training.own_batches import own_objective
from distilmt.training.own_targets import OwnTargets
from distilmt.training.student_loss import StudentLoss
from distilmt.vocab import Vocab

ONE = torch.tensor(1.0)


def sides(name: str) -> tuple[str, str]:
    """What a method minimises on the teacher's samples and on the student's."""
    own = METHODS[name].own
    assert own is not None and own.objective is not None
    return METHODS[name].objective, own.objective


def test_both_sides_on_three_words() -> None:
    """At one step the two sides are, at equal weights, the two divergences from the mixture, and twice half the distance."""
    p, q = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]
    m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    heads = {
        name: Head(torch.tensor([x], dtype=torch.float64).log(), None) for name, x in (("student", p), ("teacher", q))
    }
    want = {
        "f-js": tuple(0.5 * sum(x * math.log(x / y) for x, y in zip(a, m, strict=True)) for a in (q, p)),
        "f-tv": (0.5 * 0.5 * (0.3 + 0.1 + 0.4),) * 2,
    }
    for name, values in want.items():
        for side, value in zip(sides(name), values, strict=True):
            assert float(parse(side).evaluate(targets=torch.tensor([0]), **heads).loss) == pytest.approx(value)


def test_a_method_says_where_its_samples_come_from() -> None:
    for name in ("f-js", "f-tv"):
        method = named(name)
        assert method.phases[0].recipe == "sampled"
        assert method.phases[0].own == OwnTargets(
            share=1, sample=True, temperature=1, every=1, beside=True, objective=sides(name)[1]
        )
    assert named("f-kl").recipe == "sampled" and named("f-kl").own is None
    assert (
        named("f-kl").objective == "WordKD()"
    )  # all that the teacher says at each step of its samples, not their words alone
    alone = named("f-reverse-kl").phases[0]
    assert alone.own is not None and not alone.own.beside and alone.own.objective == "ReverseKD()"
    assert named("hidden/f-js").phases[1].own == METHODS["f-js"].own  # the paper's warm start


def test_phases_by_teacher_are_of_those_that_take_turns() -> None:
    assert ALONE.of_run(2, 3) is ALONE and named("stacked").of_run(2, 3) is METHODS["stacked"]
    assert [phase.teacher for phase in named("continual").of_run(2, 3).phases] == [None, 0, 1]


def test_both_sides_add_up_each_by_its_own_tokens(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    student, teacher = (lively_model(tiny_vocab, seed=seed) for seed in (1, 2))
    given, own = map(parse, sides("f-js"))
    loss = StudentLoss(student, given, teacher, own)
    said = {**two_sentences, "labels": two_sentences["labels"].roll(1, 0), "denominator": torch.tensor(3.0)}
    value, sums = loss(denominator=torch.tensor(6.0), said=said, **two_sentences)
    value.backward()
    together = student.lm_head.weight.grad.clone()
    student.zero_grad()
    separate = [
        StudentLoss(student, objective, teacher)(**batch)
        for objective, batch in ((given, {**two_sentences, "denominator": torch.tensor(6.0)}), (own, said))
    ]
    torch.testing.assert_close(value, separate[0][0] + separate[1][0])
    torch.testing.assert_close(sums["own_SkewReverseKD"], separate[1][1]["SkewReverseKD"])
    assert sums["tokens"] == sums["own_tokens"] == 6 and "nll" in sums and "own_nll" not in sums
    (separate[0][0] + separate[1][0]).backward()
    torch.testing.assert_close(student.lm_head.weight.grad, together)
    assert all(p.grad is None for p in teacher.parameters())


def test_a_training_on_both_samples_resumes_bit_exactly(
    vocabulary: Vocab, pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "objective": sides("f-js")[0], "teacher": training.student(vocabulary, seed=5), "own": METHODS["f-js"].own,
    }  # fmt: skip
    whole, _ = training.fit(vocabulary, pairs, tmp_path / "whole", **given)
    assert training.same_weights(whole, training.in_parts(vocabulary, pairs, tmp_path / "parts", monkeypatch, **given))
    logged = [e for e in training.events(tmp_path / "whole") if "loss" in e]
    assert len(logged) == 12  # every update has both sides, each a mean over its own tokens
    for e in logged:
        assert e["loss"] == pytest.approx(0.5 * e["term_SkewKD"] + 0.5 * e["term_own_SkewReverseKD"], abs=2e-4)
        assert e["nll"] > 0


def test_the_students_side_needs_a_teacher() -> None:
    for name in ("f-js", "f-tv", "f-reverse-kl"):
        own = METHODS[name].own
        assert own is not None and own_objective(own, parse(METHODS[name].objective)) == parse(str(own.objective))
