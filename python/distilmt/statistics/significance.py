"""Several systems against one, on one test set: the rows of a report's significance section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

from distilmt.errors import DataError
from distilmt.statistics.compare import holm, stars
from distilmt.statistics.contrasts import MOST
from distilmt.statistics.quality import Measure, Paired, compare_counts, counts_of


def significance(
    systems: Sequence[str], hypotheses_by_seed: Mapping[str, Mapping[int, Sequence[str]]],
    references: Sequence[str] | Sequence[Sequence[str]], *, target_lang: str = "", resamples: int = 1000,
    trials: int = 10_000, seed: int = 12345,
) -> list[dict[str, Any]]:  # fmt: skip
    """Compares every system with the first of them, by BLEU and by chrF.

    The p that counts is the bootstrap's over seeds and sentences where each of the two has several seeds, and else that
    of approximate randomisation over sentences (of the bootstrap where that has none). Holm's correction is over the
    systems, for each measure. With more than five comparisons intervals are given, and no p (Contrasts says why).

    Args:
        systems: names; the first is what the others are compared with.
        hypotheses_by_seed: by name, then by training seed: one line per sentence.
        references, target_lang, resamples, trials, seed: as for `quality.paired`.

    Returns: For each measure and system what `quality.Paired` has, with `name`, `against`, `test` (what `p` is of), `p`,
        `p_holm` (both None with more than five) and `stars`.

    Raises: DataError: fewer than two systems, or lines that do not match.
    """
    if len(systems) < 2:
        raise DataError(f"statistics: a comparison needs two systems, got {', '.join(systems) or 'none'}")
    against, *others = systems
    rows: list[dict[str, Any]] = []
    for measure in get_args(Measure):
        counts = {name: counts_of(hypotheses_by_seed[name], references, measure, target_lang) for name in systems}
        options = {"resamples": resamples, "trials": trials, "seed": seed}
        found = [compare_counts(counts[name], counts[against], measure, **options) for name in others]
        chosen = [_chosen(each) if len(others) <= MOST else ("", None) for each in found]
        corrected = holm([p for _, p in chosen])
        for name, each, (test, p), p_holm in zip(others, found, chosen, corrected, strict=True):
            verdict = {"test": test, "p": p, "p_holm": p_holm, "stars": stars(p_holm)}
            rows.append(asdict(each) | {"name": name, "against": against} | verdict)
    return rows


def _chosen(found: Paired) -> tuple[str, float | None]:
    if min(found.seeds) > 1:
        return "bootstrap over seeds and sentences", found.p_bootstrap
    if found.p_randomisation is not None:
        return "approximate randomisation over sentences", found.p_randomisation
    return "bootstrap over sentences", found.p_bootstrap
