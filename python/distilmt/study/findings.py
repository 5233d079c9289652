"""The report of a study: what came out, which planned contrasts hold, and what a reader must know before believing it."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from distilmt.errors import DataError
from distilmt.state.storage import disk_errors, write_bytes
from distilmt.statistics import Contrasts, Layout, Runs, holm, repeated_measures
from distilmt.statistics.layout import interval, number
from distilmt.study.plots import plot_outcome, plot_quality_cost
from distilmt.study.records import Record, record_of, status_of
from distilmt.study.sentences import Tested, by_sentences
from distilmt.study.spec import Planned, Source, Study, file_name, read, treatment_name
from distilmt.study.summary import Mean, means
from distilmt.study.table import outcome_names, rows, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BUSY = 0.05  # share of the processors' time that others may take before it is said
PLOTTED = 2  # outcomes drawn


@dataclass(frozen=True)
class StudyReport:
    """What a study found.

    Attributes:
        name: of the study. tables: means, tests and planned contrasts.
        remarks: what a reader must know, as sentences.
        figures: plots that were written. paths: all files that were.
    """

    name: str
    tables: list[Layout]
    remarks: list[str]
    figures: list[Path]
    paths: list[Path]

    def markdown(self) -> str:
        """Remarks, tables and figures, as in report.md."""
        remarks = [f"- {remark}" for remark in self.remarks]
        figures = [f"![{path.stem}]({path.parent.name}/{path.name})" for path in self.figures]
        return "\n".join([f"# {self.name}", "", *remarks, "", *(t.markdown() for t in self.tables), *figures]) + "\n"

    def latex(self) -> str:
        """The tables, for `\\usepackage{booktabs}`."""
        return "\n".join(table.latex() for table in self.tables)

    def __str__(self) -> str:
        return self.markdown() + "\n" + "\n".join(map(str, self.paths))

    def _repr_markdown_(self) -> str:
        return self.markdown()


def report(source: Source) -> StudyReport:
    """Writes cells.csv (and .parquet), report.md, report.tex and figures into the study's folder.

    Raises:
        DataError: no cell is done.
        ConfigError: the study file has changed since the run; or a package that intervals and tests need (SciPy) is not
            installed: then cells.csv is written.
    """
    study = read(source)
    paths = save(study)
    done = [record for cell in study.cells() if (record := record_of(study, cell)).get("status") == "done"]
    if not done:
        raise DataError(
            f"{study.folder}: no cell is done - `distilmt study run` makes them, and `status` says how far it is"
        )
    outcomes = outcome_names(study)
    tables, remarks = [outcome_table(study, outcomes)], _remarks(study, done, outcomes)
    for layout, problem in _tests(study):
        tables += [layout] if layout else []
        remarks += [problem] if problem else []
    figures = _figures(study, outcomes)
    found = StudyReport(study.config.name, tables, remarks, figures, paths)
    for name, text in (("report.md", found.markdown()), ("report.tex", found.latex())):
        write_bytes(study.folder / name, text.encode())
        paths.append(study.folder / name)
    paths += figures
    return found


def outcome_table(study: Study, outcomes: list[str]) -> Layout:
    """One row for each treatment: mean and standard deviation over blocks, and the 95 % interval of the mean."""
    factors = list(study.levels)
    columns = {outcome: means(study, outcome, factors) for outcome in outcomes}
    body = []
    for levels, _ in study.treatments:
        key = tuple(levels.values())
        cells = [columns[outcome].get(key) for outcome in outcomes]
        if any(cells):
            body.append([", ".join(key) or "all", str(max(each.n for each in cells if each)), *map(_cell, cells)])
    head = [" × ".join(factors) or "treatment", "n", *outcomes]
    notes = ["Of one pass: mean ± standard deviation over blocks [95 % interval of the mean, Student's t]; n: blocks."]
    return Layout("Outcomes", head, body, notes)


def _tests(study: Study) -> Iterator[tuple[Layout | None, str]]:
    """The tables of planned contrasts and of the outcomes' analyses of variance; or why there is none."""
    found: list[tuple[Planned, Tested | str]] = []
    for planned in study.contrasts:
        try:
            found.append((planned, _contrast(study, planned)))
        except DataError as error:
            found.append((planned, str(error)))
    # What was planned counts among the comparisons, though it could not be tested.
    families: list[Sequence[float | None]] = [
        [None] * len(planned.pairs) if isinstance(one, str) else one.ps for planned, one in found
    ]
    adjusted = iter(holm([p for ps in families for p in ps]))
    for (planned, one), ps in zip(found, families, strict=True):
        own = list(islice(adjusted, len(ps)))
        if isinstance(one, str):
            yield None, f"Planned contrast of {planned.outcome} by {planned.factor}: {one}"
        else:
            yield one.layout(own, sum(map(len, families))), ""
    for outcome in dict.fromkeys(planned.outcome for planned in study.contrasts if planned.test != "sentences"):
        try:
            runs, left_out = _runs(study, outcome, True)
            layout = repeated_measures(runs).layout()
            yield replace(layout, notes=[*layout.notes, *left_out]), ""
        except DataError as error:
            yield None, f"Analysis of variance of {outcome}: {error}"


