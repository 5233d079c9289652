"""Selective distillation from stored words of the teacher: the tokens, the loss and the gradient of a plain computation."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest
import torch
from torch import Tensor

from distilmt.distilling.cached_teacher import servable
from distilmt.errors import ConfigError
from distilmt.objectives import Evaluation, Head, Neighbours, TopK, parse
from test_selective import batch, nll

K = 4


def top(teacher: Tensor) -> TopK:
    found = torch.log_softmax(teacher, 1).topk(K)
    return TopK(found.indices, found.values)


def plain(given: dict[str, Any], chosen: Tensor, tail: str) -> Tensor:
    """KL(q || p) by its formula over the chosen rows, by the number of all targets; q as it is stored."""
    sparse, log_p = given["teacher"], torch.log_softmax(given["student"].hidden, 1)
    log_q, lp = sparse.log_probs, log_p.gather(1, sparse.ids)
    if tail == "renormalise":
        log_q = log_q - log_q.logsumexp(1, keepdim=True)
    rows = (log_q.exp() * (log_q - lp)).sum(1)
    if tail == "rest":
        q, p = (1 - x.exp().sum(1) for x in (log_q, lp))
        rows = rows + q * (q / p).log()
    return rows[chosen].sum() / (given["targets"] != -100).sum()


def assert_plain(out: Evaluation, given: dict[str, Any], chosen: Tensor, tail: str) -> None:
    expected = plain(given, chosen, tail)
    torch.testing.assert_close(out.loss, expected)
    hidden = given["student"].hidden
    (ours,), (theirs,) = (torch.autograd.grad(loss, hidden) for loss in (out.loss, expected))
    torch.testing.assert_close(ours, theirs)
    assert not ours[~chosen].any() and ours[chosen].any(1).all()
    assert out.selected == chosen.sum() / out.tokens and 0 < out.selected < 1


@pytest.mark.parametrize("tail", ["renormalise", "rest"])
@pytest.mark.parametrize("lowest", [False, True])
def test_the_gate_of_a_batch_holds_for_stored_words(tail: str, lowest: bool) -> None:
    given = batch(20)
    given["teacher"] = top(given["teacher"])
    scores = nll(given)
    gate = scores[~scores.isnan()].sort(descending=not lowest).values[math.ceil(16 * 0.3) - 1]
    out = parse(f"SelectiveKD(0.3, lowest={lowest}, tail='{tail}')").evaluate(**given)
    assert_plain(out, given, scores <= gate if lowest else scores >= gate, tail)


@pytest.mark.parametrize("tail", ["renormalise", "rest"])
def test_the_queue_holds_for_stored_words(tail: str) -> None:
    objective = parse(f"SelectiveKD(0.4, level='global', queue_size=25, tail='{tail}')")
    queue: deque[float] = deque(maxlen=25)
    for seed in range(4):
        given = batch(20, seed)
        given["teacher"] = top(given["teacher"])
        scores = nll(given)
        queue.extend(scores[~scores.isnan()].tolist())
        out = objective.evaluate(**given)
        assert out.gate == pytest.approx(sorted(queue, reverse=True)[math.ceil(len(queue) * 0.4) - 1], rel=1e-6)
        assert_plain(out, given, scores >= out.gate, tail)


def test_all_words_stored_are_the_teacher_itself() -> None:
    given = batch(20)
    dense = parse("0.5 * NLL() + SelectiveKD()").evaluate(**given)
    whole = torch.log_softmax(given["teacher"], 1).sort(descending=True)
    stored = parse("0.5 * NLL() + SelectiveKD()").evaluate(**{**given, "teacher": TopK(whole.indices, whole.values)})
    torch.testing.assert_close(stored.loss, dense.loss)
    assert stored.selected == dense.selected and stored.gate == dense.gate


def test_what_stored_words_cannot_serve_is_said() -> None:
    servable("gold", parse("NLL() + SelectiveKD(level='global')"))
    for by in ("teacher_entropy", "teacher_confidence", "teacher_better", "gold_probability"):
        with pytest.raises(ConfigError, match="SelectiveKD needs the teacher's whole distribution, got TopK"):
            servable("gold", parse(f"NLL() + SelectiveKD(by='{by}')"))
    with pytest.raises(ConfigError, match="SelectiveKD cannot use Neighbours"):
        parse("SelectiveKD()").evaluate(
            student=Head(torch.zeros(1, 3), None), targets=torch.zeros(1, dtype=torch.int64),
            teacher=Neighbours(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1)),
        )  # fmt: skip
    with pytest.raises(ConfigError, match=r"tail must be renormalise\|drop\|rest, got 'none'"):
        parse("SelectiveKD(tail='none')")
