"""Of each n-best list the hypotheses that a rule prefers, as line-aligned corpora."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from distilmt.corpus import Corpus
from distilmt.label import Labels
from distilmt.labels.rank import RankOptions, rank
from distilmt.labels.records import read_records
from distilmt.recipes.seq_kd import seq_kd
from distilmt.text.files import lines_hash


def chosen(
    text: Corpus, labels: Labels, ranking: RankOptions, encode: Callable[[list[str]], list[list[int]]], keep: int = 1
) -> list[Corpus]:
    """The best `keep` of each list, one corpus for each place, line-aligned with `text`.

    Args:
        text: the training text, whose targets are the gold; lines it excludes stay excluded.
        labels: the teacher's n-best lists for every line of `text`.
        encode: targets to the teacher's ids.
    Returns: corpora; lines whose list is shorter are left out of the later ones (status `label_missing`).
    Raises: DataError: `labels` belong to a text of another length.
    """
    from distilmt.energy.machine import usable_cpus

    pseudo = seq_kd(text, labels)
    golds = (gold if status == "ok" else None for gold, status in zip(text.targets, text.statuses, strict=True))
    columns: list[list[str]] = [[] for _ in range(keep)]
    for record, ranked in rank(read_records(labels.folder), golds, ranking, encode=encode, threads=usable_cpus()):
        texts = [record.candidates[place].text for place in ranked.order[:keep]]
        for place, column in enumerate(columns):
            column.append(texts[place] if place < len(texts) else "")
    return [with_targets(pseudo, column) for column in columns]


def with_targets(pseudo: Corpus, targets: list[str]) -> Corpus:
    """The corpus with other targets; lines that have none are left out."""
    statuses = [
        status if target or status != "ok" else "label_missing"
        for status, target in zip(pseudo.statuses, targets, strict=True)
    ]
    return replace(pseudo, targets=targets, statuses=statuses, target_hash=lines_hash(targets))
