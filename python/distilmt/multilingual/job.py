"""The stages of `distilmt multilingual`: vocabulary, labels, teachers' scores, a student per group, its scores."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distilmt import models
from distilmt.corpus import Corpus, load_corpus
from distilmt.distilling.distill_report import set_name
from distilmt.errors import ConfigError
from distilmt.evaluate import evaluate
from distilmt.interface.invocation import invocation
from distilmt.label import Labels, label_stage
from distilmt.multilingual.command import MultilingualConfig
from distilmt.multilingual.directions import Direction, known, target_of, write_known
from distilmt.multilingual.groups import grouped
from distilmt.multilingual.loss import Directed, without_teacher
from distilmt.multilingual.report import MultilingualResult, write_report
from distilmt.multilingual.sampling import shares
from distilmt.multilingual.widen import widened
from distilmt.objectives import parse
from distilmt.recipes.seq_kd import seq_kd
from distilmt.run import Run
from distilmt.text.corpora import alone
from distilmt.text.dataset import is_column
from distilmt.text.files import write_lines
from distilmt.text.lines import read_lines
from distilmt.train import first_student, say_notes
from distilmt.training.batches import Pairs, encode_pairs
from distilmt.training.checkpoints import remove_checkpoints
from distilmt.training.trainer import fit
from distilmt.training.trainer_support import pair_lengths
from distilmt.vocab import Vocab, require_same

UNKNOWN = 0.01  # share of a side's tokens from which on it is said


@dataclass
class Task:
    """A direction with its text in memory.

    tag: target language before the sources, or None; teacher_languages: what its teacher is told; level: word, sequence, or
    gold where it has no teacher.
    """

    name: str
    direction: Direction
    text: Corpus
    dev: Corpus
    tests: dict[str, Corpus]
    tag: str | None = None
    teacher: Path | None = None
    teacher_languages: tuple[str | None, str | None] = (None, None)
    level: str = "gold"

    @property
    def symbol(self) -> str | None:
        """The tag as the vocabulary names it."""
        return None if self.tag is None else f">>{self.tag}<<"

    def inputs(self) -> dict[str, Any]:
        """What a student of it depends on."""
        return {
            "train": [self.text.source_hash, self.text.target_hash], "dev": [self.dev.source_hash, self.dev.target_hash],
            "tag": self.tag, "level": self.level, "teacher": self.teacher and models.weights_hash(self.teacher),
        }  # fmt: skip


def run(config: MultilingualConfig) -> MultilingualResult:
    """As command.multilingual, of a configuration with checked directions."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("distilmt multilingual runs in one process - start it without torchrun")
    without_teacher(parse(config.objective))  # a wrong formula is said before any work
    models.parse_size(config.size)
    tasks = [_task(name, direction, config) for name, direction in config.directions.items()]
    say_notes(*(text for task in tasks for text in (task.text, task.dev)))
    said = invocation("multilingual", config)
    with Run.open(config.out, asdict(config), config.new_run, config.metering, said) as folder:
        job = _Job(folder, config)
        job.prepare(tasks)
        rows, trained = [], {}
        by_name = {task.name: task for task in tasks}
        for group, names in grouped(config.directions, config.groups).items():
            own = [by_name[name] for name in names]
            trained[group], facts = job.student(group, own)
            rows += job.scored(group, trained[group], own, facts)
        return write_report(folder, config, rows, trained)


def _task(name: str, direction: Direction, config: MultilingualConfig) -> Task:
    if len(direction.train) == 2:
        text = load_corpus(direction.train, on_invalid_utf8=config.on_invalid_utf8)
    else:
        lines = list(read_lines(direction.train[0], on_invalid_utf8=config.on_invalid_utf8))
        text = alone([line.text for line in lines], [line.status for line in lines])
    names = [set_name(source) for source, _ in direction.test]
    if len({"dev", *names}) <= len(names):
        raise ConfigError(
            f"directions.{name}: two of its test sets have one name ({', '.join(names)}) or that of dev - rename a file"
        )
    tests = {name: load_corpus(test) for name, test in zip(names, direction.test, strict=True)}
    return Task(name, direction, text, load_corpus(direction.dev), tests)


