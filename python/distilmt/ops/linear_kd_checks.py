"""What can be wrong with a `linear_kd` call: before it, by shape and number; after it, where its loss is NaN, by value."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from distilmt.ops.linear_kd_call import (
    KINDS,
    MAX_RANKING,
    MAX_TEMPERATURES,
    MAX_TERMS,
    SCORES,
    Choice,
    DenseTeacher,
    NativeTerm,
    SparseTeacher,
)

# Where a term's `a` must lie.
_LIMITS = {"nll": (0, 1 - 1e-12), "jensen_shannon": (1e-12, 1 - 1e-12), "skew_kl": (1e-12, 1 - 1e-12),
           "skew_reverse_kl": (1e-12, 1 - 1e-12), "adaptive_kl": (0, 1), "sparse_kl": (0, 2)}  # fmt: skip


def check(
    hidden: Tensor,
    weight: Tensor | None,
    targets: Tensor,
    bias: Tensor | None,
    teachers: Sequence[DenseTeacher],
    snapshot: DenseTeacher | None,
    mix_weights: Tensor | None,
    sparse: SparseTeacher | None,
    row_weights: Tensor | None,
    mask: Tensor | None,
) -> int:
    """Shapes, dtypes and devices of a call's tensors. Returns the student's vocabulary. Raises: ValueError, TypeError."""
    tensors: dict[str, tuple[Tensor | None, int]] = {
        "hidden": (hidden, 2), "weight": (weight, 2), "bias": (bias, 1), "mix_weights": (mix_weights, 2),
        "row_weights": (row_weights, 1), "sparse log_probs": (sparse.log_probs if sparse else None, 2),
    }  # fmt: skip
    named = [(f"teacher {i}'s" if len(teachers) > 1 else "teacher's", t) for i, t in enumerate(teachers)]
    if snapshot is not None:
        named.append(("snapshot's", snapshot))
    for name, teacher in named:
        tensors |= {
            f"{name} hidden": (teacher.hidden, 2),
            f"{name} weight": (teacher.weight, 2),
            f"{name} bias": (teacher.bias, 1),
        }
    for name, (tensor, dimensions) in tensors.items():
        if tensor is None:
            continue
        if tensor.dim() != dimensions:
            raise ValueError(f"linear_kd: {name} must have {dimensions} dimensions, got shape {tuple(tensor.shape)}")
        if tensor.device != hidden.device:
            raise ValueError(f"linear_kd: {name} must be on hidden's device {hidden.device}, got {tensor.device}")
        if not tensor.is_floating_point():
            raise TypeError(f"linear_kd: {name} must be floating point, got {tensor.dtype}")
    if targets.dtype != torch.int64:
        raise TypeError(f"linear_kd: targets must be int64, got {targets.dtype}")
    if targets.device != hidden.device:
        raise ValueError(f"linear_kd: targets must be on hidden's device {hidden.device}, got {targets.device}")
    rows, width = hidden.shape
    vocab = width if weight is None else weight.shape[0]
    if vocab == 0:
        raise ValueError("linear_kd: the student's vocab must not be 0")
    if targets.shape != (rows,):
        raise ValueError(f"linear_kd: targets must have hidden's rows ({rows},), got shape {tuple(targets.shape)}")
    _same("weight", "hidden's width", weight, 1, width)
    _same("bias", "student's vocab", bias, 0, vocab)
    _same("row_weights", "hidden's rows", row_weights, 0, rows)
    for name, teacher in named:
        _same(f"{name} hidden", "hidden's rows", teacher.hidden, 0, rows)
        _same(f"{name} weight", "student's vocab", teacher.weight, 0, vocab)
        _same(f"{name} weight", "its hidden's width", teacher.weight, 1, teacher.hidden.shape[1])
        _same(f"{name} bias", "student's vocab", teacher.bias, 0, vocab)
        if teacher.weight is None:
            _same(f"{name} hidden", "student's vocab", teacher.hidden, 1, vocab)
    if mix_weights is not None and mix_weights.shape != (len(teachers), rows):
        raise ValueError(
            f"linear_kd: mix_weights must be [{len(teachers)}, {rows}], got shape {tuple(mix_weights.shape)}"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != (rows,) or mask.device != hidden.device):
        raise ValueError(
            f"linear_kd: mask must be bool [{rows}] on {hidden.device}, got {mask.dtype} {tuple(mask.shape)}"
        )
    if sparse is not None:
        if sparse.ids.dtype != torch.int64:
            raise TypeError(f"linear_kd: sparse ids must be int64, got {sparse.ids.dtype}")
        k = sparse.ids.shape[-1]
        if sparse.ids.shape != (rows, k) or sparse.log_probs.shape != (rows, k) or not 1 <= k <= vocab:
            raise ValueError(
                f"linear_kd: sparse ids and log_probs must be [{rows}, k] with k in [1, {vocab}], "
                f"got {tuple(sparse.ids.shape)} and {tuple(sparse.log_probs.shape)}"
            )
    return vocab


def check_terms(
    terms: Sequence[NativeTerm],
    teachers: Sequence[DenseTeacher],
    snapshot: DenseTeacher | None,
    sparse: SparseTeacher | None,
    vocab: int,
) -> None:
    """Kinds, numbers and limits of a call's terms, and that their teachers are there. Raises: ValueError."""
    if len(terms) > MAX_TERMS:
        raise ValueError(f"linear_kd: terms must be at most {MAX_TERMS}, got {len(terms)}")
    if len({1.0, *(t.temperature for t in terms)}) > MAX_TEMPERATURES:
        raise ValueError(f"linear_kd: temperatures must be at most {MAX_TEMPERATURES} with 1, got {terms}")
    if sum(t.kind == "nll" for t in terms) > 1:
        raise ValueError("linear_kd: terms must have one nll at most")
    given = {"": True, "teachers": bool(teachers), "snapshot": snapshot is not None, "sparse": sparse is not None}
    for t in terms:
        if t.kind not in KINDS:
            raise ValueError(f"linear_kd: kind must be one of {', '.join(KINDS)}, got {t.kind!r}")
        if not 0 <= t.weight < math.inf:
            raise ValueError(f"linear_kd: weight of {t.kind} must be finite and at least 0, got {t.weight}")
        for name, value in (("temperature", t.temperature), ("teacher_temperature", t.teacher_temperature)):
            if not 0 < value < math.inf:
                raise ValueError(f"linear_kd: {name} must be finite and above 0, got {value}")
        if not given[t.teacher]:
            raise ValueError(f"linear_kd: {t.kind} needs {t.teacher}, got none")
        low, high = _LIMITS.get(t.kind, (-math.inf, math.inf))
        if not low <= t.a <= high:
            raise ValueError(f"linear_kd: a of {t.kind} must lie in [{low}, {high}], got {t.a}")
        if t.kind == "ranking" and not 1 <= t.count <= min(vocab, MAX_RANKING):
            raise ValueError(f"linear_kd: k of ranking must lie in [1, {min(vocab, MAX_RANKING)}], got {t.count}")


