"""On-policy batches: their targets are what the student itself says, so that it learns on prefixes that it will meet.

The teacher speaks at every position of such a target, and nothing is learnt from the words themselves: terms of NLL have no
part in it. Sources: ImitKD (Lin et al. 2020, arXiv:2009.07253), greedy, drawn sentence by sentence (`by = "sentence"`), its
share 1 - b(t) at a time t from 0 to 1. The paper's b is 200^(-t), "exponential"; its released code has two others, "linear",
1 - t, and "reverse_sigmoid", 1 / (1 + exp(20 (t - 1/2))). On the data's prefixes the method `imitkd` learns gold, as that
code does; the paper has the teacher's best word at every position: the objective Top1() on both, with these options. GKD
(Agarwal et al. 2024, arXiv:2306.13649), sampled, half of all batches; f-distill (Wen et al. 2023, arXiv:2307.15190), whose
exact Jensen-Shannon and total variation take student samples for one half of every batch: `beside`. No gradient goes through
the decoding. Changed: whole batches are of one kind unless asked otherwise; GKD's released code divides the logits of the loss
by the sampling temperature too, here the terms have temperatures of their own; lengths end at the longest gold target of the
batch, not at 128 tokens.

The student is decoded by the native translator, from its weights of at most `every` updates ago.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from distilmt.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STREAM = 0x6F776E  # of random numbers: apart from those of the plan


@dataclass(frozen=True, kw_only=True)
class OwnTargets:
    """When and how a student decodes targets for its own training."""

    share: float = field(default=0.0, metadata={"help": "of batches whose targets the student says itself (GKD: 0.5)"})
    schedule: Literal["constant", "exponential", "linear", "reverse_sigmoid"] = field(
        default="constant",
        metadata={
            "help": "exponential: share times 1 - 200^(-t), t from 0 to 1 (ImitKD); linear: t; reverse_sigmoid: an S"
        },
    )
    by: Literal["batch", "sentence"] = field(
        default="batch", metadata={"help": "whole batches, or sentence by sentence in each (ImitKD)"}
    )
    sample: bool = field(default=False, metadata={"help": "draw targets instead of taking the likeliest words"})
    temperature: float = field(default=0.9, metadata={"help": "of samples (GKD: 0.9)"})
    top_k: int = field(
        default=0, metadata={"help": "likeliest words that samples are drawn from (f-distill's code: 40); 0: all"}
    )
    every: int = field(default=4, metadata={"help": "updates between decodings with newer weights"})
    beside: bool = field(
        default=False, metadata={"help": "learn from them beside the batch's own targets, not in place of these"}
    )
    objective: str | None = field(
        default=None, metadata={"help": "what to minimise on these batches; default: the objective without NLL"}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"own_share must lie in [0, 1], got {self.share}")
        if self.every < 1:
            raise ConfigError(f"own_every must be at least 1, got {self.every}")
        if self.top_k < 0:
            raise ConfigError(f"own_top_k must be at least 0, got {self.top_k}")
        if not self.temperature > 0:
            raise ConfigError(f"own_temperature must be positive, got {self.temperature}")

    @property
    def needs_teacher(self) -> bool:
        """True where such batches have an objective of their own, which a teacher serves whatever the other batches need."""
        return self.share > 0 and self.objective is not None

    def share_at(self, progress: float) -> float:
        """Share of targets at a point of the training, from 0 to 1."""
        risen = {
            "constant": 1.0, "exponential": 1 - math.pow(200, -progress), "linear": progress,
            "reverse_sigmoid": 1 - 1 / (1 + math.exp(20 * (progress - 0.5))),
        }  # fmt: skip
        return self.share * risen[self.schedule]

    def chosen(self, seed: int, update: int, batch: int, progress: float, sentences: int) -> NDArray[np.bool_]:
        """Which of a batch's targets the student says, bool [sentences]: a function of these numbers alone, so that a resumed
        run agrees."""
        import numpy as np

        drawn = np.random.default_rng([seed, STREAM, update, batch]).random(sentences if self.by == "sentence" else 1)
        return np.broadcast_to(drawn < self.share_at(progress), sentences)
