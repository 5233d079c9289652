"""On-policy batches: their targets are what the student itself says, so that it learns on prefixes that it will meet.

The teacher speaks at every position of such a target, and nothing is learnt from the words themselves: terms of NLL have no
part in it. Sources: ImitKD (Lin et al. 2020, arXiv:2009.07253), greedy, its share 1 - 200^(-t) at a time t from 0 to 1:
`schedule = "exponential"`; GKD (Agarwal et al. 2024, arXiv:2306.13649), sampled, half of all batches; f-distill (Wen et al.
2023, arXiv:2307.15190), whose exact Jensen-Shannon and total variation take student samples for one half of every batch:
`beside`. No gradient goes through the decoding. Changed: ImitKD draws by sentence, here whole batches are of one kind; GKD's
released code divides the logits of the loss by the sampling temperature too, here the terms have temperatures of their own;
lengths end at the longest gold target of the batch, not at 128 tokens.

The student is decoded by the native translator, from its weights of at most `every` updates ago.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from distilmt.errors import ConfigError

STREAM = 0x6F776E  # of random numbers: apart from those of the plan


@dataclass(frozen=True, kw_only=True)
class OwnTargets:
    """When and how a student decodes targets for its own training."""

    share: float = field(default=0.0, metadata={"help": "of batches whose targets the student says itself (GKD: 0.5)"})
    schedule: Literal["constant", "exponential"] = field(
        default="constant", metadata={"help": "exponential: share times 1 - 200^(-t), t from 0 to 1 (ImitKD)"}
    )
    sample: bool = field(default=False, metadata={"help": "draw targets instead of taking the likeliest words"})
    temperature: float = field(default=0.9, metadata={"help": "of samples (GKD: 0.9)"})
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
        if not self.temperature > 0:
            raise ConfigError(f"own_temperature must be positive, got {self.temperature}")

    @property
    def needs_teacher(self) -> bool:
        """True where such batches have an objective of their own, which a teacher serves whatever the other batches need."""
        return self.share > 0 and self.objective is not None

    def share_at(self, progress: float) -> float:
        """Share of batches at a point of the training, from 0 to 1."""
        return self.share * (1 - 200.0**-progress if self.schedule == "exponential" else 1.0)

    def chosen(self, seed: int, update: int, batch: int, progress: float) -> bool:
        """Whether the student says the targets of a batch: a function of these numbers alone, so that a resumed run agrees."""
        import numpy as np

        return bool(np.random.default_rng([seed, STREAM, update, batch]).random() < self.share_at(progress))
