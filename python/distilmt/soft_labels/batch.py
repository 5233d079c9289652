"""What a model held likely at each token, known at its k best ids, with the mass and the shape of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from distilmt.soft_labels.store import SoftLabelsStore


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """A model's distribution at each of some tokens, in nats, of the whole softmax: no ban or penalty of a search is in it.

    ids: int32 [tokens, k], best first, distinct in a row; log_probs: float32 [tokens, k]; tail_mass: float32 [tokens],
    1 - the sum of the k probabilities, summed from the others, so that a tail of 1e-9 is exact to six digits; entropy:
    float32 [tokens], NaN where it was not stored. They are a teacher of `Objective.evaluate`.
    """

    ids: NDArray[np.int32]
    log_probs: NDArray[np.float32]
    tail_mass: NDArray[np.float32]
    entropy: NDArray[np.float32]

    def __len__(self) -> int:
        """Tokens."""
        return len(self.entropy)

    def __eq__(self, other: object) -> bool:
        import numpy as np

        return isinstance(other, SoftLabels) and all(
            np.array_equal(getattr(self, field.name), getattr(other, field.name), equal_nan=True)
            for field in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> SoftLabelsStore:
        """The stored soft labels of a text. Raises: DataError: the folder holds none, or damaged ones."""
        from distilmt.soft_labels.store import SoftLabelsStore

        return SoftLabelsStore(folder)

    @classmethod
    def none(cls, k: int) -> SoftLabels:
        """Those of no tokens."""
        import numpy as np

        return cls(
            np.empty((0, k), np.int32), np.empty((0, k), np.float32), np.empty(0, np.float32), np.empty(0, np.float32)
        )

    @classmethod
    def joined(cls, parts: Sequence[SoftLabels]) -> SoftLabels:
        """One behind the other; all of the same k."""
        import numpy as np

        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))
