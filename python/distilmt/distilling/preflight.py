"""What would stop a run after hours of work, said before any: files, models and losses that do not go together."""

from __future__ import annotations

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
    from distilmt.marian.weights import weights_hash
    from distilmt.models import folder_of, parse_size
    from distilmt.soft_labels import SoftLabels
    from distilmt.text.dataset import is_column

    for name in ("monolingual_source", "monolingual_target"):
        path = getattr(config.data, name)
        if path is not None and not Path(path).is_file():
            raise DataError(f"--{name.replace('_', '-')} {path}: no such file - check the path")
    for name in config.adapt_train or ():
        if not is_column(name) and not Path(name).is_file():
            raise DataError(f"--adapt-train {name}: no such file - check the path")
    if config.data.reverse_teacher is not None:
        folder_of(config.data.reverse_teacher)
    stored = None if config.soft_labels is None else SoftLabels.open(config.soft_labels)
    teachers = [read_config(folder_of(name)) for name in names_of(config.teacher)]
    words = teachers[0].vocab_size - 1 if teachers else config.vocab_size
    size = parse_size(config.student_size)
    if teachers:
        theirs = tuple(getattr(teachers[0], name) for name in ("d_model", "encoder_ffn_dim", "encoder_attention_heads"))
    else:
        its = parse_size(config.teacher_size or "")
        theirs = its.hidden, its.ffn, its.heads
    for method in config.methods():
        _knows_something(method)
        for phase in method.phases:
            if _loss(config, phase, words, alone=method is ALONE) and stored is not None:
                stored.require(teacher=weights_hash(folder_of(names_of(config.teacher)[0])))
            if phase.teacher_layers:
                _fits(config.student_size, size, theirs)


def _knows_something(method: Method) -> None:
    """Raises: ConfigError: its first phase is not to forget, and has nothing that it could."""
    from distilmt.objectives import parse

    first = method.phases[0]
    if parse(first.objective).needs_snapshot and not first.teacher_layers:
        raise ConfigError(
            f"method {method.name!r}: Inheritance() keeps what a student knew, the first phase begins with nothing - put a "
            "training before it, as `continual` does, or use `distilmt train --init-from`"
        )


def _loss(config: DistillConfig, phase: Phase, words: int, *, alone: bool) -> bool:
    """Evaluates what a phase minimises on a row of `words` zeros, with a teacher of the kind that it will have.

    Returns: whether it has one.
    """
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
    heads = [head] * (1 if phase.teacher is not None else max(1, len(names_of(config.teacher))))
    ids, zeros = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1)
    teacher: Any = heads
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
    for each, known in ((objective, teacher), (of_own, heads)):
        if each is None:
            continue
        each.know(torch.ones(words, dtype=torch.int64))
        terms = [(weight, term) for weight, term in each.of_pass(1).at(0.0).terms if term.looks_at != "layers"]
        try:
            with torch.no_grad():
                if terms:
                    Objective(tuple(terms)).evaluate(
                        student=head, targets=ids[0], teacher=known, snapshot=head, sentences=ids[0]
                    )
        except ValueError as error:  # a limit of the kernels, or a teacher of another kind
            raise ConfigError(f"objective {each!r}: {error}") from None
    return needs


def _fits(name: str, size: Any, theirs: tuple[int, ...]) -> None:
    """Raises: ConfigError: a student that begins with layers of its teacher has another width."""
    if (size.hidden, size.ffn, size.heads) != theirs:
        raise ConfigError(
            f"--student-size {name}: a copy of the teacher's layers has its width, feed-forward width and heads, "
            f"{theirs}, got {(size.hidden, size.ffn, size.heads)} - choose another size, or a method without its layers"
        )
