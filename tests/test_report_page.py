"""The page: one file that loads nothing, plots with every system, text that cannot break out."""

from __future__ import annotations

import base64
import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from distilmt.report import Report
from distilmt.report.figures import quality_speed, training_curves
from report_data import SIGNATURES, example


@pytest.fixture
def data() -> dict[str, Any]:
    return example()


class Links(HTMLParser):
    """All addresses a browser would load, and whether tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.links, self.tags, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        links = [value for name, value in attributes if name in ("src", "href", "srcset", "data")]
        self.links += [link for link in links if not link.startswith("#")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_that_loads_nothing(data):
    html = Report(data).html()
    parser = Links()
    parser.feed(html)
    assert parser.open == []
    assert not {"script", "link", "iframe", "b"} & set(parser.tags)
    assert len(parser.links) == 2
    for link in parser.links:
        start, _, picture = link.partition(",")
        assert start == "data:image/svg+xml;base64"
        svg = base64.b64decode(picture).decode()
        assert svg.lstrip().startswith("<?xml") and not re.search(r'href="(?!#)', svg)
    assert "url(" not in html and "@import" not in html
    assert "A &lt;b&gt;title&lt;/b&gt; &amp; more" in html
    for words in ("not measured", SIGNATURES["bleu_signature"], "distilmt distill --out run", "sacrebleu 2.6.0"):
        assert words in html
    assert Report(data)._repr_html_() in html


def test_equal_data_gives_equal_bytes(data):
    assert Report(data).html() == Report(copy.deepcopy(data)).html()


def test_plots_show_every_system_and_every_seed(data):
    curves = training_curves(data)
    assert [len(axes.lines) for axes in curves.axes] == [4, 4]  # two seeds of word-kd, alone, seq-kd
    assert [handle.get_text() for handle in curves.legends[0].texts] == ["alone", "word-kd", "seq-kd"]
    (axes,) = quality_speed(data).axes
    assert sorted(float(line[0].get_ydata()[0]) for line in axes.containers) == [30, 35, 40, 41]
    for entry in data["systems"]:
        entry |= {"curve": [], "tokens_per_second": None}
    assert training_curves(data) is None and quality_speed(data) is None
    assert "data:image" not in Report(data).html()


def test_markdown_escapes_what_would_break_its_tables(data):
    text = Report(data).markdown()
    assert "NLL() \\| <x>" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
