"""The loss of a multilingual student: every batch is of one direction, and of the teacher of that direction alone.

Source: Tan et al. 2019 (arXiv:1902.10461): one bilingual teacher per direction, online here (their code stores its 4 best
logits and renormalises them; `WordKD` of a model has all of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import MarianMTModel, TrainerCallback

from distilmt.errors import ConfigError
from distilmt.multilingual.switch import Kind, factor
from distilmt.objectives import Objective
from distilmt.train import TrainingOptions
from distilmt.training.student_loss import StudentLoss
from distilmt.training.trainer_support import dev_scores


def without_teacher(objective: Objective) -> Objective:
    """The terms that look at no teacher, their weights scaled to add up to 1.

    Raises: ConfigError: there are none.
    """
    kept = [(weight, term) for weight, term in objective.terms if weight and not term.needs_teacher]
    if not kept:
        raise ConfigError(
            f"objective {objective!r}: a direction without its teacher would learn nothing - add a term on the targets, NLL()"
        )
    return Objective(tuple((weight / sum(w for w, _ in kept), term) for weight, term in kept))


def blended(objective: Objective, share: float) -> Objective:
    """share * objective + (1 - share) * what is left without a teacher, term by term (switch.py)."""
    left = {id(term): weight for weight, term in without_teacher(objective).terms}
    return Objective(
        tuple((share * weight + (1 - share) * left.get(id(term), 0.0), term) for weight, term in objective.terms)
    )


class DirectedLoss(nn.Module):
    """A StudentLoss per direction around one student; `factors` say how much each teacher has a part in it now.

    Args:
        names: of the directions, in the order of the batches' `direction`.
        teachers: of each; None where it learns from its targets alone.
    Raises: ConfigError: an objective that remembers what it has seen, or nothing is left of it without a teacher.
    """

    accepts_loss_kwargs = True  # the Trainer then hands out the global count of targets
    snapshot = None  # what a checkpoint keeps; each part has a copy of the student as it began

    def __init__(
        self,
        student: MarianMTModel,
        objective: Objective,
        names: Sequence[str],
        teachers: Sequence[MarianMTModel | None],
    ) -> None:
        super().__init__()
        if objective.state_dict():
            raise ConfigError(
                f"objective {objective!r}: one memory for several directions mixes them - write level='batch'"
            )
        self.student, self.objective, self.names = student, objective, list(names)
        self.factors = [float(teacher is not None) for teacher in teachers]
        self.progress = 0.0
        self.alone = StudentLoss(student, without_teacher(objective), None)
        self.taught = nn.ModuleDict(
            {
                str(n): StudentLoss(student, objective, teacher)
                for n, teacher in enumerate(teachers)
                if teacher is not None
            }
        )
        beside: dict[str, Any] = {number: loss.beside for number, loss in self.taught.items()}
        self.beside = nn.ModuleDict({number: modules for number, modules in beside.items() if len(modules)})

    def forward(
        self, labels: Tensor, denominator: Tensor, direction: Tensor, **inputs: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As StudentLoss.forward; sums are named by direction, as in `de-en:NLL`, those of all directions stand alone."""
        number = int(direction)
        loss: Any = self.alone
        if share := self.factors[number]:
            loss = self.taught[str(number)]
            loss.objective = blended(self.objective, share)
        loss.progress = self.progress
        value, sums = loss(labels, denominator, **inputs)
        common = {name: sums[name] for name in ("tokens", "nll", "gate") if name in sums}
        return value, common | {f"{self.names[number]}:{name}": each for name, each in sums.items() if name != "gate"}


class Directed(TrainerCallback):
    """The directions in a training: their loss, their dev scores, and the switch that looks at these.

    Args:
        names, teachers: as of DirectedLoss.
        tags: target language before each direction's sources, or None.
        devs: source and reference sentences of each, and the language of the latter.
        scores: dev BLEU of each teacher, where there is one.
        kind, threshold: as of switch.factor.
    """

    def __init__(
        self, *, names: Sequence[str], teachers: Sequence[MarianMTModel | None], tags: Sequence[str | None],
        devs: Sequence[tuple[list[str], list[str], str]], scores: Sequence[float | None], kind: Kind,
        threshold: float | None,
    ) -> None:  # fmt: skip
        self.names, self.teachers, self.tags, self.devs, self.scores = names, teachers, tags, devs, scores
        self.factor = partial(factor, kind, threshold=threshold)

    def loss(self, student: MarianMTModel, objective: Objective) -> DirectedLoss:
        """The loss around a student; the switch then turns its factors."""
        self._loss = DirectedLoss(student, objective, self.names, self.teachers)
        return self._loss

    def dev_scores(self, model: Path, options: TrainingOptions) -> dict[str, float]:
        """BLEU and chrF of a student, means over the directions, and of each: `bleu_de-en`, `chrf_de-en`."""
        found: dict[str, float] = {}
        for name, tag, (sources, references, language) in zip(self.names, self.tags, self.devs, strict=True):
            scores = dev_scores(model, (sources, references), options, language, tag)
            found |= {f"{measure}_{name}": value for measure, value in scores.items()}
        means = {m: sum(found[f"{m}_{name}"] for name in self.names) / len(self.names) for m in ("bleu", "chrf")}
        return means | found

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        for number, (name, score) in enumerate(zip(self.names, self.scores, strict=True)):
            if score is not None and self.teachers[number] is not None and f"eval_bleu_{name}" in metrics:
                self._loss.factors[number] = self.factor(metrics[f"eval_bleu_{name}"], score)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A training that goes on takes the switch up as it stood at its last evaluation."""
        for entry in state.log_history:
            self.on_evaluate(args, state, control, entry)
