"""What a run amounts to: its best student, and four figures; the sentences about it are in lead.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distilmt.bill.bill import made, rates_of
from distilmt.bill.tables import KWH, amount
from distilmt.errors import DataError
from distilmt.report.cells import Table, count, duration, ratio_text, sentences
from distilmt.report.numbers import (
    Data,
    Spread,
    System,
    gap_closed,
    peer,
    quality,
    runs_of,
    speed_up,
    spread,
    systems_of,
    tests_of,
)


@dataclass(frozen=True)
class Story:
    """The student with the highest mean BLEU on the first test set, beside its teacher and the student alone; None: unknown.

    gap: share closed. significance: the row of docs/report.md that compares it with the student alone.
    seconds, kwh: what making it took, its teacher there before. paid_back: sentences, infinite for never.
    """

    test: str
    best: System
    students: int
    own: Spread
    teacher: Spread | None
    alone: Spread | None
    gap: float | None
    significance: Data | None
    smaller: float | None
    faster: Spread | None
    seconds: float | None
    energy: str
    paid_back: float | None
    interval: tuple[float | None, float | None]


def story_of(data: Data) -> Story | None:
    """None where there is no student, or the runs are of unlike systems, which have no one story."""
    systems, tests = systems_of(data), tests_of(data)
    students = [system for system in systems if system.role == "student"]
    if not students or not tests or any(system.runs != systems[0].runs for system in systems):
        return None
    get = quality(tests[0], "bleu")
    scored = [(found, system) for system in students if (found := spread(system.entries, get))]
    if not scored:
        return None
    own, best = max(scored, key=lambda pair: pair[0].mean)
    teacher, alone = (spread(peer(systems, best, role), get) for role in ("teacher", "baseline"))
    whole = made(data, best)
    cost = whole.cost(rates_of(data)) if whole else None
    about = "about " if whole and whole.energy_kind == "estimated" else ""
    after, low, high = _paid_back(data, best.name)
    return Story(
        test=tests[0],
        best=best,
        students=len(students),
        own=own,
        teacher=teacher,
        alone=alone,
        gap=gap_closed(systems, best, get),
        significance=_tested(data, best.name, tests[0]),
        smaller=best.first("compression"),
        faster=speed_up(systems, best),
        seconds=whole.seconds if whole else None,
        energy=about + amount(cost.kwh, KWH) if cost and cost.kwh else "",
        paid_back=after,
        interval=(low, high),
    )


def _tested(data: Data, name: str, test: str) -> Data | None:
    from distilmt.statistics.significance import corrected

    rows = corrected(data.get("significance") or [])
    return next(
        (row for row in rows if (row["name"], row["test_set"], row["measure"]) == (name, test, "bleu")),
        None,
    )


def _paid_back(data: Data, student: str) -> tuple[float | None, float | None, float | None]:
    """Pay-back in machine time and its interval, in sentences; None where the run does not say."""
    from distilmt.bill.payback import PaybackConfig, payback_of

    try:
        row = payback_of(data, PaybackConfig(run=data["title"], student=student)).row("time")
    except DataError:  # the section on pay-back says why
        return None, None, None
    return row.sentences, row.low, row.high


def headline(data: Data) -> list[tuple[str, str, str]]:
    """Name, figure and what it is of: quality, size, speed, pay-back; those that are known."""
    story = story_of(data)
    if story is None:
        return []
    beside = [
        f"{name} {found.mean:.1f}" for name, found in (("teacher", story.teacher), ("alone", story.alone)) if found
    ]
    found = [("Quality", f"{story.own.mean:.1f} BLEU", ", ".join(beside))]
    if story.smaller:
        found.append(("Size", f"{1 / story.smaller:.0%}", "of the teacher's parameters"))
    if story.faster:
        found.append(("Speed", ratio_text(story.faster.mean), "its teacher's tokens per second"))
    if story.paid_back is not None:
        low, high = story.interval
        known = low is not None and high is not None and math.isfinite(low)
        of = f"sentences; 95% interval {sentences(low)} to {'no end' if high == math.inf else sentences(high)}"
        found.append(("Pays back after", sentences(story.paid_back), of if known else "sentences served"))
    return found


def runs_table(data: Data) -> Table | None:
    """The runs of a report beside each other, by the best student of each; None for one run."""
    runs = runs_of(data)
    if len(runs) < 2:
        return None
    head = ["Run", "Best student", "BLEU", "Teacher", "Alone", "Gap closed", "Parameters", "Speed-up"]
    head += ["Made in", "Paid back after"]
    rows = []
    for run in runs:
        story = story_of(run)
        if story is None:
            rows.append([run["label"], *["–"] * (len(head) - 1)])
            continue
        bleu = [f"{each.mean:.1f}" if each else "–" for each in (story.own, story.teacher, story.alone)]
        (low, high), after = story.interval, sentences(story.paid_back)
        if low is not None and math.isfinite(low):
            after += f" ({sentences(low)} to {'no end' if high == math.inf else sentences(high)})"
        row = [run["label"], story.best.name, *bleu, "–" if story.gap is None else f"{story.gap:.0%}"]
        row += [count(story.best.first("parameters")), ratio_text(story.faster.mean if story.faster else None)]
        rows.append([*row, duration(story.seconds), after])
    sets = {run["label"]: story.test for run in runs if (story := story_of(run))}
    on = ", ".join(dict.fromkeys(sets.values()))
    notes = [f"The best student of each run, chosen on {on}; sentences until machine time is paid back (95% interval)."]
    if len(set(sets.values())) > 1:
        notes.append("The runs were tested on different sets: their scores do not compare.")
    return Table("The runs beside each other", head, rows, notes, left=2)
