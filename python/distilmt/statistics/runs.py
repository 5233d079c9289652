"""Runs: the unit of analysis, as a tidy table with one row for each.

    Runs(rows, outcome="seconds", factors=["method"], block="block", run="run")

A run is one execution from start to end: one training, one decoding. What is sampled within a run (power each second)
is not independent, and taking it for a repetition makes almost any two systems differ "significantly"
(pseudo-replication: Hurlbert 1984, Ecological Monographs 54:187). So two rows of one run are refused, unless they are
to be summed or averaged first.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distilmt.errors import DataError

Row = dict[str, Any]
Floats = NDArray[np.float64]
_WAYS = {"mean": statistics.fmean, "sum": math.fsum}


class Runs:
    """A checked table.

    Args:
        rows: one mapping for each run, or a pandas DataFrame.
        outcome: the column that was measured; numbers.
        factors: the columns that were varied; their values are compared as text, so 4 and "4" are one level.
        block: the column of the randomised block (or the subject) of a run.
        run: the column that identifies the run.
        aggregate: "mean" or "sum" of the outcome where a run has several rows; None refuses them.

    Attributes:
        rows: checked rows, in their order; other columns are kept unless rows were aggregated.

    Raises: DataError: no rows, a column is missing, a value is no finite number, a run has several rows.
    """

    def __init__(
        self,
        rows: Any,
        *,
        outcome: str,
        factors: Sequence[str],
        block: str | None = None,
        run: str = "run",
        aggregate: Literal["mean", "sum"] | None = None,
    ):
        self.outcome, self.factors, self.block, self.run = outcome, list(factors), block, run
        found = rows.to_dict("records") if hasattr(rows, "to_dict") else [dict(row) for row in rows]
        self.rows: list[Row] = self._checked(found)
        if aggregate:
            self.rows = self._aggregated(_WAYS[aggregate])
        self._refuse_samples()

    def levels(self, factor: str) -> list[str]:
        """The values of a factor or of the block, as text, in the order in which they came."""
        return list(dict.fromkeys(str(row[factor]) for row in self.rows))

    def values(self, where: Mapping[str, str]) -> Floats:
        """Outcomes of the runs with these levels, as in `values({"method": "seq-kd"})`."""
        return np.array([row[self.outcome] for row in self.rows if all(str(row[k]) == v for k, v in where.items())])

    def cells(self) -> dict[tuple[str, ...], Floats]:
        """Outcomes by cell (one level of each factor), absent cells as empty arrays."""
        keys = product(*(self.levels(factor) for factor in self.factors))
        return {key: self.values(dict(zip(self.factors, key, strict=True))) for key in keys}

    def pairs(self, factor: str, first: str, second: str) -> tuple[Floats, Floats]:
        """Outcomes of two levels, block by block; several runs of a level in a block (other factors) are averaged.

        Raises: DataError: no block was named, or a block lacks a level, or has other cells or more runs of one than of the
            other.
        """
        block = self.need_block(f"comparing {first} with {second} in pairs")
        pairs = []
        for name in self.levels(block):
            one, two = (self.values({block: name, factor: level}) for level in (first, second))
            cells = [Counter(self._others(factor, {block: name, factor: level})) for level in (first, second)]
            if cells[0] != cells[1] or not len(one):
                unlike = " in other cells" if len(one) == len(two) and len(one) else ""
                raise DataError(
                    f"statistics: the study is unbalanced: {block} {name} has {len(one)} runs of {first} and {len(two)} of "
                    f"{second}{unlike} - run what is missing, or leave incomplete blocks out with complete_blocks(); without "
                    "blocks (Welch, Mann-Whitney) all runs can still be compared"
                )
            pairs.append((one.mean(), two.mean()))
        return np.array([one for one, _ in pairs]), np.array([two for _, two in pairs])

    def averaged(self, factor: str) -> tuple[Runs, list[str]]:
        """One run for each block and level of a factor: the mean over the cells of the other factors.

        Cells of one block are no repetitions of each other: what a block does to one it may do to all.

        Returns: The runs, and the blocks and levels that were left out since they lack a cell, as text.
        Raises: DataError: no block was named, or none has every cell of a level.
        """
        others = [name for name in self.factors if name != factor]
        block = self.need_block(f"averaging over {', '.join(others)}")
        wanted = set(product(*(self.levels(name) for name in others)))
        rows, left_out = [], []
        for level, name in product(self.levels(factor), self.levels(block)):
            at = {block: name, factor: level}
            if set(self._others(factor, at)) == wanted:
                means = [self.values(at | dict(zip(others, cell, strict=True))).mean() for cell in sorted(wanted)]
                rows.append(at | {self.run: f"{name} {level}", self.outcome: float(np.mean(means))})
            else:
                left_out.append(f"{block} {name} of {level}")
        for level in self.levels(factor):
            if not any(row[factor] == level for row in rows):
                raise DataError(
                    f"statistics: no {block} has {level} with every level of {', '.join(others)} - run what is missing, or "
                    "compare within one level of these"
                )
        return Runs(rows, outcome=self.outcome, factors=[factor], block=block, run=self.run), left_out

    def complete_blocks(self) -> Runs:
        """The blocks that have a run of every cell, with their runs.

        Raises: DataError: no block was named, or none is complete.
        """
        block = self.need_block("leaving incomplete blocks out")
        absent = {name for name, _ in self.missing()}
        rows = [row for row in self.rows if str(row[block]) not in absent]
        if not rows:
            raise DataError(
                f"statistics: no {block} has a run of every cell - compare without blocks (Welch, Mann-Whitney)"
            )
        return Runs(rows, outcome=self.outcome, factors=self.factors, block=block, run=self.run)

    def missing(self) -> list[tuple[str, tuple[str, ...]]]:
        """Blocks and the cells that they lack."""
        block = self.need_block("looking for missing cells")
        have = {(str(row[block]), self._cell(row)) for row in self.rows}
        return [key for key in product(self.levels(block), self.cells()) if key not in have]

    def need_block(self, what: str) -> str:
        """The block's column. Raises: DataError: none was named; `what` needs it."""
        if self.block is None:
            raise DataError(f"statistics: {what} needs a block - name its column with block=")
        return self.block

    def frame(self) -> Any:
        """The rows as a pandas DataFrame."""
        from distilmt.statistics.extra import library

        return library("pandas").DataFrame(self.rows)

    def _others(self, factor: str, where: Mapping[str, str]) -> list[tuple[str, ...]]:
        """The cells of these runs, without the factor itself."""
        names = [name for name in self.factors if name != factor]
        rows = [row for row in self.rows if all(str(row[key]) == value for key, value in where.items())]
        return [tuple(str(row[name]) for name in names) for row in rows]

    def _cell(self, row: Row) -> tuple[str, ...]:
        return tuple(str(row[factor]) for factor in self.factors)

    def _checked(self, rows: Iterable[Row]) -> list[Row]:
        checked = []
        for number, row in enumerate(rows, 1):
            for column in [self.run, *([self.block] if self.block else []), *self.factors, self.outcome]:
                if column not in row:
                    what = " (a row must say which run it belongs to: name that column with run=)" * (
                        column == self.run
                    )
                    raise DataError(
                        f"statistics: row {number} has no column {column!r}{what} - it has {', '.join(row)}"
                    )
            value = row[self.outcome]
            at = f"row {number} (run {row[self.run]}, {', '.join(f'{name}={row[name]}' for name in self.factors)})"
            try:
                measured = math.inf if isinstance(value, (bool, str)) else float(math.nan if value is None else value)
            except (TypeError, ValueError):
                measured = math.inf
            if math.isnan(measured):
                raise DataError(
                    f"statistics: {at}: {self.outcome} is missing - repeat this run, or leave the row out: the other runs "
                    "can still be compared, without blocks or with complete_blocks()"
                )
            if math.isinf(measured):
                raise DataError(f"statistics: {at}: {self.outcome} must be a finite number, got {value!r}")
            checked.append(row | {self.outcome: measured})
        if not checked:
            raise DataError("statistics: no rows - nothing was run")
        return checked

    def _aggregated(self, combine: Any) -> list[Row]:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[str(row[self.run])].append(row)
        keys = [self.run, *([self.block] if self.block else []), *self.factors]
        for name, group in groups.items():
            if any(str(row[key]) != str(group[0][key]) for row in group for key in keys):
                raise DataError(f"statistics: run {name} has rows of several cells or blocks - a run belongs to one")
        return [
            {key: group[0][key] for key in keys} | {self.outcome: combine([row[self.outcome] for row in group])}
            for group in groups.values()
        ]

    def _refuse_samples(self) -> None:
        name, count = Counter(str(row[self.run]) for row in self.rows).most_common(1)[0]
        if count > 1:
            raise DataError(
                f"statistics: run {name} has {count} rows - a row must be a run, since samples within a run are not "
                'independent of each other; give aggregate="mean" or "sum" to make one of them, or name another run='
            )
