"""The hook of kNN-MT: a callable that finds a distribution over few words for each hidden state, and its checks.

At every step p = (1 - lambda) p_model + lambda p_neighbours, exact for every search (Khandelwal et al. 2021,
arXiv:2010.00710). The callable must treat every row by itself: rows of any sentences come together, in any number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distilmt.errors import ConfigError

# hidden [rows, d] float32 -> ids [rows, k], probabilities [rows, k], lambda: one number, or [rows]
Neighbours = Callable[[Any], tuple[Any, Any, Any]]


def checked(find: Neighbours, vocab: int) -> Callable[[Any], tuple[Any, Any, Any]]:
    """The callable with what it returns checked and brought into the types the decoder reads.

    Raises: ConfigError: `find` can not be called; later, from it: shapes, ids or probabilities that can not be.
    """
    if not callable(find):
        raise ConfigError(f"neighbours: expected a callable, got {find!r}")

    def found(hidden: Any) -> tuple[Any, Any, Any]:
        rows = len(hidden)
        returned = find(hidden)
        if not isinstance(returned, tuple) or len(returned) != 3:
            raise ConfigError(f"neighbours: expected (ids, probabilities, lambda), got {type(returned).__name__}")
        try:
            ids, probabilities, weight = (np.asarray(each) for each in returned)
        except ValueError as error:
            raise ConfigError(f"neighbours: expected arrays, got rows of different lengths ({error})") from None
        if ids.ndim != 2 or len(ids) != rows or not np.issubdtype(ids.dtype, np.integer):
            raise ConfigError(f"neighbours: expected whole ids [{rows}, k], got {ids.dtype} {list(ids.shape)}")
        if ids.size and not 0 <= ids.min() <= ids.max() < vocab:
            raise ConfigError(f"neighbours: ids must lie in [0, {vocab}), got {ids.min()} to {ids.max()}")
        if probabilities.shape != ids.shape:
            raise ConfigError(
                f"neighbours: expected probabilities {list(ids.shape)} as ids, got {list(probabilities.shape)}"
            )
        if not all(np.issubdtype(each.dtype, np.number) for each in (probabilities, weight)):
            raise ConfigError(
                f"neighbours: expected numbers as probabilities and lambda, got {probabilities.dtype}, {weight.dtype}"
            )
        if not (np.all(probabilities >= 0) and np.all(probabilities.sum(1) < 1.001)):
            raise ConfigError("neighbours: probabilities must not be negative and sum to at most 1 in each row")
        if weight.shape not in ((), (rows,)) or not np.all((weight >= 0) & (weight <= 1)):
            raise ConfigError(f"neighbours: expected lambda in [0, 1], one or [{rows}], got {weight!r}")
        return ids.astype(np.int32), probabilities.astype(np.float32), np.full(rows, weight, np.float32)

    return found
