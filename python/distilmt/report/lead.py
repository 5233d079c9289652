"""What stands above everything: plain sentences for who has a minute, and below them the statistics they rest on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distilmt.report.cells import duration, text
from distilmt.report.numbers import Data, runs_of
from distilmt.report.story import Story, story_of

SURE = 0.05


@dataclass(frozen=True)
class Lead:
    """Plain sentences: quality, cost, pay-back, those that can be said; and the statistics behind the first of them.

    run: whose they are, where each run of a report has its own; else empty.
    """

    run: str
    sentences: list[str]
    statistics: str

    @property
    def text(self) -> str:
        """The sentences, behind the name of their run."""
        return f"{self.run}: " * bool(self.run) + " ".join(self.sentences)


def leads(data: Data) -> list[Lead]:
    """Of one run, or of runs of the same systems, one; else of every run its quality and its pay-back, a table has the rest."""
    if (story := story_of(data)) is not None:
        return [Lead("", [_quality(story), *_cost(story), *_payback(story)], _statistics(story))]
    found = [(run["label"], story_of(run)) for run in runs_of(data) if data.get("runs")]
    return [Lead(run, [_quality(each), *_payback(each)], _statistics(each)) for run, each in found if each]


def _name(story: Story) -> str:
    return story.best.name.removeprefix("student ")


def _quality(story: Story) -> str:
    many = f"The best of {story.students} distilled students" if story.students > 1 else "The distilled student"
    chosen = f"{many}, {_name(story)},"
    if story.gap is not None:
        share = "all" if story.gap >= 0.995 else f"{story.gap:.0%}" if story.gap >= 0.005 else "none"
        gap = "the gap in quality between the student trained alone and its teacher"
        return f"{chosen} closes {share} of {gap}{_sureness(story)}."
    others = (("its teacher", story.teacher), ("the student trained alone", story.alone))
    return (
        ", ".join([f"{chosen} reaches {story.own.mean:.1f} BLEU", *(f"{who} {x.mean:.1f}" for who, x in others if x)])
        + "."
    )


def _sureness(story: Story) -> str:
    """How sure a gain over the student alone is, as a clause."""
    row = story.significance
    if not story.gap or story.gap < 0.005:
        return ""
    if row is None:
        return "; whether that is more than chance was not tested"
    if row["p_holm"] is None:
        return f"; the gain is likely between {row['low']:+.1f} and {row['high']:+.1f} BLEU"
    if row["p_holm"] >= SURE:
        return "; that may be chance"
    return "; that is more than chance" + ", for these two trainings" * (_seeds(row) == 1)


def _seeds(row: Data) -> int:
    return int(min(row["seeds"], default=1))


def _cost(story: Story) -> list[str]:
    parts = []
    if story.smaller and story.faster:
        pace = f"{story.faster.mean:.1f}× as fast"
        parts.append(f"it has {1 / story.smaller:.0%} of its teacher's parameters and translates {pace}")
    if story.seconds is not None:
        energy = f" and {story.energy}" if story.energy else " (its energy was not measured)"
        parts.append(f"making it took {duration(story.seconds)} of one machine{energy}")
    return [f"{part[0].upper()}{part[1:]}." for part in ["; ".join(parts)] if part]


def _number(value: float) -> str:
    """Of three figures, written out."""
    return f"{float(f'{value:.3g}'):,.0f}"


def _payback(story: Story) -> list[str]:
    """In machine time, with how sure it is."""
    after, (low, high) = story.paid_back, story.interval
    if after is None:
        return []
    serving = "Serving it in its teacher's place"
    if after == math.inf:
        never = f"{serving} does not pay back the machine time of making it, for it is no faster than its teacher"
        if low is None or low == math.inf:
            return [f"{never}."]
        return [f"{never}; within the spread of its timings it might, after {_number(low)} sentences at the earliest."]
    pays = f"{serving} pays back the machine time of making it after {_number(after)} sentences"
    if low is None or high is None:
        return [f"{pays}; timed once, so how sure that is is not known."]
    if high == math.inf:
        return [f"{pays}, at the earliest after {_number(low)}; it is not sure that it ever does."]
    return [f"{pays} (between {_number(low)} and {_number(high)})."]


def _statistics(story: Story) -> str:
    scores = ((_name(story), story.own), ("its teacher", story.teacher), ("student alone", story.alone))
    found = [f"BLEU on {story.test}: {', '.join(f'{who} {text(score, 1)}' for who, score in scores if score)}"]
    if story.gap is not None:
        found.append(f"{story.gap:.0%} of the gap")
    if row := story.significance:
        found.append(
            f"{row['difference']:+.1f} against {row['against']}, 95% interval {row['low']:+.1f} to {row['high']:+.1f}"
        )
        if row["p_holm"] is not None:
            p = f"= {row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else "< 0.001"
            found.append(f"p {p} after Holm's correction")
        found.append("of two trainings, not of their methods" if _seeds(row) == 1 else f"over {_seeds(row)} seeds")
    if story.paid_back is not None and story.interval[0] is not None:
        found.append("pay-back with its 95% interval")
    return "; ".join(found) + "."
