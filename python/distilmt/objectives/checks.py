"""What parameters of terms have in common when they are wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from distilmt.errors import ConfigError

if TYPE_CHECKING:
    from distilmt.objectives.teachers import Teacher
from distilmt.objectives.term import Term


def positive(term: Any, *names: str) -> None:
    """Raises ConfigError where one of these fields is not a finite number above 0; None passes."""
    for name in names:
        value = getattr(term, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{type(term).__name__}: {name} must be finite and above 0, got {value} - 1 is usual")


def counts(term: Any, *names: str) -> None:
    """Raises ConfigError where one of these fields is not a whole number above 0."""
    for name in names:
        value = getattr(term, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{type(term).__name__}: {name} must be a whole number of at least 1, got {value!r}")


def one_of(term: Any, **known: tuple[str, ...]) -> None:
    """Raises ConfigError where one of these fields is none of the names it may be."""
    for name, values in known.items():
        if getattr(term, name) not in values:
            raise ConfigError(
                f"{type(term).__name__}: {name} must be one of {', '.join(values)}, got {getattr(term, name)!r}"
            )


def between(term: Any, name: str, low: float, high: float, remedy: str) -> None:
    """Raises ConfigError where low < field < high does not hold."""
    value = getattr(term, name)
    if not low < value < high:
        raise ConfigError(f"{type(term).__name__}: {name} must lie between {low} and {high}, got {value} - {remedy}")


def full(term: Term, teacher: Teacher) -> None:
    """Raises ConfigError where the teacher is known at a few tokens alone."""
    from distilmt.objectives.teachers import is_sparse

    if is_sparse(teacher):
        raise ConfigError(
            f"{type(term).__name__} needs the teacher's whole distribution, got {type(teacher).__name__} - use WordKD or KNNKD"
        )


def settled(term: Term, is_settled: bool) -> None:
    """Raises ConfigError where a term has still to be told at which point of the training it is."""
    if not is_settled:
        raise ConfigError(
            f"{term!r} changes over the training - call objective.at(progress), from 0 to 1, before evaluate"
        )
