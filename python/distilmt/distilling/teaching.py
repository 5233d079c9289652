"""The teachers of a run that are trained in it: from nothing, or further, on the text of another domain.

Source of the latter: Gordon & Duh 2020 (Distill, Adapt, Distill, arXiv:2003.02877): a student distilled from a general teacher
on general text goes on from a teacher adapted to the domain, on the domain's text with that teacher's labels. Here the teacher is
adapted by plain NLL at a tenth of the learning rate of its training, and is best on the development text, which is the new
domain's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.distilling.methods import ALONE, FINE_TUNING
from distilmt.train import TrainingOptions, fit_text, new_model, say_notes

if TYPE_CHECKING:
    from distilmt.distilling.materials import Materials
    from distilmt.run import Run
    from distilmt.state.stage import Stage

DOMAIN = "adapted-"


def trained(materials: Materials) -> Stage:
    """The stage that trains the run's teacher."""
    from distilmt import models
    from distilmt.vocab import Vocab

    config, text = materials.config, materials.text

    def begin() -> tuple[Any, Any]:
        lines = [line for _, *pair in text.pairs() for line in pair]
        vocabulary = Vocab.train(lines, config.vocab_size, model_type=config.vocab_model)
        return new_model(models.parse_size(config.teacher_size or ""), vocabulary, config.teacher_training), vocabulary

    inputs = {"size": config.teacher_size, "vocab_size": config.vocab_size, "vocab_model": config.vocab_model}
    return _stage(materials, "teacher", inputs, begin, config.teacher_training)


def adapted(general: Materials) -> Materials:
    """Materials whose text is --adapt-train, and whose teachers are those of `general`, adapted: a stage for each."""
    from distilmt import corpus
    from distilmt.distilling.materials import Materials
    from distilmt.marian.weights import weights_hash

    config = general.config
    assert config.adapt_train is not None  # the options were checked
    text = corpus.load_corpus(config.adapt_train, on_invalid_utf8=config.on_invalid_utf8)
    say_notes(text)
    options = replace(
        config.teacher_training, learning_rate=config.teacher_training.learning_rate * FINE_TUNING
    )  # fmt: skip
    config = replace(config, train=config.adapt_train, data=replace(config.data, subset=1.0))
    found = Materials(general.run, config, text, general.dev, DOMAIN)
    found._labels = general._labels  # for the report's notes
    folders = []
    for number, teacher in enumerate(general.teachers, 1):
        name = DOMAIN + ("teacher" if number == 1 else f"teacher-{number}")
        stage = _stage(
            found, name, {"teacher": weights_hash(teacher)},
            partial(_loaded, teacher), options,
        )  # fmt: skip
        folders.append(str(stage.folder / "best"))
        found.adaptations.append(name)
    found.config = replace(config, teacher=tuple(folders), teacher_size=None)
    return found


def promoted(before: Materials, student: Path, run: Run, domain: str) -> Materials:
    """The same text with a student as its teacher; what it makes of that is kept in `run`, the student's.

    Source: Xie et al. 2020 (Noisy Student, arXiv:1911.04252): a student of gold and pseudo targets, trained with noise, labels the
    text for the next one, three times. Theirs are images without labels and students that grow; here the text is the training
    source, the students are of one size, and the noise is dropout, beside a teacher that has none.
    """
    from distilmt.distilling.materials import Materials
    from distilmt.training.teachers import TeacherMix

    config = replace(
        before.config, teacher=str(student), teacher_size=None, mix=TeacherMix(), soft_labels=None, cache_teacher=0
    )
    found = Materials(run, config, before.text, before.dev, domain)
    found.text, found._labels = before.text, before._labels  # the subset, where there is one; for the report's notes
    return found


def _loaded(folder: Path) -> tuple[Any, Any]:
    from distilmt import models
    from distilmt.vocab import Vocab

    return models.load(folder), Vocab.load(folder)


def _stage(
    materials: Materials, name: str, inputs: dict[str, Any], begin: Callable[[], tuple[Any, Any]], options: TrainingOptions
) -> Stage:  # fmt: skip
    """A training of a teacher; `begin` gives model and vocabulary."""
    from distilmt.objectives import parse
    from distilmt.training.checkpoints import remove_checkpoints

    inputs = materials.text_inputs() | inputs | {"objective": ALONE.objective, "training": options.inputs()}
    with materials.run.stage(name, inputs, "teacher-training") as stage:
        if not stage.done:
            fit = fit_text(
                *begin(), materials.text, materials.dev, parse(ALONE.objective), None, options, stage.folder, name
            )
            stage.finish(outputs={"model": fit.model}, facts=fit.facts())
            remove_checkpoints(stage.folder)
        return stage
