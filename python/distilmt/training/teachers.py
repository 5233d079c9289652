"""Several teachers of one vocabulary as one, in a training.

Their mean takes the place of the teacher's distribution. With arithmetic means and given weights w, KL to the mean has the
gradient of the weighted sum of the KLs to each: Collective Wisdom's loss. Weights by NLL are its adaptive ones: per batch as
published (each micro-batch), or per sentence, which no other sentence of the batch changes (objectives/teachers.py).
Sources: Freitag et al. 2017 (arXiv:1702.01802), ensembles; Saleh et al. 2020 (Collective Wisdom, arXiv:2010.05445).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distilmt.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TeacherMix:
    """How several teachers are made one."""

    mean: Literal["arithmetic", "geometric"] = field(
        default="arithmetic",
        metadata={"help": "of several teachers: the mean of their probabilities, or of their log-probabilities"},
    )
    weights: tuple[float, ...] | None = field(
        default=None, metadata={"help": "how much each teacher counts, in any unit; default: equally"}
    )
    by_nll: Literal["sentence", "batch"] | None = field(
        default=None,
        metadata={
            "help": "weigh the teachers by softmax of minus their mean NLL of the gold target, of each sentence or, as in "
            "Collective Wisdom, of each batch"
        },
    )

    def check(self, count: int) -> None:
        """Raises: ConfigError: it does not fit so many teachers."""
        if count == 1 and self != TeacherMix():
            raise ConfigError("--teacher-mean, --teacher-weights and --teacher-by-nll are of several teachers, got one")
        if self.weights is None:
            return
        if self.by_nll:
            raise ConfigError("--teacher-weights and --teacher-by-nll both weigh the teachers - give one of them")
        if len(self.weights) != count or not all(0 < weight < float("inf") for weight in self.weights):
            raise ConfigError(
                f"--teacher-weights: expected {count} positive numbers, one per teacher, got {list(self.weights)}"
            )


def names_of(teacher: str | Sequence[str] | None) -> tuple[str, ...]:
    """The models that `--teacher` names."""
    return (teacher,) if isinstance(teacher, str) else tuple(teacher or ())


def together_of(folders: Sequence[Path], mix: TeacherMix) -> dict[str, Any]:
    """The options of `label` and `evaluate` by which these translate as one; weights by NLL need gold, here they are equal."""
    if len(folders) == 1:
        return {}
    return {"also": [str(folder) for folder in folders[1:]], "ensemble": mix.mean, "weights": mix.weights}
