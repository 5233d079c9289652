"""Every loss on a vocabulary of three words, value and gradient worked out by hand from the paper's formula."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from distilmt.objectives import Head, Neighbours, TopK, parse

# Student, teacher and gold differ at every turn: the teacher's first word is 0, gold is 1, the student's first is 2.
P = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64) / 14
Q = torch.tensor([16.0, 4.0, 1.0], dtype=torch.float64) / 21
P2 = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) / 6  # the same at T = 2: roots of both
Q2 = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64) / 7
GOLD = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
TOP = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)  # the teacher's first word
Z, V = (14 * P).log(), (21 * Q).log()  # logits
KL = 16 / 21 * log(32 / 3) + 4 / 21 * log(2 / 3) + 1 / 21 * log(2 / 27)
REVERSE = 1 / 14 * log(3 / 32) + 4 / 14 * log(3 / 2) + 9 / 14 * log(27 / 2)
KL2 = 4 / 7 * log(24 / 7) + 2 / 7 * log(6 / 7) + 1 / 7 * log(2 / 7)
REVERSE_GRADIENT = P * ((P / Q).log() - REVERSE)
HEAD = (16 / 21 - 1 / 14) / (16 / 21 - 1 / 14 + 4 / 14 - 4 / 21 + 9 / 14 - 1 / 21)  # of |p - q|, that of word 0


def m(teacher: float) -> Tensor:
    return teacher * Q + (1 - teacher) * P


def through(h: Tensor) -> Tensor:
    """The gradient of a value whose derivative by p is h."""
    return P * (h - (P * h).sum())


JS_STUDENT = float((P * (P / m(0.25)).log()).sum())
CASES: dict[str, tuple[float, Tensor]] = {
    "NLL()": (log(14 / 4), P - GOLD),
    "NLL(label_smoothing=0.1)": (
        0.9 * log(14 / 4) + 0.05 * (log(14) + log(14 / 9)), P - torch.tensor([0.05, 0.9, 0.05], dtype=torch.float64)
    ),
    "NLL(label_smoothing=0.1, smoothing='all')": (
        0.9 * log(14 / 4) + 0.1 / 3 * (log(14) + log(14 / 4) + log(14 / 9)), P - (0.9 * GOLD + 0.1 / 3)
    ),
    "NLL(temperature=2.0)": (2 * log(6 / 2), P2 - GOLD),  # T times a gradient of 1 / T, not T^2
    "WordKD()": (KL, P - Q),
    "WordKD(temperature=2.0)": (4 * KL2, 2 * (P2 - Q2)),
    "WordCE()": (16 / 21 * log(14) + 4 / 21 * log(14 / 4) + 1 / 21 * log(14 / 9), P - Q),
    "ReverseKD()": (REVERSE, REVERSE_GRADIENT),
    "JensenShannon(beta=0.25)": (
        0.25 * float((Q * (Q / m(0.25)).log()).sum()) + 0.75 * JS_STUDENT,
        0.75 * P * ((P / m(0.25)).log() - JS_STUDENT),
    ),
    "SkewKD(skew=0.25)": (float((Q * (Q / m(0.25)).log()).sum()), through(-0.75 * Q / m(0.25))),
    "SkewReverseKD(skew=0.75)": (JS_STUDENT, through((P / m(0.25)).log() - 0.75 * P / m(0.25))),
    "TotalVariation()": (
        (16 / 21 - 1 / 14 + 4 / 14 - 4 / 21 + 9 / 14 - 1 / 21) / 2,
        through(torch.tensor([-0.5, 0.5, 0.5], dtype=torch.float64)),
    ),
    "AdaptiveKD()": (HEAD * KL + (1 - HEAD) * REVERSE, HEAD * (P - Q) + (1 - HEAD) * REVERSE_GRADIENT),
    # z - v / 2 = log(1, 4, 9) - log(4, 2, 1)
    "LogitMSE(factor=0.5)": (
        (log(4) ** 2 + log(2) ** 2 + log(9) ** 2) / 3,
        2 / 3 * torch.tensor([-log(4), log(2), log(9)], dtype=torch.float64),
    ),
    "Top1()": (log(14), P - TOP),
    "Top1(weighted=True)": (16 / 21 * log(14), 16 / 21 * (P - TOP)),
    "WithoutTop1()": (20 / 21 * log(14 / 4) + 1 / 21 * log(14 / 9), P - (Q + 16 / 21 * (GOLD - TOP))),
    # t = 0, 1 and s = 2, 1: p(1) - p(0); then p(2) - p(0), p(1) - p(0), p(2) - p(1). Of word 1 with itself: equal, not above.
    "Ranking(k=2)": ((3 + 8 + 3 + 5) / 14, through(torch.tensor([-3.0, 1.0, 2.0], dtype=torch.float64))),
    # t = 0, 1, 2 and s = 2, 1, 0: p(1) - p(0), p(2) - p(0), and the same three pairs.
    "Ranking(k=3)": ((3 + 8 + 8 + 3 + 5) / 14, through(torch.tensor([-4.0, 1.0, 3.0], dtype=torch.float64))),
    "SelectiveKD(rate=1.0)": (KL, P - Q),
    "Inheritance(temperature=2.0)": (4 * KL2, 2 * (P2 - Q2)),
}  # fmt: skip


def value_and_gradient(objective: str, teacher: Any, logits: Tensor = Z, gold: int = 1) -> tuple[Tensor, Tensor]:
    z = logits[None].clone().requires_grad_()
    snapshot = teacher if isinstance(teacher, Tensor) else None
    out = parse(objective).evaluate(
        student=Head(z, None), targets=torch.tensor([gold]), teacher=teacher, snapshot=snapshot
    )
    (gradient,) = torch.autograd.grad(out.loss, z)
    return out.loss.detach(), gradient[0]


@pytest.mark.parametrize("objective", CASES)
def test_value_and_gradient_by_hand(objective: str) -> None:
    value, gradient = value_and_gradient(objective, V[None])
    assert float(value) == pytest.approx(CASES[objective][0], rel=1e-12)
    torch.testing.assert_close(gradient, CASES[objective][1], rtol=1e-9, atol=1e-12)


def test_logits_are_compared_without_their_shift() -> None:
    value, gradient = value_and_gradient("LogitMSE(centred=True)", V[None] + 5)
    gap = torch.tensor([-log(16), 0.0, log(9)], dtype=torch.float64)
    gap = gap - (log(9) - log(16)) / 3
    assert float(value) == pytest.approx(float((gap**2).mean()))
    torch.testing.assert_close(gradient, 2 / 3 * gap)


@pytest.mark.parametrize(
    ("tail", "value", "gradient"),
    [
        ("renormalise", 0.8 * log(0.8 * 14) + 0.2 * log(0.2 * 14 / 4), P - torch.tensor([0.8, 0.2, 0.0]).double()),
        ("drop", 16 / 21 * log(32 / 3) + 4 / 21 * log(2 / 3), 20 / 21 * P - Q * torch.tensor([1.0, 1.0, 0.0])),
        ("rest", KL, P - Q),  # one word outside: the rest is that word
    ],
)
def test_two_likely_words_and_the_rest(tail: str, value: float, gradient: Tensor) -> None:
    teacher = TopK(torch.tensor([[0, 1]]), Q[None, :2].log())
    got = value_and_gradient(f"WordKD(tail={tail!r})", teacher)
    assert float(got[0]) == pytest.approx(value)
    torch.testing.assert_close(got[1], gradient)


def test_neighbours_of_one_word_add_up_and_the_models_own_distribution_has_no_part() -> None:
    """Distances 0, T ln 2, T ln 2 and infinity: shares 1/2, 1/4, 1/4 and 0, of the words 1, 0, 1 and 2."""
    far = 100 * log(2)
    teacher = Neighbours(torch.tensor([[1, 0, 1, 2]]), torch.tensor([[0.0, far, far, torch.inf]]).double())
    value, gradient = value_and_gradient("KNNKD(temperature=100)", teacher)
    assert float(value) == pytest.approx(0.75 * log(0.75 * 14 / 4) + 0.25 * log(0.25 * 14))
    torch.testing.assert_close(gradient, P - torch.tensor([0.25, 0.75, 0.0]).double())


def test_the_own_entry_kept_at_a_low_temperature_is_nearly_gold() -> None:
    """Published: a token's own entry stays, at distance 0. Another word 100 away has e^-1 of it at T = 100, e^-10 at 10."""
    teacher = Neighbours(torch.tensor([[1, 0]]), torch.tensor([[0.0, 100.0]]).double())
    for temperature, other in ((100, 0.26894142137), (10, 4.5397868702e-05)):
        _, gradient = value_and_gradient(f"KNNKD(temperature={temperature})", teacher)
        torch.testing.assert_close(gradient, P - torch.tensor([other, 1 - other, 0.0]).double())