def _contrast(study: Study, planned: Planned) -> Tested:
    if planned.test == "sentences":
        return by_sentences(study, planned)
    runs, left_out = _runs(study, planned.outcome, planned.test in ("paired-t", "wilcoxon"))
    table = Contrasts(factor=planned.factor, pairs=planned.pairs, test=planned.test).compare(runs)

    def layout(p_holm: Sequence[float | None], family: int) -> Layout:
        found = table.corrected(p_holm, family).layout()
        return replace(found, title=f"Planned: {found.title}", notes=[*found.notes, *left_out])

    return Tested([row.test.p for row in table.rows], layout)


def _runs(study: Study, outcome: str, in_blocks: bool) -> tuple[Runs, list[str]]:
    """The table as statistics wants it, complete blocks only where they are needed, and a note of those left out."""
    table = [row | {"cell": number} for number, row in enumerate(rows(study)) if row["status"] == "done"]
    runs = Runs(table, outcome=outcome, factors=list(study.levels), block="block", run="cell")
    if not in_blocks or not runs.missing():
        return runs, []
    absent = sorted({int(block) for block, _ in runs.missing()})
    return runs.complete_blocks(), [f"Incomplete blocks are left out: {', '.join(map(str, absent))}."]


def _remarks(study: Study, done: list[Record], outcomes: list[str]) -> list[str]:
    """What a reader must know, as sentences."""
    config, status = study.config, status_of(study)
    total = sum(status.counts.values())
    remarks = [
        f"{len(done)} of {total} cells: {len(study.treatments)} treatments in {config.repeats} randomised blocks (seed "
        f"{config.seed}), one process each; {config.warm_up} warm-up passes, {config.cool_down:g} s of cool-down, timed "
        f"regions of {config.min_seconds:g} s or more. A run is the unit of analysis: passes within it are averaged."
    ]
    if len(done) < total:
        counts = Counter(record["block"] for record in done)
        incomplete = [block for block in range(1, config.repeats + 1) if counts[block] < len(study.treatments)]
        remarks.append(
            f"**Unbalanced**: {total - len(done)} cells are missing ({status.counts['failed']} failed), in blocks "
            f"{', '.join(map(str, incomplete))}. Means over other factors and tests in pairs use complete blocks alone."
        )
        remarks += status.failures
    if config.repeats == 1:
        remarks.append("**One repetition**: no spread, no interval, no test; the values are all that can be said.")
    remarks += [_energy(done), *_model(study)]
    remarks += [*_noise(done), *_conditions(study, done), *_same(study, done), *_notes(study, done)]
    if any(name.startswith("label_") for name in outcomes):
        remarks.append("label_* is the cost of a labelling that several cells share: the same run, so count it once.")
    if rates := config.rates.inputs():
        remarks.append("Rates: " + "; ".join(f"{name} {text}" for name, text in rates.items()) + ".")
    return remarks


