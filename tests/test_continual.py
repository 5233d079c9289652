"""Continual KD: what the student knew when its training began, kept beside what a better teacher says (Zhang et al. 2023)."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import test_trainer as training
from conftest import lively_model
from distilmt.objectives import Head, parse
from distilmt.training.batches import Pairs
from distilmt.training.student_loss import StudentLoss
from distilmt.vocab import Vocab

ONE = torch.tensor(1.0)
CONTINUAL = "NLL() + SelectiveKD(by='teacher_better') + 0.5 * Inheritance()"


def logits(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log().requires_grad_()


def test_filter_and_inheritance_on_three_words() -> None:
    """Two targets: at the first the teacher gives the target more than the student does, at the second less, and is not heard."""
    p, q, s = (
        logits([0.5, 0.3, 0.2], [0.1, 0.8, 0.1]),
        logits([0.8, 0.1, 0.1], [0.5, 0.4, 0.1]),
        logits([0.6, 0.2, 0.2], [0.2, 0.7, 0.1]),
    )
    out = parse(CONTINUAL).evaluate(
        student=Head(p, None), targets=torch.tensor([0, 1]), teacher=Head(q, None), snapshot=Head(s, None)
    )

    def kl(a: list[float], b: list[float]) -> float:
        return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True))

    heard = kl([0.8, 0.1, 0.1], [0.5, 0.3, 0.2])
    kept = kl([0.6, 0.2, 0.2], [0.5, 0.3, 0.2]) + kl([0.2, 0.7, 0.1], [0.1, 0.8, 0.1])
    want = (-math.log(0.5) - math.log(0.8) + heard + 0.5 * kept) / 2
    assert float(out.loss.detach()) == pytest.approx(want) and float(out.selected) == 0.5
    out.loss.backward()
    assert q.grad is None and s.grad is None
    # p - y, and where the teacher is heard p - q; and half of p - s
    want_grad = [[0.5 - 1 - 0.3 - 0.05, 0.3 + 0.2 + 0.05, 0.2 + 0.1], [0.1 - 0.05, 0.8 - 1 + 0.05, 0.1]]
    torch.testing.assert_close(p.grad, torch.tensor(want_grad, dtype=torch.float64) / 2)


def test_the_snapshot_is_the_student_as_it_began(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    student, teacher = (lively_model(tiny_vocab, seed=seed, dropout=0.5) for seed in (1, 2))
    began = {name: value.clone() for name, value in student.state_dict().items()}
    loss = StudentLoss(student, parse("NLL() + Inheritance()"), None)
    assert float(loss(denominator=ONE, **two_sentences)[1]["Inheritance"]) == pytest.approx(0, abs=1e-6)
    student.load_state_dict(teacher.state_dict())
    value, _ = loss.train()(denominator=ONE, **two_sentences)
    student.eval()
    labels, rest = two_sentences["labels"], {n: t for n, t in two_sentences.items() if n != "labels"}
    assert loss.snapshot is not None and not loss.snapshot.training  # although the student drops out
    ls = loss.snapshot(**rest).logits[..., :-1].log_softmax(-1)
    assert all(torch.equal(v, began[n]) for n, v in loss.snapshot.state_dict().items())
    value.backward()
    assert all(p.grad is None and not p.requires_grad for p in loss.snapshot.parameters())
    assert "snapshot" not in " ".join(loss.state_dict()) and student.model.encoder.layers[0].fc1.weight.grad is not None
    lp = student(**rest).logits[..., :-1].log_softmax(-1)
    want = ((ls.exp() * (ls - lp)).sum(-1))[labels != -100].sum()
    torch.testing.assert_close(loss(denominator=ONE, **two_sentences)[1]["Inheritance"], want.detach())


def test_another_snapshot_may_be_given(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    student, other = (lively_model(tiny_vocab, seed=seed) for seed in (1, 2))
    kept, taught = (
        StudentLoss(student, parse(objective), teacher, snapshot=snapshot)(denominator=ONE, **two_sentences)[0]
        for objective, teacher, snapshot in (("Inheritance()", None, other), ("WordKD()", other, None))
    )
    torch.testing.assert_close(kept, taught)


def test_a_training_with_a_snapshot_resumes_bit_exactly(
    vocabulary: Vocab,
    pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"objective": CONTINUAL, "teacher": training.student(vocabulary, seed=5)}
    whole, _ = training.fit(vocabulary, pairs, tmp_path / "whole", **given)
    with monkeypatch.context() as patch:
        training.stop_at(patch, 6, training.interrupt)
        with pytest.raises(KeyboardInterrupt):
            training.fit(vocabulary, pairs, tmp_path / "parts", **given)
    other = training.student(vocabulary, seed=9)  # whatever begins again: the checkpoint has both students
    monkeypatch.setattr(training, "student", lambda _: other)
    again, _ = training.fit(vocabulary, pairs, tmp_path / "parts", **given)
    assert again is other and training.same_weights(whole, again)
    logged = [e for e in training.events(tmp_path / "whole") if "loss" in e]
    assert all(e["term_Inheritance"] > 0 and 0 <= e["term_selected"] <= 1 for e in logged)


def test_weight_0_is_the_baseline_bit_for_bit(vocabulary: Vocab, pairs: Pairs, tmp_path: Path) -> None:
    one, two = (
        training.fit(vocabulary, pairs, tmp_path / name, objective, updates=4)[0]
        for name, objective in (("plain", "NLL()"), ("zero", "NLL() + 0 * Inheritance()"))
    )
    assert training.same_weights(one, two)
