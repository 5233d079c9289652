"""A report as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape

from distilmt.report.cells import Table
from distilmt.report.numbers import Data
from distilmt.report.paper import Methods
from distilmt.report.sections import Facts, Part, Picture, Sentences, head, sections
from distilmt.report.story import headline

# Everything hangs below one class, so that a notebook's own styles and these do not meet.
_STYLE = """
.distilmt { --ink: #1d1f21; --soft: #5c6063; --rule: #1d1f21; --hair: #dcdcd6; --paper: #fdfdfb; --panel: #f4f3ee;
  --link: #1f5a8c; color-scheme: light dark; color: var(--ink); background: var(--paper); margin: 0 auto;
  padding: 2.5rem 1.25rem 4rem; max-width: 60rem; box-sizing: border-box;
  font: 16px/1.55 Charter, "Bitstream Charter", "Iowan Old Style", Palatino, "DejaVu Serif", Georgia, serif; }
.distilmt h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 600; margin: 0 0 .3rem; }
.distilmt h2 { font-size: 1.3rem; font-weight: 600; margin: 3rem 0 .6rem; padding-top: .7rem;
  border-top: 1px solid var(--hair); }
.distilmt h3 { font-size: 1.02rem; font-weight: 600; margin: 1.8rem 0 .5rem; }
.distilmt p, .distilmt ul { margin: .5rem 0; max-width: 46rem; }
.distilmt a { color: var(--link); }
.distilmt :focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.distilmt .meta, .distilmt .note, .distilmt figcaption { color: var(--soft); font-size: .86rem; overflow-wrap: anywhere; }
.distilmt .lead { font-size: 1.12rem; margin: 1.3rem 0 .4rem; } .distilmt .lead + .note { margin-bottom: 1.5rem; }
.distilmt details { font-size: .88rem; margin: .4rem 0 0; } .distilmt summary { cursor: pointer; }
.distilmt nav { font: 14px/1.9 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; margin: 1.6rem 0 0; }
.distilmt nav a { margin-right: 1.1rem; white-space: nowrap; }
.distilmt .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin: 0;
  font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.distilmt .figures div { background: var(--panel); padding: .75rem .9rem; border-radius: 4px; }
.distilmt .figures dt { font-size: .8rem; } .distilmt .figures dd { font-size: 1.45rem; font-weight: 600; }
.distilmt .figures small { display: block; font-size: .78rem; font-weight: 400; color: var(--soft); line-height: 1.35; }
.distilmt .scroll { overflow-x: auto; }
.distilmt table { border-collapse: collapse; font: 14px/1.4 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; border-top: 2px solid var(--rule); border-bottom: 2px solid var(--rule);
  background: none; margin: 0 0 .6rem; }
.distilmt th, .distilmt td { padding: .36rem .8rem .36rem 0; text-align: right; white-space: nowrap; background: none;
  font-weight: 400; vertical-align: top; border: 0; color: inherit; }
.distilmt th.word, .distilmt td.word { text-align: left; }
.distilmt td small { display: block; font-size: .86em; color: var(--soft); }
.distilmt td.formula { white-space: normal; min-width: 14rem; }
.distilmt th:last-child, .distilmt td:last-child { padding-right: 0; }
.distilmt thead th { border-bottom: 1px solid var(--rule); font-weight: 600; font-size: .93em; vertical-align: bottom;
  white-space: normal; }
.distilmt tbody tr + tr > * { border-top: 1px solid var(--hair); }
.distilmt tbody tr.total > * { border-top: 1px solid var(--rule); }
.distilmt code, .distilmt pre { font: .82em/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  color: inherit; background: none; overflow-wrap: anywhere; white-space: pre-wrap; }
.distilmt blockquote { margin: .6rem 0; padding: .9rem 1.1rem; background: var(--panel); border-radius: 4px;
  max-width: none; overflow-wrap: anywhere; font-size: .95rem; border: 0; color: inherit; }
.distilmt figure { margin: .4rem 0 0; } .distilmt figcaption { margin: .2rem 0 1.2rem; max-width: 46rem; }
.distilmt figure img { max-width: 100%; min-width: 27rem; height: auto; }
.distilmt dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0 0 1rem;
  font-size: .88rem; }
.distilmt .list { max-height: 34rem; overflow-y: auto; border: 1px solid var(--hair); border-width: 1px 0;
  margin: .6rem 0; } .distilmt .list ol { margin: 0; padding: .2rem 1rem .2rem 2.6rem; }
