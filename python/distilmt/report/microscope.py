"""The distillation gap, looked at closely: teacher and student forced along the references of the test sets.

A stage of a run for each student (`microscope-NAME`). Per token of the references, in nats:

    agreement   share of tokens at which both find the same token likeliest
    KL          of teacher from student, over the ids among the K likeliest of both, the reference's own, and all others as one:
                a lower bound of the divergence over the vocabulary (lumping outcomes never adds to it), tight where the mass that
                was told apart (`covered`) is near 1
    loss        mean negative log-probability: teacher, student in float32, student in int8
    own mode    probability of a model's own beam output, mean over sentences (Kim & Rush 2016, section 5)

Translations are judged by the rules of labels (labels/verdicts.py), and besides as `oscillating`: its most frequent 4-gram
stands there at least twice more often than the source's does (Raunak et al. 2021), and as `detached`: chrF below 10, a
heuristic of ours for text that has nothing to do with the source. Both are suspicions, to be looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distilmt.quality.gap import own_mode
from distilmt.soft_labels import SoftLabels
from distilmt.training.teachers import TeacherMix
from distilmt.translate import Hypothesis, Scored, Translation, Translator
from distilmt.translator.results import repeats
from distilmt.vocab import Vocab

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials

K = 32  # ids that are told apart
LINES = 1000  # looked at of each test set, spread evenly
TRAINING_LINES = 100_000  # that token frequencies are counted in, spread evenly
RANKED = 100  # sentences in the report; the stage's file has all
DETACHED = 10.0  # points of chrF
TINY = 1e-6  # of probability: what float32 leaves uncertain in a sum

Floats = NDArray[np.float64]
# Names of bins and where the second and later ones begin.
_POSITIONS = (("1", "2", "3-4", "5-8", "9-16", "17-32", "33 on"), (2, 3, 5, 9, 17, 33))
_LENGTHS = (("1-10", "11-20", "21-30", "31-50", "51 on"), (11, 21, 31, 51))
_FREQUENCIES = (("unseen", "below 10", "10 on", "100 on", "1,000 on", "10,000 on"), (1e-9, 10, 100, 1000, 10_000))


@dataclass(frozen=True)
class _Model:
    """One model on the chosen lines: forced along the references, along its own output, and that output."""

    translator: Translator
    forced: list[Scored]
    own: list[Scored]
    outputs: list[str]


class Microscope:
    """Looks at the students of one run, the teacher scored once.

    Args:
        tests: the test sets by name.
        translations: the teacher's, by name of the test set: files in the run folder, a line each.
    """

    def __init__(self, materials: Materials, tests: Mapping[str, Corpus], translations: Mapping[str, str]) -> None:
        self.materials, self.translations = materials, translations
        self.lines: list[tuple[str, int]] = []  # test set, number of the line from 0
        self.sources: list[str] = []
        self.references: list[str] = []
        self.inputs: dict[str, Any] = {"k": K, "lines": LINES, "train target": materials.text.target_hash}
        for name, text in tests.items():
            usable = list(text.pairs())
            self.inputs[f"test {name}"] = text.source_hash + text.target_hash
            for index, source, target in (usable[i] for i in spread(len(usable), LINES)):
                self.lines.append((name, index))
                self.sources.append(source)
                self.references.append(target)

    def look(self, name: str, folder: Path, translations: Mapping[str, str]) -> dict[str, Any]:
        """What is seen of one student, as report.json has it (docs/report.md); a stage of the run.

        Args:
            folder: the student's. translations: its own, by name of the test set.
        """
        from distilmt import models
        from distilmt.marian.weights import identity
        from distilmt.text.files import file_hash

        run = self.materials.run
        inputs = self.inputs | {
            "model": models.weights_hash(folder),
            "teacher": identity(self.materials.teachers),
        }
        for who, files in (("teacher", self.translations), ("own", translations)):
            inputs |= {f"{who} {test}": file_hash(run.folder / path) for test, path in files.items()}
        with run.stage(f"microscope-{name}", inputs, "evaluation") as stage:
            if not stage.done:
                facts, ranked = self._compare(folder, translations)
                path = stage.folder / "sentences.json"
                from distilmt.state.storage import write_json

                write_json(path, {"sentences": ranked})
                keep = sorted(ranked, key=lambda each: -abs(each["difference"]))[:RANKED]
                facts["ranked"] = sorted(keep, key=lambda each: -each["difference"])
                stage.finish(outputs={"sentences": path}, facts={"microscope": facts})
            found: dict[str, Any] = stage.facts["microscope"]
            return found

    @cached_property
    def _teacher(self) -> _Model:
        return self._model(self.translations, *self.materials.teachers)

    def _model(self, translations: Mapping[str, str], *folders: Path) -> _Model:
        translator = self._translator("float32", *folders)
        run, texts = self.materials.run.folder, {}
        for test, path in translations.items():
            texts[test] = (run / path).read_bytes().decode().split("\n")[:-1]
        outputs = [texts[test][index] for test, index in self.lines]
        forced = translator.score(self.sources, self.references, soft_labels=min(K, translator.vocab.target_size))
        return _Model(translator, forced, translator.score(self.sources, outputs), outputs)

    def _translator(self, compute_type: Any, *folders: Path) -> Translator:
        """Of a student, or of all teachers."""
        mix = self.materials.config.mix if len(folders) > 1 else TeacherMix()
        return Translator(
            folders, compute_type=compute_type, threads=self.materials.config.training.threads, ensemble=mix.mean,
            weights=mix.weights,
        )  # fmt: skip

    @cached_property
    def _targets(self) -> list[NDArray[np.int64]]:
        """Ids of the references, end symbols included."""
        vocab = Vocab.load(self.materials.teacher)
        return [np.array([*ids, vocab.eos_id]) for ids in vocab.encode_target(self.references)]

    @cached_property
    def _per_million(self) -> Floats:
        """How often each id stands in a million tokens of the training targets."""
        vocab, text = Vocab.load(self.materials.teacher), self.materials.text
        usable = [target for _, _, target in text.pairs()]
        ids = vocab.encode_target([usable[i] for i in spread(len(usable), TRAINING_LINES)])
        flat = np.fromiter((i for line in ids for i in (*line, vocab.eos_id)), np.int64)
        counts: Floats = np.bincount(flat, minlength=vocab.target_size).astype(np.float64)
        return counts * 1e6 / max(1, len(flat))

    def _compare(self, folder: Path, translations: Mapping[str, str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        teacher, student = self._teacher, self._model(translations, folder)
        small = self._translator("int8", folder).score(self.sources, self.references)
        scored = [
            i for i, all_ in enumerate(zip(teacher.forced, student.forced, small, strict=True)) if all(s.log_probs for s in all_)
        ]  # fmt: skip
        if not scored:
            return {"sentences": 0, "tokens": 0}, []
        both = [[model.forced[i] for i in scored] for model in (teacher, student)]
        labels = [
            SoftLabels.joined([each.soft_labels for each in side if each.soft_labels is not None]) for side in both
        ]
        gold, losses = (np.concatenate([self._targets[i] for i in scored]), [_losses(side) for side in both])
        kl, covered = divergence(labels[0], labels[1], gold, -losses[0], -losses[1])
        agree = (labels[0].ids[:, 0] == labels[1].ids[:, 0]).astype(float)
        lengths = np.array([len(self._targets[i]) for i in scored])
        columns = {"agreement": agree, "kl": kl, "teacher_loss": losses[0], "student_loss": losses[1]}
        places = {
            "position": (np.concatenate([np.arange(1, n + 1) for n in lengths]), _POSITIONS),
            "frequency": (self._per_million[gold], _FREQUENCIES),
            "length": (np.repeat(lengths, lengths), _LENGTHS),
        }
        found = {name: float(values.mean()) for name, values in (columns | {"covered": covered}).items()} | {
            "sentences": len(scored), "tokens": len(gold), "k": labels[0].ids.shape[1],
            "int8_loss": float(_losses([small[i] for i in scored]).mean()),
            "teacher_mode": own_mode(each.log_probs for each in teacher.own),
            "student_mode": own_mode(each.log_probs for each in student.own),
            "by": {name: _binned(values, bins, columns) for name, (values, bins) in places.items()},
        }  # fmt: skip
        ends = np.cumsum(lengths)[:-1]
        per_sentence = dict(zip(scored, (float(part.mean()) for part in np.split(kl, ends)), strict=True))
        chrf = {key: self._chrf(model.outputs) for key, model in (("teacher", teacher), ("student", student))}
        found["counts"] = {
            key: self._counts(model, chrf[key]) for key, model in (("teacher", teacher), ("student", student))
        }
        ranked = [
            {
                "test": test, "line": index + 1, "source": self.sources[i], "reference": self.references[i],
                "teacher": teacher.outputs[i], "student": student.outputs[i],
                "difference": chrf["teacher"][i] - chrf["student"][i], "kl": per_sentence.get(i),
            }
            for i, (test, index) in enumerate(self.lines)
        ]  # fmt: skip
        return found, sorted(ranked, key=lambda each: -each["difference"])

    def _chrf(self, outputs: Sequence[str]) -> list[float]:
        from sacrebleu.metrics import CHRF

        measure = CHRF()
        return [
            measure.sentence_score(*pair).score for pair in zip(outputs, ([r] for r in self.references), strict=True)
        ]

    def _counts(self, model: _Model, chrf: Sequence[float]) -> dict[str, int]:
        """Translations by what is wrong with them; a line may count as a verdict and as a suspicion."""
        from distilmt.labels.verdicts import VerdictOptions, verdict_of

        options, counts = VerdictOptions(), Counter[str]({"copy": 0, "repetition": 0, "oscillating": 0, "detached": 0})
        ids = model.translator.vocab.encode_target(model.outputs)
        for source, text, own, points in zip(self.sources, model.outputs, ids, chrf, strict=True):
            status: Any = "repetition" if repeats(own) else "ok" if text.strip() else "empty_hypothesis"
            verdict = verdict_of(source, Translation([Hypothesis(own, text, 0.0, [])], status), options)
            counts[verdict] += verdict != "ok"
            counts["oscillating"] += _top(text) >= _top(source) + 2
            counts["detached"] += points < DETACHED
        return {name: count for name, count in counts.items() if name != "ok"}


def divergence(
    teacher: SoftLabels, student: SoftLabels, gold: NDArray[np.int64], teacher_gold: Floats, student_gold: Floats
) -> tuple[Floats, Floats]:
    """KL of teacher from student at each token, as a lower bound, and the teacher's mass that was told apart.

    Args:
        gold: ids of the references [tokens]; teacher_gold, student_gold: their log-probabilities, in nats.
    """
    bound, covered = np.empty(len(gold)), np.empty(len(gold))
    for first in range(0, len(gold), 4096):
        part = slice(first, first + 4096)
        ids, other = teacher.ids[part], student.ids[part]
        same = ids[:, :, None] == other[:, None, :]
        there = np.take_along_axis(student.log_probs[part].astype(float), same.argmax(2), 1)
        is_gold = ids == gold[part, None]
        there = np.where(is_gold, student_gold[part, None], np.where(same.any(2), there, -np.inf))
        known, outside = np.isfinite(there), ~is_gold.any(1)
        log_q = np.column_stack([teacher.log_probs[part].astype(float), teacher_gold[part]])
        log_p = np.column_stack([there, student_gold[part]])
        cells = np.column_stack([known, outside & np.isfinite(student_gold[part])])
        q, p = np.where(cells, np.exp(log_q), 0.0), np.where(cells, np.exp(log_p), 0.0)
        terms = np.where(q > 0, q * (log_q - np.where(cells, log_p, 0.0)), 0.0).sum(1)
        rest_q, rest_p = np.clip(1 - q.sum(1), 0.0, None), np.clip(1 - p.sum(1), TINY, None)
        terms += np.where(rest_q > TINY, rest_q * np.log(np.maximum(rest_q, TINY) / rest_p), 0.0)
        bound[part], covered[part] = np.maximum(terms, 0.0), q.sum(1)
    return bound, covered


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly apart."""
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]


def _losses(scored: Sequence[Scored]) -> Floats:
    return -np.concatenate([np.asarray(each.log_probs, float) for each in scored])


def _binned(
    values: NDArray[Any], bins: tuple[Sequence[str], Sequence[float]], columns: Mapping[str, Floats]
) -> list[dict[str, Any]]:
    """Means of the columns in each bin that has tokens."""
    names, edges = bins
    at = np.digitize(values, edges)
    return [
        {"name": name, "tokens": int((at == i).sum())}
        | {key: float(column[at == i].mean()) for key, column in columns.items()}
        for i, name in enumerate(names)
        if (at == i).any()
    ]


def _top(text: str) -> int:
    """How often the most frequent 4-gram of words stands in a text."""
    words = text.split()
    grams = Counter(zip(*(words[i:] for i in range(4)), strict=False))
    return max(grams.values(), default=0)
