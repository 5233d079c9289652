"""`distilmt distill`: text in, distilled students out, with a report of what was gained and what it cost.

Stages of the run folder, each done once and then remembered by its inputs (run.py):

    teacher            trained here, unless a model folder is given
    label              the teacher's beam search over the training source, for methods that learn from it
    select             of each n-best list the hypothesis nearest the reference, for seq-inter
    student-NAME-SEED  one training per method and seed; `alone` is the baseline
    evaluate-NAME      translations of every test set, their BLEU and chrF, decoding speed
    significance-HASH  the students' scores against those of the student alone
    report             report.json, report.md, report.html
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distilmt.bill.rates import Rates
from distilmt.checkpoints import remove_checkpoints
from distilmt.config import resolve
from distilmt.dataset import is_column
from distilmt.distill_report import score_facts, set_name, system, training_facts, write_report
from distilmt.energy import EnergyOptions
from distilmt.errors import ConfigError
from distilmt.files import write_lines
from distilmt.lines import OnInvalidUtf8, read_lines
from distilmt.methods import ALONE, RECIPES, Method, named
from distilmt.own_targets import OwnTargets
from distilmt.train import TrainingOptions, fit_text, new_model, say_notes

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.label import Labels
    from distilmt.report import Report
    from distilmt.run import Run


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
    teacher: str | None = field(default=None, metadata={"help": "the teacher: a Marian folder or hub name"})
    teacher_size: str | None = field(default=None, metadata={"help": "train a teacher of this size first"})
    soft_labels: str | None = field(
        default=None,
        metadata={"help": "the teacher's stored soft labels of the training text; students then learn from these"},
    )
    method: str = field(
        default="seq-kd+word-kd", metadata={"help": "methods, separated by commas; see `distilmt methods`"}
    )
    recipe: str | None = field(
        default=None, metadata={"help": f"in place of --method, what data: {', '.join(RECIPES)}"}
    )
    objective: str | None = field(
        default=None, metadata={"help": "in place of --method, what loss; see `distilmt explain`"}
    )
    baseline: bool = field(default=True, metadata={"help": "also train the student alone"})
    seeds: tuple[int, ...] = field(default=(1,), metadata={"help": "one student of each method per seed"})
    new_run: bool = field(default=False, metadata={"help": "start over; what is there is moved aside"})
    vocab_size: int = field(default=8000, metadata={"help": "size of a vocabulary that is trained here"})
    vocab_model: Literal["unigram", "bpe"] = field(default="unigram", metadata={"help": "its kind"})
    label_beam_size: int = field(default=5, metadata={"help": "beam size of the teacher's labels"})
    test_beam_size: int = field(default=5, metadata={"help": "beam size on the test sets"})
    test_repeats: int = field(
        default=3, metadata={"help": "timed decodings of the test sets: their spread is the pay-back's interval"}
    )
    exact: bool = field(default=False, metadata={"help": "also report the share of lines that are exactly right"})
    on_invalid_utf8: OnInvalidUtf8 = field(
        default="error", metadata={"help": "what to do with bytes of the training text that are no UTF-8"}
    )
    title: str = field(default="distillation", metadata={"help": "title of the report"})
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
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ConfigError(f"--seeds must name different seeds, got {self.seeds}")

    def methods(self) -> list[Method]:
        """What to train, in order: the baseline first."""
        if self.recipe or self.objective:
            recipe, objective = self.recipe or "gold", self.objective or ALONE.objective
            chosen = [Method(f"{recipe}: {objective}", recipe, objective, "given in full")]
        else:
            chosen = [named(name.strip()) for name in self.method.split(",")]
        return [ALONE] * self.baseline + chosen


@dataclass
class DistillResult:
    """The run's report and its student folders by system name (`seq-kd-1`: method and seed)."""

    report: Report
    models: dict[str, Path]
    folder: Path

    def __str__(self) -> str:
        return f"{self.report.markdown()}\n\nreport: {self.folder / 'report.html'}"


