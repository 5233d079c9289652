"""What of a teacher's words can be stored with its labels, in place of running it (--cache-teacher)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distilmt.errors import ConfigError

if TYPE_CHECKING:
    from distilmt.objectives import Objective

CACHED = {"gold": "forced", "seq-kd": "soft"}  # stores of a labelling, by the recipe whose targets they are of


def servable(recipe: str, objective: Objective) -> None:
    """Raises: ConfigError: stored words of the teacher (--cache-teacher) cannot be what this objective asks about."""
    import torch

    from distilmt.objectives import TopK

    if recipe not in CACHED:
        raise ConfigError(f"--cache-teacher keeps what the teacher says of {' and '.join(CACHED)}, not of {recipe}")
    if objective.needs_layers or objective.passes > 1:
        raise ConfigError(f"--cache-teacher keeps words of given targets: {objective!r} asks for more - leave it out")
    for _, term in objective.terms:
        if term.looks_at == "teacher":
            term.native(TopK(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1)))
