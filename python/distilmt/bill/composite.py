"""One figure for a distilled student: how much of its teacher it keeps, against what making it took.

    quality  q = (student - alone) / (teacher - alone), clipped to [0, 1]
    cost     s(x) = 1 / (1 + x / reference), for CO2e, money, hours and peak memory
    access     = sqrt(s(hours) * s(memory))
    score      = q^w_quality * s(CO2e)^w_carbon * s(money)^w_money * access^w_access, the weights summing to 1

Why so. A product: thrift buys no quality back, and what kept nothing scores 0 (the weighted geometric mean is the one mean
whose order does not hang on the units of its factors: Fleming & Wallace 1986, doi:10.1145/5666.5673; the Human Development
Index left the sum for it in 2010). Scales that are stated and fixed: a further system changes no other's score, as dividing by
the best or worst of a set would; s is 1 for nothing, 1/2 at the reference, and never 0. Below 0, q is clipped since worse
than no distillation has kept nothing; above 1, since more than all cannot be kept: who beats the teacher is told by the
unclipped figure beside it. Costs are those of making (labelling and the student's training), never of serving: what serving
saves is the pay-back's matter.

A term that some system lacks is left out for all, and the others' weights are divided by their sum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from distilmt.bill.bill import made
from distilmt.bill.rates import Rates
from distilmt.errors import ConfigError, DataError
from distilmt.report.numbers import MEASURES, Data, Get, System, peer, quality, spread, systems_of, tests_of

TERMS = ("quality", "carbon", "money", "access")
STEPS = 40  # of the lattice of weights: 9139 points for four terms


@dataclass(frozen=True)
class Scales:
    """References: what scores one half.

    Attributes: kg of CO2e; money in the currency of the rates; hours of one machine; gigabytes (1e9) of memory, cards' included.
    """

    kg: float = 1.0
    money: float = 10.0
    hours: float = 24.0
    gigabytes: float = 16.0


@dataclass(frozen=True)
class Candidate:
    """What is rated.

    Attributes:
        name: of the system.
        kept: share of the teacher's gain that it keeps, unclipped.
        kg, money, hours, gigabytes: costs of making, in the units of `Scales`; None is unknown.
        estimated: its joules were not measured.
        error: standard error of `kept` over seeds; None with one seed of the student or of the student alone.
    """

    name: str
    kept: float
    kg: float | None
    money: float | None
    hours: float
    gigabytes: float | None
    estimated: bool = False
    error: float | None = None


@dataclass(frozen=True)
class Rated:
    """A candidate's place.

    Attributes:
        candidate: what was rated. score: product of its terms, weighted, 0 to 1.
        terms: each factor before its weight, 0 to 1, by name.
        first: share of all weights, 0 to 1, under which it is first (ties are shared).
        best, worst: its best and worst place over all weights.
        dominated_by: one that keeps no less and costs no more of anything known; empty on the Pareto front.
    """

    candidate: Candidate
    terms: dict[str, float]
    score: float
    first: float
    best: int
    worst: int
    dominated_by: str


@dataclass(frozen=True)
class Composite:
    """All candidates and how they were rated.

    Attributes:
        rated: best first.
        weights: of the terms that were used, summing to 1. scales: what scores one half.
        left_out: terms that were not used, and why, as sentences.
        quality: name of the measure of quality and its test set.
    """

    rated: list[Rated]
    weights: dict[str, float]
    scales: Scales
    left_out: list[str]
    quality: str


def candidates(data: Data, rates: Rates, *, measure: str = "bleu", test: str | None = None) -> list[Candidate]:
    """Students and the student alone, from a report.

    Args:
        measure: "bleu" or "chrf". test: a test set; None is the report's first.
    Raises:
        ConfigError: no such test set.
        DataError: a teacher or a student alone is missing, the teacher is not ahead, or no student's making is recorded; the
            message says what can be said without.
    """
    tests = tests_of(data)
    if test is not None and test not in tests:
        raise ConfigError(f"--test-set {test}: the report has {', '.join(tests)}")
    get, name = quality(test or tests[0], measure), MEASURES[measure][0]
    systems = systems_of(data)
    found = []
    for system in systems:
        whole = made(data, system)
        if system.role == "teacher" or whole is None:
            continue
        try:
            share, error = kept(systems, system, get, name)
        except DataError as reason:
            raise DataError(f"composite: {system.name}: {reason}; the bill stands") from None
        cost = whole.cost(rates)
        memory = None if whole.peak_bytes is None else (whole.peak_bytes + (whole.gpu_peak_bytes or 0)) / 1e9
        found.append(
            Candidate(
                name=system.name,
                kept=share,
                kg=cost.co2e_kg.value if cost.co2e_kg else None,
                money=cost.money.value if cost.money else None,
                hours=cost.hours,
                gigabytes=memory,
                estimated=whole.energy_kind == "estimated",
                error=error,
            )
        )
    if not any(system.role == "student" and system.name == each.name for system in systems for each in found):
        raise DataError(
            "composite: the report does not say which stages made its students (it was written before that was recorded): "
            "run `distilmt distill` again in its folder to write it anew; the bill stands"
        )
    return found


def kept(systems: list[System], system: System, get: Get, name: str) -> tuple[float, float | None]:
    """Share of the gap between the student alone and the teacher that a system closes, and its standard error over seeds
    (None with one seed of either, and of the student alone).

    Args:
        get, name: the measure.
    Raises: DataError: teacher or student alone was not scored, or the teacher is not ahead.
    """
    own, teacher = spread(system.entries, get), spread(peer(systems, system, "teacher"), get)
    alone = spread(system.entries if system.role == "baseline" else peer(systems, system, "baseline"), get)
    if own is None or teacher is None or alone is None:
        lacks = "teacher" if teacher is None else "student alone" if alone is None else "system itself"
        raise DataError(f"no {name} of the {lacks}, so no quality kept")
    gap = teacher.mean - alone.mean
    if gap <= 0:
        raise DataError(
            f"the teacher ({teacher.mean:.1f} {name}) is not ahead of the student alone ({alone.mean:.1f}), so there is no gain "
            "to keep"
        )
    share, error = (own.mean - alone.mean) / gap, None
    if system.role == "student" and own.deviation is not None and alone.deviation is not None:
        # To first order in the means of both: d share / d own = 1 / gap, d share / d alone = (share - 1) / gap.
        error = math.hypot(own.deviation / own.n**0.5, (1 - share) * alone.deviation / alone.n**0.5) / gap
    return share, error


def composite(
    candidates: Sequence[Candidate],
    weights: Sequence[float] = (1, 1, 1, 1),
    scales: Scales | None = None,
    quality: str = "",
) -> Composite:
    """Rates candidates.

    Args:
        weights: of quality, carbon, money and access, 0 or more; only their proportions count.
        scales: the references.
        quality: what `kept` was measured by, for print.
    Raises: ConfigError: weights or references that cannot be.
    """
    scales = scales or Scales()
    if len(weights) != len(TERMS) or not all(0 <= weight < math.inf for weight in weights):
        raise ConfigError(f"--weights must be four numbers of 0 or more ({', '.join(TERMS)}), got {list(weights)}")
    if not all(0 < each < math.inf for each in vars(scales).values()):
        raise ConfigError(f"--scales must be above 0 (kg, money, hours, gigabytes), got {list(vars(scales).values())}")
    factors, left_out = _factors(candidates, scales)
    used = {term: float(weight) for term, weight in zip(TERMS, weights, strict=True) if term in factors}
    total = sum(used.values())
    if total == 0:
        raise ConfigError(f"--weights leave nothing to rate by: known are {', '.join(factors)}")
    used = {term: weight / total for term, weight in used.items()}
    table = np.array([factors[term] for term in used])  # [terms, candidates]
    scores = _scores(table, np.array([list(used.values())]))[0]
    every = _scores(table, _lattice(len(used)))
    winners = np.isclose(every, every.max(1, keepdims=True), rtol=1e-12, atol=0)
    first = (winners / winners.sum(1, keepdims=True)).mean(0)
    places = 1 + (every[:, None, :] > every[:, :, None] * (1 + 1e-12)).sum(2)  # how many are better, plus one
    fronts = dominated_by(candidates)
    rated = [
        Rated(
            candidate=candidate,
            terms={term: float(table[row, column]) for row, term in enumerate(used)},
            score=float(scores[column]),
            first=float(first[column]),
            best=int(places[:, column].min()),
            worst=int(places[:, column].max()),
            dominated_by=fronts[column],
        )
        for column, candidate in enumerate(candidates)
    ]
    return Composite(sorted(rated, key=lambda each: -each.score), used, scales, left_out, quality)


def dominated_by(candidates: Sequence[Candidate]) -> list[str]:
    """For each candidate one that dominates it, by quality kept and every cost that is known of all; empty on the front."""
    known = [
        key for key in ("kg", "money", "hours", "gigabytes") if all(getattr(c, key) is not None for c in candidates)
    ]
    rows = [(-each.kept, *(getattr(each, key) for key in known)) for each in candidates]
    return [
        next(
            (
                candidates[j].name
                for j, other in enumerate(rows)
                if other != row and all(a <= b for a, b in zip(other, row, strict=True))
            ),
            "",
        )
        for row in rows
    ]


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (cost, quality) those that no other one beats, by rising cost."""
    front: list[tuple[float, float]] = []
    for x, minus_y in sorted((x, -y) for x, y in points):
        if not front or -minus_y > front[-1][1]:
            front.append((x, -minus_y))
    return front


