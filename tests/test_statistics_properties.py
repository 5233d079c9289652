"""What must not change the answer: the order of rows, the names of levels; and what must turn its sign: swapped sides."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilmt.statistics import Contrasts, Runs, blocked, holm, repeated_measures

pytest.importorskip("scipy", reason="needs the extra `study`")
pytest.importorskip("statsmodels", reason="needs the extra `study`")

TESTS = ["welch", "mann-whitney", "paired-t", "wilcoxon"]
OUTCOMES = st.lists(st.integers(-50, 50), min_size=12, max_size=12).filter(lambda values: len(set(values)) > 8)
FEW = settings(max_examples=15, deadline=None)


def table(values: list[int], names: str = "abc") -> list[dict[str, object]]:
    """Three methods in four blocks."""
    return [
        {"run": i, "method": names[i % 3], "block": i // 3, "y": value + 0.1 * (i * 7 % 5)}
        for i, value in enumerate(values)
    ]


def compared(rows: list[dict[str, object]], pair: tuple[str, str], test: str):
    runs = Runs(rows, outcome="y", factors=["method"], block="block")
    (row,) = Contrasts(factor="method", pairs=(pair,), test=test).compare(runs).rows  # type: ignore[arg-type]
    return row


def numbers(row) -> list[float]:
    return [row.test.estimate, row.test.p, row.effect.value, *row.n]


@pytest.mark.parametrize("test", TESTS)
@FEW
@given(values=OUTCOMES, shuffle=st.integers())
def test_order_and_names_do_not_matter(test, values, shuffle):
    rows = table(values)
    expected = numbers(compared(rows, ("a", "b"), test))
    mixed = random.Random(shuffle).sample(rows, len(rows))
    assert numbers(compared(mixed, ("a", "b"), test)) == pytest.approx(expected)
    assert numbers(compared(table(values, "xyz"), ("x", "y"), test)) == pytest.approx(expected)


@pytest.mark.parametrize("test", TESTS)
@FEW
@given(values=OUTCOMES)
def test_swapped_sides_turn_the_sign(test, values):
    there, back = compared(table(values), ("a", "b"), test), compared(table(values), ("b", "a"), test)
    assert back.test.p == pytest.approx(there.test.p) and back.test.estimate == pytest.approx(-there.test.estimate)
    assert back.effect.value == pytest.approx(-there.effect.value)
    assert back.effect.low == pytest.approx(-there.effect.high, abs=1e-6)
    if there.test.low is not None:
        assert there.test.low <= there.test.estimate <= there.test.high
        assert back.test.low == pytest.approx(-there.test.high)


@FEW
@given(values=OUTCOMES, shift=st.integers(-1000, 1000), shuffle=st.integers())
def test_an_analysis_of_variance_sees_neither_order_nor_shift_nor_levels_of_blocks(values, shift, shuffle):
    rows = table(values)
    moved = [
        row | {"y": row["y"] + shift + 100 * row["block"]} for row in random.Random(shuffle).sample(rows, len(rows))
    ]
    for analysis in (repeated_measures, blocked):
        one, other = (
            analysis(Runs(each, outcome="y", factors=["method"], block="block")).terms[0] for each in (rows, moved)
        )
        assert other.f == pytest.approx(one.f, rel=1e-6, abs=1e-9) and other.p == pytest.approx(one.p, rel=1e-6)
        assert 0 <= one.eta_squared <= 1 and (one.epsilon is None or 0.5 <= one.epsilon + 1e-9 <= 1 + 1e-8)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_and_keeps_the_order(p):
    corrected = holm(p)
    assert all(before <= after <= 1 for before, after in zip(p, corrected, strict=True))
    assert list(np.argsort(p, kind="stable")) == sorted(range(len(p)), key=lambda i: (corrected[i], p[i], i))
    assert min(corrected) == pytest.approx(min(1, len(p) * min(p)))
