"""The page in a real browser: as wide as a phone, dark, and its search. Skipped where there is no Chromium."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path
from typing import Any

import pytest

from bill_data import told
from distilmt.report import Report
from report_data import MICROSCOPE

SCREENSHOTS = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "screenshots.py"))
pytestmark = pytest.mark.skipif(SCREENSHOTS["CHROMIUM"] is None, reason="needs Chromium: apt-get install chromium")
SHOWN = "[...document.querySelectorAll('li dd:last-child')].filter(e => e.offsetParent).map(e => e.textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two students looked at by the microscope, two sentences each."""
    data = told()
    for entry in data["systems"]:
        if entry["role"] == "student":
            entry["microscope"] = copy.deepcopy(MICROSCOPE)
            (row,) = entry["microscope"]["ranked"]
            entry["microscope"]["ranked"] = [row | {"student": f"{entry['name']} {text}"} for text in ("one", "two")]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(Report(data).html(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def view() -> Any:
    with SCREENSHOTS["browser"]() as view:
        yield view


def test_a_phone_need_not_scroll_the_page_sideways(view, page):
    view.show(page, 390)
    assert view.value("document.documentElement.scrollWidth") == view.value("innerWidth") == 390
    assert view.value("document.querySelectorAll('figure').length") >= 3


def test_the_dark_page_has_other_colours(view, page):
    colours = []
    for dark in (False, True):
        view.show(page, dark=dark)
        colours.append(
            view.value("['color', 'backgroundColor'].map(k => getComputedStyle(document.body.firstElementChild)[k])")
        )
    (ink, paper), (dark_ink, dark_paper) = colours
    assert len({ink, paper, dark_ink, dark_paper}) == 4


def test_a_student_is_chosen_and_the_search_looks_at_its_sentences_alone(view, page):
    def enter(script: str) -> tuple[list[str], str]:
        view.value(f"for (const box of [{script}]) box.dispatchEvent(new Event('input', {{bubbles: true}}))")
        return view.value(SHOWN), view.value("document.querySelector('output').textContent")

    def search(words: str) -> tuple[list[str], str]:
        return enter(f"Object.assign(document.querySelector('[type=search]'), {{value: '{words}'}})")

    view.show(page)
    first, *_ = all_ = view.value("[...document.querySelectorAll('.choice')].map(e => e.textContent.trim())")
    assert len(all_) == 2 and view.value(SHOWN) == [f"{first} one", f"{first} two"]
    assert search("TWO") == ([f"{first} two"], "1 of 2 shown")
    assert search("teacher") == ([], "0 of 2 shown")  # the name of every item's third line, of no sentence
    other = all_[1]
    assert search("") == ([f"{first} one", f"{first} two"], "2 of 2 shown")
    assert enter("Object.assign(document.querySelectorAll('[type=radio]')[1], {checked: true})")[0] == [
        f"{other} one",
        f"{other} two",
    ]
    assert search("one") == ([f"{other} one"], "1 of 2 shown")


def test_pictures_and_paper_are_made(view, page):
    view.show(page)
    assert view.picture(0, 100).startswith(b"\x89PNG") and view.paper().startswith(b"%PDF")
