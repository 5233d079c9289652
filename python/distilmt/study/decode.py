"""The task `decode`: a model translates a text; a pass is the whole text once, loading is not timed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from distilmt.errors import ConfigError, DataError
from distilmt.study.measure import Numbers, Work
from distilmt.translator.compute_type import HELP as COMPUTE_TYPE_HELP
from distilmt.translator.compute_type import ComputeType
from distilmt.translator.model_options import ModelOptions, NeighbourOptions, translator_of

OUTCOMES = ("target_tokens", "tokens_per_second", "sentences_per_second", "bleu", "chrf")


@dataclass(frozen=True, kw_only=True)
class DecodeTask:
    """Keywords of `decode`.

    Outcomes of a pass: target_tokens, tokens_per_second (end symbols included), sentences_per_second, bleu, chrf.
    """

    model: str = field(metadata={"help": "a model's folder or hub name"})
    test: tuple[str, str] = field(metadata={"help": "source and reference text"})
    lines: int | None = field(default=None, metadata={"help": "only so many lines of it, the first ones"})
    beam_size: int = field(default=5, metadata={"help": "hypotheses followed at a time"})
    length_penalty: float = field(default=1.0, metadata={"help": "scores are divided by length to this power"})
    max_length: int = field(default=256, metadata={"help": "longest translation in tokens, end symbol included"})
    compute_type: ComputeType = field(default="auto", metadata={"help": COMPUTE_TYPE_HELP})
    threads: int | None = field(default=None, metadata={"help": "workers; default: all CPUs the process may use"})
    slots: int | None = field(default=None, metadata={"help": "sentences in flight per worker; default: by memory"})
    asked: ModelOptions = field(default_factory=ModelOptions)
    neighbours: NeighbourOptions = field(default_factory=NeighbourOptions, metadata={"prefix": "knn_"})

    def __post_init__(self) -> None:
        if self.lines is not None and self.lines < 1:
            raise ConfigError(f"lines must be 1 or more, got {self.lines}")


def load(task: DecodeTask) -> Work:
    """Loads model and text.

    Raises:
        ConfigError, DataError: as `Translator` and `load_corpus`; a line of the text is quarantined.
    """
    from distilmt.corpus import load_corpus
    from distilmt.evaluate import bleu_of, score
    from distilmt.marian.weights import identity
    from distilmt.text.files import language_of

    text = load_corpus(task.test)
    if text.quarantined:
        line = text.quarantined[0]
        raise DataError(f"{line.path}:{line.number}: {line.reason} - a score is of all lines: mend this one")
    sources, references = text.sources[: task.lines], text.targets[: task.lines]
    if not sources:
        raise DataError(f"{task.test[0]}: no lines to translate")
    language = language_of(task.test[1])
    bleu_of(language)  # says now what is not installed
    translator = translator_of(
        task.model, task.asked, compute_type=task.compute_type, threads=task.threads, slots=task.slots
    )
    finder = task.neighbours.finder(task.model, task.threads)
    hypotheses: list[str] = []
    statuses: Counter[str] = Counter()

    def once() -> Numbers:
        translations = translator.translate(
            sources, beam_size=task.beam_size, length_penalty=task.length_penalty, max_length=task.max_length,
            neighbours=finder,
        )  # fmt: skip
        hypotheses[:] = [" ".join(translation.text.splitlines()) for translation in translations]
        statuses.clear()
        statuses.update(translation.status for translation in translations)
        return {"target_tokens": sum(len(each.hypotheses[0].log_probs) for each in translations if each.hypotheses)}

    def outcomes(seconds: float) -> Numbers:
        scores = score(hypotheses, references, target_lang=language)
        work.notes.append(f"BLEU {scores.bleu_signature}, chrF {scores.chrf_signature}")
        if odd := {status: count for status, count in statuses.items() if status != "ok"}:
            work.notes.append("lines: " + ", ".join(f"{count} {status}" for status, count in sorted(odd.items())))
        return {
            "tokens_per_second": translator.stats.target_tokens / seconds,
            "sentences_per_second": len(sources) / seconds,
            "bleu": scores.bleu,
            "chrf": scores.chrf,
        }

    inputs = {"model": identity(translator.folders), "source": text.source_hash, "target": text.target_hash}
    work = Work(once, outcomes, inputs, translations=hypotheses)
    if task.neighbours.datastore is not None:
        from distilmt.knn import Datastore

        inputs["datastore"] = Datastore(task.neighbours.datastore).hash
    attention = f", encoder attention {translator.attention}" if translator.attention else ""
    work.notes.append(f"compute type {translator.compute_type}{attention}, {translator.threads} workers")
    return work
