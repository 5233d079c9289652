"""What parameters of terms have in common when they are wrong."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

from distilmt.errors import ConfigError
from distilmt.interface.values import convert

if TYPE_CHECKING:
    from distilmt.objectives.teachers import Teacher
    from distilmt.objectives.term import Term


HOTTEST = (
    10_000.0  # above, the gradient of T^2 KL in float32 loses its digits; its value has lost a third of itself there
)


def typed(term: Any) -> None:
    """Raises ConfigError where a field is not of its type."""
    of: Any = type(term)
    for name, kind in _types(of).items():
        try:
            convert(getattr(term, name), kind, text=False)
        except ValueError as error:
            raise ConfigError(f"{of.__name__}: {name} {error}") from None
        except TypeError:  # of a term of one's own: a type that no option has
            continue


@cache
def _types(term: Any) -> dict[str, Any]:
    try:
        hints = get_type_hints(term)
    except NameError:  # a term of one's own whose types are named where nobody else sees them
        return {}
    return {field.name: hints[field.name] for field in fields(term) if field.init}


def temperatures(term: Any, *names: str) -> None:
    """Raises ConfigError where one of these fields cannot divide logits; None passes."""
    positive(term, *names)
    for name in names:
        if (getattr(term, name) or 1) > HOTTEST:
            raise ConfigError(
                f"{type(term).__name__}: {name} must be at most {HOTTEST:g}, got {getattr(term, name)} - 1 is usual"
            )


def positive(term: Any, *names: str) -> None:
    """Raises ConfigError where one of these fields is not a finite number above 0; None passes."""
    for name in names:
        value = getattr(term, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{type(term).__name__}: {name} must be finite and above 0, got {value} - 1 is usual")


def counts(term: Any, *names: str) -> None:
    """Raises ConfigError where one of these fields is below 1."""
    for name in names:
        if (value := getattr(term, name)) < 1:
            raise ConfigError(f"{type(term).__name__}: {name} must be at least 1, got {value}")


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
