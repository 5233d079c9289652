"""The numbers of a report as tables of text, the same for Markdown and HTML.

Tables show means over seeds, and where there are several the sample standard deviation and n. What is not known is a
dash, except energy, which is "not measured".
"""

from __future__ import annotations

import re

from distilmt.energy import NOT_MEASURED
from distilmt.report.cells import DASH, Table, count, duration, energy, ratio_text, size, text
from distilmt.report.numbers import (
    MEASURES,
    Data,
    gap_closed,
    measures_of,
    quality,
    runs_of,
    speed,
    speed_up,
    spread,
    systems_of,
    tests_of,
)


def results_tables(data: Data) -> list[Table]:
    """Quality, size and speed of every system: one table, or two where several test sets would make it too wide."""
    systems, tests = systems_of(data), tests_of(data)
    columns = [(test, measure) for test in tests for measure in measures_of(data, test)]
    many = any(len(system.entries) > 1 for system in systems)
    quality_head = [*(["n"] if many else []), *(_measure_name(data, *column) for column in columns)]
    size_head = ["Parameters", "Compression", "Model file", "Tokens/s", "Speed-up"]
    quality_rows, size_rows = [], []
    for system in systems:
        scores = [spread(system.entries, quality(*column)) for column in columns]
        row = [text(score, 1, MEASURES[measure][2]) for score, (_, measure) in zip(scores, columns, strict=True)]
        quality_rows.append([*([str(max(each.n if each else 0 for each in scores))] if many else []), *row])
        size_rows.append(
            [
                count(system.first("parameters")),
                ratio_text(system.first("compression")),
                size(system.first("file_bytes")),
                text(spread(system.entries, speed), 0),
                text(speed_up(systems, system), 1, "×"),
            ]
        )
    notes = [_signature_note(data, tests, key) for key in ("bleu_signature", "chrf_signature")]
    if many:
        notes.insert(0, "± is the sample standard deviation over n runs with different seeds.")
    ways = _decoding_note(data)
    names = [[system.name] for system in systems]
    if len(tests) > 1:
        return [
            Table("Results", ["System", *quality_head], _beside(names, quality_rows), notes),
            Table("Size and speed", ["System", *size_head], _beside(names, size_rows), ways),
        ]
    rows = _beside(_beside(names, quality_rows), size_rows)
    return [Table("Results", ["System", *quality_head, *size_head], rows, [*notes, *ways])]


def _beside(left: list[list[str]], right: list[list[str]]) -> list[list[str]]:
    return [[*first, *second] for first, second in zip(left, right, strict=True)]


def gap_table(data: Data) -> Table | None:
    """None without a student, a teacher and a baseline to compare."""
    systems = systems_of(data)
    students = [system for system in systems if system.role == "student"]
    if not students or {"teacher", "baseline"} - {system.role for system in systems}:
        return None
    columns = [(test, measure) for test in tests_of(data) for measure in measures_of(data, test)]
    head = ["System", *(_measure_name(data, *column) for column in columns)]
    rows = []
    for system in students:
        shares = [gap_closed(systems, system, quality(*column)) for column in columns]
        rows.append([system.name, *(DASH if share is None else f"{share:.0%}" for share in shares)])
    notes = ["(method − alone) / (teacher − alone), of means: 0% is the student trained alone, 100% its teacher."]
    if any(DASH in row for row in rows):
        notes.append(f"{DASH}: not tested there, or no gap, since the teacher is not ahead of the student alone.")
    return Table("Share of the gap between student alone and teacher that was closed", head, rows, notes)


def making_table(data: Data) -> Table:
    rows = []
    for system in systems_of(data):
        seeds = ", ".join(dict.fromkeys(str(e["seed"]) for e in system.entries if e.get("seed") is not None))
        words = [system.first(key) or DASH for key in ("method", "recipe", "objective")]
        rows.append([system.name, *words, seeds or DASH])
    return Table(
        "How each system was made", ["System", "Method", "Training data", "Objective", "Seeds"], rows, left=5, formula=3
    )


