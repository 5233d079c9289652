"""A sum with a hole is no sum: what one part counted and another could not read makes both together unknown."""

from __future__ import annotations

import pytest

from bill_data import billed
from distilmt.bill.bill import kinds
from distilmt.bill.rates import Rates
from distilmt.energy import Usage, holes, total


def usage(coverage: list[str], missing: list[str]) -> Usage:
    return Usage(
        10, 10, 1, 100.0, "RAPL", coverage, missing, energy_kind="measured", joules_low=99.0, joules_high=101.0
    )


CARD, SOCKETS = "NVML 0 H200 (whole card)", ["RAPL package-0", "RAPL package-1"]


@pytest.mark.parametrize(
    ("one", "two", "reason"),
    [
        ([SOCKETS[0], CARD], SOCKETS[:1], "NVML: Driver Not Loaded"),
        ([SOCKETS[0], CARD], [CARD], "RAPL: no zones under /sys"),
        (SOCKETS, SOCKETS[:1], "RAPL intel-rapl:1: Permission denied"),
        ([CARD], [SOCKETS[0]], "NVML 0 H200 (slice): lost"),
        ([SOCKETS[0] + " x 0.5"], [CARD], "RAPL package-0: suspended"),
    ],
)
def test_a_component_that_one_part_lost_leaves_the_sum_unknown(one, two, reason):
    whole = total([usage(one, []), usage(two, [reason])])
    assert (whole.joules, whole.joules_high, whole.energy_kind) == (
        None,
        None,
        "unknown",
    ) and reason in whole.energy_missing
    assert total([usage(two, [reason]), usage(one, [])]).joules is None


@pytest.mark.parametrize("reason", ["NVML: Driver Not Loaded", "NVML: no cards", "the attempt was killed: up to 5 s"])
def test_what_no_part_counted_is_no_hole(reason):
    assert total([usage(SOCKETS, [reason]), usage(SOCKETS, [reason])]).joules == 200
    assert holes([(SOCKETS, []), (SOCKETS, [reason])]) == []


def test_a_machine_without_cards_lost_none():
    assert total([usage([*SOCKETS, CARD], []), usage(SOCKETS, ["NVML: no cards"])]).joules == 200


def test_the_bill_looks_for_holes_between_stages():
    data = billed()
    first, second = data["stages"][:2]
    first["energy_coverage"], second["energy_coverage"] = [SOCKETS[0], CARD], SOCKETS[:1]
    second["energy_missing"] = ["NVML: Driver Not Loaded"]
    found = {line.name: line.spent for line in kinds(data, Rates())}
    assert found["labelling"].joules and found["all"].joules is None is found["all"].joules_low
    assert found["all"].energy_kind == "unknown"
