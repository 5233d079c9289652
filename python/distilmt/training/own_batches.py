"""Batches whose targets the student says itself (own_targets.py): what is minimised on them, and how they are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distilmt.errors import ConfigError
from distilmt.training.own_targets import OwnTargets

if TYPE_CHECKING:
    from torch import Tensor

    from distilmt.objectives import Objective


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

    def parts(self, state: Any, number: int, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A batch's sentences that keep their targets (all of them, to learn the others beside), and those whose targets the
        student is to say; `{}` where there are none. `state` is the trainer's, `number` the batch's of this optimizer step."""
        import torch

        update, sentences = state.global_step, len(batch["labels"])
        drawn = self.options.chosen(self.seed, update, number, update / state.max_steps, sentences)
        chosen = torch.from_numpy(drawn.copy())
        if not chosen.any():
            return batch, {}
        own, kept = ({name: each[rows] for name, each in batch.items()} for rows in (chosen, ~chosen))
        return (batch if self.options.beside else {} if chosen.all() else kept), own

    def fresh(self, update: int) -> bool:
        """Whether the batch after so many updates is decoded with the weights of then, whatever came before."""
        return self._translator is None or update - self._taken >= self.options.every

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

        if self.fresh(update):
            self._translator = Translator.of(student, compute_type="float32", threads=self.threads)
            self._taken = update
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        sources = [
            row[: int(length) - 1].tolist() for row, length in zip(ids, mask.sum(1), strict=True)
        ]  # no end symbol
        search: dict[str, Any] = {"beam_size": 1}
        if self.options.sample:
            search = {
                "sample": True, "temperature": self.options.temperature, "top_k": self.options.top_k,
                "seed": (self.seed << 32) + update,
            }  # fmt: skip
        said = self._translator.translate_ids(sources, max_length=inputs["labels"].shape[1], **search)
        return inputs | self._targets([t.hypotheses[0] for t in said], ids)

    def _targets(self, said: Sequence[Any], like: Any) -> dict[str, Any]:
        import numpy as np

        from distilmt.training.batches import IGNORED

        rows = [[*h.ids, self.eos] if len(h.log_probs) > len(h.ids) else list(h.ids) for h in said]
        width = -(-max(1, *map(len, rows)) // self.pad_to) * self.pad_to
        labels = np.full((len(rows), width), IGNORED, np.int64)
        decoder = np.full((len(rows), width), self.pad, np.int64)
        for row, target in enumerate(rows):
            labels[row, : len(target)] = target
            decoder[row, 1 : len(target)] = target[:-1]
        return {"labels": like.new_tensor(labels), "decoder_input_ids": like.new_tensor(decoder)}
