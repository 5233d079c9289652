"""The worked examples of docs/bill.md are what the code computes."""

from __future__ import annotations

import doctest
from pathlib import Path

DOC = Path(__file__).parents[1] / "docs" / "bill.md"


def test_the_worked_examples_hold():
    found = doctest.testfile(str(DOC), module_relative=False, encoding="utf-8")
    assert found.failed == 0 and found.attempted > 15
