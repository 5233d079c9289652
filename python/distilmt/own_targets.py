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

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from distilmt.errors import ConfigError

if TYPE_CHECKING:
    from distilmt.objectives import Objective

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


def own_objective(options: OwnTargets, objective: Objective) -> Objective | None:
    """What is minimised on these batches; None where there are none.

    Raises: ConfigError: nothing is left without NLL, a term of it looks at the words that were said, or one that was written
        for these batches alone remembers what it has seen.
    """
    from distilmt.objectives import NLL, Objective, parse

    if not options.share:
        return None
    kept = objective if options.objective is None else parse(options.objective)
    if options.objective is None:
        kept = Objective(tuple((weight, term) for weight, term in objective.terms if not isinstance(term, NLL)))
    if not kept.needs_teacher or any(isinstance(term, NLL) for _, term in kept.terms):
        raise ConfigError(
            f"own_objective {kept!r}: the student's own words are no gold - learn from a teacher there, as by WordKD(), without NLL"
        )
    if options.objective is not None and kept.state_dict():
        raise ConfigError(
            f"own_objective {kept!r}: a memory of its own is never filled - write level='batch', or the term in the objective"
        )
    return kept


class Sayer:
    """Decodes a batch's sources with the student's weights of now, or of at most `every` updates ago."""

    def __init__(
        self, options: OwnTargets, *, eos: int, pad: int, seed: int, threads: int | None, pad_to: int = 1
    ) -> None:
        self.options, self.eos, self.pad, self.seed, self.threads = options, eos, pad, seed, threads
        self.pad_to = pad_to
        self._translator: Any = None
        self._taken = -1

    def chosen(self, state: Any, batch: int) -> bool:
        """Whether the student says the targets of this batch; `state` is the trainer's."""
        return self.options.chosen(self.seed, state.global_step, batch, state.global_step / state.max_steps)

    def forget(self) -> None:
        """At a checkpoint: the next batch is decoded with the weights of then, as in a training that resumes there."""
        self._translator = None

    def say(self, student: Any, inputs: dict[str, Any], update: int) -> dict[str, Any]:
        """The batch with the student's targets in place of its own, no longer than the longest of these.

        Args:
            inputs: `input_ids`, `attention_mask`, `decoder_input_ids`, `labels`, as `batches.collate` makes them.
            update: optimizer steps behind.
        """
        from distilmt.translate import Translator

        if self._translator is None or update - self._taken >= self.options.every:
            self._translator = Translator.of(student, compute_type="float32", threads=self.threads)
            self._taken = update
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        sources = [
            row[: int(length) - 1].tolist() for row, length in zip(ids, mask.sum(1), strict=True)
        ]  # no end symbol
        search: dict[str, Any] = {"beam_size": 1}
        if self.options.sample:
            search = {"sample": True, "temperature": self.options.temperature, "seed": (self.seed << 32) + update}
        said = self._translator.translate_ids(sources, max_length=inputs["labels"].shape[1], **search)
        return inputs | self._targets([t.hypotheses[0] for t in said], ids)

    def _targets(self, said: Sequence[Any], like: Any) -> dict[str, Any]:
        import numpy as np

        from distilmt.batches import IGNORED

        rows = [[*h.ids, self.eos] if len(h.log_probs) > len(h.ids) else list(h.ids) for h in said]
        width = -(-max(1, *map(len, rows)) // self.pad_to) * self.pad_to
        labels = np.full((len(rows), width), IGNORED, np.int64)
        decoder = np.full((len(rows), width), self.pad, np.int64)
        for row, target in enumerate(rows):
            labels[row, : len(target)] = target
            decoder[row, 1 : len(target)] = target[:-1]
        return {"labels": like.new_tensor(labels), "decoder_input_ids": like.new_tensor(decoder)}
