"""Whether a label is fit for use: one verdict a line, the first that applies.

quarantined        the line cannot be read, no decoder survived it, or the teacher's weights give no finite numbers
empty_source       nothing but white space; the teacher was not asked
too_long           more tokens than the teacher has positions: skipped, truncated or split, as --too-long says
empty_target       the best hypothesis is empty
max_length         it ran into --max-length
repetition         it ends in a phrase of at most 8 tokens that stands there 8 times in a row
copy               it is the source itself, but for case and white space, and the source has --copy-words words or more
length_ratio       (characters + 10) of target and source differ by more than the factor --length-ratio
low_score          its score, in nats by length penalty, lies below --low-score
non_finite_redone  sound, but the compute type gave no finite numbers and float32 did
ok                 none of these
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distilmt.errors import ConfigError

if TYPE_CHECKING:
    from distilmt.labels.records import Verdict
    from distilmt.translator.results import Translation


@dataclass(frozen=True, kw_only=True)
class VerdictOptions:
    """Thresholds of the verdicts that a user may move."""

    copy_words: int | None = field(
        default=4, metadata={"help": "a translation equal to a source of so many words is a copy; none: never"}
    )
    length_ratio: float | None = field(
        default=4.0, metadata={"help": "most that target and source may differ in length, as a factor; none: any"}
    )
    low_score: float | None = field(
        default=None, metadata={"help": "least score, in nats by length penalty, as in -1.5; default: any"}
    )

    def __post_init__(self) -> None:
        if self.copy_words is not None and self.copy_words < 1:
            raise ConfigError(f"--copy-words must be at least 1, got {self.copy_words}")
        if self.length_ratio is not None and not 1 < self.length_ratio < float("inf"):
            raise ConfigError(f"--length-ratio must be above 1, got {self.length_ratio:g}")


_BY_STATUS: dict[str, Verdict] = {
    "empty_source": "empty_source", "too_long": "too_long", "truncated": "too_long", "split": "too_long",
    "empty_hypothesis": "empty_target", "max_length": "max_length", "repetition": "repetition",
    "not_finite": "quarantined",
}  # fmt: skip


def verdict_of(source: str, translation: Translation, options: VerdictOptions) -> Verdict:
    """The verdict on a translation of `source`."""
    if found := _BY_STATUS.get(translation.status):
        return found
    best = translation.hypotheses[0]
    words = source.casefold().split()
    if options.copy_words is not None and len(words) >= options.copy_words and words == best.text.casefold().split():
        return "copy"
    if options.length_ratio is not None:
        longer, shorter = sorted((len(source.strip()) + 10, len(best.text.strip()) + 10), reverse=True)
        if longer > options.length_ratio * shorter:
            return "length_ratio"
    if options.low_score is not None and best.score < options.low_score:
        return "low_score"
    return "non_finite_redone" if translation.status == "redone_float32" else "ok"
