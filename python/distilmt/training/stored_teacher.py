"""A teacher that is not run: its stored soft labels (soft_labels/), gathered for each batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilmt.errors import DataError
from distilmt.knn.stored import StoredNeighbours
from distilmt.objectives import Head, TopK
from distilmt.soft_labels.states import load_head
from distilmt.soft_labels.store import HEAD, SENTENCES, SoftLabelsStore

if TYPE_CHECKING:
    from distilmt.vocab import Vocab


class StoredTeacher:
    """What `StudentLoss` asks of a teacher: `rows` where a batch is made, `of` where its loss is.

    Args:
        store: of the training text.
        columns: ids of the student's output layer, the pad symbol left out.
    Raises: DataError: the store's output layer is damaged or has another number of ids.
    """

    def __init__(self, store: SoftLabelsStore, columns: int) -> None:
        self.store, self.columns = store, columns
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        if store.state_width:
            self.weight, self.bias = load_head(store.folder / HEAD)
            if self.weight.shape != (columns, store.state_width):
                raise DataError(
                    f"{store.folder / HEAD}: weight is {tuple(self.weight.shape)}, expected {(columns, store.state_width)} "
                    "- make the soft labels again with the student's vocabulary"
                )

    def rows(self, lines: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[str, Tensor]:
        """The teacher of a batch, for `of`. lines: [n]; labels: [n, T], the end symbol included and below 0 behind it.

        Raises: DataError: names a line whose soft labels are damaged or of another target.
        """
        if self.weight is not None:
            states = torch.from_numpy(self.store.gather_states(lines, labels).view(np.int16)).view(torch.bfloat16)
            return {"teacher_states": states}
        # Entries stand in front, and there are no more of them than columns.
        ids, log_probs = (rows[..., : self.columns] for rows in self.store.gather(lines, labels, self.columns))
        return {"teacher_ids": torch.from_numpy(ids), "teacher_log_probs": torch.from_numpy(log_probs)}

    def of(self, rows: dict[str, Tensor]) -> TopK | Head:
        """The teacher of [n x T] rows, from what `rows` gave."""
        if self.weight is None:
            ids, log_probs = rows["teacher_ids"], rows["teacher_log_probs"]
            return TopK(ids.flatten(0, 1), log_probs.flatten(0, 1))
        states = rows["teacher_states"].flatten(0, 1).float()
        self.weight = self.weight.to(states.device)
        self.bias = None if self.bias is None else self.bias.to(states.device)
        return Head(states, self.weight, self.bias)


Stored = StoredTeacher | StoredNeighbours


def stored_targets(
    store: SoftLabelsStore, encoded: Sequence[Sequence[int]], targets: Sequence[str], lines: Sequence[int], vocab: Vocab
) -> list[list[int]]:
    """Target ids of each pair as the store has them, without end symbols; none where it has no whole target.

    The teacher may have cut its own words into other pieces than the vocabulary would: what it said of these pieces is
    learnt with these pieces, as long as they are the pair's text.

    Args:
        encoded, targets, lines: ids, text and line number (from 1) of each target.
    Raises: DataError: names a line whose soft labels are damaged or of another text.
    """
    flat, lengths = store.targets(np.asarray(lines, np.int64))
    ends = np.cumsum(lengths)
    found = [flat[end - length : end].tolist() for end, length in zip(ends, lengths, strict=True)]
    for i, ids in enumerate(found):
        found[i] = ids[:-1] if ids and ids[-1] == vocab.eos_id else []
    other = [i for i, ids in enumerate(found) if ids and ids != list(encoded[i])]
    for i, text in zip(other, vocab.decode([found[i] for i in other]), strict=True):
        if text != targets[i]:
            raise DataError(
                f"{store.folder / SENTENCES}: line {lines[i]}: these soft labels are of {text[:80]!r}, the target text has "
                f"{targets[i][:80]!r} - train on the text that they were made from"
            )
    return found
