"""Planned contrasts of quality over sentences, and over seeds besides: what the blocks of a study cannot show.

A model translates the same way in every block, so decoding's BLEU has no spread over blocks, though it has one over
sentences. A distillation's blocks are seeds: then both are resampled together (statistics/quality.py has the formulas).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from distilmt.corpus import load_corpus
from distilmt.errors import DataError
from distilmt.statistics import Layout, Paired, paired, stars
from distilmt.statistics.contrasts import MOST
from distilmt.statistics.layout import interval, number, p_value
from distilmt.study.records import record_of, translations_of
from distilmt.study.spec import Planned, Study, treatment_name
from distilmt.text.files import language_of, open_text

Lines = dict[int, list[str]]
NOTES = [
    "Points, first minus second, mean over seeds; 95 % bootstrap intervals. p: bootstrap over seeds and sentences where there "
    "are several seeds, else approximate randomisation over sentences. Blocks with equal translations count once."
]
TOO_MANY = f"No p with more than {MOST} comparisons in a table: Holm's correction would leave nothing."


@dataclass(frozen=True)
class Tested:
    """The raw p of a planned table, and the table once these are corrected, with the number of comparisons of all tables."""

    ps: Sequence[float | None]
    layout: Callable[[Sequence[float | None], int], Layout]


def by_sentences(study: Study, planned: Planned) -> Tested:
    """The table of a contrast, one row for each pair of levels and each combination of the other factors.

    Raises:
        DataError: translations are missing, or the reference text has changed.
    """
    others = [name for name in study.levels if name != planned.factor]
    found: dict[str, Paired] = {}
    for own in itertools.product(*(study.levels[name] for name in others)):
        at = dict(zip(others, own, strict=True))
        for pair in planned.pairs:
            name = f"{pair[0]} − {pair[1]}" + (f" ({treatment_name(at)})" if at else "")
            found[name] = compared(study, planned.outcome, *(at | {planned.factor: level} for level in pair))
    ps = [_p(each) if len(found) <= MOST else None for each in found.values()]

    def layout(p_holm: Sequence[float | None], family: int) -> Layout:
        body = [
            [
                name, " / ".join(map(str, each.seeds)), str(each.sentences), number(each.difference),
                interval(each.low, each.high), p_value(p), p_value(corrected) + stars(corrected),
            ]
            for (name, each), p, corrected in zip(found.items(), ps, p_holm, strict=True)
        ]  # fmt: skip
        head = ["Contrast", "Seeds", "Sentences", "Difference", "Interval", "p", "p (Holm)"]
        over = f"Holm's correction over all {family} planned comparisons of this report."
        notes = [*NOTES, TOO_MANY if len(found) > MOST else over]
        return Layout(f"Planned: {planned.outcome} by {planned.factor}, over sentences", head, body, notes)

    return Tested(ps, layout)


def compared(study: Study, outcome: str, system: dict[str, str], baseline: dict[str, str]) -> Paired:
    """Two treatments, named by their levels, in bleu, chrf, bleu_NAME or chrf_NAME, over seeds and sentences.

    Raises:
        DataError: translations are missing, or the reference text has changed.
    """
    measure, _, further = outcome.partition("_")
    (one, references, language), (two, same, _) = (_translations(study, each, further) for each in (system, baseline))
    if references != same:
        names = " and ".join(map(treatment_name, (system, baseline)))
        raise DataError(f"{names} have different references - there is nothing to pair")
    return paired(one, two, references, measure=cast(Literal["bleu", "chrf"], measure), target_lang=language)


def _p(found: Paired) -> float:
    if min(found.seeds) > 1 or found.p_randomisation is None:
        return found.p_bootstrap
    return found.p_randomisation


def _translations(study: Study, levels: dict[str, str], further: str) -> tuple[Lines, list[str], str]:
    """Translations of a treatment by block, equal ones once, their references, and the language of these.

    Args:
        further: name of the text that they are of; empty: the cells' own test text.
    """
    found: Lines = {}
    last = None
    for cell in study.cells():
        if cell.levels == levels and record_of(study, cell).get("status") == "done":
            path, last = translations_of(study.folder, cell.name, further), cell
            if not path.exists():
                raise DataError(f"{path}: is missing - only cells that translate can be compared by their sentences")
            with open_text(path) as stream:
                lines = stream.read().decode().split("\n")[:-1]
            if lines not in found.values():
                found[cell.block] = lines
    if last is None:
        raise DataError(f"no cell of {treatment_name(levels)} is done")
    record, test = record_of(study, last), last.settings["test"]
    if further:
        test, known = last.settings["further"][further].get("test", test), record["further"][further]["target"]
    else:
        known = record["inputs"].get("target", record["inputs"].get("test target"))
    text = load_corpus(test)
    if text.target_hash != known:
        raise DataError(f"{test[1]}: has changed since the cells ran - restore it")
    return found, text.targets[: last.settings.get("lines") or len(text)], language_of(test[1])
