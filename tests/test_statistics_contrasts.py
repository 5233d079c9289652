"""Contrasts, effect sizes and analyses of variance on small tables whose answers are known."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from distilmt.errors import ConfigError
from distilmt.statistics import (
    Contrasts,
    Runs,
    blocked,
    cliffs_delta,
    equal_variances,
    hedges_g,
    holm,
    mann_whitney,
    normality,
    paired_delta,
    paired_g,
    repeated_measures,
    stars,
    welch,
)
from statistics_cases import THREE, planned, rows, runs

pytest.importorskip("scipy", reason="needs the extra `study`")
pytest.importorskip("statsmodels", reason="needs the extra `study`")
pandas = pytest.importorskip("pandas", reason="needs the extra `study`")


def test_a_table_of_dicts_and_a_data_frame_are_the_same():
    assert runs(THREE).rows == Runs(
        pandas.DataFrame(rows(THREE)), outcome="seconds", factors=["method"], block="block"
    ).rows  # fmt: skip
    assert runs(THREE).values({"method": "seq"}).tolist() == [4, 5, 6.5]


def test_welch_by_hand():
    """Means 2 and 5, variances 1 and 4, n 3 and 4: t = -3 / sqrt(1/3 + 1) = -2.598; df = (4/3)^2 / (1/18 + 1/3) = 4.571."""
    x, y = np.array([1.0, 2, 3]), np.array([5 - math.sqrt(3), 5 - math.sqrt(3), 5 + math.sqrt(3), 5 + math.sqrt(3)])
    from scipy.stats import t

    assert y.var(ddof=1) == pytest.approx(4)
    assert welch(x, y).p == pytest.approx(2 * t.sf(3 / math.sqrt(4 / 3), (4 / 3) ** 2 / (1 / 18 + 1 / 3)))


def test_mann_whitney_with_three_against_three_cannot_be_significant():
    found = planned(("seq", "alone"), test="mann-whitney").compare(runs(THREE))
    (row,) = found.rows
    assert row.test.p == pytest.approx(0.1) == row.test.smallest_p and row.effect.value == 1 and row.stars == ""
    assert row.test.estimate == 3 and row.test.low is None  # differences 1 2 3, 2 3 4, 3.5 4.5 5.5
    assert "smallest possible p is 0.1" in found.markdown() and "nothing here can be significant" in found.markdown()


def test_ties_are_permuted():
    """{1, 1, 2} against {1, 3, 3}, by enumeration of the 20 ways to share the six values out."""
    from itertools import combinations

    values = np.array([1.0, 1, 2, 1, 3, 3])

    def u(chosen: tuple[int, ...]) -> float:
        x, y = values[list(chosen)], np.delete(values, list(chosen))
        return float((np.subtract.outer(x, y) > 0).sum() + (np.subtract.outer(x, y) == 0).sum() / 2)

    every = np.array([u(chosen) for chosen in combinations(range(6), 3)])
    one_sided = min((every <= u((0, 1, 2))).mean(), (every >= u((0, 1, 2))).mean())
    assert mann_whitney(values[:3], values[3:]).p == pytest.approx(2 * one_sided)


def test_holm_by_hand_and_by_statsmodels():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, None]) == [0.04, None]  # it was planned, so it counts
    from statsmodels.stats.multitest import multipletests

    p = [0.2, 0.001, 0.04, 0.04, 0.9]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert [stars(value) for value in (None, 0.05, 0.049, 0.009, 0.0009)] == ["", "", "*", "**", "***"]


def test_stars_are_of_the_corrected_p():
    rng = np.random.default_rng(1)
    cells = {name: list(rng.normal(mean, 1, 8)) for name, mean in (("a", 0), ("b", 1.0), ("c", 0), ("d", 0), ("e", 0))}
    alone = planned(("b", "a")).compare(runs(cells)).rows[0]
    among = planned(("b", "a"), ("c", "a"), ("d", "a"), ("e", "a")).compare(runs(cells)).rows[0]
    assert alone.stars and among.test.p == alone.test.p and among.p_holm == pytest.approx(4 * alone.test.p)
    assert not among.stars


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ((), "1 to 5 comparisons, got 0"),
        (tuple((str(i), "x") for i in range(6)), "got 6 .* nothing can be significant"),
        ((("a", "b"), ("b", "a")), "twice"),
        ((("a", "a"),), "itself"),
    ],
)
def test_contrasts_are_few_and_different(pairs, said):
    with pytest.raises(ConfigError, match=said):
        planned(*pairs)


def test_a_table_is_markdown_latex_and_pandas():
    table = planned(("seq", "alone"), ("word", "alone"), test="paired-t").compare(runs(THREE))
    assert table.markdown().count("\n| ") == 4 and "| seq − alone | 3 / 3 |" in table.markdown()
    assert r"\toprule" in table.latex() and r"95\%" in table.latex() and "seq $-$ alone" in table.latex()
    frame = table.frame()
    assert list(frame["estimate"]) == pytest.approx([9.5 / 3, 3.5 / 3]) and list(frame["n_first"]) == [3, 3]
    assert {"low", "high", "p", "p_holm", "stars", "effect", "effect_low", "effect_high"} <= set(frame)


def test_effect_sizes_by_hand():
    from scipy.stats import nct

    x, y = np.array([1.0, 2, 3]), np.array([2.0, 4, 6])
    g = hedges_g(x, y)
    correction = math.gamma(2) / (math.sqrt(2) * math.gamma(1.5))  # Hedges 1981, m = 4
    assert g.value == pytest.approx(-2 / math.sqrt(2.5) * correction) and g.low < g.value < 0 < g.high
    t = -2 / math.sqrt(2.5) / math.sqrt(2 / 3)
    for bound, share in ((g.low, 0.025), (g.high, 0.975)):  # noncentral t with four degrees of freedom
        assert nct.cdf(t, 4, bound / correction / math.sqrt(2 / 3)) == pytest.approx(1 - share, abs=1e-4)
    assert cliffs_delta(x, y).value == pytest.approx((1 - 7) / 9)  # 3 > 2; 2 = 2; all others below
    assert paired_delta(x, y).value == -1 and paired_g(x, y).value == pytest.approx(
        -2 * math.gamma(1) / math.gamma(0.5)
    )
    apart = cliffs_delta(x + 10, y)
    assert (apart.value, apart.high) == (1, 1) and apart.low == pytest.approx(2 * 0.025 ** (1 / 3) - 1)


def test_a_g_of_runs_that_hardly_scatter_is_a_number():
    """A difference of 1,000,000 standard deviations; n large enough that the interval is g times chi's quantiles."""
    x = np.array([0.0, 1, 2, 3, 4])
    g = hedges_g(x + 1e6, x)
    assert 0 < g.low < g.value < g.high and g.high / g.value == pytest.approx(1.5, abs=0.2)