def distill(config: DistillConfig | None = None, **options: Any) -> DistillResult:
    """Runs the main job: label, train, evaluate, report. Called again, it goes on where it stopped.

    Args:
        config: a DistillConfig, or its fields as keywords.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(DistillConfig, config, **options)
    from distilmt import corpus, models
    from distilmt.label import read_labels
    from distilmt.objectives import parse
    from distilmt.run import Run

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "distilmt distill runs in one process - under torchrun train the student with "
            "`distilmt train --teacher MODEL --objective EXPRESSION` on the output of `distilmt label`"
        )
    methods = config.methods()
    for method in methods:
        parse(method.objective)  # a wrong formula is said before any work
    models.parse_size(config.student_size)
    text = corpus.load_corpus(config.train, on_invalid_utf8=config.on_invalid_utf8)
    dev = corpus.load_corpus(config.dev)
    tests = [corpus.load_corpus(test) for test in config.test]
    say_notes(text, dev, *tests)
    with Run.open(config.out, asdict(config), new_run=config.new_run, metering=config.metering) as run:
        teacher, teacher_facts = _teacher(run, config, text, dev)
        systems = [
            system("teacher", "teacher", None, None, teacher_facts, _evaluate(run, "teacher", teacher, config, tests))
        ]
        trained = {}
        for seed in config.seeds:
            for method in methods:
                name = f"{method.name}-{seed}"
                folder, facts = _student(run, name, method, seed, config, teacher, text, dev)
                tested = _evaluate(run, name, folder, config, tests)
                systems.append(system(*_labels_of(method), method, seed, facts, tested))
                trained[name] = folder
        notes = text.notes + dev.notes + [n for test in tests for n in test.notes]
        if any(method.recipe != "gold" for method in methods):
            notes.append(f"labels: {read_labels(run.folder / 'label').summary}")
        references = {set_name(test[0]): text.targets for test, text in zip(config.test, tests, strict=True)}
        if config.soft_labels is not None:
            notes.append("The soft labels were made elsewhere: what they cost is in no stage of this run.")
        report = write_report(run, config, systems, references, notes)
    return DistillResult(report, trained, Path(config.out))


def _labels_of(method: Method) -> tuple[str, str]:
    return ("student alone", "baseline") if method is ALONE else (f"student {method.name}", "student")


def _text_inputs(text: Corpus, dev: Corpus) -> dict[str, Any]:
    return {
        "train source": text.source_hash, "train target": text.target_hash,
        "dev source": dev.source_hash, "dev target": dev.target_hash,
    }  # fmt: skip


def _teacher(run: Run, config: DistillConfig, text: Corpus, dev: Corpus) -> tuple[Path, dict[str, Any]]:
    """The teacher's folder, trained here if need be, and the facts of its training."""
    from distilmt import models
    from distilmt.objectives import parse
    from distilmt.vocab import Vocab

    if config.teacher is not None:
        return models.folder_of(config.teacher), {}
    inputs = _text_inputs(text, dev) | {
        "size": config.teacher_size, "vocab_size": config.vocab_size, "vocab_model": config.vocab_model,
        "objective": ALONE.objective, "training": config.teacher_training.inputs(),
    }  # fmt: skip
    with run.stage("teacher", inputs, "teacher-training") as stage:
        if not stage.done:
            lines = [line for _, *pair in text.pairs() for line in pair]
            vocabulary = Vocab.train(lines, config.vocab_size, model_type=config.vocab_model)
            student = new_model(models.parse_size(config.teacher_size or ""), vocabulary, config.teacher_training)
            fit = fit_text(
                student, vocabulary, text, dev, parse(ALONE.objective), None, config.teacher_training, stage.folder, "teacher"
            )  # fmt: skip
            stage.finish(outputs={"model": fit.model}, facts=training_facts(fit))
            remove_checkpoints(stage.folder)
        return stage.folder / "best", stage.facts | {"made_by": ["teacher"]}


def _student(
    run: Run, name: str, method: Method, seed: int, config: DistillConfig, teacher: Path, text: Corpus, dev: Corpus,
) -> tuple[Path, dict[str, Any]]:  # fmt: skip
    """One student's folder and the facts of its training."""
    from distilmt import models
    from distilmt.objectives import parse
    from distilmt.recipes.seq_kd import seq_kd
    from distilmt.soft_labels import SoftLabels
    from distilmt.vocab import Vocab

    objective = parse(method.objective)  # anew for each student: some remember what they have seen
    options = replace(config.training, seed=seed)
    inputs = _text_inputs(text, dev) | {
        "size": config.student_size, "recipe": method.recipe, "objective": method.objective, "training": options.inputs(),
        "vocab": Vocab.load(teacher).hash,
    }  # fmt: skip
    if objective.needs_teacher or method.recipe != "gold":
        inputs["teacher"] = models.weights_hash(teacher)
    store = SoftLabels.open(config.soft_labels) if config.soft_labels and objective.needs_teacher else None
    own = config.own if config.own.share and objective.needs_teacher else None
    if own is not None:
        inputs["own"] = asdict(own)
    if store is not None:
        store.require(teacher=inputs["teacher"])
        inputs["soft labels"] = store.hash
    if method.recipe != "gold":
        labels = _label(run, config, teacher, text)
        text = _select(run, teacher, text, labels) if method.recipe == "seq-inter" else seq_kd(text, labels)
        inputs["pseudo target"] = text.target_hash
    with run.stage(f"student-{name}", inputs, "student-training") as stage:
        if not stage.done:
            vocabulary = Vocab.load(teacher)
            student = new_model(models.parse_size(config.student_size), vocabulary, options)
            looked_at = models.load(teacher) if objective.needs_teacher and store is None else store
            fit = fit_text(
                student, vocabulary, text, dev, objective, looked_at, options, stage.folder, name, own
            )  # fmt: skip
            stage.finish(outputs={"model": fit.model}, facts=training_facts(fit))
            remove_checkpoints(stage.folder)
        learnt_from = {"gold": [], "seq-inter": ["label", "select"]}.get(method.recipe, ["label"])
        return stage.folder / "best", stage.facts | {"made_by": [*learnt_from, stage.name]}


