"""`distilmt bill`: what a run cost, what one more label, point and word cost, and how its students rate for it.

found = bill(runs=("run",), country="DEU", price_per_kwh=0.30)
print(found); found.pareto(); found.sensitivity()
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from distilmt.bill.bill import rates_of
from distilmt.bill.rates import Rates, overlaid
from distilmt.bill.tables import bill_tables
from distilmt.errors import ConfigError, DataError
from distilmt.interface.config import resolve
from distilmt.report.cells import Table
from distilmt.report.numbers import MEASURES, Data, tests_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from distilmt.bill.composite import Composite

Four = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class BillConfig:
    """Options of `distilmt bill`."""

    runs: tuple[str, ...] = field(metadata={"help": "run folders, or report.json files"})
    weights: Four = field(
        default=(1.0, 1.0, 1.0, 1.0),
        metadata={"help": "of quality kept, carbon, money, access; their proportions count", "metavar": "Q C M A"},
    )
    scales: Four = field(
        default=(1.0, 10.0, 24.0, 16.0),
        metadata={"help": "what scores one half: kg CO2e, money, hours, gigabytes", "metavar": "KG MONEY HOURS GB"},
    )
    measure: Literal["bleu", "chrf"] = field(default="bleu", metadata={"help": "of quality kept"})
    test_set: str | None = field(default=None, metadata={"help": "of quality kept [default: the first]"})
    out: str | None = field(
        default=None, metadata={"help": "folder for bill.md, pareto.svg and sensitivity.svg", "metavar": "DIR"}
    )
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("bill: give at least one run folder")


@dataclass(frozen=True)
class Bill:
    """What `distilmt.bill` found.

    Attributes:
        tables: costs by kind of stage and by thing gained, and the rating.
        composite: the rating as numbers; None where `problem` says why there is none.
    """

    tables: list[Table]
    composite: Composite | None
    problem: str

    def __str__(self) -> str:
        return "\n\n".join([*(table.markdown() for table in self.tables), *([self.problem] if self.problem else [])])

    _repr_markdown_ = __str__

    def pareto(
        self, cost: Literal["kg", "money", "hours", "gigabytes"] | None = None, axes: Axes | None = None
    ) -> Axes:
        """Quality kept over a cost of making (figures.pareto_plot)."""
        from distilmt.bill.figures import pareto_plot

        return pareto_plot(self._known(), cost, axes)

    def sensitivity(self, axes: Axes | None = None) -> Axes:
        """Scores over the weight of quality (figures.sensitivity_plot)."""
        from distilmt.bill.figures import sensitivity_plot

        return sensitivity_plot(self._known(), axes)

    def _known(self) -> Composite:
        if self.composite is None:
            raise DataError(self.problem)
        return self.composite


def bill(config: BillConfig | None = None, **options: Any) -> Bill:
    """Prints the bill of one or several runs, and rates their students.

    Rates given here take the place of those that a run was recorded with. A run that has not ended has no report yet: then
    the bill is that of its stages so far.

    Args:
        config: a BillConfig, or its fields as keywords.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(BillConfig, config, **options)
    # Here, since they bring numpy, and `distilmt --help` should be quick.
    from distilmt.bill.composite import Scales, candidates, composite
    from distilmt.bill.composite_table import composite_table

    data, problem = _data(config)
    rates = rates_of(data)
    tables, found = bill_tables(data, rates), None
    if not problem:
        try:
            quality = f"{MEASURES[config.measure][0]} {config.test_set or tests_of(data)[0]}"
            rated = candidates(data, rates, measure=config.measure, test=config.test_set)
            found = composite(rated, config.weights, Scales(*config.scales), quality)
            tables.append(composite_table(found, rates))
        except DataError as error:
            problem = str(error)
    result = Bill(tables, found, problem)
    if config.out is not None:
        _save(result, Path(config.out))
    return result


def _data(config: BillConfig) -> tuple[Data, str]:
    """One report of all runs; or the stages of a single run that has none yet, and a sentence that says so."""
    from distilmt.bill.older import complete
    from distilmt.report.compare import gather
    from distilmt.run import stages_of
    from distilmt.state.storage import read_json

    folder = Path(config.runs[0])
    if len(config.runs) == 1 and (folder / "run.json").exists() and not (folder / "report.json").exists():
        stages = stages_of(folder)
        if not stages:
            raise DataError(
                f"{folder}: no stage was begun, so there is nothing to bill yet - run `distilmt distill` on"
            )
        recorded = read_json(folder / "run.json", "start over with --new-run").get("config")
        recorded = rates_of(recorded if isinstance(recorded, dict) else {})
        data = {"systems": [], "stages": stages, "rates": vars(overlaid(recorded, config.rates))}
        complete(data)
        return data, (
            f"{folder}: the run has not ended: this is the bill of its {len(stages)} stages so far; what a point of quality, a "
            "million served words and the students' rating cost is said once `distilmt distill` has written its report"
        )
    return gather(config.runs, config.rates).data, ""


def _save(result: Bill, folder: Path) -> None:
    from distilmt.report.figures import svg
    from distilmt.state.storage import disk_errors, write_bytes

    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "bill.md", f"{result}\n".encode())
    if result.composite is not None:
        for name, axes in (("pareto", result.pareto()), ("sensitivity", result.sensitivity())):
            write_bytes(folder / f"{name}.svg", svg(cast("Figure", axes.figure)))
