"""What students are made from: teacher, labels, selections, back-translations. Each is a stage, made once when asked for.

A recipe (recipes/*.py) is a function of these; what it does not ask for is not made.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.dataset import is_column
from distilmt.errors import ConfigError
from distilmt.files import file_hash, lines_hash, write_lines
from distilmt.lines import read_lines
from distilmt.methods import ALONE
from distilmt.train import fit_text, new_model

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distill import DistillConfig
    from distilmt.label import Labels
    from distilmt.labels.rank import RankOptions
    from distilmt.run import Run


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """What some recipes need besides the training text."""

    pseudo_share: float = field(
        default=0.5, metadata={"help": "of mixed and hybrid: the teacher's share of the targets, or of the batches"}
    )
    keep: int = field(default=2, metadata={"help": "of gold-best and n-best: hypotheses of each list to learn from"})
    reverse_teacher: str | None = field(
        default=None, metadata={"help": "a model of the other direction, for back-translations and --drop-worst"}
    )
    monolingual_source: str | None = field(
        default=None, metadata={"help": "more text of the source language, for forward", "metavar": "FILE"}
    )
    monolingual_target: str | None = field(
        default=None, metadata={"help": "more text of the target language, for round-trip", "metavar": "FILE"}
    )
    subset: float = field(
        default=1.0, metadata={"help": "share of the training pairs to keep, drawn once by the seed 1"}
    )
    drop_worst: float = field(
        default=0.0,
        metadata={
            "help": "share of pseudo pairs to drop whose source the reverse teacher finds least likely (Bergamot: 0.05)"
        },
    )

    def __post_init__(self) -> None:
        for name, low, high in (("pseudo_share", 0, 1), ("drop_worst", 0, 0.99)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"--{name.replace('_', '-')} must lie in [{low}, {high}], got {getattr(self, name)}")
        if not 0 < self.subset <= 1:
            raise ConfigError(f"--subset must lie in (0, 1], got {self.subset}")
        if self.keep < 1:
            raise ConfigError(f"--keep must be at least 1, got {self.keep}")
        if self.drop_worst and self.reverse_teacher is None:
            raise ConfigError("--drop-worst asks a model of the other direction: name it with --reverse-teacher, or train one by "
                              "`distilmt train --train TARGET SOURCE ...`")  # fmt: skip

    def check(self, recipes: set[str]) -> None:
        """Raises: ConfigError: a recipe lacks what it needs, or an option is given that none of them reads."""
        for recipe in sorted(recipes):
            for name in NEEDS.get(recipe, ()):
                if getattr(self, name) is None:
                    raise ConfigError(f"recipe {recipe} needs --{name.replace('_', '-')}: {REMEDIES[name]}")
        for name, readers in READERS.items():
            if getattr(self, name) != getattr(type(self)(), name) and not readers & recipes:
                if name == "reverse_teacher" and self.drop_worst:
                    continue
                raise ConfigError(
                    f"--{name.replace('_', '-')} is of {', '.join(sorted(readers))}, which this run has not - leave it out"
                )


BACK = "a model of the other direction, trained by `distilmt train --train TARGET SOURCE ...`"
REMEDIES = {
    "reverse_teacher": BACK, "monolingual_source": "a file of source text", "monolingual_target": "a file of target text",
}  # fmt: skip
NEEDS = {
    "gold-kd-bt": ("reverse_teacher",), "forward": ("monolingual_source",),
    "round-trip": ("reverse_teacher", "monolingual_target"),
}  # fmt: skip
READERS = {
    "pseudo_share": {"mixed", "hybrid"}, "keep": {"gold-best", "n-best"}, "monolingual_source": {"forward"},
    "monolingual_target": {"round-trip"}, "reverse_teacher": {"gold-kd-bt", "round-trip"},
    "drop_worst": {"seq-kd", "gold-kd", "gold-kd-bt", "hybrid", "forward", "round-trip"},
}  # fmt: skip


class Materials:
    """The stages of one run.

    text, dev: the training text (its subset where one was asked for) and the development text.
    made: names of the stages that were asked for since it was last cleared, for the bill.
    """

    def __init__(self, run: Run, config: DistillConfig, text: Corpus, dev: Corpus) -> None:
        self.run, self.config, self.dev = run, config, dev
        self.options = config.data
        self.text = subset(text, config.data.subset)
        self.made: list[str] = []
        self._labels: dict[str, Labels] = {}

    @cached_property
    def teacher(self) -> Path:
        """The teacher's folder, trained here if none was named."""
        return self._teacher[0]

    @property
    def teacher_facts(self) -> dict[str, Any]:
        """The facts of its training; none where it was named."""
        return self._teacher[1]

    @cached_property
    def _teacher(self) -> tuple[Path, dict[str, Any]]:
        from distilmt import models
        from distilmt.objectives import parse
        from distilmt.vocab import Vocab

        config = self.config
        if config.teacher is not None:
            return models.folder_of(config.teacher), {}
        inputs = self.text_inputs() | {
            "size": config.teacher_size, "vocab_size": config.vocab_size, "vocab_model": config.vocab_model,
            "objective": ALONE.objective, "training": config.teacher_training.inputs(),
        }  # fmt: skip
        with self.run.stage("teacher", inputs, "teacher-training") as stage:
            if not stage.done:
                lines = [line for _, *pair in self.text.pairs() for line in pair]
                vocabulary = Vocab.train(lines, config.vocab_size, model_type=config.vocab_model)
                model = new_model(models.parse_size(config.teacher_size or ""), vocabulary, config.teacher_training)
                fit = fit_text(
                    model, vocabulary, self.text, self.dev, parse(ALONE.objective), None, config.teacher_training,
                    stage.folder, "teacher",
                )  # fmt: skip
                stage.finish(outputs={"model": fit.model}, facts=fit.facts())
                from distilmt.checkpoints import remove_checkpoints

                remove_checkpoints(stage.folder)
            return stage.folder / "best", stage.facts | {"made_by": ["teacher"]}

    def text_inputs(self) -> dict[str, Any]:
        """What names training and development text in a stage's inputs."""
        return {
            "train source": self.text.source_hash, "train target": self.text.target_hash,
            "dev source": self.dev.source_hash, "dev target": self.dev.target_hash,
        }  # fmt: skip

    def labels(self, n_best: int = 1) -> Labels:
        """The teacher's labels of the training source, with lists at least as long as any method of the run asks for."""
        source = self.config.train[0]
        if is_column(source) or self.options.subset < 1:
            source = self._file("label-source.txt", self.text.sources)
        return self._label("label", self.teacher, source, self.text.source_hash, max(n_best, self._longest_lists()))

    def _longest_lists(self) -> int:
        lists = {"seq-inter", "mbr", "gold-best", "n-best"} & self.config.recipes()
        return self.config.label_beam_size if lists else 1

    def reverse_labels(self) -> Labels:
        """The reverse teacher's translations of the training target.

        Raises: ConfigError: none was named.
        """
        return self._label(
            "label-reverse", self._reverse(), self._file("reverse-source.txt", self.text.targets), self.text.target_hash
        )

    def pseudo(self) -> Corpus:
        """The training source with the teacher's best hypotheses, without the worst where --drop-worst says so."""
        from distilmt.recipes.filtering import without_worst
        from distilmt.recipes.seq_kd import seq_kd

        return without_worst(seq_kd(self.text, self.labels()), self)

    def forward(self) -> Corpus:
        """--monolingual-source with the teacher's labels of it."""
        from distilmt.recipes.seq_kd import seq_kd

        path = str(self.options.monolingual_source)
        lines = list(read_lines(path, on_invalid_utf8=self.config.on_invalid_utf8))
        labels = self._label("label-forward", self.teacher, path, file_hash(path))
        return seq_kd(alone([line.text for line in lines], [line.status for line in lines]), labels)

    def round_trip(self) -> Corpus:
        """--monolingual-target translated back by the reverse teacher, and the teacher's labels of that."""
        from distilmt.labels.records import USABLE
        from distilmt.recipes.seq_kd import seq_kd

        path = str(self.options.monolingual_target)
        back = self._label("label-back", self._reverse(), path, file_hash(path))
        again = self._label("label-round-trip", self.teacher, str(back.folder / back.files["pseudo"]), back.pseudo_hash)
        statuses = ["ok" if verdict in USABLE else f"label_{verdict}" for verdict in back.statuses]
        return seq_kd(alone(back.pseudo, statuses), again)

    def _reverse(self) -> Path:
        from distilmt import models

        return models.folder_of(str(self.options.reverse_teacher))

    def _file(self, name: str, lines: list[str]) -> str:
        path = self.run.folder / name
        if not path.exists():
            write_lines(path, lines)
        return str(path)

    def reverse_scores(self, text: Corpus) -> list[float | None]:
        """Log-probability per token of each usable pair's source, given its target, by the reverse teacher."""
        from distilmt import models
        from distilmt.storage import read_json, write_json
        from distilmt.translate import Translator

        model = self._reverse()
        self.made.append("reverse-scores")
        inputs = {"source": text.source_hash, "target": text.target_hash, "model": models.weights_hash(model)}
        with self.run.stage("reverse-scores", inputs, "selection") as stage:
            path = stage.folder / "scores.json"
            if not stage.done:
                usable = list(text.pairs())
                scored = Translator(model, threads=self.config.training.threads).score(
                    [target for _, _, target in usable], [source for _, source, _ in usable]
                )
                found: list[float | None] = [None] * len(text)
                for (index, *_), out in zip(usable, scored, strict=True):
                    found[index] = out.score if out.log_probs else None
                write_json(path, {"scores": found})
                stage.finish(outputs={"scores": path}, facts={"work": {"lines": len(usable)}})
            scores: list[float | None] = read_json(path, "delete it and score again")["scores"]
            return scores

    def _label(self, name: str, model: Path, source: str, source_hash: str, n_best: int = 1) -> Labels:
        """One labelling, a job of its own inside its stage, so that a killed one goes on."""
        from distilmt import models
        from distilmt.label import Labels, label, read_labels

        config = self.config
        self.made.append(name)
        inputs = {"source": source_hash, "model": models.weights_hash(model), "beam_size": config.label_beam_size}
        if n_best > 1:
            inputs["n_best"] = n_best
        with self.run.stage(name, inputs, "labelling") as stage:
            if not stage.done:
                labels = label(
                    model=str(model), source=source, out=str(stage.folder), beam_size=config.label_beam_size, n_best=n_best,
                    threads=config.training.threads, on_invalid_utf8=config.on_invalid_utf8, metering=config.metering,
                )  # fmt: skip
                assert isinstance(labels, Labels)  # neither --shard nor --dry-run
                stage.finish(
                    outputs={kind: stage.folder / file for kind, file in labels.files.items()}
                    | {"labels": stage.folder / "labels.json"},
                    facts={
                        "target_tokens": labels.target_tokens, "tokens_per_second": labels.tokens_per_second,
                        "counts": labels.counts, "work": {"lines": labels.lines, "target_tokens": labels.target_tokens},
                    },
                )  # fmt: skip
            self._labels[name] = read_labels(stage.folder)
            return self._labels[name]

    def notes(self) -> list[str]:
        """A summary of each labelling."""
        return [f"{name}s: {labels.summary}" for name, labels in self._labels.items()]

    def selected(self, name: str, ranking: RankOptions, keep: int = 1) -> list[Corpus]:
        """The `keep` hypotheses of each list that a rule prefers, one corpus each, line-aligned with the training text.

        Lines with fewer hypotheses are left out of the later ones.
        """
        from distilmt.recipes.chosen import chosen, with_targets
        from distilmt.recipes.seq_kd import seq_kd
        from distilmt.vocab import Vocab

        labels = self.labels(keep)
        self.made.append(name)
        inputs: dict[str, Any] = {
            "labels": labels.pseudo_hash, "gold": self.text.target_hash, "ranking": asdict(ranking),
        }  # fmt: skip
        if keep > 1:
            inputs["keep"] = keep
        with self.run.stage(name, inputs, "selection") as stage:
            paths = [
                stage.folder / ("selected.txt" if place == 0 else f"selected-{place + 1}.txt") for place in range(keep)
            ]
            if not stage.done:
                found = chosen(self.text, labels, ranking, Vocab.load(self.teacher).encode_target, keep)
                for path, corpus in zip(paths, found, strict=True):
                    write_lines(path, corpus.targets)
                stage.finish(outputs={path.stem: path for path in paths}, facts={"work": {"lines": labels.lines}})
        pseudo = seq_kd(self.text, labels)
        return [with_targets(pseudo, [line.text for line in read_lines(path)]) for path in paths]


