"""The methods paragraph says what was done, whatever was joined, and with its references."""

from __future__ import annotations

import pytest

from bill_data import told
from distilmt.methods import METHODS, named
from distilmt.report.paper import paragraphs


def test_what_a_joined_method_says_of_its_data_is_true():
    data = told()
    for entry in data["systems"]:
        if entry["name"] == "seq-kd":
            entry |= {"method": "seq-kd+word-kd", "objective": "0.5 * NLL() + 0.5 * WordKD()"}
    ((text, *_),) = paragraphs(data)
    assert "in place of the references (Kim & Rush 2016, section 3.2); the teacher's distribution at every" in text


@pytest.mark.parametrize("loss", [name for name, m in METHODS.items() if m.recipe == "gold" and not m.then])
def test_no_loss_speaks_of_gold_where_the_data_is_not(loss):
    assert "gold" not in named(f"seq-kd+{loss}").summary.replace("never on gold", "")
    assert named(loss).summary == METHODS[loss].summary
