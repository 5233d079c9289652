"""Planned contrasts: what is compared is named before the run, and one table says what came of it.

    planned = Contrasts(factor="method", pairs=(("seq-kd", "alone"), ("word-kd", "alone")))
    print(planned.compare(Runs(rows, outcome="seconds", factors=["method"])))

Every comparison costs power: Holm multiplies the smallest p by their number, and with a handful of runs nothing is left.
So a table holds five at most. Stars are of the corrected p alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from distilmt.errors import ConfigError, DataError
from distilmt.statistics.compare import Test, holm, mann_whitney, paired_t, stars, welch, wilcoxon
from distilmt.statistics.effects import Effect, cliffs_delta, hedges_g, paired_delta, paired_g
from distilmt.statistics.extra import library
from distilmt.statistics.layout import Layout, interval, number, p_value
from distilmt.statistics.runs import Floats, Runs

MOST = 5
_Compare = tuple[str, bool, Callable[[Floats, Floats, float], Test], Callable[[Floats, Floats, float], Effect]]
_TESTS: dict[str, _Compare] = {  # title, in pairs, test, effect size
    "welch": ("Welch's t", False, welch, hedges_g),
    "mann-whitney": ("Mann-Whitney", False, mann_whitney, cliffs_delta),
    "paired-t": ("Paired t", True, paired_t, paired_g),
    "wilcoxon": ("Wilcoxon", True, wilcoxon, paired_delta),
}


@dataclass(frozen=True)
class Comparison:
    """One line of the table: first minus second.

    Attributes:
        first, second: levels.
        n: runs of each; blocks where other factors were averaged; for tests in pairs the blocks, twice.
        test: estimate with its interval, raw p, and the least p that these n can give.
        p_holm: corrected; None where `test.note` says why there is no p.
        effect: effect size with its interval.
    """

    first: str
    second: str
    n: tuple[int, int]
    test: Test
    p_holm: float | None
    effect: Effect

    @property
    def stars(self) -> str:
        """One to three for a corrected p below 0.05, 0.01 and 0.001."""
        return stars(self.p_holm)


@dataclass(frozen=True, kw_only=True)
class Contrasts:
    """Comparisons that are named before the run.

    Attributes:
        factor: the column whose levels are compared.
        pairs: at most five pairs of levels, first minus second.
        test: "welch" or "mann-whitney" for independent runs, "paired-t" or "wilcoxon" for complete blocks.
        confidence: of the intervals, each for itself.

    Raises: ConfigError: no pair, more than five, one twice, or a level against itself.
    """

    factor: str
    pairs: tuple[tuple[str, str], ...]
    test: Literal["welch", "mann-whitney", "paired-t", "wilcoxon"] = "welch"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.test not in _TESTS:
            raise ConfigError(f"contrasts: test must be one of {', '.join(_TESTS)}, got {self.test!r}")
        if not 1 <= len(self.pairs) <= MOST:
            raise ConfigError(
                f"contrasts: name 1 to {MOST} comparisons, got {len(self.pairs)} - Holm multiplies the smallest p by their "
                "number, so with many of them and few runs nothing can be significant; ask fewer questions of one table"
            )
        if len({frozenset(pair) for pair in self.pairs}) < len(self.pairs) or any(a == b for a, b in self.pairs):
            raise ConfigError(f"contrasts: a pair comes twice or compares a level with itself: {self.pairs}")
        object.__setattr__(self, "pairs", tuple((str(first), str(second)) for first, second in self.pairs))
        if not 0 < self.confidence < 1:
            raise ConfigError(f"contrasts: confidence must lie between 0 and 1, got {self.confidence}")

    def compare(self, runs: Runs) -> ContrastTable:
        """Tests every pair, over the mean of the other factors within a block.

        Raises: DataError: a level has no run, a test in pairs meets incomplete blocks, or other factors no complete one.
        """
        _, in_pairs, test, effect = _TESTS[self.test]
        for level in (level for pair in self.pairs for level in pair):
            if level not in runs.levels(self.factor):
                raise DataError(
                    f"statistics: no run of {self.factor}={level} - there are {', '.join(runs.levels(self.factor))}; "
                    "the contrasts between those can be tested without it"
                )
        # Runs of one block with other levels of the other factors are no independent runs of a level.
        means, left_out = (runs, []) if in_pairs or runs.factors == [self.factor] else runs.averaged(self.factor)
        samples = [
            runs.pairs(self.factor, *pair) if in_pairs else tuple(means.values({self.factor: level}) for level in pair)
            for pair in self.pairs
        ]
        results = [test(x, y, self.confidence) for x, y in samples]
        corrected = holm([result.p for result in results])
        return ContrastTable(self, runs.outcome, [
            Comparison(*pair, (len(x), len(y)), result, p_holm, effect(x, y, self.confidence))
            for pair, (x, y), result, p_holm in zip(self.pairs, samples, results, corrected, strict=True)
        ], left_out, len(results))  # fmt: skip


@dataclass(frozen=True)
class ContrastTable:
    """The contrasts with their results.

    Attributes:
        contrasts, outcome: what was planned, and the column that was compared.
        rows: one for each pair.
        left_out: blocks and levels that lack a cell of the other factors.
        family: comparisons that Holm's correction is over: these rows, and those of other tables planned with them.
    """

    contrasts: Contrasts
    outcome: str
    rows: list[Comparison]
    left_out: list[str]
    family: int

    def corrected(self, p_holm: Sequence[float | None], family: int) -> ContrastTable:
        """With these corrected p, over a larger family of comparisons."""
        rows = [replace(row, p_holm=p) for row, p in zip(self.rows, p_holm, strict=True)]
        return replace(self, rows=rows, family=family)

    @property
    def notes(self) -> list[str]:
        """What the numbers of runs allow to say, as sentences."""
        notes = [
            f"{_TESTS[self.contrasts.test][0]} test, first minus second; {self.contrasts.confidence:.0%} intervals; "
            f"Holm's correction over {self.family} planned comparison{'s' * (self.family > 1)}; * p (Holm) < 0.05, "
            "** < 0.01, *** < 0.001."
        ]
        if self.left_out:
            notes.append(f"Left out, for they lack a cell of the other factors: {', '.join(self.left_out)}.")
        for row in self.rows:
            name, least = f"{row.first} − {row.second}", row.test.smallest_p
            if row.test.note:
                notes.append(f"{name}: {row.test.note}.")
            elif least >= 0.05:
                notes.append(
                    f"{name}: with {row.n[0]} against {row.n[1]} runs the smallest possible p is {least:.2g}: it could "
                    "not have become significant."
                )
        least = min(row.test.smallest_p for row in self.rows) * self.family
        if least >= 0.05:
            notes.append(
                f"After Holm's correction no p of this table could be below {min(1.0, least):.2g}: nothing here can be "
                "significant, whatever was measured. More runs or fewer comparisons are needed."
            )
        return notes

    def layout(self) -> Layout:
        """A line for each comparison, as text."""
        head = ["Contrast", "n", "Difference", "Interval", "p", "p (Holm)", self.rows[0].effect.name, "Its interval"]
        rows = []
        for row in self.rows:
            test, effect = row.test, row.effect
            found = [number(test.estimate), interval(test.low, test.high), p_value(test.p)]
            found += [p_value(row.p_holm) + row.stars, number(effect.value, 3), interval(effect.low, effect.high, 3)]
            rows.append([f"{row.first} − {row.second}", " / ".join(map(str, row.n)), *found])
        return Layout(f"{self.outcome} by {self.contrasts.factor}", head, rows, self.notes)

    def frame(self) -> Any:
        """One line for each contrast, as numbers, in a pandas DataFrame."""
        rows = []
        for row in self.rows:
            line = {"first": row.first, "second": row.second, "n_first": row.n[0], "n_second": row.n[1]}
            effect = {"effect" if key == "value" else f"effect_{key}": item for key, item in asdict(row.effect).items()}
            rows.append(line | asdict(row.test) | {"p_holm": row.p_holm, "stars": row.stars} | effect)
        return library("pandas").DataFrame(rows)

    def markdown(self) -> str:
        """The table, and its notes below it."""
        return self.layout().markdown()

    def latex(self) -> str:
        """The table, for `\\usepackage{booktabs}`."""
        return self.layout().latex()

    def __str__(self) -> str:
        return self.markdown()