def alone(lines: list[str], statuses: list[str]) -> Corpus:
    """Source text without targets, as a corpus that a labelling completes; statuses as those of lines, or of labels."""
    from distilmt.corpus import Corpus

    found = [
        "empty_source" if status == "ok" and not line.strip() else status
        for line, status in zip(lines, statuses, strict=True)
    ]
    return Corpus(lines, [""] * len(lines), found, lines_hash(lines), "")


def subset(text: Corpus, share: float) -> Corpus:
    """A share of a corpus's usable pairs, the same ones each time, as a corpus with line numbers of its own."""
    if share == 1:
        return text
    import numpy as np

    from distilmt.corpus import Corpus

    pairs = list(text.pairs())
    chosen = np.random.default_rng(1).permutation(len(pairs))[: max(1, round(share * len(pairs)))]
    kept = [pairs[i] for i in sorted(chosen.tolist())]
    sources, targets = [source for _, source, _ in kept], [target for _, _, target in kept]
    return Corpus(
        sources, targets, ["ok"] * len(kept), lines_hash(sources), lines_hash(targets), notes=list(text.notes)
    )


def joined(*parts: Corpus) -> Corpus:
    """Corpora one behind the other, as a corpus of its own."""
    from distilmt.corpus import Corpus

    sources, targets, statuses = (
        [entry for part in parts for entry in getattr(part, name)] for name in ("sources", "targets", "statuses")
    )
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    return Corpus(sources, targets, statuses, lines_hash(sources), lines_hash(targets), notes=notes)
