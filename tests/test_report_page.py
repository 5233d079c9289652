"""The page: one file that loads nothing, plots with every system, text that cannot break out."""

from __future__ import annotations

import base64
import copy
import itertools
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from bill_data import told
from distilmt.report import Report
from distilmt.report.figures import BLACK, COLOURS, GREY, STYLE, looks_of, quality_speed, training_curves
from distilmt.report.numbers import System
from report_data import MICROSCOPE, SIGNATURES, example, system


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
        if tag not in ("meta", "img", "br", "wbr", "input"):
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


def test_two_reports_in_one_notebook_have_ids_of_their_own_and_links_that_stay_inside():
    first, second = Names(), Names()
    first.feed(Report(told())._repr_html_())
    second.feed(Report(told() | {"title": "other"})._repr_html_())
    assert not set(first.ids) & set(second.ids) and set(second.targets) == set(second.ids)


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


class Names(HTMLParser):
    """Elements that must have a name or a rank, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.unnamed, self.headings, self.ids, self.targets, self.labelled = [], [], [], [], False

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))
        if tag == "label":
            self.labelled = True
        named = found.get("alt") or found.get("aria-label") or (tag == "input" and self.labelled)
        if (tag in ("img", "input", "nav") or found.get("tabindex") or found.get("role") == "region") and not named:
            self.unnamed.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.targets += [found["href"][1:]] if tag == "a" else []

    def handle_endtag(self, tag):
        self.labelled = self.labelled and tag != "label"


def test_whatever_can_be_reached_has_a_name_and_headings_go_down_by_one():
    data = told()
    data["systems"][-1]["microscope"] = copy.deepcopy(MICROSCOPE)
    parser = Names()
    parser.feed(Report(data).html())
    assert parser.unnamed == [] and parser.headings[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(parser.headings)) and parser.headings.count(1) == 1
    assert sorted(parser.targets) == sorted(parser.ids) and len(set(parser.ids)) == len(parser.ids) > 8


def parts(colour: str) -> list[float]:
    """Red, green and blue of #rrggbb or #rgb, up to 1."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    return [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]


def contrast(first: list[float], second: list[float]) -> float:
    """WCAG 2, by relative luminance."""

    def luminance(colour: list[float]) -> float:
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


def in_the_dark(colour: list[float]) -> list[float]:
    """`invert(.9) hue-rotate(180deg)` of Filter Effects 1, which the page lays over its pictures."""
    grey = [0.213, 0.715, 0.072]
    light = 2 * sum(weight * (0.9 - 0.8 * part) for weight, part in zip(grey, colour, strict=True))
    return [min(1.0, max(0.0, light - (0.9 - 0.8 * part))) for part in colour]


def schemes(data: dict[str, Any]) -> list[dict[str, str]]:
    """Colours by name: light, dark, print."""
    light, *others = (
        dict(re.findall(r"--(\w+): (#\w+)", each))
        for each in re.findall(r"\.distilmt \{ (--ink[^}]*)", Report(data).html())
    )
    return [light, *(light | each for each in others)]


def test_text_stands_out_from_what_is_behind_it_in_light_dark_and_print(data):
    assert len(schemes(data)) == 3
    for colours in schemes(data):
        for text in ("ink", "soft", "link"):
            for behind in ("paper", "panel"):
                assert contrast(parts(colours[text]), parts(colours[behind])) >= 4.5, (text, behind, colours)


def test_what_pictures_draw_stands_out_from_the_page_in_light_dark_and_print():
    data = told()
    data["systems"][-1]["microscope"] = copy.deepcopy(MICROSCOPE)
    data["systems"] += [system(f"other {n}", "student", 30.0 + n, pace=300, seed=1) for n in range(6)]
    html = Report(data).html() + Report(told()).html()
    assert "filter: invert(.9) hue-rotate(180deg)" in html
    pictures = [base64.b64decode(each).decode() for each in re.findall(r"svg\+xml;base64,([^\"]+)", html)]
    drawn = {colour for each in pictures for colour in re.findall(r"(?:fill|stroke): (#\w{6})", each)}
    drawn -= {"#ffffff", STYLE["grid.color"]}  # hatches on bars, and lines that help to read values off
    light, dark, paper = ({name: parts(colour) for name, colour in each.items()} for each in schemes(data))
    assert len(pictures) == 10 and {*COLOURS, BLACK, GREY} <= drawn
    for colour in drawn:
        found = parts(colour)
        for seen, behind in ((found, light), (in_the_dark(found), dark), (found, paper)):
            assert contrast(seen, behind["paper"]) >= 3, colour


def test_an_interval_stands_below_its_figure():
    assert re.search(r"<td>[^<(]+<small>\([^<]+ to [^<]+\)</small></td>", Report(told()).html())


def test_no_two_of_many_students_look_alike():
    looks = looks_of([System(f"student {n}", "student", []) for n in range(24)])
    seen = [tuple(look.values()) for look in looks.values()]
    assert len(set(seen)) == 24 and len({(colour, line) for colour, _, line in seen}) == 24


def test_the_search_of_the_sentences_needs_no_script_element_and_escapes_what_they_say(data):
    data["systems"][-1]["microscope"] = copy.deepcopy(MICROSCOPE)
    data["systems"][-1]["microscope"]["ranked"][0]["student"] = "<script>alert(1)</script>"
    html = Report(data).html()
    assert "&lt;script&gt;alert(1)" in html and "<script" not in html and "oninput=" in html
