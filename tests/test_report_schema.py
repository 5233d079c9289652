"""What is wrong in a report.json is a sentence that names it, whatever it is: keys taken out and nonsense put in, one by one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from bill_data import told
from distilmt.bill.payback import PaybackConfig, payback_of
from distilmt.errors import DataError, UserError
from distilmt.report import Report, merge
from report_data import MICROSCOPE


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key, and the first item of every list."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from places(inner, (*above, key))


def small() -> dict[str, Any]:
    data = told()
    data["systems"] = [entry for entry in data["systems"] if entry["name"] in ("teacher", "alone", "seq-kd")]
    for entry in data["systems"]:
        entry["curve"] = entry["curve"][:1]
        entry["decode"]["lines"] = 1000
    data["systems"][-1]["microscope"] = copy.deepcopy(MICROSCOPE)
    data["stages"][0]["energy_missing"] = ["RAPL: none"]
    return data


@pytest.mark.parametrize("several", [False, True])
def test_no_fault_ends_in_an_internal_error(several):
    data = merge([Report(small()), Report(small())]).data if several else small()
    assert Report(data).markdown()
    for *above, last in places(data):
        for wrong in (..., None, "x", [], {}, [None]):
            made = copy.deepcopy(data)
            inner: Any = made
            for key in above:
                inner = inner[key]
            if wrong is ...:
                del inner[last]
            else:
                inner[last] = wrong
            try:
                Report(made).markdown()
                payback_of(Report(made).data, PaybackConfig(run="r"))
            except UserError:
                pass
            except Exception as error:
                pytest.fail(f"{[*above, last]} = {wrong!r}: {error!r}")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["systems", 0, "decode"], "x", r"systems\[0\].decode: expected an object, got str"),
        (["systems", 0, "decode", "repeats", 0, "seconds"], "x", r"decode.repeats\[0\].seconds: expected int or float"),
        (["systems", 0, "tokens_per_second"], "x", r"systems\[0\].tokens_per_second: expected int or float, got \"x\""),
        (["systems", 0, "seed"], [], r"systems\[0\].seed: expected int or str, got \[\]"),
        (["stages", 0, "energy_missing"], [None], r"stages\[0\].energy_missing\[0\]: expected str, got null"),
        (["runs"], [{"title": "t"}], r"runs\[0\].command: missing"),
    ],
)
def test_keys_that_need_not_be_there_are_checked_where_they_are(path, value, message):
    data = small()
    inner: Any = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(DataError, match=message):
        Report(data)
