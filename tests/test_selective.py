"""Selective distillation: which tokens are chosen, what the queue remembers, and what the others cost."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives import Evaluation, Head, Objective, parse
from distilmt.ops.score_queue import score_queue

HERE = Path(__file__).parent
VOCAB = 13


def batch(rows: int, seed: int = 1) -> dict[str, Any]:
    """Logits of student and teacher; every fifth row without a target."""
    g = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, VOCAB, generator=g, dtype=torch.float64)
    targets = torch.randint(0, VOCAB, (rows,), generator=g)
    targets[3::5] = -100
    return {"student": Head(student.requires_grad_(), None), "targets": targets, "teacher": teacher}


def part(given: dict[str, Any], rows: slice) -> dict[str, Any]:
    student = Head(given["student"].hidden[rows], None)
    return {"student": student, "targets": given["targets"][rows], "teacher": given["teacher"][rows]}


def nll(given: dict[str, Any]) -> Tensor:
    """Of each row, in the precision of the queue; NaN without a target."""
    lp = torch.log_softmax(given["student"].hidden.detach(), 1)
    rows = -lp.gather(1, given["targets"].clamp(min=0)[:, None])[:, 0].float()
    return rows.masked_fill(given["targets"] == -100, torch.nan)


def kd(given: dict[str, Any], chosen: Tensor) -> Tensor:
    """The loss by its formula: KL over the chosen rows / number of all targets."""
    lp, lq = (torch.log_softmax(t, 1) for t in (given["student"].hidden, given["teacher"]))
    return (lq.exp() * (lq - lp)).sum(1)[chosen].sum() / (given["targets"] != -100).sum()


def assert_chosen(out: Evaluation, given: dict[str, Any], chosen: Tensor) -> None:
    torch.testing.assert_close(out.loss, kd(given, chosen))
    assert out.selected == chosen.sum() / out.tokens


@pytest.mark.parametrize("lowest", [False, True])
@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 1.0])
def test_the_share_of_a_batch_with_the_largest_nll(rate: float, lowest: bool) -> None:
    given = batch(20)  # 16 targets
    scores = nll(given)
    gate = scores[~scores.isnan()].sort(descending=not lowest).values[math.ceil(16 * rate) - 1]
    out = parse(f"SelectiveKD({rate}, lowest={lowest})").evaluate(**given)
    assert_chosen(out, given, scores <= gate if lowest else scores >= gate)
    assert out.gate == gate and out.selected == math.ceil(16 * rate) / 16


def test_three_tenths_of_ten_are_three() -> None:  # though 0.3 * 10 is a little more in binary
    assert parse("SelectiveKD(0.3)").evaluate(**batch(12)).selected == 3 / 10


def test_all_are_pushed_then_the_gate_is_taken_and_ties_are_chosen_trap_7() -> None:
    objective, queue = parse("SelectiveKD(0.4, level='global', queue_size=25)"), deque(maxlen=25)
    for seed in range(6):  # the ring wraps around in the second batch
        given = batch(20, seed)
        with torch.no_grad():  # two pairs of equal rows
            given["student"].hidden[5:7] = given["student"].hidden[0:2]
            given["targets"][5:7] = given["targets"][0:2]
        scores = nll(given)
        queue.extend(scores[~scores.isnan()].tolist())
        gate = sorted(queue, reverse=True)[math.ceil(len(queue) * 0.4) - 1]
        out = objective.evaluate(**given)
        assert out.gate == pytest.approx(gate, rel=1e-6)
        assert_chosen(out, given, scores >= out.gate)
        assert sorted(objective.state_dict()["SelectiveKD.values"][: len(queue)].tolist()) == pytest.approx(
            sorted(queue)
        )


@pytest.mark.parametrize("rows", [3, 7, 40])
def test_the_ring_keeps_the_last_scores_trap_7(rows: int) -> None:
    values, state, all_scores = torch.zeros(7), torch.zeros(2, dtype=torch.int64), []
    for seed in range(4):
        scores = torch.rand(rows, generator=torch.Generator().manual_seed(seed))
        all_scores += scores.tolist()
        before = values.clone()
        new, state, gate = score_queue(values, state, scores, 0.5)
        assert torch.equal(values, before)  # nothing is changed in place
        values, last = new, all_scores[-7:]
        assert sorted(values[: len(last)].tolist()) == sorted(last)
        assert state.tolist() == [len(all_scores) % 7, len(last)]
        assert gate == sorted(last, reverse=True)[math.ceil(len(last) / 2) - 1]


def step(objective: Objective, given: dict[str, Any], size: int) -> tuple[list[Tensor], Tensor]:
    """One optimizer step in micro-batches of `size` rows: the gates and the gradient."""
    gates, total = [], torch.zeros(())
    for begin in range(0, 8, size):
        out = objective.evaluate(**part(given, slice(begin, begin + size)), denominator=7.0)
        gates.append(out.gate)
        total = total + out.loss
    objective.step()
    return gates, torch.autograd.grad(total, given["student"].hidden)[0]


@pytest.mark.parametrize("lowest", [False, True])
def test_per_step_the_choice_does_not_depend_on_how_a_batch_is_cut_trap_7(lowest: bool) -> None:
    text = f"0.5 * NLL() + SelectiveKD(0.5, level='global', queue_size=10, update='step', lowest={lowest})"
    whole, pieces, queue, gate = parse(text), parse(text), deque(maxlen=10), math.inf if lowest else -math.inf
    for seed in range(4):
        given = batch(8, seed)
        (at_once,), want = step(whole, given, 8)
        gates, got = step(pieces, given, 1)
        torch.testing.assert_close(got, want)
        assert gates == [at_once] * 8 and at_once == pytest.approx(gate)
        queue.extend(nll(given)[given["targets"] != -100].tolist())
        gate = sorted(queue, reverse=not lowest)[math.ceil(len(queue) / 2) - 1]
        for a, b in zip(whole.state_dict().values(), pieces.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("update", ["micro_batch", "step"])
def test_the_queue_goes_through_a_checkpoint_trap_7(update: str) -> None:
    text = f"NLL() + SelectiveKD(level='global', queue_size=30, update={update!r})"
    first, second = parse(text), parse(text)
    for seed in range(3):
        step(first, batch(8, seed), 4)
    second.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
    for seed in range(3, 5):
        (a, x), (b, y) = (step(objective, batch(8, seed), 4) for objective in (first, second))
        assert a == b and torch.equal(x, y)
    with pytest.raises(ConfigError, match="a queue of 30, expected queue_size 31"):
        parse(text.replace("30", "31")).load_state_dict(first.state_dict())
    with pytest.raises(ConfigError, match="the state of another objective"):
        parse("NLL()").load_state_dict(first.state_dict())
    assert parse("NLL() + SelectiveKD()").state_dict() == {}


@pytest.mark.parametrize("update", ["micro_batch", "step"])
def test_without_gradients_nothing_is_pushed(update: str) -> None:
    objective = parse(f"SelectiveKD(level='global', queue_size=30, update={update!r})")
    step(objective, batch(8), 8)
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    with torch.no_grad():
        objective.evaluate(**batch(8, seed=2))
    objective.step()
    assert all(torch.equal(a, b) for a, b in zip(before.values(), objective.state_dict().values(), strict=True))


@pytest.mark.parametrize("update", ["micro_batch", "step"])
def test_a_nan_is_not_remembered(update: str) -> None:
    objective, given = parse(f"SelectiveKD(level='global', queue_size=30, update={update!r})"), batch(8)
    with torch.no_grad():
        given["student"].hidden[1] = torch.nan
    objective.evaluate(**given)
    objective.step()
    state = objective.state_dict()
    assert state["SelectiveKD.values"].isfinite().all() and state["SelectiveKD.state"].tolist() == [6, 6]


@pytest.mark.parametrize("lowest", [False, True])
@pytest.mark.parametrize("by", ["teacher_entropy", "teacher_confidence"])
def test_by_what_the_teacher_knows(by: str, lowest: bool) -> None:
    given = batch(20)
    q = torch.softmax(given["teacher"], 1)
    scores = (-(q * q.log()).sum(1) if by == "teacher_entropy" else q.amax(1)).float()
    scores[given["targets"] == -100] = torch.nan
    gate = scores[~scores.isnan()].sort(descending=not lowest).values[7]
    out = parse(f"SelectiveKD(by={by!r}, lowest={lowest})").evaluate(**given)
    assert_chosen(out, given, scores <= gate if lowest else scores >= gate)
    torch.testing.assert_close(out.gate, gate)


def test_only_where_the_teacher_beats_the_student() -> None:
    given = batch(20)
    given["teacher"][0] = given["student"].hidden[0].detach()  # equal is not better
    gold = given["targets"].clamp(min=0)[:, None]
    p, q = (torch.softmax(t, 1).gather(1, gold)[:, 0] for t in (given["student"].hidden, given["teacher"]))
    out = parse("SelectiveKD(by='teacher_better')").evaluate(**given)
    assert_chosen(out, given, (q > p) & (given["targets"] != -100))


def test_by_a_mask_of_the_caller() -> None:
    given, mask = batch(20), torch.arange(20) % 2 == 0
    objective = parse("SelectiveKD(by='mask')")
    assert_chosen(objective.evaluate(**given, mask=mask), given, mask & (given["targets"] != -100))
    with pytest.raises(ConfigError, match="selects by mask, got None"):
        objective.evaluate(**given)


@pytest.mark.parametrize("rule", ["", "lowest=True", "level='global', queue_size=50", "by='mask'"])
def test_the_teacher_is_asked_for_chosen_rows_alone(rule: str) -> None:
    given, mask = batch(20), torch.arange(20) % 3 == 0
    scores = nll(given)
    gate = scores[~scores.isnan()].sort(descending="lowest" not in rule).values[7]
    chosen = mask if "mask" in rule else scores <= gate if "lowest" in rule else scores >= gate
    want = parse(f"NLL() + SelectiveKD({rule})").evaluate(**given, mask=mask)
    teacher = given["teacher"].clone()
    teacher[~chosen] = torch.nan
    got = parse(f"NLL() + SelectiveKD({rule})").evaluate(**{**given, "teacher": teacher}, mask=mask)
    assert got.loss == want.loss and got.agreement == want.agreement and 0 < got.selected < 1


def test_two_selections_are_refused() -> None:
    with pytest.raises(ConfigError, match="SelectiveKD stands twice"):
        parse("SelectiveKD() + SelectiveKD(by='mask')")


def test_the_memory_is_no_part_of_what_a_term_is() -> None:
    one, two = parse("SelectiveKD(level='global')"), parse("SelectiveKD(level='global')")
    step(one, batch(8), 8)
    assert one == two and hash(one) == hash(two) and repr(one) == repr(two)


def test_two_processes_share_a_gathered_queue(tmp_path: Path) -> None:
    text = "SelectiveKD(0.5, level='global', queue_size=10, update='step', gather=True)"
    given, objective = batch(12), parse(text)
    student = given["student"].hidden.detach()
    whole = {"objective": text, "student": student, "targets": given["targets"], "teacher": given["teacher"]}
    torch.save(whole, tmp_path / "batch")
    command = [sys.executable, str(HERE / "gather_scores.py")]
    processes = [subprocess.Popen([*command, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(300) for process in processes] == [0, 0]
    objective.evaluate(**given)
    objective.step()  # one process has nobody to gather from
    for rank in range(2):
        state = torch.load(tmp_path / f"queue-{rank}", weights_only=True)
        torch.testing.assert_close(state, objective.state_dict(), rtol=0, atol=0)
