"""What `distilmt multilingual` reports: every direction by itself, and the mean over directions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from distilmt.run import versions
from distilmt.state.storage import write_json
from distilmt.text.files import write_lines

if TYPE_CHECKING:
    from distilmt.multilingual.command import MultilingualConfig
    from distilmt.run import Run

HEADER = ("direction", "student", "level", "share", "set", "teacher BLEU", "BLEU", "teacher chrF", "chrF")


@dataclass(frozen=True)
class MultilingualResult:
    """What `distilmt.multilingual` made.

    Attributes:
        folder: of the run. models: student folders by group of directions.
        rows: one for each direction, with the scores of student and teacher by test set.
    """

    folder: Path
    models: dict[str, Path]
    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        return "\n".join(table(self.rows)) + f"\n\nreport: {self.folder / 'multilingual.json'}"


def write_report(
    run: Run, config: MultilingualConfig, rows: list[dict[str, Any]], models: dict[str, Path]
) -> MultilingualResult:
    """Writes multilingual.json, with the stages' costs, and the table, multilingual.md."""
    data = {
        "directions": rows, "students": {group: str(path.relative_to(run.folder)) for group, path in models.items()},
        "objective": config.objective, "size": config.size, "stages": run.stages(), "versions": versions(),
    }  # fmt: skip
    write_json(run.folder / "multilingual.json", data)
    write_lines(run.folder / "multilingual.md", table(rows))
    return MultilingualResult(run.folder, models, rows)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown: a row per direction and test set (dev where there is none), then means over what was listed."""
    found: list[tuple[str, ...]] = [HEADER, ("---",) * len(HEADER)]
    listed = []
    for row in rows:
        for name in [each for each in row["student"] if each != "dev"] or ["dev"]:
            own, teacher = row["student"][name], (row["teacher"] or {}).get(name, {})
            listed.append((own, teacher))
            found.append(
                (row["direction"], row["group"], row["level"], f"{row['share']:.0%}", name, *_pair(own, teacher))
            )
    if len(listed) > 1:
        means = [
            {key: fmean(each[key] for each in side) for key in ("bleu", "chrf")} if all(side) else {}
            for side in zip(*listed, strict=True)
        ]
        found.append(("mean", "", "", "", "", *_pair(*means)))
    return ["| " + " | ".join(cells) + " |" for cells in found]


def _pair(own: dict[str, Any], teacher: dict[str, Any]) -> tuple[str, ...]:
    """Teacher and student by BLEU, then by chrF; a dash where there is no teacher."""
    return tuple(f"{side[key]:.1f}" if side else "-" for key in ("bleu", "chrf") for side in (teacher, own))