def check_choice(choice: Choice, teachers: Sequence[DenseTeacher], mask: Tensor | None) -> None:
    """A score that there is, and what it needs. Raises: ValueError."""
    if choice.score not in SCORES:
        raise ValueError(f"linear_kd: score must be one of {', '.join(SCORES[1:])}, got {choice.score!r}")
    if isinstance(choice.gate, Tensor) and (choice.gate.shape != (1,) or choice.gate.dtype != torch.float32):
        raise ValueError(
            f"linear_kd: gate must be a number or float32 [1], got {choice.gate.dtype} {tuple(choice.gate.shape)}"
        )
    if not 0 < choice.rate <= 1:
        raise ValueError(f"linear_kd: rate must be in (0, 1], got {choice.rate}")
    if choice.score != "none" and mask is not None:
        raise ValueError("linear_kd: choice and mask are two ways to choose rows, got both")
    if choice.score.startswith("teacher") and not teachers:
        raise ValueError(f"linear_kd: score {choice.score} needs teachers, got none")


def _same(name: str, what: str, tensor: Tensor | None, axis: int, size: int) -> None:
    if tensor is not None and tensor.shape[axis] != size:
        raise ValueError(f"linear_kd: {name} must have {what} {size}, got {tensor.shape[axis]}")


def blame(
    targets: Tensor,
    vocab: int,
    teachers: Sequence[DenseTeacher] = (),
    snapshot: DenseTeacher | None = None,
    sparse: SparseTeacher | None = None,
) -> None:
    """Says which argument made a loss NaN; a NaN of the student is the training's to deal with. Waits for a GPU.

    Args: those of the call; vocab: the student's.
    Raises: ValueError: a target or sparse id outside the vocabulary, or a NaN in a teacher.
    """
    wrong = (targets != -100) & ((targets < 0) | (targets >= vocab))
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"linear_kd: targets must be -100 or in [0, {vocab}), got {int(targets[row])} in row {row} - "
            "are they of the student's vocabulary?"
        )
    if sparse is not None:
        ids = sparse.ids[sparse.log_probs != -torch.inf]
        if bool(((ids < 0) | (ids >= vocab)).any()):
            raise ValueError(
                f"linear_kd: sparse ids must lie in [0, {vocab}), got {int(ids.min())} to {int(ids.max())} - "
                "is the teacher of the student's vocabulary?"
            )
    given = [("teacher's " + n, t) for teacher in teachers for n, t in zip(teacher._fields, teacher, strict=True)]
    given += (
        [("snapshot's " + n, t) for n, t in zip(snapshot._fields, snapshot, strict=True)]
        if snapshot is not None
        else []
    )
    given += [("sparse log_probs", sparse.log_probs)] if sparse else []
    for name, tensor in given:
        if tensor is not None and (nans := int(tensor.isnan().sum())):
            raise ValueError(f"linear_kd: {name} must be numbers, got {nans} NaN in {tuple(tensor.shape)}")
