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
    of approximate randomisation over sentences (of the bootstrap where that has none). Holm's correction is over all
    rows, both measures. With more than five rows intervals are given, and no p (Contrasts says why).

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
        for name, each, (test, p) in zip(others, found, chosen, strict=True):
            rows.append(asdict(each) | {"name": name, "against": against, "test": test, "p": p})
    return corrected(rows)


def corrected(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one table with Holm's correction over all of them; with more than five of them none has a p."""
    few = len(rows) <= MOST
    verdicts = holm([row["p"] if few else None for row in rows])
    return [
        {**row, "test": row["test"] if few else "", "p": row["p"] if few else None, "p_holm": p, "stars": stars(p)}
        for row, p in zip(rows, verdicts, strict=True)
    ]


def _chosen(found: Paired) -> tuple[str, float | None]:
    if min(found.seeds) > 1:
        return "bootstrap over seeds and sentences", found.p_bootstrap
    if found.p_randomisation is not None:
        return "approximate randomisation over sentences", found.p_randomisation
    return "bootstrap over sentences", found.p_bootstrap
