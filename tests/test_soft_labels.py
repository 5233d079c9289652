"""Soft labels of a sentence as bytes: the grid, its bound, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilmt.errors import ConfigError, DataError
from distilmt.soft_labels import SoftLabels, decode, decode_states, encode, encode_states


def soft(probs: Any, ids: Any = None) -> SoftLabels:
    """Of probabilities [tokens, k]; ids 0, 1, ... where none are given."""
    probs = np.asarray(probs, np.float64)
    ids = (
        np.tile(np.arange(probs.shape[1], dtype=np.int32), (len(probs), 1)) if ids is None else np.array(ids, np.int32)
    )
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs).astype(np.float32)
    tail = (1 - probs.sum(1)).astype(np.float32)
    return SoftLabels(ids, log_probs, tail, np.zeros(len(probs), np.float32))


def total_variation(given: SoftLabels, stored: SoftLabels) -> float:
    """The largest over the tokens, with everything that is not stored as one event."""
    p, q = np.exp(given.log_probs.astype(np.float64)), np.exp(stored.log_probs.astype(np.float64))
    known = q > 0
    assert (np.where(known, given.ids, -1) == np.where(known, stored.ids, -1)).all()  # in the same order
    rest = np.abs((1 - (p * known).sum(1)) - stored.tail_mass)
    return float(((np.abs(p - q) * known).sum(1) + rest).max() / 2)


@st.composite
def distributions(draw: Any) -> np.ndarray[Any, Any]:
    """The most probable k of 1 to 40 ids, of every shape from certain to flat."""
    k = draw(st.integers(1, 40))
    weights = np.array(draw(st.lists(st.floats(0, 1), min_size=k + 1, max_size=k + 1)), np.float64) + 1e-30
    sharp = (weights / weights.max()) ** draw(st.sampled_from([0.01, 1, 5, 50]))
    return np.sort(sharp / sharp.sum())[None, :0:-1]


@settings(max_examples=300, deadline=None)
@given(distributions())
def test_total_variation_is_below_a_thousandth_whatever_the_distribution(probs: Any) -> None:
    k = probs.shape[1]
    labels = soft(probs)
    ids, stored = decode(encode([3], labels, 0.0))
    grid = 2 ** (250 * (k + 1)).bit_length() - 1
    assert ids == [3]
    assert total_variation(labels, stored) <= (k + 1) / (4 * grid) + 1e-6 < 1e-3
    assert (np.diff(np.where(stored.log_probs > -np.inf, stored.log_probs, -99)) <= 0).all()
    assert encode(ids, stored, 0.0) == encode([3], labels, 0.0)  # exact on the grid


def test_a_sentence_comes_back() -> None:
    labels = soft([[0.9, 0.05, 0.03], [0.5, 0.25, 0.25], [1, 0, 0]], [[5, 2, 1], [7, 3, 12], [0, 1, 2]])
    ids, stored = decode(encode([5, 9, 0], labels, 0.04))
    assert ids == [5, 9, 0] and stored.ids.dtype == np.int32 and stored.ids.shape == (3, 3)
    # 1023 steps; 920.7 + 51.15 and 51.15 for the rest; 511.5, 255.75, 255.75; all
    steps = [[921, 51, 0], [511, 256, 256], [1023, 0, 0]]
    np.testing.assert_allclose(np.exp(stored.log_probs), np.array(steps) / 1023, rtol=1e-6)
    np.testing.assert_allclose(stored.tail_mass, [51 / 1023, 0, 0], rtol=1e-6)
    assert np.isnan(stored.entropy).all()  # not stored: not known


def test_no_tokens_are_no_bytes() -> None:
    assert encode([], SoftLabels.none(4), 0.0) == b""
    ids, stored = decode(b"")
    assert ids == [] and len(stored) == 0


def test_states_come_back_in_bfloat16() -> None:
    states = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    ids, found = decode_states(encode_states([4, 8, 0], states))
    assert ids == [4, 8, 0]
    np.testing.assert_allclose(found, states, rtol=2**-8)
    assert (decode_states(encode_states(ids, found))[1] == found).all()


@pytest.mark.parametrize(
    "ids, labels, floor, message",
    [
        ([3, 4], soft([[0.5, 0.2]]), 0.0, "one row per target token, with 2 target ids"),
        ([3], soft([[0.2, 0.5]]), 0.0, "falling, got"),
        ([3], soft([[0.5, 0.2]], [[6, 6]]), 0.0, "distinct ids of at least 0, got 6"),
        ([-1], soft([[0.5, 0.2]]), 0.0, "ids of at least 0, got -1"),
        ([3], soft([[0.5, 0.2]]), 1.0, r"floor must lie in \[0, 1\), got 1.0"),
        ([3], soft([[0.5, 0.2]]), float("nan"), "floor must lie in"),
        ([3], soft(np.full((1, 1025), 1 / 1025)), 0.0, "k from 1 to 1024, got 1025"),
        ([3] * 65536, soft(np.full((65536, 1), 0.5)), 0.0, "1 to 65535 tokens, got 65536"),
    ],
)
def test_what_cannot_be_stored(ids: list[int], labels: SoftLabels, floor: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encode(ids, labels, floor)


def test_damage_and_the_wrong_kind_are_data_errors() -> None:
    blob = encode([3], soft([[0.5, 0.2]]), 0.0)
    with pytest.raises(DataError, match="checksum is wrong - make them again"):
        decode(blob[:-1] + b"\0")
    with pytest.raises(DataError, match="ends too early"):
        decode(blob[:5])
    with pytest.raises(DataError, match="decode_states"):
        decode(encode_states([3], np.ones((1, 2), np.float32)))
    with pytest.raises(DataError, match=r"read them with decode$"):
        decode_states(blob)
