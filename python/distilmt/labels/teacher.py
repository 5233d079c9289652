"""The teacher of a job: lines in, records out. What it says of a line depends on that line alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.errors import ConfigError, MemoryExhausted, ResourceError, UserError
from distilmt.labels.records import Candidate, Record
from distilmt.labels.verdicts import verdict_of
from distilmt.state.storage import read_json
from distilmt.text.lines import Line
from distilmt.translator.forced import forced_blobs, in_halves

if TYPE_CHECKING:
    from distilmt.label import LabelConfig
    from distilmt.translator.results import Hypothesis, Translation
    from distilmt.vocab import Vocab


class Teacher:
    """A model, loaded with the options of a job."""

    def __init__(self, config: LabelConfig, threads: int | None) -> None:
        from distilmt.translator.model_options import translator_of

        self.config = config
        self.translator = translator_of(config.model, config.asked, compute_type=config.compute_type, threads=threads)
        self._search: Any = config.search.options()
        self._eos = 0
        if config.soft_labels:
            self._eos = soft_vocab(self.translator.folder).eos_id

    def label(self, lines: Sequence[Line], targets: Sequence[str] | None = None) -> list[Record]:
        """Records of some lines, in order.

        Args:
            targets: gold targets, one per line, whose soft labels are wanted too; "" for none.
        """
        readable = [line.text if line.status == "ok" else "" for line in lines if line.status != "quarantined"]
        translations = iter(self._translate(readable))
        records = []
        for line, blob in zip(lines, self._forced(lines, targets), strict=True):
            if line.status == "quarantined":
                record = Record(line.number, "quarantined", [], cause=line.reason)
            elif isinstance(blob, bytes):
                record = self._record(line, next(translations), blob)
            else:
                record = self._record(line, next(translations), b"")
                fault = "no_memory" if isinstance(blob, ResourceError) else "not_finite"  # Record.gold_fault reads it
                record = replace(record, cause=f"{record.cause}; gold {fault}: {blob}".removeprefix("; "))
            records.append(record)
        return records

    def _record(self, line: Line, translation: Translation | str, forced: bytes) -> Record:
        if isinstance(translation, str):
            return Record(line.number, "quarantined", [], cause=translation)
        verdict = verdict_of(line.text, translation, self.config.verdicts)
        cause = "the teacher gives no finite numbers for it" if translation.status == "not_finite" else ""
        found = [] if cause or verdict == "empty_source" else translation.hypotheses
        found = found if any(each.log_probs for each in found) else []  # a skipped line has one empty hypothesis
        candidates = [
            Candidate(_one_line(each.text), each.ids, each.score, sum(each.log_probs), len(each.log_probs))
            for each in found
        ]
        # Pieces of a line, joined: each has a context of its own, and an end symbol or none.
        soft = self._soft(found[0]) if found and translation.pieces == 1 else b""
        return Record(line.number, verdict, candidates, soft, forced, cause)

    def _soft(self, best: Hypothesis) -> bytes:
        return b"" if best.soft_labels is None else self._encode(best.ids, best.soft_labels)

    def _encode(self, ids: Sequence[int], labels: Any) -> bytes:
        from distilmt.soft_labels import encode

        end = [self._eos] * (len(labels) - len(ids))  # not reached within max_length: no end symbol
        return encode([*ids, *end], labels, self.config.soft_floor)

    def _forced(self, lines: Sequence[Line], targets: Sequence[str] | None) -> list[bytes | UserError]:
        """Soft labels of gold targets; b"" where source or target is empty or too long; or why there are none."""
        found: list[bytes | UserError] = [b""] * len(lines)
        if targets is None:
            return found
        chosen = [
            i for i, (line, target) in enumerate(zip(lines, targets, strict=True)) if line.status == "ok" and target
        ]
        pairs = [(lines[i].text, targets[i]) for i in chosen]
        blobs = forced_blobs(self.translator, pairs, self.config.soft_labels, self.config.soft_floor, self._eos)
        for i, blob in zip(chosen, blobs, strict=True):
            found[i] = blob
        return found

    def _translate(self, texts: Sequence[str]) -> list[Translation | str]:
        """Translations; of a text that memory does not suffice for even alone, the reason (fault case 34)."""

        def translate(some: Sequence[str]) -> list[Translation]:
            return self.translator.translate(
                some, soft_labels=self.config.soft_labels, too_long=self.config.too_long, **self._search
            )

        def alone(text: str, error: MemoryExhausted) -> str:
            return f"no memory for its {len(self.translator.vocab.encode_source([text])[0])} tokens ({error})"

        return in_halves(texts, translate, alone)


def soft_vocab(model: Path) -> Vocab:
    """The vocabulary that a teacher's soft labels are stored with.

    Raises: ConfigError: it is no Marian model. DataError: its vocabulary cannot be read.
    """
    from distilmt.vocab import Vocab

    if read_json(model / "config.json", "repair it").get("model_type") != "marian":
        raise ConfigError("--soft-labels are stored for Marian teachers alone: leave them out for this one")
    return Vocab.load(model)


def _one_line(text: str) -> str:
    """A line end in a translation would shift every line behind it; a CR at its end would be lost."""
    return text.replace("\n", " ").replace("\r", " ")