class _Job:
    def __init__(self, run: Run, config: MultilingualConfig) -> None:
        self.run, self.config = run, config
        self.begin = None if config.init_from is None else models.folder_of(config.init_from)
        self.former, self.tagged = ([], False) if self.begin is None else known(self.begin)
        self.instead: dict[Path, Path] = {}  # the former student, widened

    def prepare(self, tasks: list[Task]) -> None:
        """Vocabulary, tags, teachers, levels and labels of all directions."""
        names = [task.name for task in tasks]
        for name in self.former:
            if name not in names:
                print(
                    f"distilmt: {self.config.init_from} knows {name}, which this training does not rehearse and will make it "
                    f"forget - add the direction, its source text as `train` and {self.config.init_from} as `teacher`",
                    file=sys.stderr,
                )
        targets = list(dict.fromkeys(target_of(name) for name in names))
        self.tagged |= self.config.tags == "always" or len(targets) > 1
        tags = [*targets, *self.config.spare_tags] if self.tagged else list(self.config.spare_tags)
        self.vocab = self._vocabulary(tasks, list(dict.fromkeys(tags)))
        missing = [tag for tag in dict.fromkeys(tags) if f">>{tag}<<" not in self.vocab.source.tags]
        if missing and self.begin is None:
            raise ConfigError(
                f"--vocab {self.config.vocab}: has no tag >>{missing[0]}<< - leave --vocab out, or take one of a run that knows "
                f"{missing[0]}, or keeps a tag for it (--spare-tags {missing[0]})"
            )
        if missing and self.begin is not None:
            self.begin, self.vocab = self._widened(self.begin, missing)
        for task in tasks:
            task.tag = target_of(task.name) if self.tagged else None
            if task.direction.teacher is not None:
                self._teach(task)

    def _vocabulary(self, tasks: list[Task], tags: list[str]) -> Vocab:
        config = self.config
        given = [Vocab.load(models.folder_of(name)) for name in (config.vocab, self.begin) if name is not None]
        if given:
            require_same(given[0], given[-1])
            return given[0]
        inputs = {
            "text": [[task.text.source_hash, task.text.target_hash] for task in tasks], "tags": tags,
            "size": config.vocab_size, "model": config.vocab_model,
        }  # fmt: skip
        with self.run.stage("vocab", inputs) as stage:
            if not stage.done:
                lines = [line for task in tasks for _, *pair in task.text.pairs() for line in pair if line]
                Vocab.train(lines, config.vocab_size, model_type=config.vocab_model, tags=tags).save(stage.folder)
                stage.finish(outputs={"vocab": stage.folder})
            return Vocab.load(stage.folder)

    def _widened(self, former: Path, tags: list[str]) -> tuple[Path, Vocab]:
        """The former student with tags for more target languages, which also takes its place as a teacher."""
        seed = self.config.training.seed
        with self.run.stage("former", {"model": models.weights_hash(former), "tags": tags, "seed": seed}) as stage:
            if not stage.done:
                vocab = self.vocab.with_tags(tags)
                models.save(widened(models.load(former), vocab, seed), vocab, stage.folder)
                if self.former:
                    write_known(stage.folder, *known(former))
                stage.finish(outputs={"model": stage.folder})
            self.instead[former.resolve()] = stage.folder
            return stage.folder, Vocab.load(stage.folder)

    def _teach(self, task: Task) -> None:
        """Finds out what the teacher is told and on which level it teaches; labels where that is the sequence."""
        direction = task.direction
        assert direction.teacher is not None
        folder = models.folder_of(direction.teacher)
        task.teacher = self.instead.get(folder.resolve(), folder)
        own_tag = target_of(task.name) if known(task.teacher)[1] else None
        task.teacher_languages = direction.teacher_source_language, direction.teacher_target_language or own_tag
        task.level, why = direction.level, ""
        if direction.level != "sequence":
            why = self._differs(task)
            if why and direction.level == "word":
                raise ConfigError(f"directions.{task.name}: level word: {why} - write level: sequence, or auto")
            task.level = "sequence" if why else "word"
        if why:
            print(f"distilmt: {task.name}: distilled on sequence level, for {why}", file=sys.stderr)
        if task.level == "sequence" or len(direction.train) == 1:
            task.text = seq_kd(task.text, self._labels(task))

    def _differs(self, task: Task) -> str:
        """Why this teacher cannot teach this student word by word; "" where it can."""
        assert task.teacher is not None
        if not parse(self.config.objective).needs_teacher:
            return f"the objective {self.config.objective!r} looks at no teacher"
        marian = (task.teacher / "source.spm").exists()  # other families have other vocabularies
        if not marian or Vocab.load(task.teacher).hash != self.vocab.hash:
            return f"the vocabulary of {task.teacher} is not the student's (train it with the student's by --vocab)"
        if task.teacher_languages != (None, task.tag):
            theirs = task.teacher_languages[1]
            return (
                f"sources of the student begin with {task.symbol or 'no tag'}, those of {task.teacher} with "
                f"{f'>>{theirs}<<' if theirs else 'none'} (train it by `distilmt multilingual`, --tags as here)"
            )
        return ""

    def _labels(self, task: Task) -> Labels:
        config, teacher = self.config, str(task.teacher)
        asked: Any = dict(zip(("source_language", "target_language"), task.teacher_languages, strict=True))
        inputs = {
            "source": task.text.source_hash, "model": models.weights_hash(teacher), "beam_size": config.label_beam_size,
        } | asked  # fmt: skip
        source = task.direction.train[0]
        if is_column(source):
            source = str(self.run.folder / f"label-{task.name}-source.txt")
            write_lines(source, task.text.sources)
        return label_stage(
            self.run, f"label-{task.name}", inputs, model=teacher, source=source,
            beam_size=config.label_beam_size, threads=config.training.threads, on_invalid_utf8=config.on_invalid_utf8, **asked,
        )  # fmt: skip

    def _scores(self, stage: str, model: Path, task: Task, languages: tuple[str | None, str | None]) -> dict[str, Any]:
        """BLEU and chrF of a model on a direction: `dev`, at the beam of the evaluations, and the test sets."""
        config, found = self.config, {}
        sets = {"dev": (task.direction.dev, task.dev, config.training.eval_beam_size)}
        for paths, (name, text) in zip(task.direction.test, task.tests.items(), strict=True):
            sets[name] = paths, text, config.test_beam_size
        inputs: dict[str, Any] = {"model": models.weights_hash(model), "languages": languages}
        inputs |= {name: [text.source_hash, text.target_hash, beam] for name, (_, text, beam) in sets.items()}
        with self.run.stage(f"{stage}-{task.name}", inputs, "evaluation") as opened:
            if not opened.done:
                for name, (test, _, beam) in sets.items():
                    out = evaluate(
                        model=str(model), test=test, beam_size=beam, threads=config.training.threads,
                        target_lang=target_of(task.name), source_language=languages[0], target_language=languages[1],
                        metering=config.metering,
                    ).scores  # fmt: skip
                    found[name] = {
                        key: getattr(out, key) for key in ("bleu", "chrf", "bleu_signature", "chrf_signature")
                    }
                opened.finish(outputs={}, facts={"sets": found})
            return dict(opened.facts["sets"])

    def student(self, group: str, tasks: list[Task]) -> tuple[Path, dict[str, Any]]:
        """Trains the student of a group; its folder and the facts of its training."""
        config = self.config
        scores = [self._taught_scores(task) for task in tasks]
        inputs = {
            "directions": {task.name: task.inputs() for task in tasks}, "size": config.size, "vocab": self.vocab.hash,
            "objective": config.objective, "training": config.training.inputs(), "switch": config.switch,
            "threshold": config.threshold, "sampling_temperature": config.sampling_temperature,
            "init_from": self.begin and models.weights_hash(self.begin),
        }  # fmt: skip
        with self.run.stage(f"student-{group}", inputs, "student-training") as stage:
            if not stage.done:
                student = first_student(models.parse_size(config.size), self.vocab, config.training, self.begin)
                parts = [self._encoded(task, student.config.max_position_embeddings) for task in tasks]
                chances = shares([int(pair_lengths(part).max(1).sum()) for part in parts], config.sampling_temperature)
                loaded: dict[Path, Any] = {}
                for task in tasks:
                    if task.level == "word" and task.teacher is not None and task.teacher not in loaded:
                        loaded[task.teacher] = models.load(task.teacher)
                directed = Directed(
                    names=[task.name for task in tasks], tags=[task.tag for task in tasks], scores=scores,
                    teachers=[loaded.get(task.teacher) if task.level == "word" else None for task in tasks],  # type: ignore[arg-type]
                    devs=[(task.dev.sources, task.dev.targets, target_of(task.name)) for task in tasks],
                    kind=config.switch, threshold=config.threshold,
                )  # fmt: skip
                result = fit(
                    student, self.vocab, Pairs.mixed(parts, chances, directed=True), ((), ()), objective=parse(config.objective),
                    teacher=None, options=config.training, folder=stage.folder, name=group, directed=directed,
                )  # fmt: skip
                write_known(result.model, [task.name for task in tasks], self.tagged)
                drawn = {task.name: share for task, share in zip(tasks, chances, strict=True)}
                stage.finish(outputs={"model": result.model}, facts=result.facts() | {"shares": drawn})
                remove_checkpoints(stage.folder)
            return stage.folder / "best", dict(stage.facts)

    def _taught_scores(self, task: Task) -> float | None:
        if task.teacher is None:
            return None
        return float(self._scores("teacher", task.teacher, task, task.teacher_languages)["dev"]["bleu"])

    def _encoded(self, task: Task, positions: int) -> Pairs:
        kept = list(task.text.pairs())
        part = encode_pairs(
            [source for _, source, _ in kept], [target for _, _, target in kept], [index + 1 for index, _, _ in kept],
            self.vocab, max_tokens=positions, what=f"training text of {task.name}", tag=task.symbol,
        )  # fmt: skip
        for side, ids in (("source", part.source.ids), ("target", part.target.ids)):
            if (share := float((ids == self.vocab.unk_id).mean())) > UNKNOWN:
                print(
                    f"distilmt: {task.name}: {share:.1%} of the {side}'s tokens are unknown to the vocabulary",
                    file=sys.stderr,
                )
        return part

    def scored(self, group: str, student: Path, tasks: list[Task], facts: dict[str, Any]) -> list[dict[str, Any]]:
        """A row of the report per direction."""
        rows = []
        for task in tasks:
            teacher = None
            if task.teacher is not None:
                teacher = self._scores("teacher", task.teacher, task, task.teacher_languages)
            own = self._scores(f"evaluate-{group}", student, task, (None, task.tag))
            rows.append({
                "direction": task.name, "group": group, "level": task.level, "tag": task.symbol,
                "share": facts["shares"][task.name], "student": own, "teacher": teacher,
            })  # fmt: skip
        return rows