.distilmt .sentences li { margin: .7rem 0; }
.distilmt .sentences dl.facts { margin: .1rem 0; } .distilmt .sentences dd:empty::after { content: "empty"; font-style: italic; }
.distilmt fieldset { display: flex; flex-wrap: wrap; gap: 0 1.2rem; border: 0; margin: 0; padding: 0; min-width: 0; }
.distilmt legend { padding: 0; color: var(--soft); font-size: .86rem; }
.distilmt .list { order: 1; width: 100%; } .distilmt .choice:not(:has(:checked)) + .list { display: none; }
.distilmt [type=search] { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--soft);
  border-radius: 4px; padding: .2rem .5rem; max-width: 100%; box-sizing: border-box; }
.distilmt dt { color: var(--soft); } .distilmt dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { .distilmt { padding: 1.3rem 1rem 3rem; } .distilmt h1 { font-size: 1.5rem; }
  .distilmt figure img { max-width: none; width: 38rem; } .distilmt figure img.narrow { width: 100%; min-width: 0; }
  .distilmt .list ol { padding: .2rem 0 .2rem 1.7rem; }
  .distilmt > dl.facts { grid-template-columns: 1fr; } .distilmt > dl.facts dd { margin-bottom: .5rem; } }
@media (prefers-color-scheme: dark) {
  .distilmt { --ink: #dfdfdb; --soft: #a3a5a3; --rule: #bbb; --hair: #3a3b3c; --paper: #191a1b; --panel: #242627;
    --link: #8fbfe8; }
  .distilmt figure img { filter: invert(.9) hue-rotate(180deg); } }
@media print { .distilmt { --ink: #000; --soft: #333; --rule: #000; --hair: #bbb; --paper: #fff; --panel: #fff;
    font-size: 11pt; max-width: none; padding: 0; }
  .distilmt figure img { filter: none; min-width: 0; max-width: 100%; width: auto; }
  .distilmt .scroll, .distilmt .list { overflow: visible; max-height: none; }
  .distilmt nav, .distilmt .search, .distilmt .choice:not(:has(:checked)), .distilmt .sentences li:nth-child(n+11) {
    display: none; } .distilmt table { font-size: 8pt; }
  .distilmt th, .distilmt td, .distilmt nav a { white-space: normal; padding-right: .35rem; overflow-wrap: anywhere; }
  .distilmt details::details-content { content-visibility: visible; block-size: auto; } .distilmt summary { list-style: none; }
  .distilmt figure, .distilmt tr, .distilmt h2, .distilmt h3 { break-inside: avoid; break-after: auto; }
  .distilmt h2, .distilmt h3 { break-after: avoid; } }
"""


def page(data: Data) -> str:
    """The whole file."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(data['title'])}</title><style>body {{ margin: 0; background: #fdfdfb; }} "
        "@media (prefers-color-scheme: dark) { body { background: #191a1b; } } "
        "@media print { body { background: #fff; } }</style></head>\n"
        f"<body>\n{body(data)}\n</body></html>\n"
    )


def body(data: Data) -> str:
    """The report as a fragment, with its style; what a notebook shows."""
    meta, lead = head(data)
    whole = (
        (each.title, "\n".join(html for part in each.parts if (html := _part(part, each.title))))
        for each in sections(data)
    )
    shown = [(title, html) for title, html in whole if html]
    # Several reports may stand in one notebook: the ids of each are its own, and those of equal data equal.
    all_of_it = "".join([data["title"], data["created"], *(html for _, html in shown)])
    own = hashlib.sha256(all_of_it.encode()).hexdigest()[:8]
    links = [f'<a href="#{_id(own, title)}">{escape(title.split(",")[0])}</a>' for title, _ in shown]
    parts = [
        f"<style>{_STYLE}</style>",
        f"<h1>{escape(data['title'])}</h1>",
        f'<p class="meta">{escape(meta)}</p>',
        *(f'<p class="lead">{escape(each.text)}</p>\n<p class="note">{escape(each.statistics)}</p>' for each in lead),
        _headline(data),
        f'<nav aria-label="Sections">{" ".join(links)}</nav>',
        *(f'<h2 id="{_id(own, title)}">{escape(title)}</h2>\n{html}' for title, html in shown),
    ]
    return '<article class="distilmt">\n' + "\n".join(part for part in parts if part) + "\n</article>"


def _id(own: str, title: str) -> str:
    return f"distilmt-{own}-" + re.sub(r"\W+", "-", title.lower()).strip("-")


def _headline(data: Data) -> str:
    tiles = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(figure)}<small>{escape(of)}</small></dd></div>"
        for name, figure, of in headline(data)
    ]
    return f'<dl class="figures">{"".join(tiles)}</dl>' if tiles else ""


