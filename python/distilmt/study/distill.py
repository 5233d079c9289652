"""The task `distill`: label, train a student by a method, and serve it.

The timed region is the student's serving: its translation of the test text, as in the task `decode`. What making it cost
stands in columns of their own: `train_*`, once per cell, and `label_*`, all that the data took (labels, selections,
datastores), the same number in every cell that shares it. These materials are made once for all cells that ask for the same
ones: a run of their own under the study's folder. With `share_student` so is the student: labellings that turn out equal, however
they were searched, train one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.distill import DistillConfig
from distilmt.distilling.materials import Materials
from distilmt.distilling.methods import ALONE, Method, named
from distilmt.distilling.recipe_options import LabelSearch, RecipeOptions
from distilmt.energy import EnergyOptions
from distilmt.errors import ConfigError, ResourceError
from distilmt.state.stage import hash_of
from distilmt.study import decode
from distilmt.study.measure import Numbers, Work
from distilmt.train import TrainingOptions
from distilmt.training.own_targets import OwnTargets
from distilmt.training.teachers import TeacherMix, names_of
from distilmt.translator.compute_type import HELP as COMPUTE_TYPE_HELP
from distilmt.translator.compute_type import ComputeType

if TYPE_CHECKING:
    from distilmt.run import Run

POLL_SECONDS = 5.0
COSTS = ("seconds", "cpu_seconds", "joules")
NOT_TRAINING = {
    "label",
    "test",
    "further",
    "test_beam_size",
    "compute_type",
    "share_student",
}  # labels are named by their hash


@dataclass(frozen=True, kw_only=True)
class DistillTask:
    """Keywords of `distill`; those of `training` and `data` may be given without that prefix.

    Outcomes: those of `decode`, of the student on `test`; train_seconds, train_cpu_seconds, train_joules,
    train_peak_rss_bytes, train_perplexity, updates_per_second, dev_bleu, parameters, file_bytes; own_mode, top1_agreement (gap.py);
    bleu_NAME and chrf_NAME of each of `further`; where data had to be made label_seconds, label_cpu_seconds, label_joules.
    """

    train: tuple[str, str] = field(metadata={"help": "training text, line-aligned"})
    dev: tuple[str, str] = field(metadata={"help": "text that chooses the checkpoint"})
    test: tuple[str, str] = field(metadata={"help": "text that is served"})
    teacher: str | tuple[str, ...] = field(
        metadata={"help": "a model's folder or hub name; several of one vocabulary are made one"}
    )
    student_size: str = field(metadata={"help": "a preset, or ENCxDEC:HIDDEN:FFN:HEADS"})
    method: str = field(default="seq-kd", metadata={"help": "see `distilmt methods`; alone is the baseline"})
    recipe: str | None = field(default=None, metadata={"help": "in place of method, what data"})
    objective: str | None = field(default=None, metadata={"help": "in place of method, what loss"})
    adapt_train: tuple[str, str] | None = field(
        default=None, metadata={"help": "of distil-adapt-distil: text of the domain to adapt to"}
    )
    cache_teacher: int = field(default=0, metadata={"help": "its likeliest words to store, in place of running it"})
    test_beam_size: int = field(default=5, metadata={"help": "beam size of serving"})
    compute_type: ComputeType = field(default="float32", metadata={"help": f"of serving: {COMPUTE_TYPE_HELP}"})
    further: Any = field(
        default_factory=dict,
        metadata={"help": "more scores of the student by name: {NAME: {test: [...], beam_size: N}}"},
    )
    share_student: bool = field(
        default=False, metadata={"help": "train once for all cells of a seed whose labels are the same text"}
    )
    label: LabelSearch = field(default_factory=LabelSearch, metadata={"prefix": "label_"})
    data: RecipeOptions = field(default_factory=RecipeOptions)
    mix: TeacherMix = field(default_factory=TeacherMix, metadata={"prefix": "teacher_"})
    own: OwnTargets = field(default_factory=OwnTargets, metadata={"prefix": "own_"})
    training: TrainingOptions = field(default_factory=TrainingOptions)
    teacher_training: TrainingOptions = field(default_factory=TrainingOptions, metadata={"prefix": "teacher_"})

    def __post_init__(self) -> None:
        self.config("", EnergyOptions())
        for name, given in self.more.items():
            wrong = sorted(set(given) - {"test", "beam_size"})
            test = given.get("test", self.test)
            if wrong or isinstance(test, str) or len(test) != 2 or not str(given.get("beam_size", 1)).isdecimal():
                raise ConfigError(f"further.{name}: must hold `test` (two files) and `beam_size`, got {dict(given)}")
        if self.share_student and self.cache_teacher:
            raise ConfigError(
                "share_student: labels that are the same text may have other stored words - leave out cache_teacher"
            )

    @property
    def more(self) -> Mapping[str, Any]:
        """`further`, checked to be names."""
        if not isinstance(self.further, Mapping) or not all(isinstance(v, Mapping) for v in self.further.values()):
            raise ConfigError(f"further: must be NAME: {{test: ..., beam_size: ...}}, got {self.further!r}")
        return self.further

    @property
    def chosen(self) -> Method:
        """The method, by its name or by its parts."""
        if self.recipe or self.objective:
            return Method("given", self.recipe or "gold", self.objective or ALONE.objective, "given in full")
        method = ALONE if self.method == ALONE.name else named(self.method)
        return method.of_run(len(names_of(self.teacher)), self.data.rounds)

    @property
    def adapts(self) -> bool:
        """Whether its teacher is adapted to another text."""
        return any(phase.adapted for phase in self.chosen.phases)

    def config(self, out: str, energy: EnergyOptions) -> DistillConfig:
        """The distillation that the cell is, with the options that its method reads: a study sets some for all cells.

        Raises: ConfigError.
        """
        from distilmt.marian.sizes import parse_size

        parse_size(self.student_size)
        readers = {reader for phase in self.chosen.phases for reader in phase.readers}
        what: dict[str, Any] = {"recipe": self.recipe, "objective": self.objective}
        if not self.recipe and not self.objective:
            what = {"method": self.method}
        return DistillConfig(
            train=self.train, dev=self.dev, test=(self.test,), out=out, student_size=self.student_size, teacher=self.teacher,
            adapt_train=self.adapt_train if self.adapts else None, baseline=False, seeds=(self.training.seed,),
            cache_teacher=self.cache_teacher, label=self.label, data=self.data.read_by(readers), mix=self.mix, own=self.own,
            training=self.training, teacher_training=self.teacher_training, metering=energy, **what,
        )  # fmt: skip


def load(task: DistillTask, folder: Path, shared: Path, energy: EnergyOptions) -> Work:
    """Makes what the method learns from unless that is done, trains the student, and loads it.

    Args:
        folder: of this cell; an interrupted training goes on in it.
        shared: of the study, for what cells share.
    Raises: ConfigError, DataError, ResourceError.
    """
    from distilmt import corpus, models
    from distilmt.distilling.preflight import check
    from distilmt.distilling.students import train_student
    from distilmt.marian.weights import identity

    text, dev = corpus.load_corpus(task.train), corpus.load_corpus(task.dev)
    teachers = [models.folder_of(name) for name in names_of(task.teacher)]
    inputs = {
        "teacher": identity(teachers), "train": text.source_hash + text.target_hash,
        "dev": dev.source_hash + dev.target_hash,
    }  # fmt: skip
    if len(teachers) > 1:
        inputs["mix"] = repr(task.mix)
    if task.adapts and task.adapt_train:
        domain = corpus.load_corpus(task.adapt_train)
        inputs["adapt"] = domain.source_hash + domain.target_hash
    config = task.config(str(folder), energy)
    check(config)
    with _shared_run(task, inputs, shared, config) as run:
        materials = Materials(run, config, text, dev)
        made = _made(materials, task.chosen)
    if targets := materials.target_hashes():
        inputs["pseudo"] = targets
    inputs["method"] = task.chosen.formula
    with _student_run(task, inputs, folder, shared, energy) as run:
        model, facts = train_student("student", task.chosen, task.training.seed, materials, run)
        stages = run.stages()
    usages = [stage for stage in stages if stage["kind"] == "student-training"]
    made += [stage for stage in stages if stage not in usages]  # labels of students that became teachers
    outcomes: dict[str, float | None] = {f"label_{key}": _sum(made, key) for key in COSTS} if made else {}
    outcomes |= {f"train_{key}": _sum(usages, key) for key in COSTS}
    outcomes |= {
        "train_peak_rss_bytes": max(stage["peak_rss_bytes"] for stage in usages), "dev_bleu": facts["dev_bleu"],
        "train_perplexity": facts["curve"][-1]["perplexity"], "updates_per_second": facts["curve"][-1]["updates_per_second"],
        "parameters": models.parameters(models.load(model)), "file_bytes": models.size_bytes(model),
    }  # fmt: skip
    work = _served(task, model, teachers, inputs, outcomes)
    work.notes += (
        [f"student {run.folder.name}, of all cells with these labels and this seed"] if task.share_student else []
    )
    return work


def _served(
    task: DistillTask, model: Path, teachers: list[Path], inputs: dict[str, str], known: dict[str, float | None]
) -> Work:
    """The student, loaded to be served, with what is known of it and what a look at more texts adds."""
    served = decode.load(decode.DecodeTask(
        model=str(model), test=task.test, beam_size=task.test_beam_size, compute_type=task.compute_type,
        threads=task.training.threads,
    ))  # fmt: skip
    # The student's own hash is a result, not an input: threads may change its last bits.
    inputs |= {f"test {key}": value for key, value in served.inputs.items() if key != "model"}
    outcomes = served.outcomes

    def whole(seconds: float) -> Numbers:
        scores, served.further = looks(task, model, teachers)
        return known | dict(outcomes(seconds)) | scores

    served.outcomes, served.inputs = whole, inputs
    return served


def looks(
    task: DistillTask, model: Path, teachers: list[Path]
) -> tuple[dict[str, float | None], dict[str, tuple[str, list[str]]]]:
    """What further test sets, the student's own mode and the teacher's view of the references say; and `Work.further`."""
    from distilmt.corpus import load_corpus
    from distilmt.evaluate import score
    from distilmt.quality.gap import own_mode, top1_agreement
    from distilmt.text.files import language_of
    from distilmt.translate import Translator

    student = Translator(model, compute_type="float32", threads=task.training.threads)
    found: dict[str, float | None] = {}
    further: dict[str, tuple[str, list[str]]] = {}
    for name, given in task.more.items():
        pair = tuple(given.get("test", task.test))
        text = load_corpus(pair)
        out = student.translate(text.sources, beam_size=int(given.get("beam_size", task.test_beam_size)))
        lines = [" ".join(each.text.splitlines()) for each in out]
        further[name] = text.target_hash, lines
        scores = score(lines, text.targets, target_lang=language_of(pair[1]))
        found |= {f"bleu_{name}": scores.bleu, f"chrf_{name}": scores.chrf}
    text = load_corpus(task.test)
    own = student.translate(text.sources, beam_size=task.test_beam_size)
    found["own_mode"] = own_mode(each.hypotheses[0].log_probs for each in own if each.hypotheses)
    asked = Translator(
        teachers,
        compute_type="float32",
        threads=task.training.threads,
        ensemble=task.mix.mean,
        weights=task.mix.weights,
    )
    found["top1_agreement"] = top1_agreement(student, asked, text.sources, text.targets)
    return found, further


def _made(materials: Materials, method: Method) -> list[dict[str, Any]]:
    """Makes all that the phases of a method ask for: its stages."""
    from distilmt.objectives import parse

    made: list[str] = []
    for phase in method.phases:
        ours, objective = materials.of(phase), parse(phase.objective)
        made += [*ours.adaptations, *ours.data(phase.recipe)[1]]
        made += ours.looked_at(objective, phase.recipe)[1] if objective.needs_teacher else []
    return [stage for stage in materials.run.stages() if stage["name"] in made]


def _sum(stages: list[dict[str, Any]], key: str) -> float | None:
    values = [stage[key] for stage in stages]
    return None if None in values else sum(values)


@contextmanager
def _shared_run(task: DistillTask, inputs: Mapping[str, str], shared: Path, config: DistillConfig) -> Iterator[Run]:
    """The run that holds what cells with these texts, this teacher and these options share."""
    from distilmt.objectives import parse

    label = config.label.for_recipes(config.recipes())
    # They change what is learnt from, and nothing that is made for it; the index is below.
    learnt = {"pseudo_share", "drop_worst", "rounds", "init_layers", "knn_index"}
    data = {key: value for key, value in asdict(config.data).items() if key not in learnt}
    key = {**inputs, "label": asdict(label), "data": data, "cache": config.cache_teacher}
    key |= {"teacher training": config.teacher_training.inputs()} if task.adapts else {}
    # Hours of search are nobody else's to wait for.
    key |= {"neighbours": any(t.neighbour_temperature for p in task.chosen.phases for _, t in parse(p.objective).terms)}
    key |= {"index": config.data.knn_index} if config.data.knn_index != "auto" else {}
    with _opened(shared / hash_of(key)[:16], key, config.metering) as run:
        yield run


@contextmanager
def _student_run(
    task: DistillTask, inputs: Mapping[str, str], folder: Path, shared: Path, energy: EnergyOptions
) -> Iterator[Run]:
    """The run that trains the student: the cell's own, or that of all cells with the same labels, options and seed."""
    key: dict[str, Any] = asdict(task)
    if task.mix == TeacherMix():
        del key["mix"]  # a student keeps the name that it had before teachers could be several
    if task.share_student:
        key = {**inputs, **{name: value for name, value in key.items() if name not in NOT_TRAINING}}
        folder = shared / f"student-{hash_of(key)[:16]}"
    with _opened(folder, key, energy) as run:
        yield run


@contextmanager
def _opened(folder: Path, key: Mapping[str, Any], energy: EnergyOptions) -> Iterator[Run]:
    """A run; while another cell, beside this one or on another machine, works in it, this one waits."""
    from distilmt.run import Run

    while True:
        try:
            run = Run.open(folder, key, metering=energy)
            break
        except ResourceError:
            if not (folder / "lock").exists():
                raise
            time.sleep(POLL_SECONDS)
    with run:
        yield run
