"""kNN-KD: the student learns what a nearest-neighbour search over the training text would have said.

    KNNKD = KL(p_kNN || p),   p_kNN(w) = sum over neighbours j with token w of softmax(-d_j / T_k)
    adaptive: KL(a y + (1 - a) p_kNN || p),   a = max(m / (1 + m) + eta, max_w p(w)),   m = max_w p_kNN(w)

Source: Yang et al. 2022 (arXiv:2205.00479), equation 5; neighbours as in kNN-MT, Khandelwal et al. 2021 (arXiv:2010.00710).
Its weight is 1 beside NLL(label_smoothing=0.1, smoothing="all"). The teacher is p_kNN alone, without the model's own
distribution. Shares of one token are added, so the KL is that of tokens and not of neighbours. T_k is 10 or 100 in both
papers, by domain.

The released code has two options that the paper does not use. `adaptive` stands alone, without NLL: a is constant for the
gradient, and the surer the student or the neighbours are, the more gold counts; theirs smooths the labels of gold's part, which
is left out here, and it costs one more projection of the student. `schedule` lowers T_k, never below 1: linear, T_k - decay e;
inverse_sigmoid, 2 T_k / (1 + exp(e / decay)); e epochs behind, which rise by updates here and by whole epochs there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives.checks import positive, settled
from distilmt.objectives.teachers import Head, Neighbours, Teacher, merged
from distilmt.objectives.term import Term
from distilmt.ops.linear_kd import NativeTerm

SCHEDULES = {"fixed": 1.0, "linear": 20.0, "inverse_sigmoid": 10.0}  # with the released code's decay


@dataclass(frozen=True, repr=False)
class KNNKD(Term):
    """KL from the neighbours' distribution to the student's; the teacher is `Neighbours`.

    Args:
        temperature: T_k > 0, divides the distances.
        adaptive: mix them with gold, token by token.
        eta: gold's share above m / (1 + m), in [0, 0.5).
        schedule: fixed, linear or inverse_sigmoid.
        decay: of the schedule, in epochs; theirs, 20 and 10, where absent.
        epochs: that the training counts as.
    """

    temperature: float = 10.0
    adaptive: bool = False
    eta: float = 0.1
    schedule: Literal["fixed", "linear", "inverse_sigmoid"] = "fixed"
    decay: float | None = None
    epochs: float = 10.0
    letters: ClassVar[dict[str, str]] = {"temperature": "T_k", "eta": "eta"}
    looks_at: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        positive(self, "temperature", "decay", "epochs")
        if not 0 <= self.eta < 0.5:
            raise ConfigError(f"KNNKD: eta must lie in [0, 0.5), got {self.eta} - 0.1 is usual")

    @property
    def neighbour_temperature(self) -> float:
        return self.temperature

    def at(self, progress: float) -> KNNKD:
        if self.schedule == "fixed":
            return self
        decay, epoch = self.decay or SCHEDULES[self.schedule], progress * self.epochs
        lowered = self.temperature - decay * epoch
        if self.schedule == "inverse_sigmoid":
            lowered = 2 * self.temperature / (1 + math.exp(min(epoch / decay, 700.0)))
        return replace(self, temperature=max(1.0, lowered), schedule="fixed")

    def native(self, teacher: Teacher) -> NativeTerm:
        if not isinstance(teacher, Neighbours):
            raise ConfigError(
                f"KNNKD needs Neighbours, got {type(teacher).__name__} - ids and distances of a datastore, which "
                "`distilmt knn build` and `distilmt knn search` make: --neighbours FOLDER"
            )
        settled(self, self.schedule == "fixed")
        return NativeTerm("sparse_kl")

    def sparse(self, neighbours: Neighbours, student: Head, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Distinct ids and log-probabilities [rows, at most k + 1] of what is to be learnt."""
        ids, log_probs = merged(neighbours, self.temperature, student.vocab)
        return _with_gold(ids, log_probs, student, targets, self.eta) if self.adaptive else (ids, log_probs)


@torch.no_grad()
def _with_gold(ids: Tensor, log_probs: Tensor, student: Head, targets: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    said, gold = log_probs.exp(), targets.clamp(min=0)[:, None]
    most = said.amax(1)
    a = torch.maximum(most / (1 + most) + eta, _surest(student).to(said))[:, None]
    here = (ids == gold) & (said > 0)
    said = said * (1 - a) + a * here
    probabilities = torch.cat([said, a * ~here.any(1, keepdim=True)], 1)
    kept = probabilities.argsort(dim=1, descending=True, stable=True)[:, : student.vocab]
    return torch.cat([ids, gold], 1).gather(1, kept), probabilities.gather(1, kept).log()


def _surest(student: Head) -> Tensor:
    """The largest probability of each row, [rows]."""
    return torch.cat([(logits.amax(1) - logits.logsumexp(1)).exp() for logits in student.logits()])