def training_table(data: Data) -> Table | None:
    """None where nothing was trained."""
    rows = []
    for system in systems_of(data):
        trained = [entry for entry in system.entries if entry.get("training")]
        if not trained:
            continue
        keys = ("updates", "target_tokens", "seconds", "tokens_per_second")
        updates, tokens, seconds, pace = (spread(trained, lambda e, key=key: e["training"].get(key)) for key in keys)  # type: ignore[misc]
        row = [system.name, f"{updates.mean:,.0f}" if updates else DASH, count(tokens.mean if tokens else None)]
        row += [duration(seconds.mean if seconds else None), text(pace, 0)]
        rows.append([*row, text(spread(trained, lambda entry: entry.get("dev_bleu")), 1)])
    head = ["System", "Updates", "Target tokens", "Time", "Tokens/s", "Dev BLEU"]
    return Table("Training", head, rows, ["Means over seeds; dev BLEU chose the checkpoint."]) if rows else None


def stages_table(data: Data) -> Table | None:
    """None where no stage was recorded."""
    stages = data["stages"]
    if not stages:
        return None
    merged = any("run" in stage for stage in stages)
    rows = []
    for stage in stages:
        bound = "≤ " if stage.get("peak_rss_method") == "ru_maxrss" else ""
        row = [*([stage["run"]] if merged else []), stage["name"], duration(stage["seconds"])]
        row += [duration(stage["cpu_seconds"]), bound + size(stage["peak_rss_bytes"]), _energy_of([stage])]
        rows.append(row)
    known = [stage["joules"] for stage in stages if stage["joules"] is not None]
    total = _energy_of(stages) if len(known) == len(stages) else NOT_MEASURED
    if 0 < len(known) < len(stages):
        total = f"{NOT_MEASURED} in {len(stages) - len(known)} of {len(stages)}"
    peak = max((stage["peak_rss_bytes"] or 0 for stage in stages), default=0)
    last = ["all", *([""] if merged else []), duration(sum(stage["seconds"] for stage in stages))]
    rows.append([*last, duration(sum(stage["cpu_seconds"] or 0 for stage in stages)), size(peak or None), total])
    head = [*(["Run"] if merged else []), "Stage", "Time", "CPU time", "Peak memory", "Energy"]
    return Table("What it cost", head, rows, _energy_notes(stages), left=1 + merged, total=True)


def verdicts_table(data: Data) -> Table | None:
    """Lines of every labelling by verdict; None where no stage says."""
    labelled = [stage for stage in data["stages"] if stage.get("verdicts")]
    if not labelled:
        return None
    names = dict.fromkeys(name for stage in labelled for name in stage["verdicts"])
    merged = any("run" in stage for stage in labelled)
    rows = []
    for stage in labelled:
        lines = sum(stage["verdicts"].values())
        cells = [f"{stage['verdicts'].get(name, 0):,}" for name in names]
        rows.append([*([stage["run"]] if merged else []), stage["name"], f"{lines:,}", *cells])
    note = 'Lines by verdict, the first that applies; students learn from "ok" and "non_finite_redone" (docs/labelling.md).'
    head = [*(["Run"] if merged else []), "Labelling", "Lines", *names]
    return Table("Labels", head, rows, [note], left=1 + merged)


def hashes_table(data: Data) -> Table | None:
    """SHA-256 of texts, of the teacher's weights and of what every stage made, 16 digits of each; None where unknown."""
    rows = []
    runs = runs_of(data)
    for run in runs:
        setup, label = run.get("setup") or {}, [run["label"]] if len(runs) > 1 else []
        for text_ in setup.get("texts") or []:
            sides = ((side, text_.get(f"{side}_hash")) for side in ("source", "target"))
            rows += [[*label, f"{text_['name']}, {side}", value[:16]] for side, value in sides if value]
        if weights := (setup.get("teacher") or {}).get("weights"):
            rows.append([*label, "teacher, weights", weights[:16]])
        for stage in run["stages"]:
            rows += [
                [*label, f"{stage['name']}, {name}", value[:16]] for name, value in (stage.get("outputs") or {}).items()
            ]
    head = [*(["Run"] if len(runs) > 1 else []), "What", "SHA-256"]
    return (
        Table("Hashes", head, rows, ["The first 16 digits; the run folder has them whole."], left=9) if rows else None
    )


