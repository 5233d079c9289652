"""What a run amounts to: its best student, three sentences about it, and four figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distilmt.bill.bill import made, rates_of
from distilmt.bill.tables import KWH, amount
from distilmt.errors import DataError
from distilmt.report.cells import Table, count, duration, ratio_text
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

SURE = 0.05


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

    if data.get("runs"):
        return None, None, None
    try:
        row = payback_of(data, PaybackConfig(run=data["title"], student=student)).row("time")
    except DataError:  # the section on pay-back says why
        return None, None, None
    return row.sentences, row.low, row.high


def summary(data: Data) -> str:
    """Up to three sentences: quality and how sure it is, size and speed, cost and pay-back; empty where there is no story."""
    story = story_of(data)
    return "" if story is None else " ".join(_sentences(story))


def _sentences(story: Story) -> list[str]:
    chosen = "the best of the distilled students" if story.students > 1 else "the distilled student"
    reached = f"{chosen} ({story.best.name}) reaches {story.own.mean:.1f}"
    if story.teacher and story.alone:
        before = f"the teacher reaches {story.teacher.mean:.1f} BLEU, the student trained alone {story.alone.mean:.1f}"
        closed = "" if story.gap is None else f", which closes {_share(story.gap)} of that gap"
        reached = f"{before}; {reached}{closed}"
    else:
        reached += " BLEU"
    found = [f"On {story.test} {reached}{_sureness(story)}."]
    if story.smaller and story.faster:
        pace = f"{story.faster.mean:.1f}× as fast as its teacher"
        found.append(f"It has {1 / story.smaller:.0%} of the teacher's parameters and translates {pace}.")
    if story.seconds is not None:
        energy = f" and {story.energy}" if story.energy else " (its energy was not measured)"
        found.append(f"Making it took {duration(story.seconds)} of one machine{energy}{_returns(story.paid_back)}.")
    return found


def _share(gap: float) -> str:
    return f"{gap:.0%}" if gap >= 0.005 else "none"


def _sureness(story: Story) -> str:
    """How sure the gain over the student alone is, as a clause."""
    if story.alone is None:
        return ""
    row = story.significance
    if row is None:
        return " (whether that is more than chance was not tested)"
    gain, seeds = f"{row['difference']:+.1f} BLEU against the student alone", min(row["seeds"], default=1)
    of = "for these two trainings, not for their methods" if seeds == 1 else f"over {seeds} seeds"
    if row["p_holm"] is None:
        return f"; its {gain} has a 95% interval of {row['low']:+.1f} to {row['high']:+.1f}, {of}"
    if row["p_holm"] >= SURE:
        return f"; its {gain} may be chance (p = {row['p_holm']:.2f}, {of})"
    p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    return f"; its {gain} is more than chance explains ({p}, {of})"


def _returns(sentences: float | None) -> str:
    if sentences is None:
        return ""
    if sentences == math.inf:
        return ", which serving does not pay back, for it is no faster than its teacher"
    return f", which serving has paid back in machine time after {count(sentences)} sentences"


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
        from distilmt.bill.payback import sentences

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
        after = "–" if story.paid_back is None else "never" if story.paid_back == math.inf else count(story.paid_back)
        row = [run["label"], story.best.name, *bleu, "–" if story.gap is None else f"{story.gap:.0%}"]
        row += [count(story.best.first("parameters")), ratio_text(story.faster.mean if story.faster else None)]
        rows.append([*row, duration(story.seconds), after])
    sets = {run["label"]: story.test for run in runs if (story := story_of(run))}
    on = ", ".join(dict.fromkeys(sets.values()))
    notes = [f"The best student of each run, chosen on {on}; sentences until machine time is paid back."]
    if len(set(sets.values())) > 1:
        notes.append("The runs were tested on different sets: their scores do not compare.")
    return Table("The runs beside each other", head, rows, notes, left=2)
