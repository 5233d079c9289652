"""What becomes of a line of more tokens than the model has positions: skipped, cut short, or translated in pieces (fault case 12).

Nothing is ever cut in silence: the policy is the user's and the line's status says what happened.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, get_args

from distilmt.soft_labels import SoftLabels
from distilmt.translator.results import Hypothesis, Status, Translation
from distilmt.translator.search import length_penalised
from distilmt.vocab import TooLong, apply_too_long


def cut(
    lines: Sequence[Sequence[int]], limit: int, policy: TooLong, starts: Container[int]
) -> tuple[list[list[int]], list[int], list[Status]]:
    """Cuts lines into pieces of at most `limit` ids, where it can before ids that start a word.

    Returns: the pieces of all lines in order, the number of pieces of each line, and each line's status: ok, split or truncated.
        A line that is skipped stays one piece, which the translator refuses as too_long.
    """
    pieces: list[list[int]] = []
    counts: list[int] = []
    statuses: list[Status] = []
    for ids in lines:
        found, status = apply_too_long(ids, limit, policy, starts)
        found = found or [list(ids)]
        pieces += found
        counts.append(len(found))
        statuses.append("ok" if status == "too_long" else status)
    return pieces, counts, statuses


def join(
    parts: Sequence[Translation], counts: Sequence[int], statuses: Sequence[Status], options: Mapping[str, Any]
) -> list[Translation]:
    """Puts the translations of the pieces together again, one per line, with the worst of their statuses; a joined score is
    that of the joined tokens' log-probabilities, by the length penalty of the options."""
    whole, first = [], 0
    for count, status in zip(counts, statuses, strict=True):
        pieces = parts[first : first + count]
        first += count
        if count == 1:
            whole.append(replace(pieces[0], status=worst(status, pieces[0].status)))
            continue
        best = [piece.hypotheses[0] for piece in pieces]
        log_probs = list(chain.from_iterable(each.log_probs for each in best))
        score = length_penalised(sum(log_probs), len(log_probs), options)
        ids = list(chain.from_iterable(each.ids for each in best))
        text = " ".join(each.text for each in best if each.text)
        soft_labels = [each.soft_labels for each in best if each.soft_labels is not None]
        joined = SoftLabels.joined(soft_labels) if soft_labels else None
        found = worst(status, *(piece.status for piece in pieces))
        whole.append(Translation([Hypothesis(ids, text, score, log_probs, joined)], found, count))
    return whole


def worst(*statuses: Status) -> Status:
    """The one that says most against a translation."""
    return max(statuses, key=get_args(Status).index)
