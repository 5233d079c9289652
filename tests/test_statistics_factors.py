"""Contrasts of one factor where there are others: the unit is the block, and like is compared with like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distilmt.errors import DataError
from distilmt.statistics import Contrasts, Runs

pytest.importorskip("scipy", reason="needs the extra `study`")

PLAN = Contrasts(factor="method", pairs=(("a", "b"),))


def runs(cells: list[tuple[int, str, str, float]], block: str | None = "block") -> Runs:
    rows: list[dict[str, Any]] = [
        {"run": i, "block": b, "method": m, "pair": p, "y": y} for i, (b, m, p, y) in enumerate(cells)
    ]
    return Runs(rows, outcome="y", factors=["method", "pair"], block=block)


@pytest.mark.parametrize("test", ["welch", "mann-whitney"])
def test_cells_of_a_block_are_no_independent_runs(test):
    """Equal methods whose outcome the seed drives: 38 % of p below 0.05 where its four directions count as four runs."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(100):
        seeds = dict(enumerate(rng.normal(size=6)))
        cells = [
            (b, m, p, seeds[b + 3 * (m == "b")] + rng.normal(0, 0.1)) for m in "ab" for b in range(3) for p in "wxyz"
        ]
        (row,) = Contrasts(factor="method", pairs=(("a", "b"),), test=test).compare(runs(cells)).rows
        assert row.n == (3, 3)
        alarms += row.test.p is not None and row.test.p < 0.05
    assert alarms <= 10


def test_a_block_that_lacks_a_cell_would_compare_unlike_things_and_is_left_out():
    cells = [(b, m, p, base + b / 100) for b in (1, 2, 3) for m in "ab" for p, base in (("x", 1.0), ("y", 10.0))]
    del cells[-1]  # b in direction y of block 3, whose x alone is far below the mean of both
    table = PLAN.compare(runs(cells))
    assert table.rows[0].n == (3, 2) and abs(table.rows[0].test.estimate) < 0.1
    assert "Left out, for they lack a cell of the other factors: block 3 of b." in table.markdown()


def test_without_blocks_or_complete_ones_nothing_is_compared():
    cells = [(b, m, p, float(b)) for b in (1, 2) for m in "ab" for p in "xy"]
    with pytest.raises(DataError, match="averaging over pair needs a block"):
        PLAN.compare(runs(cells, block=None))
    with pytest.raises(DataError, match="no block has a with every level of pair"):
        PLAN.compare(runs([each for each in cells if each[1:3] != ("a", "y")]))


def test_pairs_of_unlike_cells_are_refused():
    """Method a ran from x alone, b from y alone."""
    unlike = runs([(b, m, p, b + y) for b in (1, 2, 3) for m, p, y in (("a", "x", 1.0), ("b", "y", 10.0))])
    with pytest.raises(DataError, match="unbalanced: block 1 has 1 runs of a and 1 of b in other cells"):
        unlike.pairs("method", "a", "b")
