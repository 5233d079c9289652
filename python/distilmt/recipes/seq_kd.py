"""Sequence-level distillation: the teacher's beam search output takes the place of every reference.

Source: Kim & Rush 2016 (arXiv:1606.07947), section 3.2: the sum over all target sequences is replaced by its mode, found by
beam search; the original targets are dropped. Deviation: lines whose label is doubtful (labels/verdicts.py) are left out instead of
being learnt from; they are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from distilmt.corpus import Corpus
from distilmt.errors import DataError
from distilmt.label import Labels
from distilmt.labels.records import USABLE

if TYPE_CHECKING:
    from distilmt.distilling.materials import Materials


def make(materials: Materials) -> Corpus:
    """The teacher's best hypotheses; with --drop-worst without those whose source its reverse finds least likely."""
    return materials.pseudo()


def seq_kd(text: Corpus, labels: Labels) -> Corpus:
    """Pairs of source and pseudo target, line-aligned with `text`.

    Args:
        text: the training text; lines it excludes stay excluded.
        labels: the teacher's output for every line of `text`.
    Raises: DataError: `labels` belong to a text of another length.
    """
    if len(labels.pseudo) != len(text.sources):
        raise DataError(
            f"{labels.folder}: {len(labels.pseudo)} labels for {len(text.sources)} source lines - label this text again"
        )
    statuses = [
        status if status != "ok" else "ok" if label in USABLE else f"label_{label}"
        for status, label in zip(text.statuses, labels.statuses, strict=True)
    ]
    if "ok" not in statuses:
        raise DataError(
            f"{labels.folder}: none of {len(statuses)} labels is whole ({dict(Counter(statuses))}) - train the teacher longer"
        )
    return replace(text, targets=labels.pseudo, statuses=statuses, target_hash=labels.pseudo_hash)