def rows(*nlls: float) -> dict[str, Any]:
    """A row per NLL of gold, which is word 0; the other two share the rest. The teacher gives word 0 half."""
    p = torch.tensor([[float(torch.tensor(-n).exp())] for n in nlls], dtype=torch.float64)
    student = torch.cat([p, (1 - p) / 2, (1 - p) / 2], 1).log()
    teacher = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).expand(len(nlls), 3).log()
    return {
        "student": Head(student.requires_grad_(), None),
        "targets": torch.zeros(len(nlls), dtype=torch.int64),
        "teacher": teacher,
    }


def chosen(objective: Any, *nlls: float) -> tuple[list[bool], float]:
    """Which rows the term looks at (they alone have a gradient), and the gate."""
    given = rows(*nlls)
    out = objective.evaluate(**given)
    (gradient,) = torch.autograd.grad(out.loss, given["student"].hidden)
    return (gradient != 0).any(1).tolist(), round(float(out.gate), 4)


def test_selective_global_pushes_the_batch_and_then_takes_the_gate_trap_7() -> None:
    """Algorithm 1 of Wang et al. 2021, a queue of 4, rate 1/2."""
    objective = parse("SelectiveKD(rate=0.5, level='global', queue_size=4)")
    assert chosen(objective, 1.0, 3.0) == ([False, True], 3.0)  # the queue 1 3: its larger half
    assert chosen(objective, 0.5, 0.2) == ([False, False], 1.0)  # 1 3 .5 .2; a batch of its own would choose .5
    assert chosen(objective, 4.0, 3.5) == ([True, True], 3.5)  # .5 .2 4 3.5; before the push the gate was 1
    assert chosen(objective, 3.2, 3.6) == ([False, True], 3.6)  # 4 3.5 3.2 3.6: the oldest two have gone


