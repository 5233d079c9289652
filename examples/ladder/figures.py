"""The ladder's figures, from whatever cells are done: python examples/ladder/figures.py [OUT, default docs/results/ladder]

multi30k.svg     BLEU of every method, each seed a dot, what collapsed at the edge; beside it beam search less greedy
generated.svg    the same of the generated corpus
temperature.svg  BLEU by the temperature of word-level distillation, with and without NLL
gate.svg         the gate of selective distillation over a training: of a batch, of the queue (the lecture's figure 6)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from distilmt import study
from distilmt.errors import UserError
from distilmt.run import read_events
from distilmt.state.storage import read_json, write_json

HERE = Path(__file__).parent
Values = dict[str, list[tuple[float, float]]]


def outcomes(name: str, factor: str, *columns: str) -> Values:
    """The columns of every cell that is done, by level."""
    found: Values = {}
    for row in study.rows(HERE / f"{name}.yaml"):
        if row["status"] == "done":
            found.setdefault(row[factor], []).append(tuple(row[column] for column in columns))
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def ladder(name: str) -> Figure | None:
    found = outcomes(name, "method", "bleu", "bleu_greedy")
    if not found:
        return None
    names = sorted(found, key=lambda name: mean([beam for beam, _ in found[name]]))
    figure: Figure
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.5 + 0.32 * len(names)), layout="constrained", sharey=True)
    best, usual = (mean([beam for beam, _ in found[names[place]]]) for place in (-1, len(names) // 2))
    edge = best - 4 * max(1, best - usual)  # what collapsed stands there, with its figure
    for place, name in enumerate(names):
        for beam, _ in found[name]:
            left.plot(max(beam, edge), place, "o" if beam >= edge else "<", color="C0", alpha=0.6)
        if min(found[name])[0] < edge:
            collapsed = ", ".join(f"{beam:.0f}" for beam, _ in sorted(found[name]) if beam < edge)
            left.annotate(collapsed, (edge, place), (8, 0), textcoords="offset points", va="center")
        gaps = [beam - greedy for beam, greedy in found[name]]
        right.plot(gaps, [place] * len(gaps), "o", color="C1", alpha=0.6)
    left.set_yticks(range(len(names)), names)
    left.set_ylim(-0.7, len(names) - 0.3)
    left.set(xlabel="BLEU of the test text, beam 4")
    right.set(xlabel="beam 4 minus greedy")
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    return figure


def temperature() -> Figure | None:
    found = outcomes("temperature", "loss", "bleu", "bleu_2017")
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for end, label in (("", "KL alone"), ("+NLL", "KL and NLL")):
        points = [
            (float(name.removesuffix("+NLL")[2:]), values)
            for name, values in found.items()
            if name.startswith("T=") and name.endswith("+NLL") == bool(end)
        ]
        points.sort()
        (line,) = axes.plot([t for t, _ in points], [mean([b for b, _ in values]) for _, values in points], label=label)
        for t, values in points:
            axes.plot([t] * len(values), [b for b, _ in values], ".", color=line.get_color())
    for name, style in (("alone", ":"), ("alone-unsmoothed", "--")):
        if name in found:
            axes.axhline(mean([b for b, _ in found[name]]), color="gray", linestyle=style, label=name)
    axes.set(
        xscale="log",
        xlabel="temperature",
        ylabel="BLEU, test_2016",
        xticks=[0.5, 1, 2, 5, 10],
        xticklabels=["0.5", "1", "2", "5", "10"],
    )
    axes.legend()
    return figure if found else None


def gate() -> Figure | None:
    """From the trainings' own logs, which are not kept with the results; gate.json is."""
    asked = study.read(HERE / "multi30k.yaml")
    kept = asked.folder / "gate.json"
    for name in ("selective", "selective-global"):
        for events in sorted(asked.folder.glob(f"work/001-method={name}/student-student/events.jsonl")):
            gates = [each for event in read_events(events) for each in event.get("gates", [])]
            write_json(kept, (read_json(kept, "delete it") if kept.exists() else {}) | {name: gates[::5]})
    if not kept.exists():
        return None
    figure: Figure
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for name, gates in read_json(kept, "delete it").items():
        points = [(5 * i, each) for i, each in enumerate(gates) if each is not None]
        axes.plot(
            *zip(*points, strict=True),
            label={"selective": "batch", "selective-global": "queue of 30,000"}[name],
            linewidth=1,
        )
    axes.set(xlabel="update", ylabel="gate: NLL from which on a token is hard")
    axes.legend()
    return figure


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/ladder")
    out.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Callable[[], Figure | None]] = {
        **{name: partial(ladder, name) for name in ("multi30k", "generated")},
        "temperature": temperature,
        "gate": gate,
    }
    for name, draw in drawn.items():
        try:
            figure = draw()
        except UserError as error:  # costs no other figure
            print(f"{name}.svg: {error}", file=sys.stderr)
            continue
        if figure:
            figure.savefig(out / f"{name}.svg", metadata={"Date": None})
            print(out / f"{name}.svg")
