"""`distilmt label`: a teacher translates a text; one line in, one line out, proven by count and hash."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from distilmt.compute_type import HELP as COMPUTE_TYPE_HELP
from distilmt.compute_type import ComputeType
from distilmt.config import resolve
from distilmt.energy import EnergyOptions, Meter
from distilmt.errors import DataError, ResourceError
from distilmt.lines import OnInvalidUtf8
from distilmt.model_options import ModelOptions


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Options of `distilmt label`."""

    model: str = field(metadata={"help": "the teacher: a model's folder or hub name"})
    source: str = field(metadata={"help": "text to translate, one sentence a line"})
    out: str = field(metadata={"help": "folder for pseudo.txt and labels.json"})
    beam_size: int = field(default=5, metadata={"help": "hypotheses followed at a time (Kim & Rush 2016: 5)"})
    length_penalty: float = field(default=1.0, metadata={"help": "scores are divided by length to this power"})
    max_length: int = field(default=256, metadata={"help": "longest translation in tokens, end symbol included"})
    too_long: Literal["skip", "truncate", "split"] = field(
        default="skip", metadata={"help": "what to do with a line of more tokens than the model has positions"}
    )
    compute_type: ComputeType = field(default="auto", metadata={"help": COMPUTE_TYPE_HELP})
    threads: int | None = field(default=None, metadata={"help": "workers; default: all CPUs this process may use"})
    asked: ModelOptions = field(default_factory=ModelOptions)
    metering: EnergyOptions = field(default_factory=EnergyOptions)
    on_invalid_utf8: OnInvalidUtf8 = field(
        default="error", metadata={"help": "what to do with bytes that are no UTF-8"}
    )


@dataclass
class Labels:
    """The teacher's output for every line of a text, in order.

    pseudo: one translation a line ("" where there is none); statuses: one a line: `ok`, or why there is none or a doubtful one
    (translate.py); target_tokens: end symbols included; seconds: of decoding.
    """

    folder: Path
    pseudo: list[str]
    statuses: list[str]
    source_hash: str
    pseudo_hash: str
    target_tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Target tokens decoded per second."""
        return self.target_tokens / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{n:,} {status}" for status, n in Counter(self.statuses).most_common())
        return (
            f"{self.folder / 'pseudo.txt'}: {len(self.pseudo):,} lines ({counts}); {self.target_tokens:,} target tokens in "
            f"{self.seconds:,.0f} s ({self.tokens_per_second:,.0f} tokens/s); sha256 {self.pseudo_hash[:16]}"
        )


def label(config: LabelConfig | None = None, **options: Any) -> Labels:
    """Translates a text file line by line with beam search and writes the result atomically.

    Args:
        config: a LabelConfig, or its fields as keywords.
    Returns: what was written to `out`: `pseudo.txt`, as many lines as the source, and `labels.json`, counts, hashes, options.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(LabelConfig, config, **options)
    from distilmt import corpus, models

    lines = list(corpus.read_lines(config.source, on_invalid_utf8=config.on_invalid_utf8))
    with Meter(config.metering) as meter:
        labels = label_texts([line.text if line.status == "ok" else "" for line in lines], config)
        meter.add_tokens(labels.target_tokens)
    assert meter.usage is not None
    labels.statuses = [
        line.status if line.status == "quarantined" else status
        for line, status in zip(lines, labels.statuses, strict=True)
    ]
    labels.source_hash = corpus.file_hash(config.source)
    facts = {"model_hash": models.weights_hash(models.folder_of(config.model)), "usage": asdict(meter.usage)}
    write_labels(labels, asdict(config) | facts)
    return labels


def label_texts(texts: Sequence[str], config: LabelConfig) -> Labels:
    """The decoding half of `label`: texts in, translations out, nothing written. `source_hash` is left empty."""
    from distilmt import models, progress
    from distilmt.translate import Translator

    translator = Translator(
        models.folder_of(config.model), compute_type=config.compute_type, threads=config.threads, **asdict(config.asked)
    )
    pseudo: list[str] = []
    statuses: list[str] = []
    tokens, start = 0, time.perf_counter()
    block = 2000  # large enough to sort by length and to keep every worker busy, small enough for a live progress bar
    with progress.bar(len(texts), "labelling", "line") as bar:
        for first in range(0, len(texts), block):
            part = list(texts[first : first + block])
            for translation in translator.translate(
                part, beam_size=config.beam_size, length_penalty=config.length_penalty, max_length=config.max_length,
                too_long=config.too_long,
            ):  # fmt: skip
                pseudo.append(" ".join(translation.text.split("\n")))
                statuses.append(translation.status)
                tokens += len(translation.hypotheses[0].log_probs) if translation.hypotheses else 0
            bar.update(len(part))
    return Labels(Path(config.out), pseudo, statuses, "", "", tokens, time.perf_counter() - start)


def write_labels(labels: Labels, facts: dict[str, Any]) -> None:
    """Writes `pseudo.txt` and `labels.json`, then reads the text back: as many lines, the same hash."""
    from distilmt import corpus

    path = labels.folder / "pseudo.txt"
    labels.folder.mkdir(parents=True, exist_ok=True)
    labels.pseudo_hash = corpus.write_lines(path, labels.pseudo)
    count = sum(1 for _ in corpus.read_lines(path))
    if (count, corpus.file_hash(path)) != (len(labels.pseudo), labels.pseudo_hash):
        raise ResourceError(
            f"{path}: {count} lines were read back where {len(labels.pseudo)} were written - check the disk"
        )
    record = {
        "lines": len(labels.pseudo), "source_hash": labels.source_hash, "pseudo_hash": labels.pseudo_hash,
        "target_tokens": labels.target_tokens, "seconds": labels.seconds, "options": facts,
        "counts": dict(Counter(labels.statuses)),
        "not_ok": {str(i + 1): status for i, status in enumerate(labels.statuses) if status != "ok"},
    }  # fmt: skip
    corpus.write_lines(labels.folder / "labels.json", [json.dumps(record, ensure_ascii=False)])


def read_labels(folder: str | Path) -> Labels:
    """Opens what `label` wrote and proves that it is whole.

    Raises: DataError: the text does not have the lines or the hash that labels.json promises.
    """
    from distilmt import corpus

    folder = Path(folder)
    record = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    path = folder / "pseudo.txt"
    pseudo = [line.text for line in corpus.read_lines(path)]
    if (len(pseudo), corpus.file_hash(path)) != (record["lines"], record["pseudo_hash"]):
        raise DataError(
            f"{path}: {len(pseudo)} lines that do not hash to what labels.json promises for {record['lines']} lines - label again"
        )
    statuses = [record["not_ok"].get(str(i + 1), "ok") for i in range(len(pseudo))]
    return Labels(
        folder,
        pseudo,
        statuses,
        record["source_hash"],
        record["pseudo_hash"],
        record["target_tokens"],
        record["seconds"],
    )