def test_selective_by_batch_chooses_ties_and_divides_by_all_tokens() -> None:
    objective = parse("SelectiveKD(rate=0.25)")
    assert chosen(objective, 2.0, 1.0, 2.0, 0.5) == ([True, False, True, False], 2.0)
    out = objective.evaluate(**rows(2.0, 1.0, 2.0, 0.5))
    p = float(torch.tensor(-2.0).exp())
    kl = 0.5 * log(0.5 / p) + 0.5 * log(0.5 / (1 - p))
    assert float(out.loss.detach()) == pytest.approx(2 * kl / 4)  # of four tokens, not of the two


def test_the_filter_of_continual_distillation_is_strict() -> None:
    """The teacher gives gold 1/2: it speaks where the student gives less, and not where it gives as much."""
    student = torch.tensor([[0.5, 0.25, 0.25], [0.4, 0.3, 0.3], [0.6, 0.2, 0.2]], dtype=torch.float64).log()
    given = rows(1.0, 1.0, 1.0) | {"student": Head(student.requires_grad_(), None)}
    out = parse("SelectiveKD(by='teacher_better')").evaluate(**given)
    (gradient,) = torch.autograd.grad(out.loss, student)
    assert (gradient != 0).any(1).tolist() == [False, True, False]


def test_a_temperature_of_one_is_none_and_squares_keep_the_size_of_the_gradient() -> None:
    """Hinton et al. 2015, section 2: at a high T the gradient of the soft loss times T^2 tends to that of matched logits."""
    plain, one = (value_and_gradient(f"WordKD({t})", V[None]) for t in ("", "temperature=1.0"))
    assert torch.equal(plain[0], one[0]) and torch.equal(plain[1], one[1])
    _, high = value_and_gradient("WordKD(temperature=10000.0)", V[None])
    gap = (Z - Z.mean()) - (V - V.mean())
    torch.testing.assert_close(high, gap / 3, rtol=1e-3, atol=0)


def test_an_ensembles_mean_by_hand() -> None:
    """Arithmetic: (p_1 + p_2) / 2. Geometric: the root of the product, normalised."""
    teachers = [V[None], V.flip(0)[None]]
    _, arithmetic = value_and_gradient("WordKD()", teachers)
    torch.testing.assert_close(arithmetic, P - torch.tensor([17.0, 8.0, 17.0]).double() / 42)
    from distilmt.objectives import Ensemble

    heads = [Head(v, None) for v in teachers]
    _, geometric = value_and_gradient("WordKD()", Ensemble(heads, geometric=True))
    torch.testing.assert_close(geometric, P - torch.tensor([4.0, 4.0, 4.0]).double() / 12)
    # Collective wisdom: by softmax of -NLL, so by the probability of gold: 4/21 of each where gold is word 1 ...
    wise = Ensemble(heads, by_nll="sentence", sentences=torch.tensor([0]))
    _, even = value_and_gradient("WordKD()", wise)
    torch.testing.assert_close(even, arithmetic)
    # ... and 16 : 1 where it is word 0.
    _, uneven = value_and_gradient("WordKD()", wise, gold=0)
    torch.testing.assert_close(uneven, P - (16 * Q + Q.flip(0)) / 17)


def test_roots_are_what_the_tempered_distributions_were_made_of() -> None:
    for p, tempered in ((P, P2), (Q, Q2)):
        torch.testing.assert_close((p.log() / 2).softmax(0), tempered)
