"""What would stop a run after hours of work, said before any: files, models and losses that do not go together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.distilling.methods import ALONE
from distilmt.errors import ConfigError, DataError
from distilmt.training.teachers import TeacherMix, names_of

if TYPE_CHECKING:
    from distilmt.distill import DistillConfig
    from distilmt.distilling.methods import Method, Phase


def check(config: DistillConfig) -> None:
    """Looks at everything that a run of these options will open, and evaluates each loss once.

    Raises: ConfigError, DataError: what is missing, or what does not fit.
    """
    from distilmt.marian.model_folder import read_config
    from distilmt.models import folder_of, parse_size
    from distilmt.soft_labels import SoftLabels

    for name in ("monolingual_source", "monolingual_target"):
        path = getattr(config.data, name)
        if path is not None and not Path(path).is_file():
            raise DataError(f"--{name.replace('_', '-')} {path}: no such file - check the path")
    if config.data.reverse_teacher is not None:
        read_config(folder_of(config.data.reverse_teacher))
    if config.soft_labels is not None:
        SoftLabels.open(config.soft_labels)
    teachers = [read_config(folder_of(name)) for name in names_of(config.teacher)]
    words = teachers[0].vocab_size - 1 if teachers else config.vocab_size
    size = parse_size(config.student_size)
    for method in config.methods():
        _knows_something(method)
        for phase in method.phases:
            _loss(config, phase, words, alone=method is ALONE)
            if phase.teacher_layers and teachers:
                _fits(config.student_size, size, teachers[0])


def _knows_something(method: Method) -> None:
    """Raises: ConfigError: its first phase is not to forget, and has nothing that it could."""
    from distilmt.objectives import parse

    first = method.phases[0]
    if parse(first.objective).needs_snapshot and not first.teacher_layers:
        raise ConfigError(
            f"method {method.name!r}: Inheritance() keeps what a student knew, the first phase begins with nothing - put a "
            "training before it, as `continual` does, or use `distilmt train --init-from`"
        )


def _loss(config: DistillConfig, phase: Phase, words: int, *, alone: bool) -> None:
    """Evaluates what a phase minimises on a row of `words` zeros, with a teacher of the kind that it will have."""
    import torch

    from distilmt.distilling.cached_teacher import servable
    from distilmt.objectives import Head, Neighbours, Objective, TopK, parse
    from distilmt.training.own_batches import own_objective
    from distilmt.training.student_loss import require

    objective = parse(phase.objective)
    needs, own = phase.taught(objective, config.own, alone=alone)
    if config.cache_teacher and needs:
        servable(phase.recipe, objective)
    head = Head(torch.zeros(1, 1), torch.zeros(words, 1))
    teacher: Any = [head] * (1 if phase.teacher is not None else max(1, len(names_of(config.teacher))))
    ids, zeros = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1)
    if any(term.neighbour_temperature for _, term in objective.terms):
        if phase.recipe != "gold":
            raise ConfigError(
                f"neighbours are those of the gold tokens: KNNKD goes with the recipe gold, not {phase.recipe}"
            )
        if len(teacher) > 1:
            raise ConfigError(f"KNNKD: a datastore is of one teacher, got {len(teacher)} - name one with --teacher")
        teacher = Neighbours(ids, zeros)
    elif config.cache_teacher or config.soft_labels is not None:
        teacher = TopK(ids, zeros)
    stored = needs and not isinstance(teacher, list)
    of_own = None if own is None else own_objective(own, objective)
    models = len(teacher) if needs and not stored else 0
    require(objective, of_own, models, stored=stored, mix=config.mix if models > 1 else TeacherMix())
    objective.know(torch.ones(words, dtype=torch.int64))
    outputs = Objective(
        tuple((weight, term) for weight, term in objective.of_pass(1).at(0.0).terms if term.looks_at != "layers")
    )
    if outputs.terms:
        with torch.no_grad(), _said_of(phase):
            outputs.evaluate(student=head, targets=ids[0], teacher=teacher, snapshot=head, sentences=ids[0])


@contextmanager
def _said_of(phase: Phase) -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # a limit of the kernels
        raise ConfigError(f"objective {phase.objective!r}: {error}") from None


def _fits(name: str, size: Any, teacher: Any) -> None:
    """Raises: ConfigError: a student that begins with layers of its teacher has another width."""
    theirs = tuple(getattr(teacher, each) for each in ("d_model", "encoder_ffn_dim", "encoder_attention_heads"))
    if (size.hidden, size.ffn, size.heads) != theirs:
        raise ConfigError(
            f"--student-size {name}: a copy of the teacher's layers has its width, feed-forward width and heads, "
            f"{theirs}, got {(size.hidden, size.ffn, size.heads)} - choose another size, or a method without its layers"
        )
