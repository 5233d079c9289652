"""Selective distillation: word-level KD for the tokens where it helps, and NLL alone for the others.

    SelectiveKD = T^2 sum over chosen tokens of KL(q^T || p^T) / number of all target tokens

Source: Wang et al. 2021 (arXiv:2105.12967). By student NLL, the published rule: a token is hard where -log p(y) is among the
share `rate` of the largest, of this batch, or of the last `queue_size` tokens (level "global"): first all NLLs of the batch
are pushed, then the gate is taken, and ties are chosen. Changed: the queue is a ring of exactly the last `queue_size` (theirs
freezes somewhat below, and a batch larger than it takes its place whole), and is saved in checkpoints. T divides the logits,
theirs multiplies the teacher's; 1 in both. Teacher entropy stands among the same paper's other criteria, the rest of which
are in criteria.py; teacher confidence is ours. teacher_better is the idea of a filter in Zhang et al. 2023 (Continual KD,
arXiv:2212.09097), whose exact rule we have not seen in code: the teacher speaks only where it gives the target more than the
student does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives.checks import counts, full, temperatures
from distilmt.objectives.criteria import CRITERIA, chosen
from distilmt.objectives.teachers import Teacher
from distilmt.objectives.term import Term
from distilmt.objectives.word_kd import forward_kl
from distilmt.ops.linear_kd import Choice, LinearKD, NativeTerm
from distilmt.ops.score_queue import score_queue

RULES = ("student_nll", "teacher_entropy", "teacher_confidence", "teacher_better", "mask", *CRITERIA)
_ABOVE_ZERO = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, repr=False)
class SelectiveKD(Term):
    """WordKD on chosen tokens, of a dense teacher or a top-k one (TopK: soft labels, --cache-teacher). By student_nll or mask, a
    dense teacher's output layer is computed for these alone, and `agreement` is that of the chosen tokens only, unless
    another term looks at a dense teacher everywhere.

    Args:
        rate: share of tokens, in (0, 1].
        level: "batch" or "global"; the latter for student_nll.
        queue_size: tokens that the global gate is taken from; 30,000 to 50,000 published.
        by: the rule: student_nll, teacher_entropy, teacher_confidence; teacher_better, where q(y) > p(y), without a rate; mask, the
            caller's; gold_probability, word_frequency, embedding_norm, sentence_length, sentence_nll (criteria.py).
        lowest: choose the smallest scores: easy tokens by student_nll, sure ones by teacher_entropy, rare words by word_frequency.
        temperature: T > 0, of both sides.
        update: "micro_batch", as published: push, then gate. "step": the gate is the queue's at the start of the optimizer
            step, and all its NLLs are pushed at the end (`objective.step()`, which the trainer calls), so that the choice
            does not depend on how a batch is cut; while the queue is empty, every token is chosen.
        gather: with "step", push the NLLs of all processes, in their order; else each process has its own queue.
        tail: of a top-k teacher, as WordKD's; rules that ask the teacher need its whole distribution.

    Attributes:
        memory: the queue, its gate and what is pending, or the counts of words; mutable, and no part of what the term is.
    """

    rate: float = 0.5
    level: Literal["batch", "global"] = "batch"
    queue_size: int = 30_000
    by: str = "student_nll"
    lowest: bool = False
    temperature: float = 1.0
    update: Literal["micro_batch", "step"] = "micro_batch"
    gather: bool = False
    tail: Literal["renormalise", "drop", "rest"] = "renormalise"
    letters: ClassVar[dict[str, str]] = {"temperature": "T"}
    looks_at: ClassVar[str] = "teacher"
    gated: ClassVar[bool] = True
    memory: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        temperatures(self, "temperature")
        if not 0 < self.rate <= 1:
            raise ConfigError(f"SelectiveKD: rate must be in (0, 1], got {self.rate} - 0.5 is usual")
        if self.by not in RULES:
            raise ConfigError(f"SelectiveKD: by must be one of {', '.join(RULES)}, got {self.by!r}")
        if self.level == "global" and self.by != "student_nll":
            raise ConfigError(f"SelectiveKD: level='global' keeps a queue of student_nll, got by={self.by!r}")
        counts(self, "queue_size")
        if self.level == "batch" and (self.update == "step" or self.gather):
            raise ConfigError(
                "SelectiveKD: update='step' and gather=True are about the queue of level='global', got level='batch'"
            )
        if self.gather and self.update != "step":
            raise ConfigError(
                "SelectiveKD: gather=True needs update='step' - within a call no other process can be heard"
            )
        if self.level == "global":
            everyone = torch.full((1,), torch.inf if self.lowest else -torch.inf)  # a gate that all pass
            self.memory.update(
                values=torch.zeros(self.queue_size), state=torch.zeros(2, dtype=torch.int64), gate=everyone, pending=[]
            )  # fmt: skip

    @property
    def asks_mask(self) -> bool:
        return self.by == "mask"

    def native(self, teacher: Teacher) -> NativeTerm:
        if self.by.startswith("teacher") or self.by == "gold_probability":
            full(self, teacher)  # the rule asks for more than its likeliest words
        return forward_kl(self, teacher, self.temperature, self.temperature, self.tail)

    def choice(self) -> Choice | None:
        if self.by == "mask" or self.by in CRITERIA:
            return None
        if self.by == "teacher_better":
            return Choice("teacher_margin", gate=_ABOVE_ZERO)
        if self.level == "batch":
            return Choice(self.by, self.rate, lowest=self.lowest)
        if self.update == "step":
            return Choice(self.by, gate=self.memory["gate"], lowest=self.lowest)
        return Choice(self.by, self.rate, lowest=self.lowest, queue=(self.memory["values"], self.memory["state"]))

    def mask(self, **given: Any) -> tuple[Tensor, Tensor] | None:
        return chosen(self, **given) if self.by in CRITERIA else None

    def know(self, counts: Tensor) -> None:
        if self.by == "word_frequency":
            self.memory["counts"] = counts

    def seen(self, result: LinearKD) -> None:
        if self.level == "batch":
            return
        if self.update == "step":
            self.memory["pending"].append(result.scores)
        else:
            self._keep(values=result.queue[0], state=result.queue[1])

    def _keep(self, **tensors: Tensor) -> None:
        """Into the tensors that are there, once they are on the device: a captured graph reads and writes the same ones."""
        for name, tensor in tensors.items():
            if self.memory[name].device == tensor.device:
                self.memory[name].copy_(tensor)
            else:
                self.memory[name] = tensor

    def step(self) -> None:
        """End of an optimizer step: what was seen goes into the queue, and its gate serves the next step."""
        if self.level == "batch" or self.update != "step" or not self.memory["pending"]:
            return
        scores = torch.cat(self.memory["pending"])
        self.memory["pending"] = []
        if self.gather and torch.distributed.is_initialized():
            everyone: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everyone, scores.cpu())
            scores = torch.cat(everyone).to(scores.device)
        values, state = (self.memory[name].to(scores.device) for name in ("values", "state"))
        values, state, gate = score_queue(values, state, scores, self.rate, self.lowest)
        self._keep(values=values, state=state, gate=gate)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: self.memory[name] for name in ("values", "state", "gate") if name in self.memory}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state and state["values"].shape != (self.queue_size,):
            raise ConfigError(f"SelectiveKD: a queue of {len(state['values'])}, expected queue_size {self.queue_size}")
        self.memory.update({name: tensor.clone() for name, tensor in state.items()})
