"""THE SPECIFICATION of every operator, in plain, slow, obvious PyTorch: for tests and benchmarks, never a fallback."""

from __future__ import annotations

import torch
from torch import Tensor

from distilmt.ops.linear_kd import LinearKD


def linear_kd(
    hidden: Tensor,
    weight: Tensor | None,
    targets: Tensor,
    bias: Tensor | None = None,
    teacher_hidden: Tensor | None = None,
    teacher_weight: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    row_weights: Tensor | None = None,
    *,
    nll_weight: float = 1.0,
    kd_weight: float = 0.0,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    denominator: Tensor | float | None = None,
) -> LinearKD:
    """Arguments and result of `distilmt.ops.linear_kd.linear_kd`, in the dtype of its inputs."""
    student = _logits(hidden, weight, bias)
    lp = torch.log_softmax(student, dim=-1)
    has_target = targets != -100
    gold = targets.clamp(min=0).unsqueeze(1)
    nll = -lp.gather(1, gold).squeeze(1)
    smoothed_nll = nll
    if label_smoothing > 0:
        banned = torch.zeros_like(lp[0], dtype=torch.bool) if bias is None else bias == -torch.inf
        each = label_smoothing / max(int((~banned).sum()) - 1, 1)
        smooth = torch.full_like(lp, each).masked_fill(banned, 0).scatter(1, gold, 1 - label_smoothing)
        if int((~banned).sum()) > 1:
            smoothed_nll = _weigh(smooth, -lp).sum(dim=1)
    kl = torch.zeros_like(nll)
    if teacher_hidden is not None:
        teacher = _logits(teacher_hidden, teacher_weight, teacher_bias).detach()
        lp = torch.log_softmax(student / temperature, dim=-1)
        lq = torch.log_softmax(teacher / temperature, dim=-1)
        kl = _weigh(lq.exp(), lq - lp).sum(dim=1)
    nll, smoothed_nll, kl = (term.masked_fill(~has_target, 0) for term in (nll, smoothed_nll, kl))
    loss = nll_weight * smoothed_nll + kd_weight * temperature**2 * kl
    if row_weights is not None:
        loss = (row_weights * loss).masked_fill(~has_target, 0)
    if denominator is None:
        denominator = has_target.sum().clamp(min=1)
    return LinearKD(loss.sum() / denominator, nll.detach(), smoothed_nll.detach(), kl.detach())


def _logits(hidden: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    logits = hidden if weight is None else hidden @ weight.T
    return logits if bias is None else logits + bias


def _weigh(w: Tensor, x: Tensor) -> Tensor:
    """w * x, and 0 where w is 0, whatever x: also for the gradient (hence the inner masking)."""
    return w * x.masked_fill(w == 0, 0)
