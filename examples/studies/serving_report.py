"""Two analyses of the same runs: as the CAIN 2024 energy study was analysed (10.1145/3644815.3644966), and by runs.

python examples/studies/serving_report.py examples/studies/serving-cost.yaml      # report.md of the study, with both
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from distilmt import study
from distilmt.state.storage import write_bytes
from distilmt.statistics import Contrasts, Layout, Runs, counter_wraps, holm, unwrap, welch
from distilmt.statistics.layout import interval, number, p_value
from distilmt.study.records import record_of
from distilmt.study.summary import mean_of

SAMPLED = ("watts", "cpu_utilisation", "rss_bytes")
MEASURED = ("seconds", "cpu_utilisation", "rss_bytes", "joules")
PUBLISHED = {  # table of means: time 888, 675, 798, 558 s; CPU and memory in per cent; energy in J
    ("distilbert", "bert"): (675 / 888, 26.4 / 36.7, 5.55 / 5.68, 16234 / 28902),
    ("distilgpt2", "gpt2"): (558 / 798, 48.3 / 49.6, 3.17 / 3.95, 22465 / 31229),
}
Row = dict[str, Any]


def samples_of(source: study.Source) -> list[Row]:
    """Every second of every cell that is done: its levels, block, cell, and SAMPLED."""
    asked = study.read(source)
    found = []
    for cell in asked.cells():
        if record_of(asked, cell).get("status") == "done":
            lines = (Path(cell.settings["samples"]) / f"{cell.name}.jsonl").read_text().splitlines()
            found += [cell.levels | {"block": cell.block, "cell": cell.name} | json.loads(line) for line in lines]
    return found


def side_by_side(rows: list[Row], factor: str, pairs: list[tuple[str, str]]) -> Layout:
    """The same samples by the published script (each second an observation, no correction) and by runs.

    Args:
        rows: one for each second, with `factor`, block, cell and SAMPLED; a counter's wraps may be in watts.
    """
    table, raw = [], []
    for outcome in SAMPLED:
        for first, second in pairs:
            one, other = (np.array([row[outcome] for row in rows if row[factor] == level]) for level in (first, second))
            published = welch(one, other)
            values = [row[outcome] for row in rows]
            wraps = counter_wraps(values) if outcome == "watts" else []
            mended = unwrap(values) if wraps else values
            clean = [row | {outcome: value} for row, value in zip(rows, mended, strict=True)]
            runs = Runs(clean, outcome=outcome, factors=[factor], block="block", run="cell", aggregate="mean")
            better = (
                Contrasts(factor=factor, pairs=((first, second),), test="paired-t")
                .compare(runs.complete_blocks())
                .rows[0]
            )
            raw.append(better.test.p)
            table.append([
                f"{outcome}, {first} − {second}", f"{len(one)} / {len(other)}", number(published.estimate),
                p_value(published.p), str(better.n[0]), number(better.test.estimate),
                interval(better.test.low, better.test.high), number(better.effect.value, 3), str(len(wraps)),
            ])  # fmt: skip
    for line, p in zip(table, holm(raw), strict=True):
        line.insert(7, p_value(p))
    head = [
        "Outcome",
        "Seconds",
        "Difference",
        "p",
        "Blocks",
        "Difference of runs",
        "Interval",
        "p (Holm)",
        "Hedges' g",
        "Wraps",
    ]
    return Layout("As published (seconds as observations, p uncorrected) and by runs (paired within blocks, Holm)", head, table, [
        "Seconds of one run are not independent of each other: their p is that of far more runs than there were. "
        "Wraps: seconds from which a wrap of 2^18 J was subtracted; left as they are on the left, mended on the right."
    ])  # fmt: skip


def ratios(source: study.Source, factor: str, pairs: list[tuple[str, str]]) -> Layout:
    """Distilled over original within each block, beside what was published."""
    table = {(row[factor], row["block"]): row for row in study.rows(source) if row["status"] == "done"}
    body = []
    for (first, second), (place, outcome) in product(pairs, enumerate(MEASURED)):
        blocks = [block for level, block in table if level == first and (second, block) in table]
        found = mean_of([table[first, block][outcome] / table[second, block][outcome] for block in blocks])
        published = PUBLISHED[first, second][place] if (first, second) in PUBLISHED else None
        body.append([f"{outcome}, {first} / {second}", str(found.n), number(found.mean, 3), interval(found.low, found.high, 3),
                     number(published, 3)])  # fmt: skip
    notes = [
        "Mean of the ratios within blocks and its 95 % interval. Published: of the means, with loading in time and energy; joules "
        "are a counter's there, and here a declared model of time and load."
    ]
    return Layout("Ratios", ["Ratio", "Blocks", "Measured", "Interval", "Published"], body, notes)


def main(path: str) -> None:
    asked, found = study.read(path), study.report(path)
    factor = next(iter(asked.levels))
    pairs = list(dict.fromkeys(pair for planned in asked.contrasts for pair in planned.pairs))
    tables = [ratios(path, factor, pairs), side_by_side(samples_of(path), factor, pairs)]
    text = "\n".join([found.markdown(), *(table.markdown() for table in tables)])
    write_bytes(asked.folder / "report.md", text.encode())
    print(text)


if __name__ == "__main__":
    main(sys.argv[1])
