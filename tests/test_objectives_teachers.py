"""Terms and the kinds of teacher: each against its formula, and who cannot learn from whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives import NLL, Ensemble, Head, Neighbours, TopK, WordKD, parse
from distilmt.soft_labels import SoftLabels

ROWS, VOCAB = 6, 13
TARGETS = torch.tensor([1, 2, -100, 12, 0, 2])
KNOWN = TARGETS != -100


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def head(seed: int, d: int = 5) -> Head:
    return Head(randn(ROWS, d, seed=seed), randn(VOCAB, d, seed=seed + 50), randn(VOCAB, seed=seed + 99))


def log_softmax(of: Head, temperature: float = 1.0) -> Tensor:
    return torch.log_softmax((of.hidden @ of.weight.T + of.bias) / temperature, 1)


def mean(rows: Tensor) -> Tensor:
    return rows[KNOWN].sum() / KNOWN.sum()


def kl(lq: Tensor, lp: Tensor) -> Tensor:
    return (lq.exp() * (lq - lp).masked_fill(lq == -torch.inf, 0)).sum(1)


STUDENT, TEACHER = head(1, 8), head(2)
Z, V = (h.hidden @ h.weight.T + h.bias for h in (STUDENT, TEACHER))
LP, LQ = log_softmax(STUDENT), log_softmax(TEACHER)
P, Q = LP.exp(), LQ.exp()
LP2, LQ2 = log_softmax(STUDENT, 2.0), log_softmax(TEACHER, 2.0)
GOLD = TARGETS.clamp(min=0)[:, None]
TOP = LQ.argmax(1, keepdim=True)
M = (0.3 * Q + 0.7 * P).log()


def evaluate(term: str, teacher: Any = TEACHER, **given: Any) -> Any:
    return parse(term).evaluate(student=STUDENT, targets=TARGETS, teacher=teacher, snapshot=TEACHER, **given)


@pytest.mark.parametrize(
    ("term", "rows"),
    [
        ("NLL()", -LP.gather(1, GOLD)[:, 0]),
        ("NLL(0.1, 'all')", -0.9 * LP.gather(1, GOLD)[:, 0] - 0.1 * LP.mean(1)),
        ("NLL(temperature=2.0)", -2 * LP2.gather(1, GOLD)[:, 0]),  # T, not T^2: the target is hard
        ("WordKD()", kl(LQ, LP)),
        ("WordKD(2.0)", 4 * kl(LQ2, LP2)),
        ("WordKD(2.0, 1.0)", 4 * kl(LQ, LP2)),
        ("WordCE(2.0)", -4 * (LQ2.exp() * LP2).sum(1)),
        ("ReverseKD(2.0)", kl(LP2, LQ2)),
        ("JensenShannon(0.3)", 0.3 * kl(LQ, M) + 0.7 * kl(LP, M)),
        ("JensenShannon(0.3, continuous=True)", (0.3 * kl(LQ, M) + 0.7 * kl(LP, M)) / 0.21),
        ("SkewKD(0.3)", kl(LQ, M)),
        ("SkewReverseKD(0.7)", kl(LP, M)),
        ("TotalVariation()", (P - Q).abs().sum(1) / 2),
        ("LogitMSE(0.5)", ((Z - 0.5 * V) ** 2).mean(1)),
        ("LogitMSE(centred=True)", (Z - V).var(1, unbiased=False)),
        ("Top1()", -LP.gather(1, TOP)[:, 0]),
        ("Top1(weighted=True, temperature=2.0)", -(LQ2.exp() * LP2).gather(1, TOP)[:, 0]),
        ("WithoutTop1()", -(Q * LP).sum(1) + (Q.gather(1, TOP) * (LP.gather(1, TOP) - LP.gather(1, GOLD)))[:, 0]),
        ("SelectiveKD(1.0, temperature=2.0)", 4 * kl(LQ2, LP2)),
        ("Inheritance(2.0)", 4 * kl(LQ2, LP2)),
    ],
)  # fmt: skip
def test_a_term_is_its_formula(term: str, rows: Tensor) -> None:
    out = evaluate(term)
    torch.testing.assert_close(out.loss, mean(rows))
    torch.testing.assert_close(out.terms, {term.split("(")[0]: out.loss})


def test_the_continuous_family_tends_to_the_two_divergences() -> None:
    for beta, limit in ((1e-6, "WordKD()"), (1 - 1e-6, "ReverseKD()")):
        near = evaluate(f"JensenShannon({beta}, continuous=True)").loss
        torch.testing.assert_close(near, evaluate(limit).loss, rtol=1e-4, atol=0)
        assert evaluate(f"JensenShannon({beta})").loss < 1e-4  # the plain formula goes to 0 there


SPARSE = {"TopK": TopK(TOP, torch.zeros(ROWS, 1)), "Neighbours": Neighbours(TOP, torch.zeros(ROWS, 1))}
DENSE = {"Head": TEACHER, "logits": V, "Ensemble": Ensemble([TEACHER, TEACHER]), "list": [TEACHER, TEACHER]}
FULL = ["WordCE", "ReverseKD", "JensenShannon", "SkewKD", "SkewReverseKD", "TotalVariation", "AdaptiveKD", "LogitMSE"]
TERMS = ["WordKD", "KNNKD", *FULL, "Ranking", "Top1", "WithoutTop1", "SelectiveKD"]
ALLOWED = {"WordKD": {*DENSE, "TopK"}, "SelectiveKD": {*DENSE, "TopK"}, "KNNKD": {"Neighbours"}}


@pytest.mark.parametrize("kind", [*DENSE, *SPARSE])
@pytest.mark.parametrize("term", TERMS)
def test_who_learns_from_whom(term: str, kind: str) -> None:
    teacher = (DENSE | SPARSE)[kind]
    if kind not in ALLOWED.get(term, DENSE):
        with pytest.raises(ConfigError, match=f"{term}.* (needs|cannot use) "):
            evaluate(f"{term}()", teacher)
        return
    out = evaluate(f"NLL() + {term}()", teacher)
    assert out.loss.isfinite() and 0 <= out.agreement <= 1
    if kind in ("logits", "Ensemble", "list") and term != "LogitMSE":  # which sees the log of the mean
        torch.testing.assert_close(out.loss, evaluate(f"NLL() + {term}()").loss)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (3, "teacher must be a Head, logits, TopK, SoftLabels, Neighbours, Ensemble or a list, got int"),
        ([(0.5, TEACHER), TEACHER], "give all of them a weight, or none"),
        ([SPARSE["TopK"], TEACHER], "a list of teachers is of heads or logits, .* got TopK"),
        ([("half", TEACHER)], "with a number as its weight, got str"),
        (TopK(TOP.expand(-1, 2), torch.zeros(ROWS, 2)), "ids must be distinct in a row, got one twice in row 0"),
        (Ensemble([TEACHER, TEACHER], [0.0, 0.0]), "weights must not all be 0"),
        (Ensemble([TEACHER, TEACHER], [1.0]), "weights must be 2 numbers"),
        (Ensemble([TEACHER, TEACHER], [1.0, -1.0]), "weights must be 2 numbers of at least 0"),
        (Ensemble([TEACHER, TEACHER], by_nll="sentence"), "needs sentences"),
        (Ensemble([TEACHER, TEACHER], by_nll=True), "by_nll of each sentence or batch, got True"),  # type: ignore[arg-type]
        (None, r"WordKD\(\) needs a teacher, got None"),
    ],
)
def test_a_wrong_teacher_is_explained(teacher: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate("WordKD()", teacher)


def test_a_snapshot_is_a_head_or_logits() -> None:
    student = {"student": STUDENT, "targets": TARGETS}
    both = [parse("Inheritance()").evaluate(**student, snapshot=s).loss for s in (TEACHER, V)]
    torch.testing.assert_close(*both)
    for wrong, message in (
        (None, "needs a snapshot, got None"),
        (SPARSE["TopK"], "must be a Head or logits, got TopK"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse("Inheritance()").evaluate(**student, snapshot=wrong)


@pytest.mark.parametrize("geometric", [False, True])
@pytest.mark.parametrize("weights", [None, [3.0, 1.0, 0.0], "sentence", "batch"], ids=str)
def test_an_ensemble_is_the_mean_of_its_members(geometric: bool, weights: Any) -> None:
    members, sentences = [head(seed) for seed in (3, 4, 5)], torch.tensor([0, 0, 0, 1, 1, 2])
    lq = torch.stack([log_softmax(member) for member in members])
    w = torch.full((3, ROWS), 1 / 3, dtype=torch.float64)
    given: dict[str, Any] = {"weights": weights}
    if isinstance(weights, str):
        given = {"by_nll": weights, "sentences": sentences}
        sentences = sentences if weights == "sentence" else 0 * sentences
        nll = -lq.gather(2, GOLD.expand(3, -1, -1))[..., 0]
        means = [nll[:, (sentences == s) & KNOWN].mean(1) for s in sentences.unique()]
        w = torch.softmax(-torch.stack(means, 1), 0)[:, sentences]
    elif weights:
        w = torch.tensor([0.75, 0.25, 0.0], dtype=torch.float64)[:, None].expand(3, ROWS)
    mixed = torch.log_softmax((w[..., None] * lq).sum(0), 1) if geometric else (w[..., None] * lq.exp()).sum(0).log()
    out = evaluate("WordKD()", Ensemble(members, geometric=geometric, **given))
    torch.testing.assert_close(out.loss, mean(kl(mixed, LP)))
    if not geometric and not isinstance(weights, str):
        pairs = members if weights is None else list(zip(weights, members, strict=True))
        torch.testing.assert_close(evaluate("WordKD()", pairs).loss, out.loss)


def test_weighing_by_nll_asks_for_no_number_on_the_way() -> None:
    ensemble = Ensemble([head(3), head(4)], by_nll="sentence", sentences=torch.tensor([0, 0, 0, 1, 1, 2]))

    def loss(hidden: Tensor) -> Tensor:
        return WordKD().evaluate(student=Head(hidden, STUDENT.weight), targets=TARGETS, teacher=ensemble).loss

    assert torch.compile(loss, fullgraph=True, backend="aot_eager")(STUDENT.hidden) == loss(STUDENT.hidden)


def test_neighbours_of_the_same_token_are_added() -> None:
    ids = torch.randint(0, 4, (ROWS, 9), generator=torch.Generator().manual_seed(6))
    distances = randn(ROWS, 9, seed=7).abs() * 20
    distances[:, 5] = torch.inf  # no such neighbour
    distances[3] = torch.inf  # none at all
    shares = torch.softmax(-distances / 10, 1).nan_to_num(0)
    q = torch.zeros(ROWS, VOCAB, dtype=torch.float64).scatter_add(1, ids, shares)
    out = evaluate("KNNKD(10.0)", Neighbours(ids, distances))
    torch.testing.assert_close(out.loss, mean(kl(q.log(), LP)))
    many = evaluate("KNNKD()", Neighbours(ids.repeat(1, 4), distances.repeat(1, 4)))  # more neighbours than words
    torch.testing.assert_close(many.loss, out.loss)


@pytest.mark.parametrize("tail", ["renormalise", "drop", "rest"])
def test_a_top_k_teacher(tail: str) -> None:
    log_q, ids = LQ.topk(4, 1)
    out = evaluate(f"WordKD(tail={tail!r})", TopK(ids, log_q))
    lp, q = LP.gather(1, ids), log_q.exp()
    rest = 1 - q.sum(1), 1 - lp.exp().sum(1)
    want = {
        "renormalise": kl(log_q - q.sum(1, keepdim=True).log(), lp),
        "drop": kl(log_q, lp),
        "rest": kl(log_q, lp) + rest[0] * (rest[0] / rest[1]).log(),
    }[tail]
    torch.testing.assert_close(out.loss, mean(want))


def test_temperature_of_a_top_k_teacher() -> None:
    log_q, ids = LQ.topk(4, 1)
    lq = torch.log_softmax(log_q / 2, 1)
    torch.testing.assert_close(evaluate("WordKD(2.0)", TopK(ids, log_q)).loss, mean(4 * kl(lq, LP2.gather(1, ids))))
    with pytest.raises(ConfigError, match=r"has temperature 1, got 2\.0 - the tail's shape is unknown"):
        evaluate("WordKD(2.0, tail='rest')", TopK(ids, log_q))


def test_soft_labels_are_a_teacher() -> None:
    log_q, ids = LQ.float().topk(4, 1)
    stored = SoftLabels(ids.int().numpy(), log_q.numpy(), np.zeros(ROWS, np.float32), np.zeros(ROWS, np.float32))
    assert evaluate("WordKD(tail='rest')", stored).loss == evaluate("WordKD(tail='rest')", TopK(ids, log_q)).loss


def test_weights_stand_before_or_behind_their_teachers() -> None:
    want = evaluate("WordKD()", Ensemble([TEACHER, STUDENT], [3.0, 1.0])).loss
    assert evaluate("WordKD()", [(3, TEACHER), (1.0, STUDENT)]).loss == want
    assert evaluate("WordKD()", [(TEACHER, 0.75), (STUDENT, 0.25)]).loss == want
    assert evaluate("WordKD()", [(TEACHER, np.float32(0.75)), (torch.tensor(0.25), STUDENT)]).loss == want


@pytest.mark.parametrize("tail", ["renormalise", "drop", "rest"])
def test_an_absent_entry_is_none_whatever_its_id(tail: str) -> None:
    log_q, ids = LQ.topk(3, 1)
    log_q[:, 2] = -torch.inf
    want = evaluate(f"WordKD(tail={tail!r})", TopK(ids[:, :2], log_q[:, :2])).loss
    for other in (ids[:, 2], torch.full((ROWS,), -1), torch.full((ROWS,), VOCAB + 7), ids[:, 0]):
        more = TopK(torch.stack([*ids[:, :2].T, other], 1), log_q)
        torch.testing.assert_close(evaluate(f"WordKD(tail={tail!r})", more).loss, want)


def test_absent_neighbours_take_no_words_place() -> None:
    """More neighbours than words, most of them absent."""
    ids = torch.cat([torch.full((ROWS, VOCAB), -1), TOP, GOLD], 1)
    distances = torch.cat([torch.full((ROWS, VOCAB), torch.inf), torch.ones(ROWS, 1), torch.full((ROWS, 1), 2.0)], 1)
    want = evaluate("KNNKD()", Neighbours(ids[:, VOCAB:], distances[:, VOCAB:])).loss
    torch.testing.assert_close(evaluate("KNNKD()", Neighbours(ids, distances)).loss, want)


def test_agreement_of_nothing_is_no_number() -> None:
    out = evaluate("NLL() + SelectiveKD(by='teacher_better')", STUDENT)
    assert out.selected == 0 and out.looked == 0 and out.agreement.isnan()
    assert evaluate("NLL() + SelectiveKD(0.4)").looked == 2 and evaluate("WordKD()").looked == 5


def test_agreement_with_stored_words() -> None:
    """With the likeliest of them, wherever it stands; a row of which nothing is stored agrees with nothing."""
    first = LP.argmax(1)
    ids = torch.stack([(first + 1) % VOCAB, first, (first + 2) % VOCAB], 1)
    log_q = torch.tensor([[-1.0, -0.5, -2.0]]).repeat(ROWS, 1).double()
    log_q[1], log_q[3] = torch.tensor([-0.5, -1.0, -2.0]), -torch.inf
    assert evaluate("WordKD()", TopK(ids, log_q)).agreement == 3 / 5
    assert evaluate("0.5 * NLL() + SelectiveKD(0.4)", TopK(ids, log_q)).agreement in (0, 0.5, 1)
    mask = torch.arange(ROWS) == 4
    assert evaluate("SelectiveKD(by='mask')", TopK(ids, log_q), mask=mask).agreement == 1
    assert evaluate("WordKD() + SelectiveKD(by='mask')", TopK(ids, log_q), mask=mask).agreement == 3 / 5
    assert evaluate("NLL()", TopK(ids, log_q)).agreement.isnan()


def test_reports_are_means_over_the_targets() -> None:
    out = evaluate("NLL(0.1) + SelectiveKD(0.4)")
    hard = (-LP.gather(1, GOLD)[:, 0]).masked_fill(~KNOWN, -1).topk(2).indices
    torch.testing.assert_close(out.terms["SelectiveKD"], kl(LQ, LP)[hard].sum() / 5)
    assert out.selected == 2 / 5 and out.tokens == 5
    assert out.agreement == (LP.argmax(1) == TOP[:, 0])[hard].double().mean()  # where the teacher has been asked
    everywhere = (NLL() + WordKD()).evaluate(student=STUDENT, targets=TARGETS, teacher=TEACHER)
    assert everywhere.agreement == mean((LP.argmax(1) == TOP[:, 0]).double()) and everywhere.selected == 1
