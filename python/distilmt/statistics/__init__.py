"""Statistics of runs and of translations; docs/statistics.md is the guide.

    Runs, Contrasts                      a tidy table with one row for each run; comparisons named before the run
    repeated_measures, blocked           analysis of variance with randomised blocks
    normality, equal_variances           what these assume
    hedges_g, cliffs_delta, ...          effect sizes; bootstrap_interval
    paired, significance                 BLEU and chrF over sentences, and over seeds besides
    counter_wraps, unwrap                energies from which a counter's wrap was subtracted

Tests of runs need the extra `study` (SciPy, statsmodels, pandas); those of translations NumPy and sacreBLEU alone.
"""

from distilmt.statistics.anova import Anova, Term, blocked, repeated_measures
from distilmt.statistics.checks import Check, equal_variances, normality
from distilmt.statistics.compare import Test, holm, mann_whitney, paired_t, stars, welch, wilcoxon
from distilmt.statistics.contrasts import Comparison, Contrasts, ContrastTable
from distilmt.statistics.effects import Effect, cliffs_delta, hedges_g, paired_delta, paired_g
from distilmt.statistics.intervals import bootstrap_interval
from distilmt.statistics.layout import Layout
from distilmt.statistics.quality import Paired, paired
from distilmt.statistics.runs import Runs
from distilmt.statistics.significance import significance
from distilmt.statistics.wraps import counter_wraps, unwrap

__all__ = [
    "Anova", "Check", "Comparison", "ContrastTable", "Contrasts", "Effect", "Layout", "Paired", "Runs", "Term", "Test",
    "blocked", "bootstrap_interval", "cliffs_delta", "counter_wraps", "equal_variances", "hedges_g", "holm",
    "mann_whitney", "normality", "paired", "paired_delta", "paired_g", "paired_t", "repeated_measures", "significance",
    "stars", "unwrap", "welch", "wilcoxon",
]  # fmt: skip
