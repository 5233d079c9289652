"""A finished table as Markdown, LaTeX or a pandas DataFrame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "²": "$^2$", "δ": r"$\delta$",
    "ε": r"$\varepsilon$", "η": r"$\eta$", "×": r"$\times$", "±": r"$\pm$", "<": "$<$", ">": "$>$",
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """A table of text cells: `title`, `head`, `rows` below it, `notes` as sentences.

    The first column holds names, the others numbers.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table, and its notes below it."""
        lines = [self.head, ["---", *["---:"] * (len(self.head) - 1)], *self.rows]
        table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([f"**{self.title}**", "", *table, *(f"\n{note}" for note in self.notes)]) + "\n"

    def latex(self) -> str:
        """A table for `\\usepackage{booktabs}`."""
        lines = [" & ".join(map(_escape, line)) + r" \\" for line in [self.head, *self.rows]]
        notes = [rf"\par\footnotesize {_escape(note)}" for note in self.notes]
        return "\n".join([
            r"\begin{table}", rf"\caption{{{_escape(self.title)}}}", r"\centering",
            rf"\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}", r"\toprule", lines[0], r"\midrule", *lines[1:],
            r"\bottomrule", r"\end{tabular}", *notes, r"\end{table}", "",
        ])  # fmt: skip

    def frame(self) -> Any:
        """The cells as they are printed."""
        from distilmt.statistics.extra import library

        return library("pandas").DataFrame(self.rows, columns=self.head)


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits; a dash for what is not known."""
    return "–" if value is None else f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def interval(low: float | None, high: float | None, digits: int = 4) -> str:
    return "–" if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}"


def p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _escape(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