def _label(run: Run, config: DistillConfig, teacher: Path, text: Corpus) -> Any:
    """The teacher's labels of the training source, made once."""
    from distilmt import models
    from distilmt.label import Labels, label, read_labels

    inputs = {
        "source": text.source_hash, "model": models.weights_hash(teacher), "beam_size": config.label_beam_size,
    }  # fmt: skip
    n_best = config.label_beam_size if any(method.recipe == "seq-inter" for method in config.methods()) else 1
    if n_best > 1:
        inputs["n_best"] = n_best
    with run.stage("label", inputs, "labelling") as stage:
        if not stage.done:
            source = config.train[0]
            if is_column(source):
                source = str(stage.folder.with_name("label-source.txt"))
                write_lines(source, text.sources)
            # A job of its own inside the stage: a killed one goes on.
            labels = label(
                model=str(teacher), source=source, out=str(stage.folder), beam_size=config.label_beam_size, n_best=n_best,
                threads=config.training.threads, on_invalid_utf8=config.on_invalid_utf8, metering=config.metering,
            )  # fmt: skip
            assert isinstance(labels, Labels)  # neither --shard nor --dry-run
            stage.finish(
                outputs={name: stage.folder / file for name, file in labels.files.items()}
                | {"labels": stage.folder / "labels.json"},
                facts={
                    "target_tokens": labels.target_tokens, "tokens_per_second": labels.tokens_per_second,
                    "counts": labels.counts,
                    "work": {"lines": labels.lines, "target_tokens": labels.target_tokens},
                },
            )  # fmt: skip
        return read_labels(stage.folder)


def _select(run: Run, teacher: Path, text: Corpus, labels: Labels) -> Corpus:
    """The training text with the hypotheses nearest to its targets, chosen once."""
    from distilmt.recipes.seq_inter import RANKING, seq_inter
    from distilmt.recipes.seq_kd import seq_kd
    from distilmt.vocab import Vocab

    inputs = {"labels": labels.pseudo_hash, "gold": text.target_hash, "ranking": asdict(RANKING)}
    with run.stage("select", inputs, "selection") as stage:
        path = stage.folder / "selected.txt"
        if not stage.done:
            write_lines(path, seq_inter(text, labels, Vocab.load(teacher).encode_target).targets)
            stage.finish(outputs={"selected": path}, facts={"work": {"lines": labels.lines}})
        chosen = [line.text for line in read_lines(path)]
        return replace(seq_kd(text, labels), targets=chosen, target_hash=stage.hashes["selected"])


def _evaluate(run: Run, name: str, folder: Path, config: DistillConfig, tests: list[Corpus]) -> dict[str, Any]:
    """Scores and speed of one system on every test set."""
    from distilmt import models
    from distilmt.bill.serving import decode_facts
    from distilmt.evaluate import evaluate

    inputs = {"model": models.weights_hash(folder), "beam_size": config.test_beam_size, "exact": config.exact} | {
        f"test {set_name(test[0])}": text.source_hash + text.target_hash
        for test, text in zip(config.test, tests, strict=True)
    }
    with run.stage(f"evaluate-{name}", inputs, "evaluation") as stage:
        if not stage.done:
            scores, tokens, usages, kept = {}, 0, [], {}
            for test in config.test:
                kept[set_name(test[0])] = path = stage.folder / f"{set_name(test[0])}.txt"
                out = evaluate(
                    model=str(folder), test=test, beam_size=config.test_beam_size, threads=config.training.threads,
                    repeats=config.test_repeats, metering=config.metering, out=str(path),
                )  # fmt: skip
                scores[set_name(test[0])] = score_facts(out.scores, config.exact)
                assert out.target_tokens is not None  # a model was evaluated
                tokens += out.target_tokens
                usages.append(out.usages)
            model = models.load(folder)
            decode = decode_facts(usages, [text.sources for text in tests], tokens)
            stage.finish(
                outputs={f"hypotheses {test}": path for test, path in kept.items()},
                facts={
                    "test": scores, "hypotheses": {test: str(path.relative_to(run.folder)) for test, path in kept.items()},
                    "parameters": models.parameters(model), "file_bytes": models.size_bytes(folder),
                    "tokens_per_second": tokens / decode["seconds"],
                    "decode": {"beam_size": config.test_beam_size, "threads": config.training.threads} | decode,
                },
            )  # fmt: skip
        return dict(stage.facts)
