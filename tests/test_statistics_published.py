"""Worked examples that were published with their answers."""

from __future__ import annotations

import numpy as np
import pytest

from distilmt.statistics import (
    Runs,
    blocked,
    bootstrap_interval,
    cliffs_delta,
    equal_variances,
    hedges_g,
    mann_whitney,
    normality,
    paired_t,
    repeated_measures,
    welch,
    wilcoxon,
)

pytest.importorskip("scipy", reason="needs the extra `study`")
pytest.importorskip("statsmodels", reason="needs the extra `study`")


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def of_cells(cells: dict[str, list[float]]) -> Runs:
    """The i-th value of each cell is the run of block i."""
    rows = [
        {"run": f"{name} {i}", "cell": name, "block": i, "y": value}
        for name, values in cells.items()
        for i, value in enumerate(values)
    ]
    return Runs(rows, outcome="y", factors=["cell"], block="block")


SLEEP = (
    floats(0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0),
    floats(1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4),
)


def test_sleep_student_1908():
    """Cushny & Peebles' data in Student 1908 (Biometrika 6:1), p. 20; Welch's t as on R's page `t.test`."""
    found = welch(*SLEEP)
    assert found.p == pytest.approx(0.07939, abs=5e-6) and found.estimate == pytest.approx(-1.58)
    assert (found.low, found.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-7)
    found = paired_t(*SLEEP)
    assert found.p == pytest.approx(0.002833, abs=5e-7)
    assert (found.low, found.high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)


def test_darwins_maize_fisher_1935():
    """Crossed and self-fertilised plants, eighths of an inch; Fisher, The Design of Experiments, section 17: t = 2.148."""
    crossed = floats(188, 96, 168, 176, 153, 172, 177, 163, 146, 173, 186, 168, 177, 184, 96)
    selfed = floats(139, 163, 160, 160, 147, 149, 149, 122, 132, 144, 130, 144, 102, 124, 144)
    found = paired_t(crossed, selfed)
    assert found.estimate == pytest.approx(314 / 15) and found.p == pytest.approx(0.0497, abs=5e-5)
    assert 0 < found.low < found.high


def test_permeability_hollander_and_wolfe_1973():
    """Human chorioamnion at term and at 12 to 26 weeks; Hollander & Wolfe 1973, p. 69: W = 35, p = 0.1272 one-sided."""
    term = floats(0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46)
    found = mann_whitney(term, floats(1.15, 0.88, 0.90, 0.74, 1.21))
    assert found.p / 2 == pytest.approx(0.1272, abs=5e-5) and found.estimate == pytest.approx(0.305)
    assert found.smallest_p == pytest.approx(2 / 3003)


def test_depression_hollander_and_wolfe_1973():
    """Depression scale before and after a therapy; Hollander & Wolfe 1973, p. 29: p = 0.01953 one-sided, shift 0.46."""
    first = floats(1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30)
    second = floats(0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29)
    found = wilcoxon(first, second)
    assert found.p / 2 == pytest.approx(0.01953, abs=5e-6) and found.estimate == pytest.approx(0.46)
    assert found.smallest_p == 2 / 2**9


def test_penicillin_box_hunter_and_hunter():
    """Randomised blocks; Box, Hunter & Hunter, Statistics for Experimenters, table 4.4: SS 70 and 226, F(3, 12) = 1.24."""
    cells = {
        "A": [89, 84, 81, 87, 79],
        "B": [88, 77, 87, 92, 81],
        "C": [97, 92, 87, 89, 80],
        "D": [94, 79, 85, 84, 88],
    }
    for analysis in (blocked, repeated_measures):
        (term,) = analysis(of_cells(cells)).terms
        assert (term.sum_of_squares, term.error) == pytest.approx((70, 226))
        assert (term.freedom, term.error_freedom, term.f) == pytest.approx((3, 12, 1.24), abs=0.005)
        assert term.eta_squared == pytest.approx(70 / 560)  # blends: 264


