"""Analysis of variance of runs, for randomised blocks.

    repeated_measures(runs)   every block has one run of every cell; an effect is tested against its own interaction with
                              the block; with Mauchly's test and the Greenhouse-Geisser correction (CAIN 2024's design)
    blocked(runs)             the block is added, error is what remains; cells may hold unequal numbers of runs (type 2)

Effect sizes: eta squared = SS / SS total; generalised eta squared = SS / (SS + all variation between and within blocks
that is not of a factor), which compares across designs (Olejnik & Algina 2003, Psychol. Methods 8:434; Bakeman 2005).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from distilmt.errors import DataError
from distilmt.statistics.compare import holm, stars
from distilmt.statistics.extra import library
from distilmt.statistics.layout import Layout, number, p_value
from distilmt.statistics.runs import Floats, Runs
from distilmt.statistics.sphericity import sphericity


@dataclass(frozen=True)
class Term:
    """One factor or interaction.

    Attributes:
        name: of the factor, or of the factors of an interaction.
        f, p: F statistic, and the probability of a larger one where there is no effect.
        eta_squared, generalised_eta_squared: SS / SS total, and SS / (SS + all variation that is not of a factor).
        freedom, error_freedom: degrees of freedom.
        sum_of_squares, error: its own, and those of what it is tested against.
        mauchly_w, mauchly_p, epsilon, p_corrected: sphericity, and p with both degrees of freedom times epsilon; None
            where there is nothing to correct.
    """

    name: str
    freedom: float
    error_freedom: float
    sum_of_squares: float
    error: float
    f: float
    p: float
    eta_squared: float
    generalised_eta_squared: float
    mauchly_w: float | None = None
    mauchly_p: float | None = None
    epsilon: float | None = None
    p_corrected: float | None = None


@dataclass(frozen=True)
class Anova:
    """A table of terms, factors first.

    Attributes:
        outcome: the column that was analysed.
        design: which analysis, as a sentence.
        terms: one for each factor and interaction.
        notes: what a reader must know, as sentences.
    """

    outcome: str
    design: str
    terms: list[Term]
    notes: list[str] = field(default_factory=list)

    def layout(self) -> Layout:
        """Stars are of the last p before it: corrected for sphericity where there is something to correct, and by Holm
        over the terms."""
        corrected = holm([term.p if term.p_corrected is None else term.p_corrected for term in self.terms])
        head, rows = (
            ["Term", "df", "F", "p", "p (GG)", "p (Holm)", "η²", "generalised η²", "GG ε", "Mauchly W", "p (W)"],
            [],
        )
        for term, p_holm in zip(self.terms, corrected, strict=True):
            row = [term.name, f"{term.freedom:.0f}, {term.error_freedom:.0f}", number(term.f), p_value(term.p)]
            row += [p_value(term.p_corrected), p_value(p_holm) + stars(p_holm)]
            sizes = (term.eta_squared, term.generalised_eta_squared, term.epsilon, term.mauchly_w)
            rows.append([*row, *(number(size, 3) for size in sizes), p_value(term.mauchly_p)])
        return Layout(f"{self.outcome}: {self.design}", head, rows, self.notes)

    def frame(self) -> Any:
        """One line for each term, as numbers, in a pandas DataFrame."""
        return library("pandas").DataFrame([asdict(term) for term in self.terms])

    def markdown(self) -> str:
        """The table, and its notes below it."""
        return self.layout().markdown()

    def latex(self) -> str:
        """The table, for `\\usepackage{booktabs}`."""
        return self.layout().latex()

    def __str__(self) -> str:
        return self.markdown()


def repeated_measures(runs: Runs) -> Anova:
    """Analysis with the block as subject. F and p are those of statsmodels' AnovaRM, which gives no sums of squares.

    Raises: DataError: one block, a missing cell, several runs of a cell in a block, or no variation to test against.
    """
    outcomes = _complete(runs)
    blocks, axes = len(outcomes), range(1, outcomes.ndim)
    sums = {axes_of: _sum_of_squares(outcomes, axes_of) for axes_of in _subsets(range(outcomes.ndim)) if axes_of}
    total = sum(sums.values())
    random = sum(value for axes_of, value in sums.items() if 0 in axes_of)
    fisher = library("scipy.stats").f
    terms = []
    for axes_of in filter(None, _subsets(axes)):
        own, error = sums[axes_of], sums[(0, *axes_of)]
        name = " × ".join(runs.factors[axis - 1] for axis in axes_of)
        if _vanishes(error, outcomes):
            raise DataError(f"statistics: {runs.outcome}: the effect of {name} is the same in every block - {_STILL}")
        freedom = math.prod(outcomes.shape[axis] - 1 for axis in axes_of)
        error_freedom = freedom * (blocks - 1)
        f = (own / freedom) / (error / error_freedom)
        within = _effect(outcomes, axes_of, average=[axis for axis in axes if axis not in axes_of])
        found = sphericity(within.reshape(blocks, -1), freedom)
        corrected = {} if found is None else {
            "mauchly_w": found.w, "mauchly_p": found.p, "epsilon": found.epsilon,
            "p_corrected": float(fisher.sf(f, freedom * found.epsilon, error_freedom * found.epsilon)),
        }  # fmt: skip
        p, share, general = float(fisher.sf(f, freedom, error_freedom)), own / total, own / (own + random)
        terms.append(Term(name, freedom, error_freedom, own, error, f, p, share, general, **corrected))
    design = f"repeated measures over {blocks} blocks ({runs.block})"
    notes = ["GG: Greenhouse-Geisser's correction; Holm's is over the terms, of p (GG) where there is one."]
    if any(term.epsilon is not None and term.mauchly_w is None for term in terms):
        notes.append(
            f"{blocks} blocks are too few for Mauchly's test of some terms; their correction holds all the same."
        )
    return Anova(runs.outcome, design, terms, notes)


def blocked(runs: Runs) -> Anova:
    """Ordinary least squares with an additive block (none where the runs have none), sums of squares of type 2.

    Raises: DataError: a factor with one level, an empty cell, no run left to estimate the error, a constant outcome.
    """
    cells = runs.cells()
    _check_levels(runs)
    if empty := [key for key, values in cells.items() if not len(values)]:
        raise DataError(
            f"statistics: no run of {_cell(runs, empty[0])} (and {len(empty) - 1} more empty cells) - run it, or analyse "
            "one factor at a time: contrasts between the cells that are there can be tested"
        )
    names = [f"f{i}" for i in range(len(runs.factors))]
    columns = {name: [str(row[factor]) for row in runs.rows] for name, factor in zip(names, runs.factors, strict=True)}
    block = runs.block if runs.block and len(runs.levels(runs.block)) > 1 else None
    columns |= {"b": [str(row[block]) for row in runs.rows]} if block else {}
    frame = library("pandas").DataFrame(columns | {"y": [row[runs.outcome] for row in runs.rows]})
    formula = "y ~ " + "C(b) + " * bool(block) + " * ".join(f"C({name})" for name in names)
    model = library("statsmodels.formula.api").ols(formula, frame).fit()
    total = float(((frame["y"] - frame["y"].mean()) ** 2).sum())
    if model.df_resid < 1 or _vanishes(model.ssr, frame["y"]):
        raise DataError(f"statistics: {runs.outcome}: nothing is left to estimate the error from - {_STILL}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas' on statsmodels' own assignments
        table = library("statsmodels.stats.anova").anova_lm(model, typ=2)
    random = float(model.ssr) + (float(table.loc["C(b)", "sum_sq"]) if block else 0.0)
    terms = []
    for index, line in table.iterrows():
        if index in ("C(b)", "Residual"):
            continue
        name = " × ".join(runs.factors[int(part[3:-1])] for part in index.split(":"))  # from C(f0):C(f1)
        own = float(line["sum_sq"])
        freedom, error = float(line["df"]), float(model.ssr)
        f, p, shares = float(line["F"]), float(line["PR(>F)"]), (own / total, own / (own + random))
        terms.append(Term(name, freedom, float(model.df_resid), own, error, f, p, *shares))
    counts = {len(values) for values in cells.values()}
    notes = ["Holm's correction is over the terms."]
    if len(counts) > 1:
        notes.append(f"Unbalanced: {min(counts)} to {max(counts)} runs a cell; sums of squares of type 2.")
    design = f"{len(runs.levels(block))} blocks ({block})" if block else "no blocks"
    return Anova(runs.outcome, f"analysis of variance, {design}", terms, notes)


_STILL = "repeat the runs; until then only the differences of the means can be said"


def _vanishes(sum_of_squares: float, outcomes: Any) -> bool:
    """Whether a sum of squares is round-off: squares of numbers of this size are known to 1e-32 of them."""
    return bool(sum_of_squares <= 1e-24 * float((outcomes**2).sum()))


def _subsets(axes: Any) -> list[tuple[int, ...]]:
    return [subset for size in range(len(axes) + 1) for subset in combinations(axes, size)]


def _effect(outcomes: Floats, centred: tuple[int, ...], average: Any) -> Floats:
    """What the axes `centred` add jointly: deviations along them, means along `average`."""
    for axis in range(outcomes.ndim):
        mean = outcomes.mean(axis=axis, keepdims=True)
        outcomes = outcomes - mean if axis in centred else mean if axis in average else outcomes
    return outcomes


def _sum_of_squares(outcomes: Floats, axes: tuple[int, ...]) -> float:
    effect = _effect(outcomes, axes, range(outcomes.ndim))
    return float((effect**2).sum()) * outcomes.size / effect.size


def _cell(runs: Runs, key: tuple[str, ...]) -> str:
    return ", ".join(f"{factor}={level}" for factor, level in zip(runs.factors, key, strict=True))


def _check_levels(runs: Runs) -> None:
    for factor in runs.factors:
        if len(runs.levels(factor)) < 2:
            raise DataError(
                f"statistics: {factor} has one level, {runs.levels(factor)[0]} - there is nothing to compare"
            )


def _complete(runs: Runs) -> Floats:
    """Outcomes as [block, level of the first factor, ...]."""
    block = runs.need_block("an analysis of repeated measures")
    _check_levels(runs)
    if missing := runs.missing():
        name, key = missing[0]
        raise DataError(
            f"statistics: the study is unbalanced: {block} {name} has no run of {_cell(runs, key)} (and {len(missing) - 1} "
            "more are missing) - run them, leave incomplete blocks out with complete_blocks(), or use blocked()"
        )
    blocks = runs.levels(block)
    if len(blocks) < 2:
        raise DataError(f"statistics: one repetition (a single {block}) leaves no error to test against - {_STILL}")
    cells = list(runs.cells())
    shape = (len(blocks), *(len(runs.levels(factor)) for factor in runs.factors))
    if len(runs.rows) != math.prod(shape):
        raise DataError(
            f"statistics: {len(runs.rows)} runs for {math.prod(shape)} cells of blocks: a {block} has a cell more than once "
            "- use blocked(), or name a block that has each cell once"
        )
    found = [
        runs.values({block: name, **dict(zip(runs.factors, key, strict=True))})[0] for name in blocks for key in cells
    ]
    return np.array(found).reshape(shape)
