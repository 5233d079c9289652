"""How far a student is from its teacher where BLEU does not look: on the same prefixes, and at its own mode."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from distilmt.errors import DataError

if TYPE_CHECKING:
    from distilmt.translate import Translator


def top1_agreement(
    student: Translator, teacher: Translator, sources: Sequence[str], targets: Sequence[str]
) -> float | None:
    """Share of target positions, end symbols included, where both rank the same token first, given the same prefix.

    Sentences that either cannot read are left out; None where nothing is left. Source: Zhang et al. 2023 (arXiv:2305.08096),
    whose top-1 agreement rate it is. Raises: DataError: their vocabularies differ.
    """
    from distilmt.vocab import Vocab

    vocabs = [each.vocab for each in (student, teacher)]
    if len({vocab.hash for vocab in vocabs if isinstance(vocab, Vocab)}) != 1 or not all(
        isinstance(v, Vocab) for v in vocabs
    ):
        raise DataError(
            "top-1 agreement: student and teacher have different vocabularies - their first ranks cannot be compared"
        )
    both = [each.score(list(sources), list(targets), soft_labels=1) for each in (student, teacher)]
    same = count = 0
    for one, two in zip(*both, strict=True):
        if one.log_probs and two.log_probs and one.soft_labels is not None and two.soft_labels is not None:
            equal = one.soft_labels.ids[:, 0] == two.soft_labels.ids[:, 0]
            same, count = same + int(equal.sum()), count + len(equal)
    return same / count if count else None


def own_mode(log_probs: Iterable[Sequence[float]]) -> float | None:
    """Mean over sentences of the probability that a model gives to its own best translation: how peaked it is.

    Args:
        log_probs: of each translation's tokens, in nats; sentences without any are left out.
    Returns: None where nothing was translated. Source: Kim & Rush 2016 (arXiv:1606.07947), table 1.
    """
    found = [math.exp(sum(each)) for each in log_probs if each]
    return sum(found) / len(found) if found else None