def reweighted(found: Composite, weights: dict[str, float]) -> dict[str, float]:
    """Scores by name under other weights of the same terms, which must sum to 1."""
    return {each.candidate.name: math.prod(each.terms[t] ** w for t, w in weights.items()) for each in found.rated}


def _factors(candidates: Sequence[Candidate], scales: Scales) -> tuple[dict[str, list[float]], list[str]]:
    """Each term's factor for every candidate, and a sentence for what is left out."""

    def scored(key: str) -> list[float] | None:
        values = [getattr(each, key) for each in candidates]
        return None if None in values else [1 / (1 + value / getattr(scales, key)) for value in values]

    left_out = []
    factors = {"quality": [min(1.0, max(0.0, each.kept)) for each in candidates]}
    for term, key, needs in (
        ("carbon", "kg", "measured or declared energy, and --country or --grams-per-kwh"),
        ("money", "money", "a price of machine hours, or of a kWh and its energy"),
    ):
        values = scored(key)
        if values is None:
            left_out.append(f"{term}: not known of every system (it needs {needs})")
        else:
            factors[term] = values
    hours, memory = scored("hours") or [], scored("gigabytes")
    if memory is None:
        left_out.append("memory, within access: not known of every system, so access is hours alone")
    factors["access"] = [math.sqrt(h * m) for h, m in zip(hours, memory, strict=True)] if memory else hours
    return factors, left_out


def _scores(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted geometric means: [terms, candidates] and [points, terms] to [points, candidates]. 0 to the power 0 is 1."""
    return np.asarray(np.prod(table[None] ** weights[:, :, None], axis=1))


def _lattice(terms: int) -> np.ndarray:
    """Weights spread evenly over all that sum to 1, as the middles of cells: none is 0. [points, terms]"""
    cuts = itertools.combinations(range(1, STEPS), terms - 1)
    return (np.array([np.diff((0, *cut, STEPS)) for cut in cuts]) - 0.5) / (STEPS - 0.5 * terms)
