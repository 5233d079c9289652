"""The rating as a table of text, with formula, references, weights and the first system's score worked out below it."""

from __future__ import annotations

from distilmt.bill.composite import Composite
from distilmt.bill.rates import Rates
from distilmt.report.cells import Table


def composite_table(found: Composite, rates: Rates) -> Table:
    rows = []
    for place, each in enumerate(found.rated, 1):
        terms = [f"{each.terms[term]:.3f}" for term in found.weights]
        places = f"{each.best}" if each.best == each.worst else f"{each.best} to {each.worst}"
        front = "on it" if not each.dominated_by else f"behind {each.dominated_by}"
        error = "" if each.candidate.error is None else f" ± {100 * each.candidate.error:.0f}"
        row = [str(place), each.candidate.name, f"{each.candidate.kept:.0%}{error}", *terms, f"{each.score:.3f}"]
        rows.append([*row, f"{each.first:.0%}", places, front])
    scales, unit = found.scales, rates.currency or "of money"
    product = " × ".join(f"{term}^{weight:.3g}" for term, weight in found.weights.items())
    best = found.rated[0]
    worked = " × ".join(f"{best.terms[term]:.3f}^{weight:.3g}" for term, weight in found.weights.items())
    notes = [
        "quality = (student − alone) / (teacher − alone), clipped to 0 to 1, as in Kept without the clip "
        f"({found.quality}); costs are those of making, each as s(x) = 1 / (1 + x / reference).",
        f"References: {scales.kg:g} kg CO2e, {scales.money:g} {unit}, {scales.hours:g} machine hours, {scales.gigabytes:g} GB of "
        "memory; access = √(s(hours) × s(memory)).",
        f"Score = {product}. {best.candidate.name}: {_worked(found)}; {worked} = {best.score:.3f}.",
        *(
            ["±: standard error of Kept over seeds; systems nearer than that are not told apart by quality."]
            if any(each.candidate.error is not None for each in found.rated)
            else []
        ),
        "First in: share of all weights under which it is first; Places: its best and worst under any.",
        *(f"Left out: {reason}." for reason in found.left_out),
    ]
    if found.rated[0].score == 0 and found.weights["quality"] > 0:
        notes.append("Every score is 0: no system kept any of the teacher's gain, so this order says nothing.")
    if any(each.candidate.estimated for each in found.rated) and {"carbon", "money"} & found.weights.keys():
        notes.append("Energy was estimated, not measured: this order is one by that model.")
    head = ["Place", "System", "Kept", *(term.capitalize() for term in found.weights), "Score", "First in", "Places"]
    return Table("Quality kept against what it took", [*head, "Pareto front"], rows, notes, left=2)


def _worked(found: Composite) -> str:
    """The first system's factors from their inputs."""
    one, scales, parts = found.rated[0].candidate, found.scales, []
    for term, value, reference in (("carbon", one.kg, scales.kg), ("money", one.money, scales.money)):
        if term in found.weights and value is not None:
            parts.append(f"{term} = 1 / (1 + {value:.4g} / {reference:g}) = {1 / (1 + value / reference):.3f}")
    halves = [("hours", one.hours, scales.hours), ("memory", one.gigabytes, scales.gigabytes)]
    known = [
        (name, value, 1 / (1 + value / reference), reference) for name, value, reference in halves if value is not None
    ]
    parts += [f"s({name}) = 1 / (1 + {value:.4g} / {reference:g}) = {s:.3f}" for name, value, s, reference in known]
    return "; ".join(parts)