def test_bushtucker_field_2009():
    """Field, Discovering Statistics Using SPSS, chapter 13: F(3, 21) = 3.79, p = .026; W = .136, p = .047; Greenhouse-
    Geisser epsilon .533, F(1.60, 11.19), p = .063; SS 83.125 and 153.375."""
    animals = {
        "stick insect": [8, 9, 6, 5, 8, 7, 10, 12],
        "kangaroo": [7, 5, 2, 3, 4, 5, 2, 6],
        "fish eye": [1, 2, 3, 1, 5, 6, 7, 8],
        "grub": [6, 5, 8, 9, 8, 7, 2, 1],
    }
    (term,) = repeated_measures(of_cells(animals)).terms
    assert (term.sum_of_squares, term.error) == pytest.approx((83.125, 153.375))
    assert (term.f, term.p) == pytest.approx((3.79, 0.026), abs=0.005)
    assert (term.mauchly_w, term.mauchly_p) == pytest.approx((0.136, 0.047), abs=0.0005)
    assert (term.epsilon, term.p_corrected) == pytest.approx((0.533, 0.063), abs=0.0005)


def test_factorial_repeated_measures_are_those_of_statsmodels():
    """F and p of AnovaRM, which its authors checked against ezANOVA of R, for three factors at once."""
    pandas = pytest.importorskip("pandas", reason="needs the extra `study`")
    from statsmodels.stats.anova import AnovaRM

    rng = np.random.default_rng(3)
    rows = [
        {"run": f"{b}{x}{y}{z}", "b": b, "x": x, "y": y, "z": z, "out": rng.normal() + b + (x == "p") * y}
        for b in range(6)
        for x in "pq"
        for y in range(3)
        for z in range(2)
    ]
    theirs = AnovaRM(pandas.DataFrame(rows), "out", "b", within=["x", "y", "z"]).fit().anova_table
    ours = {term.name.replace(" × ", ":"): term for term in repeated_measures(
        Runs(rows, outcome="out", factors=["x", "y", "z"], block="b")).terms}  # fmt: skip
    assert set(ours) == set(theirs.index)
    for name, line in theirs.iterrows():
        term = ours[name]
        assert [term.f, term.freedom, term.error_freedom, term.p] == pytest.approx(list(line), rel=1e-8)


def test_cliffs_delta_hogarty_and_kromrey_1999():
    """Their data with the interval that R's effsize prints for it."""
    found = cliffs_delta(floats(10, 10, 20, 20, 20, 30, 30, 30, 40, 50), floats(10, 20, 30, 40, 40, 50))
    assert found.value == pytest.approx(-0.25)
    assert (found.low, found.high) == pytest.approx((-0.7265846, 0.3890062), abs=1e-7)


def test_hedges_g_borenstein_2009():
    """Means 103 and 100, deviations 5.5 and 4.5, 50 each: d 0.5970, g 0.5924, standard error 0.2072; Introduction to
    Meta-Analysis, pp. 26-28. The exact interval is near that of the normal approximation for such n."""
    pattern = np.linspace(-1, 1, 50)
    pattern /= pattern.std(ddof=1)
    found = hedges_g(103 + 5.5 * pattern, 100 + 4.5 * pattern)
    assert found.value == pytest.approx(0.5924, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((0.5924 - 1.96 * 0.2072, 0.5924 + 1.96 * 0.2072), abs=0.01)


def test_shapiro_and_wilk_1965():
    """Weights of eleven men; Shapiro & Wilk 1965, p. 606: W = 0.79."""
    weights = of_cells({"men": [148, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236]})
    assert normality(weights)[0].statistic == pytest.approx(0.79, abs=0.005)


def test_levene_about_medians():
    """The example on scipy's page `levene`."""
    samples = {
        "a": [8.88, 9.12, 9.04, 8.98, 9.00, 9.08, 9.01, 8.85, 9.06, 8.99],
        "b": [8.88, 8.95, 9.29, 9.44, 9.15, 9.58, 8.36, 9.18, 8.67, 9.05],
        "c": [8.95, 9.12, 8.95, 8.85, 9.03, 8.84, 9.07, 8.98, 8.86, 8.98],
    }
    found = equal_variances(of_cells(samples))
    assert found.p == pytest.approx(0.002431505967249681)


def test_spatial_ability_efron_and_tibshirani_1993():
    """Variance of 26 neurologically impaired children's scores, 171.5; table 14.2 has BCa (115.8, 259.6) at 90%."""
    scores = floats(
        48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41
    )  # fmt: skip
    assert scores.var() == pytest.approx(171.5, abs=0.05)
    assert bootstrap_interval(scores, np.var, confidence=0.9) == pytest.approx((115.8, 259.6), rel=0.02)