def provenance(data: Data) -> list[list[tuple[str, str]]]:
    """Command, time, machine and versions, as names and values: what runs share first, then what is each one's own."""
    runs = []
    for run in data.get("runs") or [data]:
        facts = {"run": run["label"]} if "label" in run else {}
        facts |= {"command": f"`{run['command']}`", "created": run["created"]}
        facts |= {str(name): str(value) for name, value in run["machine"].items()}
        runs.append(facts | {"versions": ", ".join(f"{name} {value}" for name, value in run["versions"].items())})
    if len(runs) == 1:
        return [list(runs[0].items())]
    shared = {name: value for name, value in runs[0].items() if all(run.get(name) == value for run in runs)}
    own = [[(name, value) for name, value in run.items() if name not in shared] for run in runs]
    return [[("run", "all"), *shared.items()], *own] if shared else own


def _measure_name(data: Data, test: str, measure: str) -> str:
    name = MEASURES[measure][0]
    return f"{name} {test}" if len(tests_of(data)) > 1 else name


def _signature_note(data: Data, tests: list[str], key: str) -> str:
    """One signature for all, or each with the test sets it belongs to."""
    found: dict[str, list[str]] = {}
    for test in tests:
        for entry in data["systems"]:
            if test in entry["test"]:
                found.setdefault(entry["test"][test][key], []).append(test)
    label = MEASURES[key.split("_")[0]][0]
    if len(found) == 1:
        return f"{label} signature: `{next(iter(found))}`"
    return "; ".join(f"{label} on {', '.join(dict.fromkeys(sets))}: `{name}`" for name, sets in found.items())


def _decoding_note(data: Data) -> list[str]:
    ways = dict.fromkeys(
        f"beam {decode.get('beam_size', DASH)}, {decode.get('threads') or 'all'} threads"
        for entry in data["systems"]
        if (decode := entry.get("decode"))
    )
    return [f"Tokens/s are target tokens decoded per second of wall time ({'; '.join(ways)})."] if ways else []


def _energy_of(stages: list[Data]) -> str:
    """The sum of stages whose energy is known, or of one; estimated ones are marked."""
    joules = [stage["joules"] for stage in stages]
    guessed = "≈ " if any(stage.get("energy_kind") == "estimated" for stage in stages) else ""
    return guessed + energy(sum(joules)) if None not in joules else energy(None)


def energy_covered(stages: list[Data]) -> list[str]:
    """What the stages' energy is of, each part once: a share of CPU time is another in every stage, and is left out."""
    parts = (part for stage in stages for part in stage.get("energy_coverage") or [])
    return list(dict.fromkeys(re.sub(r" x [\d.e-]+ \((share of CPU time)\)", r" x \1", part) for part in parts))


def _energy_notes(stages: list[Data]) -> list[str]:
    methods = dict.fromkeys(
        f"{stage['energy_method']} (estimated)" if stage.get("energy_kind") == "estimated" else stage["energy_method"]
        for stage in stages
        if stage["joules"] is not None
    )
    covered = energy_covered(stages)
    missing = dict.fromkeys(reason for stage in stages for reason in stage.get("energy_missing") or [])
    notes = []
    if methods:
        over = f", over {', '.join(covered)}" if covered else ""
        shared = any(" x " in part for part in covered)  # a share was taken of it
        notes.append(
            f"Energy by {', '.join(methods)}{over}{', all that ran on them included' if over and not shared else ''}."
        )
    if missing:
        notes.append(f"{'Not in it' if methods else 'Energy ' + NOT_MEASURED}: {'; '.join(missing)}.")
    if any(stage.get("peak_rss_method") == "ru_maxrss" for stage in stages):
        notes.append(
            "≤: this machine lets no process reset its peak memory, so it is the peak since the process began."
        )
    return notes
