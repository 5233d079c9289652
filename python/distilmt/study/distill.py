"""The task `distill`: label, train a student, and serve it.

The timed region is the student's serving: its translation of the test text, as in the task `decode`. What making it cost
stands in columns of their own: `train_*`, once per cell, and `label_*`, the same number in every cell that shares the
labels. A labelling is made once for all cells that ask for the same one (source text, teacher, options of the search).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.compute_type import HELP as COMPUTE_TYPE_HELP
from distilmt.compute_type import ComputeType
from distilmt.energy import EnergyOptions, Meter
from distilmt.errors import ConfigError, ResourceError
from distilmt.lock import Lock
from distilmt.methods import ALONE, Method, named
from distilmt.stage import hash_of
from distilmt.storage import disk_errors, read_json, write_json
from distilmt.study import decode
from distilmt.study.measure import Numbers, Work
from distilmt.train import TrainingOptions

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.label import Labels
    from distilmt.trainer import FitResult

POLL_SECONDS = 5.0
KNOWN = ("gold", "seq-kd", "seq-inter")


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """How the teacher labels; names carry the prefix `label_`."""

    beam_size: int = field(default=5, metadata={"help": "hypotheses followed at a time"})
    n_best: int | None = field(default=None, metadata={"help": "kept per line; default: 1, and for seq-inter the beam"})
    length_penalty: float = field(default=1.0, metadata={"help": "scores are divided by length to this power"})
    max_length: int = field(default=256, metadata={"help": "longest translation in tokens, end symbol included"})
    compute_type: ComputeType = field(default="auto", metadata={"help": COMPUTE_TYPE_HELP})


@dataclass(frozen=True, kw_only=True)
class DistillTask:
    """Keywords of `distill`; those of `training` may be given without that prefix.

    Outcomes: those of `decode`, of the student on `test`; train_seconds, train_cpu_seconds, train_joules,
    train_peak_rss_bytes, dev_bleu, parameters, file_bytes; with labels label_seconds, label_cpu_seconds, label_joules.
    """

    train: tuple[str, str] = field(metadata={"help": "training text, line-aligned"})
    dev: tuple[str, str] = field(metadata={"help": "text that chooses the checkpoint"})
    test: tuple[str, str] = field(metadata={"help": "text that is served"})
    teacher: str = field(metadata={"help": "a model's folder or hub name"})
    student_size: str = field(metadata={"help": "a preset, or ENCxDEC:HIDDEN:FFN:HEADS"})
    method: str = field(default="seq-kd", metadata={"help": "see `distilmt methods`; alone is the baseline"})
    recipe: str | None = field(default=None, metadata={"help": "in place of method, what data"})
    objective: str | None = field(default=None, metadata={"help": "in place of method, what loss"})
    test_beam_size: int = field(default=5, metadata={"help": "beam size of serving"})
    compute_type: ComputeType = field(default="float32", metadata={"help": f"of serving: {COMPUTE_TYPE_HELP}"})
    label: LabelOptions = field(default_factory=LabelOptions, metadata={"prefix": "label_"})
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def __post_init__(self) -> None:
        from distilmt.sizes import parse_size

        parse_size(self.student_size)
        if self.chosen.recipe not in KNOWN or len(self.chosen.phases) > 1 or self.chosen.teacher_layers:
            raise ConfigError(
                f"method {self.method!r}: a study trains in one phase, from scratch, on one of {', '.join(KNOWN)}, got recipe "
                f"{self.chosen.recipe!r} - run `distilmt distill` for others"
            )
        if self.label.n_best is None:
            best = self.label.beam_size if self.chosen.recipe == "seq-inter" else 1
            object.__setattr__(self, "label", replace(self.label, n_best=best))

    @property
    def chosen(self) -> Method:
        """The method, by its name or by its parts."""
        if self.recipe or self.objective:
            return Method("given", self.recipe or "gold", self.objective or ALONE.objective, "given in full")
        return ALONE if self.method == ALONE.name else named(self.method)


def load(task: DistillTask, folder: Path, shared: Path, energy: EnergyOptions) -> Work:
    """Labels unless that is done, trains the student, and loads it.

    Args:
        folder: of this cell; an interrupted training goes on in it.
        shared: of the study, for labels.
    Raises: ConfigError, DataError, ResourceError.
    """
    from distilmt import corpus, models
    from distilmt.checkpoints import remove_checkpoints
    from distilmt.objectives import parse
    from distilmt.recipes.seq_inter import seq_inter
    from distilmt.recipes.seq_kd import seq_kd
    from distilmt.run import Run
    from distilmt.vocab import Vocab

    method, teacher = task.chosen, models.folder_of(task.teacher)
    objective = parse(method.objective)
    text, dev = corpus.load_corpus(task.train), corpus.load_corpus(task.dev)
    inputs = {
        "teacher": models.weights_hash(teacher), "train": text.source_hash + text.target_hash,
        "dev": dev.source_hash + dev.target_hash,
    }  # fmt: skip
    facts: dict[str, float | None] = {}
    if method.recipe != "gold":
        labels, facts = shared_labels(task, teacher, inputs["teacher"], text, shared, energy)
        encode = Vocab.load(teacher).encode_target
        text = seq_inter(text, labels, encode) if method.recipe == "seq-inter" else seq_kd(text, labels)
        inputs["pseudo"] = text.target_hash
    with Run.open(folder, asdict(task), metering=energy) as run:
        options = {"size": task.student_size, "objective": method.objective, "training": task.training.inputs()}
        with run.stage("student", inputs | options, kind="student-training") as stage:
            if not stage.done:
                fit = _fit(task, objective, teacher, text, dev, stage.folder)
                made = {"dev_bleu": fit.dev_bleu, "parameters": models.parameters(models.load(fit.model))}
                stage.finish(outputs={"model": fit.model}, facts=made | {"file_bytes": models.size_bytes(fit.model)})
                remove_checkpoints(stage.folder)
    usage = stage.usage
    facts |= {f"train_{key}": getattr(usage, key) for key in ("seconds", "cpu_seconds", "joules", "peak_rss_bytes")}
    facts |= stage.facts
    serving = decode.DecodeTask(
        model=str(stage.outputs["model"]), test=task.test, beam_size=task.test_beam_size,
        compute_type=task.compute_type, threads=task.training.threads,
    )  # fmt: skip
    served = decode.load(serving)
    # The student's own hash is a result, not an input: threads may change its last bits.
    inputs |= {f"test {key}": value for key, value in served.inputs.items() if key != "model"}
    outcomes = served.outcomes

    def whole(seconds: float) -> Numbers:
        return facts | dict(outcomes(seconds))

    served.outcomes, served.inputs = whole, inputs
    return served


def _fit(task: DistillTask, objective: Any, teacher: Path, text: Any, dev: Any, folder: Path) -> FitResult:
    from distilmt import models
    from distilmt.train import fit_text, new_model
    from distilmt.vocab import Vocab

    vocabulary = Vocab.load(teacher)
    student = new_model(models.parse_size(task.student_size), vocabulary, task.training)
    seen = models.load(teacher) if objective.needs_teacher else None
    return fit_text(student, vocabulary, text, dev, objective, seen, task.training, folder, "student")


def shared_labels(
    task: DistillTask, teacher: Path, teacher_hash: str, text: Corpus, shared: Path, energy: EnergyOptions
) -> tuple[Labels, dict[str, float | None]]:
    """The teacher's labels of the training source, and what making them cost; made by the first cell that asks.

    Whoever asks meanwhile, on another machine, waits. Threads do not change labels, so they are no part of the key.
    """
    from distilmt.dataset import is_column
    from distilmt.files import write_lines
    from distilmt.label import label, read_labels

    inputs = {"source": text.source_hash, "model": teacher_hash, "options": asdict(task.label)}
    folder = shared / f"labels-{hash_of(inputs)[:16]}"
    done = folder.with_suffix(".json")
    with disk_errors(shared):
        shared.mkdir(parents=True, exist_ok=True)
    lock = Lock(folder.with_suffix(".lock"))
    while True:
        try:
            lock.acquire()
            break
        except ResourceError:
            if not lock.path.exists():
                raise
            time.sleep(POLL_SECONDS)
    try:
        if not done.exists():
            source = task.train[0]
            if is_column(source):
                source = str(folder.with_suffix(".source.txt"))
                write_lines(source, text.sources)
            with Meter(energy, checkpoint=folder.with_suffix(".meter.json")) as meter:  # killed attempts cost too
                label(
                    model=str(teacher), source=source, out=str(folder), threads=task.training.threads,
                    **asdict(task.label),
                )  # fmt: skip
            assert meter.usage is not None
            write_json(done, {"inputs": inputs, "usage": asdict(meter.usage)})
    finally:
        lock.release()
    usage = read_json(done, "delete it to label again")["usage"]
    return read_labels(folder), {f"label_{key}": usage[key] for key in ("seconds", "cpu_seconds", "joules")}
