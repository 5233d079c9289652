"""Sequence-level interpolation: of the teacher's n-best list the hypothesis nearest the reference takes its place.

Source: Kim & Rush 2016 (arXiv:1606.07947), section 3.3, chosen as their released code chooses: smoothed sentence BLEU on the
teacher's ids (`kim-rush` of docs/selection.md). They fine-tune a trained student with it; as a recipe it is the data of a
whole training. Not to be confused with mixing gold and pseudo data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from distilmt.corpus import Corpus
from distilmt.label import Labels
from distilmt.labels.rank import RankOptions, rank
from distilmt.labels.records import read_records
from distilmt.recipes.seq_kd import seq_kd
from distilmt.translate import usable_cpus

RANKING = RankOptions(rule="bleu", smoothing="kim-rush", tokens="ids")


def seq_inter(text: Corpus, labels: Labels, encode: Callable[[list[str]], list[list[int]]]) -> Corpus:
    """Pairs of source and chosen hypothesis, line-aligned with `text`.

    Args:
        text: the training text, whose targets are the gold; lines it excludes stay excluded.
        labels: the teacher's n-best lists for every line of `text`.
        encode: targets to the teacher's ids.
    Raises: DataError: `labels` belong to a text of another length.
    """
    pseudo = seq_kd(text, labels)
    golds = (gold if status == "ok" else None for gold, status in zip(text.targets, text.statuses, strict=True))
    targets, digest = [], hashlib.sha256()
    for record, ranked in rank(read_records(labels.folder), golds, RANKING, encode=encode, threads=usable_cpus()):
        targets.append(record.candidates[ranked.order[0]].text if ranked.order else "")
        digest.update(targets[-1].encode() + b"\n")
    return replace(pseudo, targets=targets, target_hash=digest.hexdigest())
