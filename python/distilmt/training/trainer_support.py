"""What the training loop needs besides itself: what checkpoints keep, memory that stays, lengths, scores, the curve of a run."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from transformers import TrainerCallback

from distilmt.evaluate import score
from distilmt.train import TrainingOptions
from distilmt.training.batches import Pairs
from distilmt.training.student_loss import StudentLoss
from distilmt.translate import Translator

if TYPE_CHECKING:
    from distilmt.multilingual.loss import DirectedLoss

MEMORY = "objective-{rank}.safetensors"  # what the objective remembers between steps, of each process
BESIDE = "beside.safetensors"  # what terms learn for the training alone
SNAPSHOT = "snapshot.safetensors"  # the earlier student that terms look at


def remember(loss: StudentLoss, checkpoint: Path, rank: int, *, first: bool) -> None:
    """Writes into a checkpoint what the loss needs besides the student; `first` of all processes what they share."""
    if memory := loss.objective.state_dict():
        save_file(memory, checkpoint / MEMORY.format(rank=rank))
    if loss.beside and first:
        save_file(loss.beside.state_dict(), checkpoint / BESIDE)
    if loss.snapshot is not None and first:
        save_model(loss.snapshot, str(checkpoint / SNAPSHOT))


def recall(loss: StudentLoss, checkpoint: Path, rank: int) -> None:
    """The inverse of `remember`."""
    if loss.objective.state_dict():
        loss.objective.load_state_dict(load_file(checkpoint / MEMORY.format(rank=rank)))
    if loss.beside:
        loss.beside.load_state_dict(load_file(checkpoint / BESIDE))
    if loss.snapshot is not None:
        load_model(loss.snapshot, str(checkpoint / SNAPSHOT))


class Step(TrainerCallback):
    """Tells the loss where the training stands, and the objective that an optimizer step has ended."""

    def __init__(self, loss: StudentLoss | DirectedLoss) -> None:
        self.loss = loss

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.loss.progress = state.global_step / state.max_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.loss.objective.step()


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory instead of handing each large tensor back to the kernel, which zeroes it anew.

    Measured on a student of 1.7M parameters: system time falls from a quarter of the CPU time to 3 %. Elsewhere than glibc: no-op.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


def pair_lengths(pairs: Pairs) -> Any:
    """Tokens of each pair with end symbols, int64 [pairs, 2]."""
    return torch.stack([torch.from_numpy(s.lengths + 1) for s in (pairs.source, pairs.target)], 1).numpy()


def dev_scores(
    model: Path, dev: tuple[Sequence[str], Sequence[str]], options: TrainingOptions, target_lang: str = "",
    tag: str | None = None,
) -> dict[str, float]:  # fmt: skip
    """BLEU and chrF of a model folder on the dev set, whose words are split as its target language asks; `tag`: the target
    language that a multilingual model is told."""
    translator = Translator(model, compute_type="float32", threads=options.threads, target_language=tag)
    out = translator.translate(list(dev[0]), beam_size=options.eval_beam_size)
    scores = score([t.text for t in out], list(dev[1]), target_lang=target_lang)
    return {"bleu": scores.bleu, "chrf": scores.chrf}


def curve(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per evaluation: update, seconds, tokens, dev BLEU, and the training loss and terms logged last before it,
    with the plain NLL of the gold targets, its perplexity, and updates per second; of several directions the BLEU of each."""
    points, last = [], {}
    for entry in history:
        if "loss" in entry:
            last = entry
        if "eval_bleu" in entry:
            own = {k[10:]: v for k, v in entry.items() if k.startswith("eval_bleu_")}
            terms = {k[5:]: v for k, v in last.items() if k.startswith("term_")}
            points.append({
                "update": entry["step"], "seconds": entry["seconds"], "target_tokens": entry["target_tokens"],
                "train_loss": last.get("loss"), "dev_bleu": entry["eval_bleu"], "dev_chrf": entry["eval_chrf"], "terms": terms,
                **{name: last.get(name) for name in ("nll", "perplexity", "updates_per_second")},
                **({"directions": own} if own else {}),
            })  # fmt: skip
    return points
