"""The teacher of a job: lines in, records out. What it says of a line depends on that line alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from distilmt.errors import ConfigError, ResourceError
from distilmt.labels.records import Candidate, Record
from distilmt.labels.verdicts import verdict_of
from distilmt.lines import Line

if TYPE_CHECKING:
    from distilmt.label import LabelConfig
    from distilmt.translate import Hypothesis, Translation


class Teacher:
    """A model, loaded with the options of a job."""

    def __init__(self, config: LabelConfig, threads: int | None) -> None:
        from distilmt.label import folder_of
        from distilmt.translate import Translator

        self.config = config
        self.translator = Translator(
            folder_of(config.model), compute_type=config.compute_type, threads=threads, **asdict(config.asked)
        )
        self._search: Any = asdict(config.search)
        self._eos = 0
        if config.soft_labels:
            from distilmt.vocab import Vocab

            if not isinstance(vocab := self.translator.vocab, Vocab):
                raise ConfigError("--soft-labels are stored for Marian teachers alone: leave them out for this one")
            self._eos = vocab.eos_id

    def label(self, lines: Sequence[Line], targets: Sequence[str] | None = None) -> list[Record]:
        """Records of some lines, in order.

        Args:
            targets: gold targets, one per line, whose soft labels are wanted too; "" for none.
        """
        readable = [line.text if line.status == "ok" else "" for line in lines if line.status != "quarantined"]
        translations = iter(self._translate(readable))
        forced = self._forced(lines, targets) if targets is not None else [b""] * len(lines)
        return [
            Record(line.number, "quarantined", [], cause=line.reason)
            if line.status == "quarantined"
            else self._record(line, next(translations), blob)
            for line, blob in zip(lines, forced, strict=True)
        ]

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

    def _forced(self, lines: Sequence[Line], targets: Sequence[str]) -> list[bytes]:
        """Soft labels of gold targets; b"" where source or target is empty or too long."""
        chosen = [
            i for i, (line, target) in enumerate(zip(lines, targets, strict=True)) if line.status == "ok" and target
        ]
        blobs = [b""] * len(lines)
        scored = self.translator.score(
            [lines[i].text for i in chosen], [targets[i] for i in chosen], soft_labels=self.config.soft_labels
        )
        ids = self.translator.vocab.encode_target([targets[i] for i in chosen])
        for i, each, target in zip(chosen, scored, ids, strict=True):
            if each.soft_labels is not None and each.log_probs:
                blobs[i] = self._encode(target, each.soft_labels)
        return blobs

    def _translate(self, texts: Sequence[str]) -> list[Translation | str]:
        """Translations; of a text that memory does not suffice for even alone, the reason (fault case 34)."""
        try:
            return list(
                self.translator.translate(
                    texts, soft_labels=self.config.soft_labels, too_long=self.config.too_long, **self._search
                )
            )
        except ResourceError as error:
            if len(texts) == 1:
                tokens = len(self.translator.vocab.encode_source(list(texts))[0])
                return [f"no memory for its {tokens} tokens ({error})"]
            half = len(texts) // 2
            return list(chain(self._translate(texts[:half]), self._translate(texts[half:])))


def _one_line(text: str) -> str:
    """A line end in a translation would shift every line behind it; a CR at its end would be lost."""
    return text.replace("\n", " ").replace("\r", " ")
