"""What a translator gives back, and how it comes from the native core's tuples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from distilmt.soft_labels import SoftLabels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# From the soundest to the worst, which is what a line in pieces has (long_lines.py).
Status = Literal[
    "ok", "redone_float32", "split", "truncated", "max_length", "repetition", "empty_hypothesis", "empty_source",
    "too_long", "not_finite",
]  # fmt: skip


@dataclass(frozen=True)
class Hypothesis:
    """One translation.

    Attributes:
        ids: without start and end symbols, prefix included.
        text: "" where ids were translated without text.
        score: what the search ranks by, normalised by the length penalty, in nats.
        log_probs: the model's, one per token, in nats, the end symbol's included where it was reached; 0 for a token that
            a prefix or the model's settings force.
        soft_labels: one row per entry of log_probs, where asked for.
    """

    ids: list[int]
    text: str
    score: float
    log_probs: list[float]
    soft_labels: SoftLabels | None = None


@dataclass(frozen=True)
class Translation:
    """The translation of one source.

    Attributes:
        hypotheses: best first.
        status: how decoding went (see `distilmt.translate`).
        pieces: that a long line was translated in.
    """

    hypotheses: list[Hypothesis]
    status: Status
    pieces: int = 1

    @property
    def text(self) -> str:
        """Text of the best hypothesis."""
        return self.hypotheses[0].text


@dataclass(frozen=True)
class Scored:
    """A given target under the model.

    Attributes:
        log_probs: of each token and of the end symbol, in nats; empty, for nothing was scored, where status is
            `empty_source`, `too_long` or `not_finite`.
        score: their sum, normalised by the length penalty.
        status: see `distilmt.translate`.
        soft_labels: one row per entry of log_probs, where asked for.
        hidden_states: float32 [tokens, d], what the decoder gives to the output projection, where asked for.
    """

    log_probs: list[float]
    score: float
    status: Status
    soft_labels: SoftLabels | None = None
    hidden_states: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Stats:
    """The last call.

    Attributes:
        sentences: how many.
        target_tokens: of the best hypotheses, with their end symbols.
        seconds: of decoding, without tokenization.
    """

    sentences: int
    target_tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Target tokens per second; 0 for an empty call."""
        return self.target_tokens / self.seconds if self.target_tokens else 0.0


def translation(status: Any, hypotheses: list[Any], text: Callable[[Any], str], soft_labels: int) -> Translation:
    found = [Hypothesis(h[0], text(h[0]), h[1], h[2], soft_labels_of(h[3], soft_labels)) for h in hypotheses]
    if found and repeats(found[0].ids):
        status = "repetition"
    return Translation(found or [Hypothesis([], "", 0.0, [], soft_labels_of(None, soft_labels))], status)


def soft_labels_of(arrays: Any, k: int) -> SoftLabels | None:
    return SoftLabels(*arrays) if arrays else SoftLabels.none(k) if k else None


def repeats(ids: Sequence[int]) -> bool:
    """Whether they end in a phrase of at most 8 tokens that stands at least 8 times in a row, wherever the phrase begins."""
    return any(len(ids) >= 8 * n and ids[-8 * n : -n] == ids[-7 * n :] for n in range(1, 9))