def _part(part: Part, above: str) -> str:
    match part:
        case Table():
            return _table(part, titled=part.title != above)
        case Picture():
            return _picture(part)
        case Methods():
            references = "".join(f"<li>{escape(each)}</li>" for each in part.references)
            quote = f"<blockquote><p>{escape(part.text)}</p><ul>{references}</ul></blockquote>"
            return f"{quote}\n<details><summary>BibTeX</summary><pre>{escape(part.bibtex)}</pre></details>"
        case Facts():
            items = "".join(f"<dt>{escape(name)}</dt><dd>{_code(value)}</dd>" for name, value in part.pairs)
            return f'<dl class="facts">{items}</dl>'
        case Sentences():
            return _sentences(part)
        case _:
            return f"<p>{_code(part)}</p>"


def _table(table: Table, *, titled: bool) -> str:
    def cells(row: list[str], tag: str) -> str:
        marks = []
        for column, cell in enumerate(row):
            formula = column == table.formula
            kind = " ".join(["word"] * (column < table.left) + ["formula"] * formula)
            name = "th" if column == 0 else tag
            scope = "" if name == "td" else ' scope="row"' if tag == "td" else ' scope="col"'
            content = f"<code>{escape(cell)}</code>" if formula and tag == "td" else escape(cell)
            if tag == "th":  # a long name of a test set may break
                content = re.sub(r"(?<=\w)([._/])(?=\w)", r"\1<wbr>", content)
            elif not formula:  # an interval stands below its figure
                content = re.sub(r" (\([^()]+ to [^()]+\).*)", r"<small>\1</small>", content)
            style = f' class="{kind}"' if kind else ""
            marks.append(f"<{name}{scope}{style}>{content}</{name}>")
        return "".join(marks)

    rows = [f"<tr>{cells(row, 'td')}</tr>" for row in table.rows]
    if table.total:
        rows[-1] = rows[-1].replace("<tr>", '<tr class="total">', 1)
    return (
        (f"<h3>{escape(table.title)}</h3>\n" if titled else "")
        + f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table>\n'
        + f"<thead><tr>{cells(table.head, 'th')}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>\n"
        + "\n".join(f'<p class="note">{_code(note)}</p>' for note in table.notes)
    )


def _picture(picture: Picture) -> str:
    from distilmt.report.figures import svg  # brings matplotlib, which tables do not need

    figure = picture.draw()
    if figure is None:
        return ""
    narrow = ' class="narrow"' if figure.get_figwidth() < 7 else ""  # inches; wider ones are moved sideways on a phone
    title, caption = escape(picture.title), escape(picture.caption)
    image = base64.b64encode(svg(figure)).decode()
    return (
        f'<h3>{title}</h3>\n<figure class="scroll" tabindex="0" aria-label="{title}">'
        f'<img{narrow} alt="{title}: {caption}" src="data:image/svg+xml;base64,{image}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


# An attribute and no script element: it works in a notebook too, and finds its own lists.
_SEARCH = (
    "const words = this.querySelector('[type=search]').value.toLowerCase(), items = [...this.querySelectorAll('li')];"
    "for (const item of items) item.hidden ="
    " ![...item.querySelectorAll('dd')].some(text => text.textContent.toLowerCase().includes(words));"
    "const seen = items.filter(item => item.closest('.list').offsetParent);"
    "this.querySelector('output').textContent = seen.filter(item => !item.hidden).length + ' of ' + seen.length + ' shown'"
)


def _sentences(part: Sentences) -> str:
    """A form, so that the choice of one report in a notebook is not that of another."""
    first = next(iter(part.students))
    count = len(part.students[first])
    lists = "\n".join(
        f'<label class="choice"><input type="radio" name="student"{" checked" * (name == first)}> {escape(name)}</label>'
        f'<div class="list" tabindex="0" role="region" aria-label="Sentences of {escape(name)}"><ol>'
        + "".join(map(_sentence, rows))
        + "</ol></div>"
        for name, rows in part.students.items()
    )
    return (
        "<h3>Sentences, by how much better the teacher is</h3>\n"
        f'<form class="sentences" onsubmit="return false" oninput="{escape(_SEARCH)}"><p class="search"><label>Search the '
        f'sentences <input type="search"></label> <output aria-live="polite">{count} of {count} shown</output></p>\n'
        f"<fieldset><legend>Student</legend>\n{lists}</fieldset></form>\n"
        '<p class="note">The largest differences of sentence chrF, teacher minus student; the run folder has all.</p>'
    )


def _sentence(row: Data) -> str:
    texts = ("source", "reference", "teacher", "student")
    lines = "".join(f'<dt>{name}</dt><dd dir="auto">{escape(row[name])}</dd>' for name in texts)
    kl = f", KL {row['kl']:.2f}" if row.get("kl") is not None else ""
    where = f"{row['where']}: {row['difference']:+.1f} chrF{kl}"
    return f'<li><p class="note">{escape(where)}</p><dl class="facts">{lines}</dl></li>'


def _code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
