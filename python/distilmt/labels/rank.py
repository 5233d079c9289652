"""Ranks the hypotheses of stored n-best lists: nearest to the gold, by expected utility, by a learned metric, by chance
(csrc/text/ranker.h).

    for record, ranked in rank(read_records("labels"), golds, RankOptions(rule="chrf")):
        best = record.candidates[ranked.order[0]] if ranked.order else None     # None: a line that is not fit for use

Formulas, sources and what differs from released programs: docs/selection.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice, repeat
from typing import Literal, NamedTuple

from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.interface.config import resolve
from distilmt.labels.records import USABLE, Record

Score = Callable[[Sequence[str], Sequence[str], Sequence[str]], list[float]]  # of sources, hypotheses, references
BLOCK = 2000  # lines ranked at a time: enough to keep every thread busy, few enough to hold
ASKED = 32  # and where a learned metric is asked, which takes its time
# What an option is for; with another rule it would say nothing.
_SERVES = {
    "smoothing": ("bleu",), "tokens": ("bleu", "gleu"), "weights": ("mbr",), "temperature": ("sample", "mbr"),
    "seed": ("sample",),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RankOptions:
    """What makes one hypothesis better than another."""

    rule: Literal["model", "bleu", "gleu", "chrf", "mbr", "estimate", "sample"] = field(
        default="model",
        metadata={
            "help": "by the model's score; nearest to the gold by BLEU, GLEU or chrF; by expected chrF or learned metric; by a "
            "learned metric without a reference; or drawn by chance"
        },
    )
    smoothing: Literal["sacrebleu", "kim-rush", "bergamot"] = field(
        default="sacrebleu", metadata={"help": "of bleu: whose sentence BLEU"}
    )
    tokens: Literal["13a", "words", "ids"] = field(
        default="13a",
        metadata={"help": "what bleu and gleu count: sacreBLEU's 13a, words between blanks, the teacher's ids"},
    )
    weights: Literal["uniform", "model"] = field(
        default="uniform", metadata={"help": "of mbr: every hypothesis alike, or by the model's probability"}
    )
    temperature: float = field(
        default=1.0, metadata={"help": "of sample and of --weights model: log-probabilities are divided by it"}
    )
    seed: int = field(default=0, metadata={"help": "of sample: another one draws others"})

    def __post_init__(self) -> None:
        for name, rules in _SERVES.items():
            if self.rule not in rules and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ConfigError(f"{name}: serves the rule {' and '.join(rules)}, got {self.rule} - leave it out")
        if self.rule == "mbr" and self.weights == "uniform" and self.temperature != 1.0:
            raise ConfigError(
                "temperature: serves weights by the model's probability - set weights to model, or leave it out"
            )
        if not (0 < self.temperature < math.inf):
            raise ConfigError(f"temperature: must be above 0, got {self.temperature} - the rule model takes the best")
        if not 0 <= self.seed < 1 << 64:
            raise ConfigError(f"seed: must be from 0 to 2^64 - 1, got {self.seed}")

    @property
    def needs_gold(self) -> bool:
        """Whether the rule compares with the gold target."""
        return self.rule in ("bleu", "gleu", "chrf")

    @property
    def by_metric(self) -> bool:
        """Whether a learned metric may be asked."""
        return self.rule in ("mbr", "estimate")

    @property
    def by_ids(self) -> bool:
        """Whether it compares ids."""
        return self.tokens == "ids"


class Nearness(NamedTuple):
    """Sentence BLEU (13a, exp, effective order) and chrF against the gold, both 0 to 100, as sacreBLEU has them."""

    bleu: float
    chrf: float


class Ranked(NamedTuple):
    """A list's ranking; empty for a record without a usable candidate.

    order: places in the list, best first; numbers: what the rule gave them; before, after: nearness of the model's first
    and of the rule's, None where there is no gold.
    """

    order: Sequence[int]
    numbers: Sequence[float]
    before: Nearness | None
    after: Nearness | None


def rank(
    records: Iterable[Record],
    golds: Iterable[str | None] | None,
    options: RankOptions,
    *,
    encode: Callable[[list[str]], list[list[int]]] | None = None,
    threads: int = 1,
    metric: Score | None = None,
    sources: Iterable[str] | None = None,
) -> Iterator[tuple[Record, Ranked]]:
    """Streams records with their rankings; some thousand lines are held at a time.

    Args:
        records: of a labelling; whose verdict is not usable is not ranked.
        golds: one text per record; None where there is none: all are equally near to nothing, and the model decides.
        options: the rule.
        encode: texts to ids, with `tokens="ids"`: the teacher's vocabulary.
        threads: change speed, never results.
        metric: `score` of a learned metric (quality/learned_metrics.py): of `mbr` in place of chrF, and of `estimate`.
        sources: one text per record, which such a metric reads.
    Raises:
        ConfigError: an unknown rule, ids without `encode`, or a metric where it is not read or is missing.
        DataError: a text is no Unicode text. ResourceError: no threads; the metric's worker failed.
    """
    options = resolve(RankOptions, asdict(options))  # an instance made by hand has seen no check of its types
    if options.by_ids and encode is None:
        raise ConfigError("tokens: ids need `encode`, the teacher's vocabulary, to read the gold")
    if (metric is None) != (sources is None) or (metric is None and options.rule == "estimate"):
        raise ConfigError(f"rule {options.rule}: a learned metric and the sources that it reads go together")
    if metric is not None and not options.by_metric:
        raise ConfigError(f"a learned metric serves the rules mbr and estimate, got {options.rule} - leave it out")
    from distilmt import _native  # the command line starts without

    pairs = zip(records, repeat(None)) if golds is None else zip(records, golds, strict=True)
    read = iter(sources or ())
    while block := list(islice(pairs, ASKED if metric else BLOCK)):
        ids = encode([gold or "" for _, gold in block]) if options.by_ids and encode else repeat([])
        entries = [_entries(record, options) for record, _ in block]
        given = _asked(metric, options.rule, islice(read, len(block)), entries) if metric else repeat([])
        lists = [
            (record.line, each, gold, gold_ids, numbers)
            for (record, gold), each, gold_ids, numbers in zip(block, entries, ids, given, strict=False)
        ]
        try:
            found = _native.rank(lists, asdict(options), threads)
        except ValueError as error:
            raise DataError(f"{error} - label this text again") from None
        except (RuntimeError, MemoryError) as error:
            raise ResourceError(f"{threads} threads cannot be had ({error}) - use fewer threads") from None
        for (record, _), (order, numbers, near) in zip(block, found, strict=True):
            before, after = (None, None) if near is None else (Nearness(*near[:2]), Nearness(*near[2:]))
            yield record, Ranked(order, numbers, before, after)


Entry = tuple[str, Sequence[int], float, float]


def _asked(metric: Score, rule: str, sources: Iterable[str], lists: list[list[Entry]]) -> Iterator[list[float]]:
    """Numbers of every hypothesis by every other, row by row, or of each without a reference; none is asked for twice."""
    questions = []
    for source, entries in zip(sources, lists, strict=True):
        texts = [text for text, *_ in entries]
        references = texts if rule == "mbr" else [""]
        questions.append([(source, text, reference) for text in texts for reference in references])
    once = list(dict.fromkeys(chain.from_iterable(questions)))
    answers = dict(zip(once, metric(*zip(*once, strict=True)), strict=True)) if once else {}
    return ([answers[question] for question in each] for each in questions)


def _entries(record: Record, options: RankOptions) -> list[Entry]:
    if record.verdict not in USABLE:
        return []
    return [(c.text, c.ids if options.by_ids else (), c.score, c.log_prob) for c in record.candidates]
