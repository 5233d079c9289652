"""Significance of a run's scores: tested once, as a stage of the run, and tables of its report.

Every student is compared with the student trained alone (with the teacher where there is none) on each test set; the
tests are those of distilmt.statistics.significance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distilmt.report.cells import DASH, Table
from distilmt.report.numbers import MEASURES, Data, runs_of

if TYPE_CHECKING:
    from distilmt.run import Run

NOT_KEPT = (
    "No significance was tested, for some translations of the test sets were not kept when they were scored: delete the "
    "run's stages/evaluate-*.json, and `distilmt distill` scores them anew."
)


def find_significance(
    run: Run,
    systems: Sequence[Data],
    references: Mapping[str, Sequence[str]],
    languages: Mapping[str, str] | None = None,
) -> list[Data]:
    """Tests the students of a run against its baseline.

    Args:
        systems: the report's entries; `hypotheses` names a file in the run folder for each test set.
        references: reference lines by test set.
        languages: theirs, by which sacreBLEU splits words.

    Returns: What `statistics.significance` returns, of every test set, with its name as `test_set`; empty where no student
        is there to compare, or translations were not kept.
    """
    from distilmt.corpus import file_hash
    from distilmt.state.stage import hash_of
    from distilmt.statistics.significance import corrected, significance
    from distilmt.text.files import OWN_WORDS

    baseline = next((entry["name"] for entry in systems if entry["role"] == "baseline"), "teacher")
    students = dict.fromkeys(entry["name"] for entry in systems if entry["role"] == "student")
    compared = [entry for entry in systems if entry["name"] in (baseline, *students)]
    if not students or any("hypotheses" not in entry for entry in compared):
        return []
    files = {
        f"{entry['name']} {entry['seed']} {test}": run.folder / entry["hypotheses"][test]
        for test in references for entry in compared
    }  # fmt: skip
    inputs = {"against": baseline} | {name: file_hash(path) for name, path in files.items()}
    inputs |= {f"references {test}": hash_of(list(lines)) for test, lines in references.items()}
    languages = languages or {}
    inputs |= {f"language {test}": language for test, language in languages.items() if language in OWN_WORDS}
    # Named by its inputs: a method or a seed that is added later makes a new one.
    with run.stage(f"significance-{hash_of(inputs)[:8]}", inputs, "evaluation") as stage:
        if not stage.done:
            rows: list[Data] = []
            for test, lines in references.items():
                hypotheses: dict[str, dict[int, list[str]]] = {}
                for entry in compared:
                    path = files[f"{entry['name']} {entry['seed']} {test}"]
                    hypotheses.setdefault(entry["name"], {})[entry["seed"] or 0] = _lines(path)
                found = significance([baseline, *students], hypotheses, lines, target_lang=languages.get(test, ""))
                rows += [{"test_set": test} | row for row in found]
            stage.finish(outputs={}, facts={"significance": rows})
        return corrected(stage.facts["significance"])


def significance_tables(data: Data) -> list[Table]:
    """The tests across runs (across.py), then every run's own, corrected within that run; empty where nothing was tested."""
    across = [_table([data | {"runs": None}], " across the runs,")] if data.get("runs") else []
    return [table for table in (*across, _table(runs_of(data), "")) if table is not None]


def _table(runs: list[Data], which: str) -> Table | None:
    from distilmt.statistics.significance import corrected

    # Older reports corrected each measure for itself.
    tested = [(run.get("label", ""), corrected(run.get("significance") or [])) for run in runs]
    rows = [row | {"run": label} for label, found in tested for row in found]
    if not rows:
        return None
    sets = len({row["test_set"] for row in rows}) > 1
    cells = [
        [
            *([row["run"]] if len(runs) > 1 else []), row["name"], *([row["test_set"]] if sets else []),
            MEASURES[row["measure"]][0], f"{row['difference']:+.2f}", f"{row['low']:+.2f} to {row['high']:+.2f}",
            _p(row["p"]), _p(row["p_holm"]) + row["stars"],
        ]
        for row in rows
    ]  # fmt: skip
    head = [*(["Run"] if len(runs) > 1 else []), "System", *(["Test set"] if sets else []), "Measure", "Difference"]
    head += ["95% interval", "p", "p (Holm)"]
    family = max(len(found) for _, found in tested)
    title = f"Significance{which} against the {rows[0]['against']}"
    return Table(title, head, cells, _notes(rows, family), left=2 + sets + (len(runs) > 1))


def _notes(rows: list[Data], family: int) -> list[str]:
    sizes = ", ".join(dict.fromkeys(f"{row['sentences']:,} of {row['test_set']}" for row in rows))
    notes = [f"Differences in points, over sentences: {sizes}. Intervals are the paired bootstrap's, each for itself."]
    if tests := dict.fromkeys(row["test"] for row in rows if row["test"]):
        notes.append(
            f"p: {', '.join(tests)}, two-sided; Holm's correction over all {family} rows{' of a run' if rows[0]['run'] else ''}; "
            "* p (Holm) < 0.05, ** < 0.01, *** < 0.001."
        )
    else:
        notes.append(
            "More than five comparisons: with so many, p says little after correction, so none is given and no star."
        )
    fewest = min(min(row["seeds"], default=1) for row in rows)
    if fewest == 1:
        notes.append(
            "One training of a system each: this says how these models differ, not how their methods do; that takes "
            "several --seeds."
        )
    else:
        notes.append(f"Over sentences and {fewest} seeds together: a difference must hold for other trainings too.")
    return notes


def _p(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\n")[:-1]
