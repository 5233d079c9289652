"""One sentence as bytes, and back. Layout and error bound: docs/soft-labels.md; the work is done in csrc/labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distilmt.errors import ConfigError, DataError
from distilmt.soft_labels.batch import SoftLabels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLOOR = 0.001  # probability below which an entry joins the tail, where nothing else is said


def encode(ids: Sequence[int], labels: SoftLabels, floor: float = FLOOR) -> bytes:
    """The soft labels of one sentence, in total variation within 0.001 of `labels`, tail included.

    Args:
        ids: target ids, one per row of `labels`: the end symbol included where it was reached.
        labels: best first; `labels.ids` [tokens, k]; an entry of -inf is absent.
        floor: entries less probable are left out; their mass is the tail's.
    Returns: the bytes; none for no tokens.
    Raises: ConfigError: shapes or numbers that do not fit; more than 65,535 tokens, or k above 1024.
    """
    import numpy as np

    from distilmt import _native

    if not 0 <= floor < 1:
        raise ConfigError(f"floor must lie in [0, 1), got {floor}")
    if len(ids) == 0 and len(labels) == 0:
        return b""
    try:
        return _native.encode_soft_labels(
            np.asarray(ids, np.int32), np.ascontiguousarray(labels.ids), np.ascontiguousarray(labels.log_probs), floor
        )
    except ValueError as error:
        raise ConfigError(f"soft labels: {error}, with {len(ids)} target ids") from None


def encode_states(ids: Sequence[int], states: NDArray[np.float32]) -> bytes:
    """The exact mode: a teacher's last hidden states [tokens, d] in bfloat16, in place of its likely tokens.

    Raises: ConfigError: shapes that do not fit, or more than 65,535 tokens.
    """
    import numpy as np
    import torch

    from distilmt import _native

    if len(ids) == 0 and len(states) == 0:
        return b""
    rounded = torch.from_numpy(np.ascontiguousarray(states)).bfloat16().view(torch.int16).numpy().view(np.uint16)
    try:
        return _native.encode_states(np.asarray(ids, np.int32), rounded)
    except ValueError as error:
        raise ConfigError(f"soft labels: {error}, with {len(ids)} target ids") from None


def decode(blob: bytes) -> tuple[list[int], SoftLabels]:
    """The inverse of `encode`, exact on the grid: ids, and soft labels whose entropy is NaN, for it is not stored.

    Raises: DataError: the bytes are no soft labels, or damaged.
    """
    import numpy as np

    ids, *found = _read(blob)
    if len(found) == 1:
        raise DataError("soft labels: these are hidden states - read them with decode_states")
    likely, log_probs, tail_mass = found
    return ids.tolist(), SoftLabels(likely, log_probs, tail_mass, np.full(len(ids), np.nan, np.float32))


def decode_states(blob: bytes) -> tuple[list[int], NDArray[np.float32]]:
    """The inverse of `encode_states`: ids, and states float32 [tokens, d]. Raises: DataError: as of `decode`."""
    import numpy as np

    ids, *found = _read(blob)
    if len(found) != 1:
        raise DataError("soft labels: these are likely tokens, not hidden states - read them with decode")
    return ids.tolist(), (found[0].astype(np.uint32) << 16).view(np.float32)


def _read(blob: bytes) -> Any:
    from distilmt import _native

    try:
        return _native.decode_soft_labels(blob)
    except RuntimeError as error:
        raise DataError(f"soft labels of a sentence: {error} - make them again") from None
