"""The plane of a report: quality of every system over what making it cost, and its Pareto front."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from distilmt.bill.bill import made, rates_of
from distilmt.bill.composite import kept, pareto_front
from distilmt.errors import DataError
from distilmt.report.numbers import Data, quality, spread, systems_of, tests_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """A system: its quality, the standard error of that over seeds where there are several, and what making it cost."""

    name: str
    quality: float
    error: float | None
    cost: float


@dataclass(frozen=True)
class Plane:
    """Students and the students alone.

    Attributes:
        quality: what it is: the share of the gap to the teacher that was closed, in percent, or BLEU where no student has one.
        cost: "kg" of CO2e where that is known of all, else "hours" of machines. estimated: some energy is a model's.
        front: names of those that nothing else beats in both. left_out: sentences about systems that are not here.
    """

    quality: str
    cost: str
    estimated: bool
    points: list[Point]
    front: list[str]
    left_out: list[str]

    def data(self) -> dict[str, Any]:
        """As report.json has it."""
        return {key: value for key, value in asdict(self).items() if key != "estimated"}

    def draw(self) -> Figure:
        """The figure. Its bars are one standard error."""
        from distilmt.bill.figures import LABELS, plane_plot

        guess = " (estimated)" if self.cost == "kg" and self.estimated else ""
        grams = self.cost == "kg" and max(each.cost for each in self.points) < 0.1
        label = LABELS[self.cost].replace("kg", "g", 1) if grams else LABELS[self.cost]
        points = [(each.cost * (1000 if grams else 1), each.quality, each.name, each.error) for each in self.points]
        return plane_plot(points, label + guess, self.quality).figure  # type: ignore[return-value]


def plane(data: Data) -> Plane | None:
    """None where no student's making is recorded. A system that has no share of a gap is left out, and named; where that
    leaves no student, quality is BLEU itself."""
    test, systems, rates = next(iter(tests_of(data)), ""), systems_of(data), rates_of(data)
    get = quality(test, "bleu")
    whole = {each.name: spent for each in systems if each.role != "teacher" and (spent := made(data, each)) is not None}
    bleu = {each.name: own for each in systems if each.name in whole and (own := spread(each.entries, get)) is not None}
    students = [each.name for each in systems if each.role == "student" and each.name in bleu]
    if not students:
        return None
    found: dict[str, tuple[float, float | None]] = {}
    reasons: dict[str, list[str]] = {}
    for system in (each for each in systems if each.name in whole):
        try:
            share, error = kept(systems, system, get, "BLEU")
            found[system.name] = (100 * share, None if error is None else 100 * error)
        except DataError as reason:
            reasons.setdefault(str(reason), []).append(system.name)
    shares = any(name in found for name in students)
    if not shares:
        found = {
            name: (own.mean, None if own.deviation is None else own.deviation / own.n**0.5)
            for name, own in bleu.items()
        }
    prices = {name: whole[name].cost(rates) for name in found}
    carbon = {name: price.co2e_kg.value for name, price in prices.items() if price.co2e_kg}
    known = len(carbon) == len(found)
    costs = carbon if known else {name: price.hours for name, price in prices.items()}
    front = pareto_front((costs[name], height) for name, (height, _) in found.items())
    why = "Not in the plane" if shares else "BLEU in place of the share of the gap"
    return Plane(
        quality=f"share of the gap closed, % (BLEU {test})" if shares else f"BLEU {test}",
        cost="kg" if known else "hours",
        estimated=any(whole[name].energy_kind == "estimated" for name in found),
        points=[Point(name, *of, costs[name]) for name, of in found.items()],
        front=[name for name, (height, _) in found.items() if (costs[name], height) in front],
        left_out=[f"{why}: {', '.join(names)}: {reason}." for reason, names in reasons.items()],
    )
