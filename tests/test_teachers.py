"""Several teachers of one vocabulary: Collective Wisdom's weights, ensembles that teach and that label."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import test_trainer as training
from conftest import lively_model
from distilmt import label, models, train
from distilmt.errors import ConfigError, DataError
from distilmt.label import read_labels
from distilmt.objectives import Ensemble, Head, parse
from distilmt.training.batches import Pairs
from distilmt.training.student_loss import StudentLoss
from distilmt.training.teachers import TeacherMix
from distilmt.translate import Translator
from distilmt.vocab import Vocab

ONE = torch.tensor(1.0)


def head(*rows: list[float]) -> Head:
    return Head(torch.tensor(rows, dtype=torch.float64).log().requires_grad_(), None)


def test_weights_by_nll_on_three_words() -> None:
    """Two sentences, of two targets and of one: each teacher counts by its mean NLL of the gold target there."""
    p = head([0.4, 0.3, 0.3], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4])
    a, b = (
        head([0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]),
        head([0.2, 0.4, 0.4], [0.1, 0.3, 0.6], [0.2, 0.2, 0.6]),
    )
    given = {"student": p, "targets": torch.tensor([0, 1, 2])}
    out = parse("WordKD()").evaluate(
        teacher=Ensemble([a, b], by_nll="sentence", sentences=torch.tensor([0, 0, 1])), **given
    )
    # softmax(-NLL) of means of logarithms: the geometric means of what each gave to gold
    first, second = math.sqrt(0.8 * 0.6), math.sqrt(0.2 * 0.3)
    w = [first / (first + second)] * 2 + [0.8 / 1.4]
    q = torch.stack([u * x + (1 - u) * y for u, x, y in zip(w, a.hidden.exp(), b.hidden.exp(), strict=True)]).detach()
    kl = (q * (q.log() - p.hidden)).sum(1)
    torch.testing.assert_close(out.loss, kl.mean().detach())
    out.loss.backward()
    torch.testing.assert_close(p.hidden.grad, (p.hidden.exp() - q).detach() / 3)
    assert a.hidden.grad is None and b.hidden.grad is None
    # By the batch, as published: by the mean over all three targets.
    w = (0.8 * 0.6 * 0.8) ** (1 / 3) / ((0.8 * 0.6 * 0.8) ** (1 / 3) + (0.2 * 0.3 * 0.6) ** (1 / 3))
    q = (w * a.hidden.exp() + (1 - w) * b.hidden.exp()).detach()
    batch = parse("WordKD()").evaluate(teacher=Ensemble([a, b], by_nll="batch"), **given)
    torch.testing.assert_close(batch.loss, (q * (q.log() - p.hidden)).sum(1).mean())


def test_kl_to_the_mean_pulls_like_the_sum_of_the_kls() -> None:
    """Collective Wisdom adds a KL for each teacher; the gradient is that of one KL to their arithmetic mean."""
    a, b, gradients = head([0.8, 0.1, 0.1]), head([0.2, 0.4, 0.4]), []
    for one in (True, False):
        p = head([0.4, 0.3, 0.3])
        for weight, teacher in [(1.0, Ensemble([a, b], [3.0, 1.0]))] if one else [(0.75, a), (0.25, b)]:
            (weight * parse("WordKD()")).evaluate(student=p, targets=torch.tensor([0]), teacher=teacher).loss.backward()
        gradients.append(p.hidden.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    "mix",
    [
        TeacherMix(), TeacherMix(weights=(3, 1), mean="geometric"), TeacherMix(by_nll="sentence"), TeacherMix(by_nll="batch"),
    ],
)  # fmt: skip
def test_a_training_asks_all_teachers(tiny_vocab: Vocab, two_sentences: dict[str, Tensor], mix: TeacherMix) -> None:
    student, *teachers = (lively_model(tiny_vocab, seed=seed) for seed in (1, 2, 3))
    loss, sums = StudentLoss(student, parse("WordKD()"), teachers, mix=mix)(denominator=ONE, **two_sentences)
    labels, rest = two_sentences["labels"], {n: t for n, t in two_sentences.items() if n != "labels"}
    lp, *lq = (m(**rest).logits[..., :-1].log_softmax(-1).detach() for m in (student, *teachers))
    w = torch.tensor([[0.75, 0.75], [0.25, 0.25]] if mix.weights else [[0.5, 0.5], [0.5, 0.5]])
    if mix.by_nll:
        gold = torch.stack([each.gather(2, labels.clamp(min=0)[..., None])[..., 0] for each in lq])
        means = torch.stack([gold[:, row, : int((labels[row] != -100).sum())].mean(1) for row in (0, 1)], 1)
        if mix.by_nll == "batch":
            means = gold[:, labels != -100].mean(1, keepdim=True).expand(2, 2)
        w = torch.softmax(means, 0)
        assert (abs(float(w[0, 0] - w[0, 1])) > 1e-3) == (mix.by_nll == "sentence")
    w, q = w[..., None, None], torch.stack(lq)
    mixed = (w * q).sum(0).log_softmax(-1) if mix.mean == "geometric" else (w * q.exp()).sum(0).log()
    want = (mixed.exp() * (mixed - lp)).sum(-1)[labels != -100].sum()
    torch.testing.assert_close(sums["WordKD"], want)
    loss.backward()
    assert student.lm_head.weight.grad is not None
    assert all(p.grad is None and not p.requires_grad for teacher in teachers for p in teacher.parameters())


def test_a_training_with_two_teachers_resumes_bit_exactly(
    vocabulary: Vocab,
    pairs: Pairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"objective": "NLL() + WordKD()", "teacher": [training.student(vocabulary, seed=seed) for seed in (5, 6)]}
    given["mix"] = TeacherMix(by_nll="sentence")
    whole, _ = training.fit(vocabulary, pairs, tmp_path / "whole", **given)
    again = training.in_parts(vocabulary, pairs, tmp_path / "parts", monkeypatch, **given)
    assert training.same_weights(whole, again)


def test_what_several_teachers_cannot_do_is_said(tiny_vocab: Vocab) -> None:
    student, *teachers = (lively_model(tiny_vocab, seed=seed) for seed in (1, 2, 3))
    kd = parse("WordKD()")
    with pytest.raises(ConfigError, match="looks at the layers of a teacher model, got 2 - give one"):
        StudentLoss(student, parse("WordKD() + Cosine()"), teachers)
    with pytest.raises(ConfigError, match="know none in the student's own words - fix their weights"):
        StudentLoss(student, kd, teachers, kd, mix=TeacherMix(by_nll="sentence"))
    for mix, message in (
        (TeacherMix(weights=(1,)), "expected 2 positive numbers, one per teacher, got \\[1\\]"),
        (TeacherMix(weights=(1, -1)), "expected 2 positive numbers"),
        (TeacherMix(weights=(1, 2), by_nll="sentence"), "both weigh the teachers - give one of them"),
    ):
        with pytest.raises(ConfigError, match=message):
            StudentLoss(student, kd, teachers, mix=mix)
    with pytest.raises(ConfigError, match="are of several teachers, got one"):
        StudentLoss(student, kd, teachers[0], mix=TeacherMix(by_nll="sentence"))


@pytest.fixture
def folders(tiny_vocab: Vocab, tmp_path: Path) -> list[str]:
    """Two models whose sentences end, and a text of their language."""
    for seed in (2, 3):
        model = lively_model(tiny_vocab, seed=seed)
        model.final_logits_bias[0, tiny_vocab.eos_id] = 2.5
        models.save(model, tiny_vocab, tmp_path / f"teacher-{seed}")
    (tmp_path / "text").write_text("the dog sees the cat .\nthe river builds the house .\nthe cat .\n")
    return [str(tmp_path / f"teacher-{seed}") for seed in (2, 3)]


def test_train_takes_several_teachers_and_an_earlier_student(
    folders: list[str], tiny_vocab: Vocab, tmp_path: Path
) -> None:
    text = (str(tmp_path / "text"),) * 2
    given = {
        "train": text, "dev": text, "updates": 2, "batch_tokens": 64, "threads": 1, "precision": "float32", "size": "1x1:32:64:4",
    }  # fmt: skip
    done = train(out=str(tmp_path / "kd"), teacher=folders, objective="WordKD()", teacher_weights=[2, 1], **given)
    assert done.fit.updates == 2 and Vocab.load(done.model).hash == tiny_vocab.hash
    with pytest.raises(ConfigError, match="this one begins with nothing - name a model with --init-from"):
        train(out=str(tmp_path / "x"), vocab=folders[0], objective="NLL() + Inheritance()", **given)
    kept = train(out=str(tmp_path / "kept"), init_from=str(done.model), objective="NLL() + Inheritance()", **given)
    assert "Inheritance" in kept.fit.curve[-1]["terms"]
    other = Vocab.train(["ein Hund sieht eine Katze und ein Haus"] * 9 + [str(n) for n in range(99)], 30, seed=1)
    models.save(lively_model(other), other, tmp_path / "other")
    with pytest.raises(
        DataError, match=r"student and teacher .*other have different ones .* train the student with the"
    ):
        train(out=str(tmp_path / "x"), teacher=[*folders, str(tmp_path / "other")], objective="WordKD()", **given)


def test_an_ensemble_labels(folders: list[str], tmp_path: Path) -> None:
    source, out = tmp_path / "text", tmp_path / "labels"
    given = {
        "model": folders[0],
        "also": folders[1:],
        "ensemble": "geometric",
        "weights": [1, 2],
        "beam_size": 3,
        "threads": 1,
    }
    label(source=str(source), out=str(out), **given)
    together = Translator(folders, ensemble="geometric", weights=[1, 2], threads=1)
    want = [t.text for t in together.translate(source.read_text().splitlines(), beam_size=3)]
    alone = [t.text for t in Translator(folders[0], threads=1).translate(source.read_text().splitlines(), beam_size=3)]
    assert read_labels(out).pseudo == want != alone
    for change, message in (
        ({"weights": [1, 3]}, r"(?s)begun with other inputs.*weights"),
        ({"also": folders[:1]}, r"(?s)begun with other inputs.*2/model\.safetensors"),
    ):
        with pytest.raises(ConfigError, match=message):
            label(source=str(source), out=str(out), **given | change)
    with pytest.raises(ConfigError, match="stored with one teacher's hash"):
        label(source=str(source), out=str(tmp_path / "soft"), soft_labels=4, **given)