def _notes(study: Study, done: list[Record]) -> Iterator[str]:
    """The cells' own notes, once each, with the treatments they are of where those are not all."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for record in done:
        for note in record["notes"]:
            found[note][treatment_name(record["levels"])] = None
    for note, names in sorted(found.items()):
        yield note if len(names) == len(study.treatments) else f"{note} ({'; '.join(names)})"


def _same(study: Study, done: list[Record]) -> Iterator[str]:
    """How many translations are distinct, and which factors change none of them: by their hashes, over all cells."""
    hashes = [(record["levels"], record["translations"]) for record in done if "translations" in record]
    if study.config.task == "distill" or not hashes:  # students of other seeds are others
        return
    idle, active = list[str](), list[str]()
    for factor in study.levels:
        levels, groups = defaultdict(set), defaultdict(set)
        for own, found in hashes:
            rest = treatment_name({name: level for name, level in own.items() if name != factor})
            groups[rest].add(found)
            levels[rest].add(own[factor])
        if any(len(each) > 1 for each in levels.values()):
            (active if any(len(each) > 1 for each in groups.values()) else idle).append(factor)
    count = len({found for _, found in hashes})
    said = [f"Translations by their SHA-256: {count} distinct in {len(hashes)} cells"]
    said += [f"{', '.join(active)} change them"] if active else []
    yield "; ".join(said + ([f"{', '.join(idle)} change no bit"] if idle else [])) + "."


def _energy(done: list[Record]) -> str:
    kinds = {record["usage"]["energy_kind"] for record in done}
    methods = ", ".join(sorted({record["usage"]["energy_method"] for record in done}))
    if "unknown" in kinds:
        why = "; ".join(dict.fromkeys(text for record in done for text in record["usage"]["energy_missing"]))
        return f"**Energy was not measured** ({why}): no ranking by energy is claimed, only by time."
    if "estimated" in kinds:
        return f"**Energy is estimated** ({methods}): no ranking by energy is claimed, only by time and by this model of it."
    covered = ", ".join(dict.fromkeys(part for record in done for part in record["usage"]["energy_coverage"]))
    return f"Energy was measured ({methods}): {covered}."


def _model(study: Study) -> Iterator[str]:
    if study.config.model_watts is not None:
        idle, full = study.config.model_watts
        yield (
            f"**joules_model is a model and no measurement**: {idle:g} W for every second and {full - idle:g} W more for the "
            "share of the processors that the work itself used, both declared; cards are left out, other work does not count, and "
            "cells side by side count the idle watts each."
        )


def _noise(done: list[Record]) -> Iterator[str]:
    """The machine's other work, said where it could have mattered."""

    def known(key: str) -> list[float]:
        return [record["noise"][key] for record in done if record["noise"].get(key) is not None]

    for key, what in (("other_cpu_share", "other processes"), ("steal_share", "other guests of the hypervisor")):
        shares = known(key)
        if not shares:
            yield f"What {what} took is unknown on this machine."
        elif busy := [share for share in shares if share > BUSY]:
            yield (
                f"**Noise**: in {len(busy)} of {len(done)} cells {what} took more than {BUSY:.0%} of the processors' time "
                f"(median {median(shares):.0%}, at most {max(shares):.0%})."
            )
    if (clocks := known("mhz_after")) and max(clocks) > 1.1 * min(clocks):
        yield f"**Noise**: the processors' clock lay between {min(clocks):.0f} and {max(clocks):.0f} MHz after cells."
    if heat := known("celsius_after"):
        yield f"Hottest sensor after a cell: {min(heat):.0f} to {max(heat):.0f} °C."


def _conditions(study: Study, done: list[Record]) -> Iterator[str]:
    hosts = sorted({record["host"] for record in done})
    if len(hosts) > 1:
        by_block: dict[int, set[str]] = defaultdict(set)
        for record in done:
            by_block[record["block"]].add(record["host"])
        mixed = [str(block) for block, names in by_block.items() if len(names) > 1]
        ends = f"; **block {', '.join(mixed)} ran on several**, so its comparisons hold machines" if mixed else ""
        yield f"Hosts: {', '.join(hosts)}{ends}."
    if len({str(sorted(record["versions"].items())) for record in done}) > 1:
        yield "**Versions of packages changed between cells**: see `versions` in the cells' records."
    if len({record["treatments"] for record in done}) > 1:
        yield "**Levels were added** after blocks had run: within these blocks, new cells ran at another time than the old."
    if again := sum(record["attempts"] > 1 for record in done):
        yield f"{again} cells were begun more than once, after a failure or an interruption."
    short = [record["outcomes"].get("train_seconds") for record in done]
    if any(seconds is not None and seconds < study.config.min_seconds for seconds in short):
        yield f"Some trainings took less than {study.config.min_seconds:g} s: their times say little."


def _figures(study: Study, outcomes: list[str]) -> list[Path]:
    folder = study.folder / "figures"
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
    factors = list(study.levels)
    wanted: dict[str, Callable[[], Axes]] = {}
    for outcome, factor in product(outcomes[:PLOTTED], factors):
        others = [name for name in factors if name != factor]
        by = others[0] if len(others) == 1 else None
        wanted[f"{outcome}-by-{factor}"] = partial(plot_outcome, study, outcome, factor, by=by)
    if "bleu" in outcomes and "seconds" in outcomes:
        wanted["quality-cost"] = partial(plot_quality_cost, study)
    paths = []
    for name, draw in wanted.items():
        with suppress(DataError):  # no complete block yet: the remarks say so
            image = io.BytesIO()
            figure: Any = draw().figure
            figure.savefig(image, format="svg", metadata={"Date": None})
            paths.append(folder / f"{file_name(name)}.svg")
            write_bytes(paths[-1], image.getvalue())
    return paths


def _cell(found: Mean | None) -> str:
    if found is None:
        return "–"
    if found.deviation is None or found.low is None or found.high is None:
        return number(found.mean)
    return f"{number(found.mean)} ± {number(found.deviation, 2)} [{interval(found.low, found.high)}]"
