"""A report as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

import base64
import re
from html import escape

from distilmt.bill.tables import bill_tables
from distilmt.report.cells import Table
from distilmt.report.figures import quality_speed, svg, training_curves
from distilmt.report.numbers import Data, tests_of
from distilmt.report.significance import significance_table
from distilmt.report.tables import (
    gap_table,
    making_table,
    provenance,
    results_tables,
    stages_table,
    summary,
    training_table,
)

# Everything hangs below one class, so that a notebook's own styles and these do not meet.
_STYLE = """
.distilmt { --ink: #222; --soft: #666; --rule: #222; --hair: #ddd; --paper: #fdfdfb;
  color: var(--ink); background: var(--paper); margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 58rem;
  font: 16px/1.55 Charter, "Bitstream Charter", "Iowan Old Style", Palatino, Georgia, serif; }
.distilmt h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 600; margin: 0 0 .3rem; }
.distilmt h2 { font-size: 1.15rem; font-weight: 600; margin: 2.6rem 0 .6rem; }
.distilmt p { margin: .5rem 0; max-width: 44rem; }
.distilmt .meta, .distilmt .note, .distilmt figcaption { color: var(--soft); font-size: .84rem; }
.distilmt .lead { font-size: 1.08rem; margin: 1.3rem 0 0; }
.distilmt .scroll { overflow-x: auto; }
.distilmt table { border-collapse: collapse; font: 14px/1.4 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; border-top: 2px solid var(--rule); border-bottom: 2px solid var(--rule);
  background: none; margin: 0 0 .6rem; }
.distilmt th, .distilmt td { padding: .36rem .8rem .36rem 0; text-align: right; white-space: nowrap; background: none;
  font-weight: 400; vertical-align: top; border: 0; }
.distilmt th.word, .distilmt td.word { text-align: left; }
.distilmt td.formula { white-space: normal; min-width: 14rem; }
.distilmt th:last-child, .distilmt td:last-child { padding-right: 0; }
.distilmt thead th { border-bottom: 1px solid var(--rule); font-weight: 600; font-size: 13px; vertical-align: bottom;
  white-space: normal; }
.distilmt tbody tr + tr > * { border-top: 1px solid var(--hair); }
.distilmt tbody tr.total > * { border-top: 1px solid var(--rule); }
.distilmt code, .distilmt pre { font: .82em/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  color: inherit; background: none; overflow-wrap: anywhere; white-space: pre-wrap; }
.distilmt figure { margin: .4rem 0 0; } .distilmt figcaption { margin: .2rem 0 1.2rem; max-width: 44rem; }
.distilmt figure img { max-width: 100%; min-width: 30rem; height: auto; }
.distilmt dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0 0 1rem;
  font-size: .88rem; }
.distilmt dt { color: var(--soft); } .distilmt dd { margin: 0; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) {
  .distilmt { --ink: #ddd; --soft: #999; --rule: #bbb; --hair: #383838; --paper: #191919; }
  .distilmt figure img { filter: invert(.9) hue-rotate(180deg); } }
@media print { .distilmt { font-size: 11pt; max-width: none; padding: 0; } .distilmt .scroll { overflow: visible; }
  .distilmt table { font-size: 8.5pt; } .distilmt figure, .distilmt table { break-inside: avoid; } }
"""


def page(data: Data) -> str:
    """The whole file."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(data['title'])}</title><style>body {{ margin: 0; }} "
        "@media (prefers-color-scheme: dark) { body { background: #191919; } }</style></head>\n"
        f"<body>\n{body(data)}\n</body></html>\n"
    )


def body(data: Data) -> str:
    """The report as a fragment, with its style; what a notebook shows."""
    facts = [data.get("direction"), ", ".join(tests_of(data)), data["created"]]
    parts = [
        f"<style>{_STYLE}</style>",
        f"<h1>{escape(data['title'])}</h1>",
        f'<p class="meta">{escape(" · ".join(fact for fact in facts if fact))}</p>',
        f'<p class="lead">{escape(summary(data))}</p>',
        *map(_table, results_tables(data)),
        _table(significance_table(data)),
        _figure(
            quality_speed(data),
            "Quality against speed",
            "BLEU over target tokens decoded per second; up and to the right is better. Bars: one standard deviation.",
        ),
        _table(gap_table(data)),
        _table(making_table(data), formula=3),
        _figure(
            training_curves(data),
            "Training",
            "Dev BLEU and training loss at each evaluation, one line per seed. Losses of different objectives are "
            "different quantities: only their shapes compare.",
        ),
        _table(training_table(data), titled=False),
        _table(stages_table(data), total=True),
        *(_table(table) for table in bill_tables(data)),
        *_notes(data),
        _provenance(data),
    ]
    return '<article class="distilmt">\n' + "\n".join(part for part in parts if part) + "\n</article>"


def _table(table: Table | None, *, formula: int = -1, titled: bool = True, total: bool = False) -> str:
    """`formula` is the column whose text may wrap; `total` sets the last row apart."""
    if table is None:
        return ""

    def cells(row: list[str], tag: str) -> str:
        marks = []
        for column, cell in enumerate(row):
            kind = " ".join(["word"] * (column < table.left) + ["formula"] * (column == formula))
            name = "th" if column == 0 else tag
            scope = "" if name == "td" else ' scope="row"' if tag == "td" else ' scope="col"'
            content = f"<code>{escape(cell)}</code>" if column == formula and tag == "td" else escape(cell)
            style = f' class="{kind}"' if kind else ""
            marks.append(f"<{name}{scope}{style}>{content}</{name}>")
        return "".join(marks)

    rows = [f"<tr>{cells(row, 'td')}</tr>" for row in table.rows]
    if total:
        rows[-1] = rows[-1].replace("<tr>", '<tr class="total">', 1)
    return (
        (f"<h2>{escape(table.title)}</h2>\n" if titled else "")
        + f'<div class="scroll" tabindex="0"><table aria-label="{escape(table.title)}">\n'
        + f"<thead><tr>{cells(table.head, 'th')}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>\n"
        + "\n".join(f'<p class="note">{_code(note)}</p>' for note in table.notes)
    )


def _figure(figure: object, title: str, caption: str) -> str:
    if figure is None:
        return ""
    picture = base64.b64encode(svg(figure)).decode()  # type: ignore[arg-type]
    return (
        f'<h2>{title}</h2>\n<figure class="scroll" tabindex="0">'
        f'<img alt="{title}: {caption}" src="data:image/svg+xml;base64,{picture}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _notes(data: Data) -> list[str]:
    notes = data.get("notes") or []
    return ["<h2>Notes</h2>", *(f"<p>{_code(note)}</p>" for note in notes)] if notes else []


def _provenance(data: Data) -> str:
    parts = ["<h2>How this was made</h2>"]
    for run in provenance(data):
        items = "".join(f"<dt>{escape(name)}</dt><dd>{_code(value)}</dd>" for name, value in run)
        parts.append(f"<dl>{items}</dl>")
    return "\n".join(parts)


def _code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
