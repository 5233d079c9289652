"""Encoded sentence pairs and the deterministic order in which training sees them.

Axes: a pair has `source` [S] and `target` [T] token ids without end symbols; a batch pads both sides of `n` pairs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from distilmt.errors import ConfigError, DataError
from distilmt.vocab import Vocab

if TYPE_CHECKING:
    from distilmt.soft_labels import SoftLabelsStore
    from distilmt.training.stored_teacher import Stored

IGNORED = -100  # a label that is no target: Hugging Face's and linear_kd's convention


@dataclass
class Ragged:
    """Lists of token ids, flat: 4 bytes a token however many lists there are.

    ids: int32 [tokens]; offsets: int64 [lists + 1].
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Ragged:
        lengths = np.fromiter((len(ids) for ids in lists), np.int64, len(lists))
        flat = np.fromiter((i for ids in lists for i in ids), np.int32, int(lengths.sum()))
        return cls(flat, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """One behind the other."""
        lengths = np.concatenate([part.lengths for part in parts])
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(np.concatenate([part.ids for part in parts]), ends)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each list, int64 [lists]."""
        return np.diff(self.offsets)


@dataclass
class Pairs:
    """Sentence pairs as token ids; `lines` [pairs] are their line numbers (from 1) in the files they came from.

    Of a mixture, `parts` says where each of its corpora begins and ends, and `shares` how many of the batches it gets;
    `directed` where each batch is to say of which part it is.
    """

    source: Ragged
    target: Ragged
    lines: NDArray[np.int64]
    skipped: dict[str, int]
    parts: Sequence[tuple[int, int]] = ()
    shares: Sequence[float] = ()
    directed: bool = False

    @classmethod
    def mixed(cls, parts: Sequence[Pairs], shares: Sequence[float], *, directed: bool = False) -> Pairs:
        """One behind the other."""
        ends = np.cumsum([0, *map(len, parts)]).tolist()
        skipped: dict[str, int] = {}
        for part in parts:
            for reason, count in part.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
        return cls(
            Ragged.joined([part.source for part in parts]), Ragged.joined([part.target for part in parts]),
            np.concatenate([part.lines for part in parts]), skipped, list(pairwise(ends)), shares, directed,
        )  # fmt: skip

    def plan(self, lengths: NDArray[np.int64], **options: Any) -> BatchPlan | MixedPlan:
        """The plan of a training on them; options as of BatchPlan."""
        return MixedPlan(lengths, self.parts, self.shares, **options) if self.parts else BatchPlan(lengths, **options)

    def part_of(self, index: int) -> int:
        """Number of the part that a pair is of."""
        return next(number for number, (_, end) in enumerate(self.parts) if index < end)

    def word_counts(self, vocab: Vocab) -> torch.Tensor:
        """How often each word stands in the targets, end symbols included, int64 [vocab]."""
        counts = torch.from_numpy(np.bincount(self.target.ids, minlength=vocab.target_size))
        counts[vocab.eos_id] += len(self)
        return counts

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> int:
        return index  # the collator reads whole batches from the flat arrays


def encode_pairs(
    sources: Sequence[str], targets: Sequence[str], lines: Sequence[int], vocab: Vocab, *, max_tokens: int, what: str,
    store: SoftLabelsStore | None = None, tag: str | None = None,
) -> Pairs:  # fmt: skip
    """Encodes line-aligned pairs; pairs longer than the model's positions, or empty after tokenization, are left out.

    Args:
        sources, targets: text, line-aligned.
        lines: line number of each pair.
        vocab: vocabulary of both sides.
        max_tokens: positions of the model, end symbol included.
        what: name of the corpus in messages.
        store: the targets' soft labels; pairs without any are left out.
        tag: `>>fra<<`, whose id goes before each source.
    Returns: the pairs kept; `skipped` counts the others by reason.
    Raises: DataError: nothing is left; soft labels of another text.
    """
    source_ids, target_ids = vocab.encode_source(list(sources), tag=tag), vocab.encode_target(list(targets))
    whole = [True] * len(target_ids)
    if store is not None:
        from distilmt.training.stored_teacher import stored_targets

        stored = stored_targets(store, target_ids, targets, lines, vocab)
        whole = [bool(ids) or not own for ids, own in zip(stored, target_ids, strict=True)]
        target_ids = [ids or own for ids, own in zip(stored, target_ids, strict=True)]
    kept, skipped = [], {"too_long": 0, "no_tokens": 0, "no_soft_labels": 0}
    for i, (source, target) in enumerate(zip(source_ids, target_ids, strict=True)):
        if len(source) == (tag is not None) or not target:
            skipped["no_tokens"] += 1
        elif max(len(source), len(target)) >= max_tokens:
            skipped["too_long"] += 1
        elif not whole[i]:
            skipped["no_soft_labels"] += 1
        else:
            kept.append(i)
    if skipped["too_long"]:
        print(
            f"distilmt: {what}: {skipped['too_long']} of {len(lines)} pairs are longer than the model's {max_tokens} positions "
            "and are left out",
            file=sys.stderr,
        )
    if skipped["no_soft_labels"]:
        print(
            f"distilmt: {what}: {skipped['no_soft_labels']} of {len(lines)} pairs have no soft labels, or none up to an end "
            "symbol, and are left out",
            file=sys.stderr,
        )
    if not kept:
        raise DataError(
            f"{what}: no pair is left of {len(lines)} ({skipped['too_long']} longer than the model's {max_tokens} "
            f"positions, {skipped['no_soft_labels']} without soft labels) - give more text or a model with more positions"
        )
    return Pairs(
        Ragged.of([source_ids[i] for i in kept]),
        Ragged.of([target_ids[i] for i in kept]),
        np.asarray([lines[i] for i in kept], np.int64),
        {reason: count for reason, count in skipped.items() if count},
    )


class BatchPlan:
    """Batches of one process for a whole training, as a batch sampler.

    Every epoch is shuffled by (seed, epoch), sorted by length inside windows, cut into batches of at most `tokens` padded
    tokens on the longer side, and the batches are shuffled again. The plan is a function of its arguments alone, so a resumed
    run goes on exactly where it stopped. Process `rank` of `world` takes every world-th batch; all take equally many.

    Args:
        lengths: tokens of each pair with end symbols, [pairs, 2] (source, target).
        tokens: padded tokens of a batch on its longer side.
        steps: batches this process sees in all.
        pad_to: lengths are rounded up to a multiple of it.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        *,
        tokens: int,
        steps: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        pad_to: int = 1,
    ) -> None:
        self.lengths = -(-lengths // pad_to) * pad_to
        self.tokens, self.steps, self.seed, self.rank, self.world = tokens, steps, seed, rank, world
        longest = int(self.lengths.max())
        if longest > tokens:
            raise ConfigError(f"batch_tokens must hold the longest pair ({longest} tokens), got {tokens}")

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of one epoch (all processes), as arrays of pair indices."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.lengths))
        longer = self.lengths.max(axis=1)
        batches = []
        # Windows of about a hundred batches: long enough to find neighbours in length, short enough to keep epochs different.
        window = max(1, 100 * self.tokens // max(1, int(longer.mean())))
        for start in range(0, len(order), window):
            part = order[start : start + window]
            source, target = self.lengths[part, 0], self.lengths[part, 1]
            part = part[np.lexsort((source, target, longer[part]))]
            first = 0
            for i in range(len(part)):
                # Sorted, so pair i is the longest of its batch so far.
                if (i + 1 - first) * longer[part[i]] > self.tokens:
                    batches.append(part[first:i])
                    first = i
            batches.append(part[first:])
        return [batches[i] for i in random.permutation(len(batches))]

    def __iter__(self) -> Iterator[list[int]]:
        step, turn, epoch = 0, 0, 0
        while step < self.steps:
            for batch in self.epoch(epoch):
                if turn % self.world == self.rank:
                    yield batch.tolist()
                    step += 1
                    if step == self.steps:
                        return
                turn += 1
            epoch += 1

    def __len__(self) -> int:
        return self.steps


class MixedPlan:
    """Batches of several parts of the pairs: each batch is of one part, drawn by its share (recipes/hybrid.py).

    Every part runs through plans of its own, epoch by epoch; which part comes next is a function of the seed alone.

    Args:
        parts: first and last + 1 of the pairs of each part.
        shares: chance of each part, adding up to 1.
        others: as of BatchPlan.
    """

    def __init__(
        self, lengths: NDArray[np.int64], parts: Sequence[tuple[int, int]], shares: Sequence[float], **others: Any
    ) -> None:
        self.parts, self.shares = parts, shares
        self.steps: int = others["steps"]
        self.seed: int = others["seed"]
        self.plans = [BatchPlan(lengths[first:last], **others) for first, last in parts]

    def __iter__(self) -> Iterator[list[int]]:
        streams = [iter(plan) for plan in self.plans]
        for part in np.random.default_rng([self.seed, len(self.parts)]).choice(
            len(self.parts), self.steps, p=self.shares
        ):
            first = self.parts[part][0]
            yield [first + index for index in next(streams[part])]

    def __len__(self) -> int:
        return self.steps


def collate(
    pairs: Pairs, indices: Sequence[int], *, eos: int, pad: int, pad_to: int = 1, teacher: Stored | None = None
) -> dict[str, torch.Tensor]:
    """Pads one batch.

    Returns: `input_ids` [n, S], `attention_mask` [n, S], `decoder_input_ids` [n, T] (pad starts, Marian's habit), `labels`
        [n, T] (end symbol included, IGNORED after it), `lines` [n]; int64. And what a stored teacher says of the labels, and
        of directed pairs `direction` [], the number of the batch's part.
    """
    sources, targets = [pairs.source[i] for i in indices], [pairs.target[i] for i in indices]
    width = [-(-(max(map(len, side)) + 1) // pad_to) * pad_to for side in (sources, targets)]
    input_ids = np.full((len(indices), width[0]), pad, np.int64)
    mask = np.zeros((len(indices), width[0]), np.int64)
    decoder = np.full((len(indices), width[1]), pad, np.int64)
    labels = np.full((len(indices), width[1]), IGNORED, np.int64)
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        input_ids[row, : len(source)], input_ids[row, len(source)] = source, eos
        mask[row, : len(source) + 1] = 1
        decoder[row, 1 : len(target) + 1] = target
        labels[row, : len(target)], labels[row, len(target)] = target, eos
    lines = pairs.lines[list(indices)]
    return {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(mask),
        "decoder_input_ids": torch.from_numpy(decoder),
        "labels": torch.from_numpy(labels),
        "lines": torch.from_numpy(lines),
        **(teacher.rows(lines, labels) if teacher else {}),
        **({"direction": torch.tensor(pairs.part_of(indices[0]))} if pairs.directed else {}),
    }
