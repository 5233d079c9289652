"""`distilmt distill`: text in, distilled students out, with a report of what was gained and what it cost.

Stages of the run folder, each done once and then remembered by its inputs (run.py):

    teacher            trained here, unless a model folder is given
    label              the teacher's beam search over the training source, for methods that learn from it
    select-...         of each n-best list what a recipe learns from
    student-NAME-SEED  one training per method, seed and phase; `alone` is the baseline
    evaluate-NAME      translations of every test set, their BLEU and chrF, decoding speed
    microscope-NAME    where a student differs from its teacher (report/microscope.py)
    significance-HASH  the students' scores against those of the student alone
    report             report.json, report.md, report.html
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distilmt.bill.rates import Rates
from distilmt.distilling.distill_report import set_name, system, write_report
from distilmt.distilling.materials import Materials
from distilmt.distilling.methods import ALONE, RECIPES, Method, named
from distilmt.distilling.recipe_options import LabelSearch, RecipeOptions
from distilmt.energy import EnergyOptions
from distilmt.errors import ConfigError
from distilmt.interface.config import resolve
from distilmt.interface.invocation import invocation
from distilmt.text.lines import OnInvalidUtf8
from distilmt.train import TrainingOptions, say_notes
from distilmt.training.own_targets import OwnTargets
from distilmt.training.teachers import TeacherMix, names_of

if TYPE_CHECKING:
    from distilmt.report import Report


USUAL = "seq-kd+word-kd"


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Options of `distilmt distill`."""

    train: tuple[str, str] = field(
        metadata={
            "help": "training text, line-aligned: files, or columns hf:NAME:SPLIT:COLUMN",
            "metavar": "SOURCE TARGET",
        }
    )
    dev: tuple[str, str] = field(metadata={"help": "text that chooses the checkpoint", "metavar": "SOURCE TARGET"})
    test: tuple[tuple[str, str], ...] = field(
        metadata={"help": "a test set; may be repeated", "metavar": "SOURCE TARGET"}
    )
    out: str = field(metadata={"help": "the run folder"})
    student_size: str = field(metadata={"help": "a preset, or ENCxDEC:HIDDEN:FFN:HEADS"})
    teacher: str | tuple[str, ...] | None = field(
        default=None,
        metadata={
            "help": "the teacher: a Marian folder or hub name; several of one vocabulary are made one",
            "metavar": "MODEL...",
        },
    )
    teacher_size: str | None = field(default=None, metadata={"help": "train a teacher of this size first"})
    soft_labels: str | None = field(
        default=None,
        metadata={"help": "the teacher's stored soft labels of the training text; students then learn from these"},
    )
    cache_teacher: int = field(
        default=0,
        metadata={
            "help": "likeliest words of the teacher to store with the labels and to learn from, in place of running it"
        },
    )
    method: str | None = field(
        default=None,
        metadata={"help": f"methods, separated by commas; see `distilmt methods` [default: {USUAL}]"},
    )
    recipe: str | None = field(
        default=None, metadata={"help": f"in place of --method, what data: {', '.join(RECIPES)}"}
    )
    objective: str | None = field(
        default=None, metadata={"help": "in place of --method, what loss; see `distilmt explain`"}
    )
    adapt_train: tuple[str, str] | None = field(
        default=None,
        metadata={"help": "of distil-adapt-distil: text of the domain to adapt to", "metavar": "SOURCE TARGET"},
    )
    baseline: bool = field(default=True, metadata={"help": "also train the student alone"})
    seeds: tuple[int, ...] = field(default=(1,), metadata={"help": "one student of each method per seed"})
    new_run: bool = field(default=False, metadata={"help": "start over; what is there is moved aside"})
    vocab_size: int = field(default=8000, metadata={"help": "size of a vocabulary that is trained here"})
    vocab_model: Literal["unigram", "bpe"] = field(default="unigram", metadata={"help": "its kind"})
    test_beam_size: int = field(default=5, metadata={"help": "beam size on the test sets"})
    test_repeats: int = field(
        default=3, metadata={"help": "timed decodings of the test sets: their spread is the pay-back's interval"}
    )
    exact: bool = field(default=False, metadata={"help": "also report the share of lines that are exactly right"})
    on_invalid_utf8: OnInvalidUtf8 = field(
        default="error", metadata={"help": "what to do with bytes of the training text that are no UTF-8"}
    )
    microscope: bool = field(
        default=True, metadata={"help": "also look at where each student differs from its teacher, token by token"}
    )
    title: str = field(default="distillation", metadata={"help": "title of the report"})
    label: LabelSearch = field(default_factory=LabelSearch, metadata={"prefix": "label_"})
    data: RecipeOptions = field(default_factory=RecipeOptions)
    mix: TeacherMix = field(default_factory=TeacherMix, metadata={"prefix": "teacher_"})
    own: OwnTargets = field(default_factory=OwnTargets, metadata={"prefix": "own_"})
    rates: Rates = field(default_factory=Rates)
    metering: EnergyOptions = field(default_factory=EnergyOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    teacher_training: TrainingOptions = field(default_factory=TrainingOptions, metadata={"prefix": "teacher_"})

    def __post_init__(self) -> None:
        if (self.teacher is None) == (self.teacher_size is None):
            raise ConfigError("a teacher is needed: give either --teacher MODEL or --teacher-size PRESET")
        if self.soft_labels is not None and self.teacher is None:
            raise ConfigError("--soft-labels are those of a teacher that exists: name it with --teacher")
        if self.recipe is not None and self.recipe not in RECIPES:
            raise ConfigError(f"--recipe must be one of {', '.join(RECIPES)}, got {self.recipe!r}")
        names = [set_name(source) for source, _ in self.test]
        if len(set(names)) != len(names):
            raise ConfigError(f"--test: two test sets have one name ({', '.join(names)}) - rename a file")
        if self.test_repeats < 1:
            raise ConfigError(f"--test-repeats must be 1 or more, got {self.test_repeats}")
        if self.method is not None and (self.recipe or self.objective):
            raise ConfigError("--method names a recipe and an objective: give it, or --recipe and --objective")
        self.data.check({reader for method in self.methods() for phase in method.phases for reader in phase.readers})
        self._check_phases()
        kept = self.label.for_recipes(self.recipes()).n_best or 1
        if self.data.keep > kept and {"gold-best", "n-best"} & self.recipes():
            raise ConfigError(f"--keep {self.data.keep} hypotheses: the lists have {kept} - raise --label-beam-size")
        if kept == 1 and (chosen := {"seq-inter", "mbr"} & self.recipes()):
            raise ConfigError(
                f"recipe {' and '.join(sorted(chosen))}: with one hypothesis a line there is no choice - raise --label-beam-size "
                "(and --label-n-best where it is given), or take the recipe seq-kd"
            )
        if self.cache_teacher < 0 or (self.cache_teacher and self.soft_labels is not None):
            raise ConfigError(
                "--cache-teacher must be at least 0, and takes the place of --soft-labels - give one of them"
            )
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ConfigError(f"--seeds must name different seeds, got {self.seeds}")

    def _check_phases(self) -> None:
        """What methods ask of the run besides data. Raises: ConfigError."""
        phases = [phase for method in self.methods() for phase in method.phases]
        count = len(names_of(self.teacher)) or 1
        self.mix.check(count)
        of_one = {
            "--soft-labels": self.soft_labels, "--cache-teacher": self.cache_teacher,
            "a method that begins with the teacher's layers": any(phase.teacher_layers for phase in phases),
        }  # fmt: skip
        for what in (what for what, given in of_one.items() if given and count > 1):
            raise ConfigError(f"{what}: is of one teacher, got {count} - name one with --teacher")
        if any(phase.adapted for phase in phases) != (self.adapt_train is not None):
            raise ConfigError("--adapt-train and --method distil-adapt-distil go together - give both or neither")
        if any(phase.own for phase in phases):
            if self.own.share:
                raise ConfigError("--own-share: f-, imitkd and gkd say themselves what a student says - leave it out")
            if self.soft_labels or self.cache_teacher or self.mix.by_nll:
                raise ConfigError(
                    "--soft-labels, --cache-teacher and --teacher-by-nll know given targets, f-, imitkd and gkd ask about "
                    "the student's own words - leave them out"
                )

    def methods(self) -> list[Method]:
        """What to train, in order: the baseline first."""
        if self.recipe or self.objective:
            recipe, objective = self.recipe or "gold", self.objective or ALONE.objective
            chosen = [Method(f"{recipe}: {objective}", recipe, objective, "given in full")]
        else:
            chosen = [named(name.strip()) for name in (self.method or USUAL).split(",")]
        chosen = [method for method in chosen if method is not ALONE or not self.baseline]
        chosen = [method.of_run(len(names_of(self.teacher)) or 1, self.data.rounds) for method in chosen]
        names = [method.name for method in chosen]
        if len(set(names)) != len(names):
            raise ConfigError(f"--method: {', '.join(names)} names a method twice - leave one out")
        return [ALONE] * self.baseline + chosen

    def recipes(self) -> set[str]:
        """What data the methods learn from."""
        return {phase.recipe for method in self.methods() for phase in method.phases}


@dataclass
class DistillResult:
    """What `distilmt.distill` made.

    Attributes:
        report: of the run. folder: the run's.
        models: student folders by system name (`seq-kd-1`: method and seed).
    """

    report: Report
    models: dict[str, Path]
    folder: Path

    def __str__(self) -> str:
        return f"{self.report.markdown()}\n\nreport: {self.folder / 'report.html'}"

    def _repr_html_(self) -> str:
        """The report, in a notebook."""
        return self.report._repr_html_()


def distill(config: DistillConfig | None = None, **options: Any) -> DistillResult:
    """Runs the main job: label, train, evaluate, report. Called again, it goes on where it stopped.

    Args:
        config: a DistillConfig, or its fields as keywords.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(DistillConfig, config, **options)
    from distilmt import corpus
    from distilmt.distilling.preflight import check
    from distilmt.distilling.students import score_system, train_student
    from distilmt.labels.cost import ELSEWHERE
    from distilmt.report.microscope import Microscope
    from distilmt.run import Run

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "distilmt distill runs in one process - under torchrun train the student with "
            "`distilmt train --teacher MODEL --objective EXPRESSION` on the output of `distilmt label`"
        )
    methods = config.methods()
    check(config)
    text = corpus.load_corpus(config.train, on_invalid_utf8=config.on_invalid_utf8)
    dev = corpus.load_corpus(config.dev)
    tests = [corpus.load_corpus(test) for test in config.test]
    say_notes(text, dev, *tests)
    said = invocation("distill", config)
    with Run.open(config.out, asdict(config), config.new_run, config.metering, said) as run:
        materials = Materials(run, config, text, dev)
        tested = score_system("teacher", materials.teacher, materials, tests, materials.teachers[1:])
        systems = [system("teacher", "teacher", None, None, materials.teacher_facts, tested)]
        kept = tested.get("hypotheses")  # none in runs of an older version
        by_name = {set_name(source): test for (source, _), test in zip(config.test, tests, strict=True)}
        microscope = Microscope(materials, by_name, kept) if config.microscope and kept else None
        trained = {}
        for seed in config.seeds:
            for method in methods:
                name = f"{method.name}-{seed}"
                trained[name], facts = train_student(name, method, seed, materials, run)
                tested = score_system(name, trained[name], materials, tests)
                if microscope is not None and "hypotheses" in tested:
                    facts |= {"microscope": microscope.look(name, trained[name], tested["hypotheses"])}
                systems.append(system(*_titles(method), method, seed, facts, tested))
        notes = text.notes + dev.notes + [note for test in tests for note in test.notes] + materials.notes()
        if config.soft_labels is not None:
            billed = any(stage["name"] == ELSEWHERE for stage in run.stages())
            where = f", translations included, is stage {ELSEWHERE}" if billed else " is in no stage of this run"
            notes.append(f"The soft labels were made elsewhere: what they cost{where}.")
        report = write_report(materials, by_name, systems, notes)
    return DistillResult(report, trained, Path(config.out))


def _titles(method: Method) -> tuple[str, str]:
    return ("student alone", "baseline") if method is ALONE else (f"student {method.name}", "student")
