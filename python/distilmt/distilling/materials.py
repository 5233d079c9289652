"""What students are made from: teacher, labels, selections, back-translations. Each is a stage, made once when asked for.

A recipe (recipes/*.py) is a function of these; what it does not ask for is not made. So is what an objective looks at.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.distilling.cached_teacher import CACHED, servable
from distilmt.errors import ConfigError
from distilmt.recipes.hybrid import Mixture
from distilmt.text.dataset import is_column
from distilmt.text.files import file_hash, write_lines
from distilmt.text.lines import read_lines
from distilmt.training.teachers import names_of, together_of

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distill import DistillConfig
    from distilmt.distilling.methods import Phase
    from distilmt.distilling.recipe_options import LabelSearch
    from distilmt.knn import StoredNeighbours
    from distilmt.label import Labels
    from distilmt.labels.rank import RankOptions
    from distilmt.objectives import Objective
    from distilmt.run import Run
    from distilmt.state.stage import Kind, Stage


class Materials:
    """The stages of one run.

    text, dev: the training text (its subset where one was asked for) and the development text.
    made: names of the stages that were asked for since it was last cleared, for the bill.
    run: where they are kept; several runs may share one.
    domain: what the names of stages begin with; that of the other domain (teaching.py) is not empty.
    """

    def __init__(self, run: Run, config: DistillConfig, text: Corpus, dev: Corpus, domain: str = "") -> None:
        from distilmt.text.corpora import subset

        self.run, self.config, self.dev, self.domain = run, config, dev, domain
        self.options = config.data
        self.text = subset(text, config.data.subset)
        self.made: list[str] = []
        self.adaptations: list[str] = []  # names of the stages that adapted the teachers
        self._labels: dict[str, Labels] = {}
        self._data: dict[str, tuple[Corpus | Mixture, list[str]]] = {}
        self._asked: dict[tuple[str, str], tuple[Any, list[str]]] = {}

    def data(self, recipe: str) -> tuple[Corpus | Mixture, list[str]]:
        """What a student learns from, and the names of the stages that made it; made at the first call."""
        from distilmt.recipes import make

        if recipe not in self._data:
            self.made.clear()
            self._data[recipe] = make(recipe, self), list(dict.fromkeys(self.made))
        return self._data[recipe]

    def target_hashes(self) -> str:
        """Names the targets of all data that was made here, gold aside; "" where there is none."""
        found = []
        for domain in [self, *([self.adapted] if "adapted" in self.__dict__ else [])]:
            for recipe, (text, _) in sorted(domain._data.items()):
                if recipe != "gold":
                    found += [part.target_hash for part in (text.parts if isinstance(text, Mixture) else [text])]
        return " ".join(found)

    def of(self, phase: Phase) -> Materials:
        """The materials of the domain that a phase takes place in."""
        return self.adapted if phase.adapted else self

    @cached_property
    def adapted(self) -> Materials:
        """Those of --adapt-train, with the teachers adapted to it."""
        from distilmt.distilling.teaching import adapted

        return adapted(self)

    def looked_at(self, objective: Objective, recipe: str) -> tuple[Any, list[str]]:
        """What an objective asks about the words: the teachers' folders, what is stored of one, or neighbours; and the stages.

        Raises: ConfigError: nothing is stored of this recipe's targets.
        """
        key = repr(objective), recipe
        if key not in self._asked:
            self._asked[key] = self._looked_at(objective, recipe)
        return self._asked[key]

    def _looked_at(self, objective: Objective, recipe: str) -> tuple[Any, list[str]]:
        from distilmt import models
        from distilmt.labels.cost import bill_elsewhere
        from distilmt.soft_labels import SoftLabels

        if any(term.neighbour_temperature for _, term in objective.terms):
            return self.neighbours(recipe), [self.domain + "datastore", self.domain + "neighbours"]
        if self.config.soft_labels is not None:
            store = SoftLabels.open(self.config.soft_labels)
            store.require(teacher=models.weights_hash(self.teacher))
            return store, bill_elsewhere(self.run, store)
        if self.config.cache_teacher:
            servable(recipe, objective)
            return SoftLabels.open(self.labels().folder / CACHED[recipe]), [self.domain + "label"]
        return self.teachers, []

    def neighbours(self, recipe: str) -> StoredNeighbours:
        """The neighbours of every token of the training text, in a datastore of its own tokens.

        Raises: ConfigError: the recipe's targets are others.
        """
        from distilmt import knn, models

        if len(self.teachers) > 1:
            raise ConfigError(f"a datastore is of one teacher, got {len(self.teachers)} - name one with --teacher")
        if recipe != "gold":
            raise ConfigError(f"neighbours are those of the gold tokens: KNNKD goes with the recipe gold, not {recipe}")
        source, target = self._gold()
        inputs = self.text_inputs() | {"model": models.weights_hash(self.teacher)}
        with self._stage("datastore", inputs, "labelling") as stage:
            if not stage.done:
                store = knn.build(
                    model=str(self.teacher), source=source, target=target, out=str(stage.folder),
                    threads=self.config.training.threads,
                )  # fmt: skip
                stage.finish(outputs={"datastore": stage.folder}, facts={"work": {"target_tokens": store.tokens}})
            folder = stage.folder
        options: dict[str, Any] = {"k": self.options.knn_k, "exclude": self.options.knn_exclude}
        options |= {"index": self.options.knn_index} if self.options.knn_index != "auto" else {}
        with self._stage("neighbours", inputs | options, "labelling") as stage:
            if not stage.done:
                threads = self.config.training.threads
                found = knn.search(store=str(folder), out=str(stage.folder), threads=threads, **options)
                stage.finish(outputs={"neighbours": stage.folder}, facts={"work": {"target_tokens": found.tokens}})
            return knn.StoredNeighbours.open(stage.folder)

    def _gold(self) -> tuple[str, str]:
        """Files of the training text, whole or its subset."""
        source, target = self.config.train
        if is_column(source) or self.options.subset < 1:
            source, target = (self._file(f"gold-{n}.txt", getattr(self.text, n)) for n in ("sources", "targets"))
        return source, target

    @cached_property
    def teacher(self) -> Path:
        """The first teacher's folder: it has the vocabulary."""
        return self.teachers[0]

    @property
    def teachers(self) -> list[Path]:
        """The folders of all teachers, of one that is trained here if none was named."""
        return self._teacher[0]

    @property
    def teacher_facts(self) -> dict[str, Any]:
        """The facts of its training; none where it was named."""
        return self._teacher[1]

    @cached_property
    def _teacher(self) -> tuple[list[Path], dict[str, Any]]:
        from distilmt import models
        from distilmt.distilling.teaching import trained

        if names := names_of(self.config.teacher):
            return [models.folder_of(name) for name in names], {}
        stage = trained(self)
        return [stage.folder / "best"], stage.facts | {"made_by": [stage.name]}

    def text_inputs(self) -> dict[str, Any]:
        """What names training and development text in a stage's inputs."""
        return {
            "train source": self.text.source_hash, "train target": self.text.target_hash,
            "dev source": self.dev.source_hash, "dev target": self.dev.target_hash,
        }  # fmt: skip

    def labels(self) -> Labels:
        """The teacher's labels of the training source, with lists as long as the methods of the run ask for."""
        source, target = self._gold()
        return self._label(
            "label", self.teachers, source, self.text.source_hash, self.config.label.for_recipes(self.config.recipes()),
            (target, self.text.target_hash) if self.config.cache_teacher else None,
        )  # fmt: skip

    def reverse_labels(self) -> Labels:
        """The reverse teacher's translations of the training target.

        Raises: ConfigError: none was named.
        """
        return self._label(
            "label-reverse",
            [self._reverse()],
            self._file("reverse-source.txt", self.text.targets),
            self.text.target_hash,
        )

    def sampled(self) -> Corpus:
        """The training source with one sample of the teacher for each line."""
        from distilmt.recipes.seq_kd import seq_kd

        drawn = {"sample": True, "top_k": self.options.sample_top_k, "seed": 1}
        return seq_kd(
            self.text, self._label("label-sampled", self.teachers, self._gold()[0], self.text.source_hash, more=drawn)
        )

    def pseudo(self) -> Corpus:
        """The training source with the teacher's best hypotheses, without the worst where --drop-worst says so."""
        from distilmt.recipes.filtering import without_worst
        from distilmt.recipes.seq_kd import seq_kd

        return without_worst(seq_kd(self.text, self.labels()), self)

    def forward(self) -> Corpus:
        """--monolingual-source with the teacher's labels of it."""
        from distilmt.recipes.seq_kd import seq_kd
        from distilmt.text.corpora import alone

        path = str(self.options.monolingual_source)
        lines = list(read_lines(path, on_invalid_utf8=self.config.on_invalid_utf8))
        labels = self._label("label-forward", self.teachers, path, file_hash(path))
        return seq_kd(alone([line.text for line in lines], [line.status for line in lines]), labels)

    def round_trip(self) -> Corpus:
        """--monolingual-target translated back by the reverse teacher, and the teacher's labels of that."""
        from distilmt.labels.records import USABLE
        from distilmt.recipes.seq_kd import seq_kd
        from distilmt.text.corpora import alone

        path = str(self.options.monolingual_target)
        back = self._label("label-back", [self._reverse()], path, file_hash(path))
        again = self._label(
            "label-round-trip", self.teachers, str(back.folder / back.files["pseudo"]), back.pseudo_hash
        )
        statuses = ["ok" if verdict in USABLE else f"label_{verdict}" for verdict in back.statuses]
        return seq_kd(alone(back.pseudo, statuses), again)

    def _reverse(self) -> Path:
        from distilmt import models

        return models.folder_of(str(self.options.reverse_teacher))

    def _stage(self, name: str, inputs: dict[str, Any], kind: Kind) -> AbstractContextManager[Stage]:
        self.made.append(self.domain + name)
        return self.run.stage(self.domain + name, inputs, kind)

    def _file(self, name: str, lines: list[str]) -> str:
        path = self.run.folder / (self.domain + name)
        if not path.exists():
            write_lines(path, lines)
        return str(path)

    def reverse_scores(self, text: Corpus) -> list[float | None]:
        """Log-probability per token of each usable pair's source, given its target, by the reverse teacher."""
        from distilmt import models
        from distilmt.state.storage import read_json, write_json
        from distilmt.translate import Translator

        model = self._reverse()
        inputs = {"source": text.source_hash, "target": text.target_hash, "model": models.weights_hash(model)}
        with self._stage("reverse-scores", inputs, "selection") as stage:
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

    def _label(
        self, name: str, models: list[Path], source: str, source_hash: str, search: LabelSearch | None = None,
        gold: tuple[str, str] | None = None, more: dict[str, Any] | None = None,
    ) -> Labels:  # fmt: skip
        """One labelling, a job of its own inside its stage, so that a killed one goes on. With `gold`, file and hash, the
        teacher's likeliest words are stored too, of its own translations and of these; `more` are options of `label`."""
        from distilmt.label import label_stage
        from distilmt.marian.weights import identity

        config = self.config
        together = together_of(models, config.mix)
        options = asdict(search or replace(config.label, n_best=1)) | (more or {})
        inputs = (
            {"source": source_hash, "model": identity(models)}
            | options
            | {k: v for k, v in together.items() if k != "also"}
        )
        if gold:
            options |= {"target": gold[0], "soft_labels": config.cache_teacher}
            inputs |= {"target": gold[1], "soft_labels": config.cache_teacher}
        name = self.domain + name
        self.made.append(name)
        self._labels[name] = label_stage(
            self.run, name, inputs, model=str(models[0]), source=source, threads=config.training.threads,
            on_invalid_utf8=config.on_invalid_utf8, **options, **together,
        )  # fmt: skip
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

        labels = self.labels()
        inputs: dict[str, Any] = {
            "labels": labels.pseudo_hash, "gold": self.text.target_hash, "ranking": asdict(ranking),
        }  # fmt: skip
        if keep > 1:
            inputs["keep"] = keep
        with self._stage(name, inputs, "selection") as stage:
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
