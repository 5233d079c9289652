"""THE SPECIFICATION of every operator, in plain, slow, obvious PyTorch: for tests and benchmarks, never a fallback."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from distilmt.ops.linear_kd import TAILS, Choice, DenseTeacher, LinearKD, NativeTerm, SparseTeacher

NONE = torch.empty(0)


def linear_kd(
    hidden: Tensor,
    weight: Tensor | None,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    terms: Sequence[NativeTerm],
    teachers: Sequence[DenseTeacher] = (),
    snapshot: DenseTeacher | None = None,
    mix_weights: Tensor | None = None,
    geometric: bool = False,
    sparse: SparseTeacher | None = None,
    row_weights: Tensor | None = None,
    choice: Choice | None = None,
    mask: Tensor | None = None,
    denominator: Tensor | float | None = None,
) -> LinearKD:
    """Arguments and result of `distilmt.ops.linear_kd.linear_kd`, in the dtype of its inputs."""
    has_target = targets != -100
    gold = targets.clamp(min=0)
    z = _logits(hidden, weight, bias)
    nll = -torch.log_softmax(z, -1).gather(1, gold[:, None])[:, 0]
    v = mixed_logits(teachers, mix_weights, geometric).detach() if teachers else None
    old = _logits(*snapshot).detach() if snapshot is not None else None

    chosen, gate, scores, queue = has_target, torch.full((1,), torch.nan), NONE, (NONE, NONE)
    if mask is not None:
        chosen = has_target & mask
    elif choice is not None:
        scores = row_scores(choice.score, z.detach(), v, gold).float().masked_fill(~has_target, torch.nan)
        gate_value, queue = gate_of(choice, scores[has_target])
        gate = torch.tensor([gate_value])
        chosen = scores <= gate_value if choice.lowest else scores >= gate_value

    values = []
    loss = torch.zeros_like(nll)
    for term in terms:
        value = term_rows(term, z, gold, old if term.snapshot else v, sparse, bias)
        value = value.masked_fill(~(chosen if term.gated else has_target), 0)
        values.append(value.detach())
        loss = loss + (term.weight * value if term.weight else 0 * nll)
    if row_weights is not None:
        loss = loss * row_weights
    loss = loss.masked_fill(~has_target, 0)
    if denominator is None:
        denominator = has_target.sum().clamp(min=1)
    agreement = torch.zeros_like(nll)
    if v is None and sparse is not None:
        known = sparse.log_probs.to(z.dtype)
        v = torch.full_like(z, -torch.inf).scatter_reduce(1, sparse.ids.clamp(min=0), known, "amax")
    if v is not None:
        seen = chosen if all(term.gated for term in terms if term.teacher in ("teachers", "sparse")) else has_target
        top = (z == z.amax(1, keepdim=True)) & (v == v.amax(1, keepdim=True)) & (v > -torch.inf)
        agreement = (top.any(1) & seen).to(nll.dtype)
    return LinearKD(
        loss.sum() / denominator,
        torch.stack(values) if values else z.new_empty(0, len(z)).detach(),
        nll.masked_fill(~has_target, 0).detach(),
        agreement,
        chosen.to(nll.dtype),
        gate,
        scores,
        queue,
        torch.zeros(1),
    )


def term_rows(
    term: NativeTerm, z: Tensor, gold: Tensor, v: Tensor | None, sparse: SparseTeacher | None, bias: Tensor | None
) -> Tensor:
    """Values [rows] of one term. z, v: logits [rows, vocab] of student and teacher; gold [rows]."""
    lp = torch.log_softmax(z / term.temperature, -1)
    p = lp.exp()
    gold = gold[:, None]
    if term.kind == "nll":
        return _smoothed(lp, gold, term.a, bool(term.b), bias)
    if term.kind == "sparse_kl":
        assert sparse is not None
        return _sparse_kl(lp, sparse, TAILS[int(term.a)], term.teacher_temperature)
    assert v is not None
    lq = torch.log_softmax(v / term.teacher_temperature, -1)
    q = lq.exp()
    a = term.a
    if term.kind == "forward_kl":
        return _weigh(q, lq - lp).sum(1)
    if term.kind == "cross_entropy":
        return _weigh(q, -lp).sum(1)
    if term.kind == "reverse_kl":
        return _weigh(p, lp - lq).sum(1)
    if term.kind == "jensen_shannon":
        lm = _mixture(lq, lp, a)
        return term.b * (a * _weigh(q, lq - lm).sum(1) + (1 - a) * _weigh(p, lp - lm).sum(1))
    if term.kind == "skew_kl":
        return _weigh(q, lq - _mixture(lq, lp, a)).sum(1)
    if term.kind == "skew_reverse_kl":
        return _weigh(p, lp - _mixture(lp, lq, a)).sum(1)
    if term.kind == "total_variation":
        return (p - q).abs().sum(1) / 2
    if term.kind == "adaptive_kl":
        share = _head_share(p.detach(), q, a)
        return share * _weigh(q, lq - lp).sum(1) + (1 - share) * _weigh(p, lp - lq).sum(1)
    if term.kind == "logit_mse":
        both = (z > -torch.inf) & (v > -torch.inf)
        count = both.sum(1)
        gap = (z.masked_fill(~both, 0) - a * v.masked_fill(~both, 0)) * both
        if term.b:
            gap = (gap - gap.sum(1, keepdim=True) / count[:, None]) * both
        return (gap**2).sum(1) / count
    top = lq.argmax(1, keepdim=True)
    if term.kind == "top1":
        value = -lp.gather(1, top)
        return (q.gather(1, top) * value if a else value)[:, 0]
    if term.kind == "top1_to_gold":
        moved = q.scatter(1, top, 0.0)
        moved = moved.scatter_add(1, gold, q.gather(1, top))
        return _weigh(moved, -lp).sum(1)
    assert term.kind == "ranking", term.kind
    return _ranking(p, z, v, term.count)


def mixed_logits(teachers: Sequence[DenseTeacher], mix_weights: Tensor | None, geometric: bool) -> Tensor:
    """Logits of the mean of several distributions [rows, vocab]."""
    if len(teachers) == 1:
        return _logits(*teachers[0])
    log_probs = torch.stack([torch.log_softmax(_logits(*teacher), -1) for teacher in teachers])
    w = log_probs.new_full(log_probs.shape[:2], 1 / len(teachers)) if mix_weights is None else mix_weights
    w = w.to(log_probs.dtype)[..., None]
    return _weigh(w, log_probs).sum(0) if geometric else torch.logsumexp(log_probs + w.log(), 0)


def row_scores(score: str, z: Tensor, v: Tensor | None, gold: Tensor) -> Tensor:
    """Scores [rows] by which rows are chosen."""
    p_gold = torch.log_softmax(z, -1).gather(1, gold[:, None])[:, 0]
    if score == "student_nll":
        return -p_gold
    assert v is not None
    lq = torch.log_softmax(v, -1)
    if score == "teacher_entropy":
        return _weigh(lq.exp(), -lq).sum(1)
    if score == "teacher_confidence":
        return lq.exp().amax(1)
    return lq.gather(1, gold[:, None])[:, 0].exp() - p_gold.exp()


def gate_of(choice: Choice, scores: Tensor) -> tuple[float, tuple[Tensor, Tensor]]:
    """The gate, and the queue after the push."""
    if choice.gate is not None:
        return float(choice.gate), (NONE, NONE)
    queue = (NONE, NONE)
    if choice.queue is not None:
        values, state = (t.clone() for t in choice.queue)
        for score in scores:
            values[state[0]] = score
            state[0] = (state[0] + 1) % len(values)
            state[1] = min(int(state[1]) + 1, len(values))
        queue, scores = (values, state), values[: int(state[1])]
    if not len(scores):
        return torch.inf if choice.lowest else -torch.inf, queue
    rank = max(1, math.ceil(float(torch.tensor(len(scores) * choice.rate, dtype=torch.float32))))
    return float(scores.sort(descending=not choice.lowest).values[rank - 1]), queue


def _logits(hidden: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    logits = hidden if weight is None else hidden @ weight.T
    return logits if bias is None else logits + bias


def _smoothed(lp: Tensor, gold: Tensor, eps: float, all_columns: bool, bias: Tensor | None) -> Tensor:
    nll = -lp.gather(1, gold)[:, 0]
    open_ = torch.ones_like(lp[0], dtype=torch.bool) if bias is None else bias > -torch.inf
    others = int(open_.sum()) - (not all_columns)
    if eps == 0 or others == 0:
        return nll
    smooth = (open_.to(lp.dtype) * (eps / others)).expand_as(lp)
    on_gold = 1 - eps + (eps / others if all_columns else 0)
    return _weigh(smooth.scatter(1, gold, on_gold), -lp).sum(1)


def _sparse_kl(lp: Tensor, sparse: SparseTeacher, tail: str, temperature: float) -> Tensor:
    lq = sparse.log_probs.detach().to(lp.dtype) / temperature
    if tail == "renormalise":
        known = (lq > -torch.inf).any(1, keepdim=True)
        lq = torch.log_softmax(lq.masked_fill(~known, 0), -1).masked_fill(~known, -torch.inf)
    q = lq.exp()
    value = _weigh(q, lq - lp.gather(1, sparse.ids)).sum(1)
    if tail == "rest":
        left = (1 - q.sum(1)).clamp(min=0)
        inside = torch.zeros_like(lp).scatter_add(1, sparse.ids, (lq > -torch.inf).to(lp.dtype)) > 0
        outside = torch.logsumexp(lp.masked_fill(inside, -torch.inf), 1)
        left = left.masked_fill(outside == -torch.inf, 0)
        value = value + _weigh(left, left.log() - outside)
    return value


def _mixture(first: Tensor, second: Tensor, share: float) -> Tensor:
    """log(share e^first + (1 - share) e^second)."""
    first, second = first + math.log(share), second + math.log(1 - share)
    none = (first == -torch.inf) & (second == -torch.inf)  # where autograd would say NaN
    return torch.logaddexp(first.masked_fill(none, 0), second.masked_fill(none, 0)).masked_fill(none, -torch.inf)


def _head_share(p: Tensor, q: Tensor, mass: float) -> Tensor:
    """Share [rows] of |p - q| in the teacher's head; columns of equal probability are in it together."""
    shares = []
    for p_row, q_row in zip(p, q, strict=True):
        head = q_row == q_row.max()
        for bound in q_row.unique():
            if q_row[q_row >= bound].sum() <= mass:
                head = q_row >= bound
                break
        gap = (p_row - q_row).abs()
        shares.append(gap[head].sum() / gap.sum() if gap.sum() > 0 else gap.new_tensor(0.5))
    return torch.stack(shares) if shares else p.new_empty(0)


def _ranking(p: Tensor, z: Tensor, v: Tensor, k: int) -> Tensor:
    t = v.sort(dim=1, descending=True, stable=True).indices[:, :k]
    s = z.sort(dim=1, descending=True, stable=True).indices[:, :k]
    p_t, p_s = p.gather(1, t), p.gather(1, s)
    teacher_prefers = v.gather(1, t)[:, :, None] > v.gather(1, s)[:, None, :]
    wrong = (p_s[:, None, :] - p_t[:, :, None]).relu() * teacher_prefers
    return (p_t - p_t[:, :1]).relu().sum(1) + wrong.sum((1, 2))


def _weigh(w: Tensor, x: Tensor) -> Tensor:
    """w * x, and 0 where w is 0, whatever x: also for the gradient (hence the inner masking)."""
    return w * x.masked_fill(w == 0, 0)