def test_blocks_are_compared_in_pairs_and_other_factors_averaged():
    table = [
        {"run": f"{m}{b}{w}", "m": m, "w": w, "b": b, "y": 10 * b + (m == "x") + w}
        for m in "xy" for b in range(3) for w in (0, 1)
    ]  # fmt: skip
    x, y = Runs(table, outcome="y", factors=["m", "w"], block="b").pairs("m", "x", "y")
    assert x.tolist() == [1.5, 11.5, 21.5] and y.tolist() == [0.5, 10.5, 20.5]


def test_checks_of_assumptions():
    found = normality(runs({"a": [1, 2, 4, 3], "b": [1, 2], "c": [5, 5, 5]}))
    assert [each.of for each in found] == ["a", "b", "c", "residuals"]
    assert found[0].p and "needs 3 runs" in found[1].note and "same number" in found[2].note
    assert equal_variances(runs(THREE)).p and "two cells" in equal_variances(runs({"a": [1, 2], "b": [3, 7]})).note


def test_balanced_cells_give_the_same_sums_of_squares_both_ways():
    rng = np.random.default_rng(5)
    cells = [(beam, kind, block) for beam in (1, 4) for kind in ("int8", "bf16", "f32") for block in range(4)]
    table = Runs(
        [{"run": i, "beam": a, "kind": k, "b": b, "y": a + b + rng.normal()} for i, (a, k, b) in enumerate(cells)],
        outcome="y", factors=["beam", "kind"], block="b",
    )  # fmt: skip
    one, other = blocked(table).terms, repeated_measures(table).terms
    assert [term.name for term in one] == ["beam", "kind", "beam × kind"] == [term.name for term in other]
    assert [term.sum_of_squares for term in one] == pytest.approx([term.sum_of_squares for term in other])
    assert one[0].error == pytest.approx(sum(term.error for term in other)) and one[0].error_freedom == 15
    faster = Contrasts(factor="beam", pairs=(("1", "4"),)).compare(table).rows[0]
    assert faster.n == (4, 4) and faster.test.estimate < 0


def test_unequal_cells_are_analysed_by_type_2():
    found = blocked(runs({"a": [1, 2, 3, 5], "b": [2, 5, 4]}, block=None))
    from scipy.stats import ttest_ind

    assert found.terms[0].p == pytest.approx(ttest_ind([1, 2, 3, 5], [2, 5, 4]).pvalue)
    assert "3 to 4 runs a cell" in found.markdown()
    table = [row | {"block": "only"} for row in rows({"a": [1, 2, 3, 5], "b": [2, 5, 4]})]
    assert blocked(Runs(table, outcome="seconds", factors=["method"], block="block")).terms[0].p == found.terms[0].p


def test_the_guide_runs_and_its_table_is_what_it_prints(capsys):
    page = (Path(__file__).parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| word-kd", "| seq-kd"))]
    assert len(blocks) == 4 and len(printed) == 4 and all(line in page for line in printed), printed
