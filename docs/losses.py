"""`python docs/losses.py` writes what losses.md takes from the code, between its markers, and draws losses.svg."""

from __future__ import annotations

import inspect
import json
import re
import sys
from dataclasses import fields
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from distilmt.objectives import Term, parse
from distilmt.objectives.expression import _TERMS
from distilmt.reference import term_rows

DOCS = Path(__file__).resolve().parent
PAGE, FIGURE = DOCS / "losses.md", DOCS / "losses.svg"
DRAWN = """
    WordKD() + WordCE() + ReverseKD() + JensenShannon() + SkewKD() + SkewReverseKD() + TotalVariation() + AdaptiveKD()
"""
TEACHER = 0.7  # q of the first of two tokens, in the figure
STYLE = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#888888",
    "lines.linewidth": 1.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "distilmt",  # equal data, equal bytes
}


def page() -> str:
    """The page as it should be: its own words, and between markers those of the code."""
    text = PAGE.read_text(encoding="utf-8")
    for name, made in (("divergences", divergences()), ("terms", terms())):
        begin, end = f"<!-- {name}: by losses.py -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{made}\n\n{end}{rest.split(end)[1]}"
    return text


def terms() -> str:
    """A section for each file of objectives/, from the docstrings of the module and of its terms."""
    parts = []
    for module, group in groupby(_TERMS.values(), lambda term: term.__module__):
        classes = list(group)
        title = ", ".join(term.__name__ for term in classes)
        parts += [f"### {title}", linked(inspect.cleandoc(sys.modules[module].__doc__ or "")), *map(usage, classes)]
    return "\n\n".join(parts)


def usage(term: type[Term]) -> str:
    """Signature with defaults, what the class says of itself, and its parameters as a list."""
    about, _, args = inspect.cleandoc(term.__doc__ or "").partition("\n\nArgs:\n")
    listed = re.sub(r"^    (\w+(?:, \w+)*): ", r"- `\1`: ", args, flags=re.MULTILINE)
    listed = re.sub(r"^        ", "  ", listed, flags=re.MULTILINE)
    return f"`{signature(term)}`: {about}" + (f"\n\n{listed}" if listed else "")


def signature(term: type[Term]) -> str:
    given = ", ".join(
        f"{f.name}={json.dumps(f.default) if isinstance(f.default, str) else f.default}"
        for f in fields(term)  # type: ignore[arg-type]  # every term is a dataclass
        if f.init
    )
    return f"{term.__name__}({given})"


def divergences() -> str:
    """The first sentence of each file of csrc/divergences that defines one."""
    rows = ["| file | what it is |", "| --- | --- |"]
    for path in sorted((DOCS.parent / "csrc" / "divergences").glob("*.h")):
        comment = " ".join(re.findall(r"^// ?(.*)", path.read_text(encoding="utf-8").split("#pragma")[0], re.MULTILINE))
        said, _, source = comment.partition(" Source: ")
        if source:
            words = re.sub(r" \([\w/]+\.h\)", "", said.rstrip(".")).replace("|", "\\|")
            rows.append(f"| [`{path.name}`](../csrc/divergences/{path.name}) | {words} |")
    return "\n".join(rows)


def linked(text: str) -> str:
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def curve(term: Term, p: Tensor) -> tuple[Tensor, Tensor]:
    """Value and its derivative by the first token's logit, where a student gives that token p and the other 1 - p."""
    student = torch.stack([p, 1 - p], 1).log().requires_grad_()
    teacher = torch.tensor([[TEACHER, 1 - TEACHER]], dtype=p.dtype).log().expand(len(p), 2)
    gold = torch.zeros(len(p), dtype=torch.int64)
    value = term_rows(term.native(teacher), student, gold, teacher, None, None)
    return value.detach(), torch.autograd.grad(value.sum(), student)[0][:, 0]


def figure() -> Figure:
    """One panel for each divergence, at its defaults."""
    p = torch.linspace(0.001, 0.999, 200, dtype=torch.float64)
    drawn = Figure(figsize=(8.6, 4.3), layout="constrained")
    panels = drawn.subplots(2, 4, sharex=True, sharey=True)
    for axes, (_, term) in zip(panels.flat, parse(DRAWN).terms, strict=True):
        value, slope = curve(term, p)
        axes.axhline(0, color="#bbbbbb", linewidth=0.7)
        axes.axvline(TEACHER, color="#bbbbbb", linewidth=0.9, linestyle=":")
        axes.plot(p, value, "-", color="#2f6fb0", label="value, in nats")
        axes.plot(p, slope, "--", color="#d9822b", label="gradient, by the logit of the token")
        axes.set(title=type(term).__name__, xlim=(0, 1), ylim=(-0.8, 1.6))
        axes.set_xticks([0, TEACHER, 1], ["0", "q", "1"])
    for axes in panels[1]:
        axes.set_xlabel("p, the student's probability")
    drawn.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    return drawn


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    with mpl.rc_context(STYLE):
        figure().savefig(FIGURE, format="svg", metadata={"Date": None})
