"""Conversion: hand-computed amounts, intervals, unknowns, the table of grids, and rates that cannot be."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilmt.bill.rates import Amount, Rates, cost, cost_of, grid, overlaid
from distilmt.energy import Usage
from distilmt.errors import ConfigError

ALL = Rates(grams_per_kwh=400, pue=1.5, price_per_kwh=0.25, price_per_hour=3.0, currency="EUR")


def test_the_formulas():
    found = cost(ALL, hours=2.0, joules=7.2e6, low=3.6e6, high=10.8e6)
    assert found.kwh == Amount(2.0, 1.0, 3.0)
    assert found.co2e_kg == Amount(pytest.approx(1.2), pytest.approx(0.6), pytest.approx(1.8))  # 2 kWh x 1.5 x 400 g
    assert found.energy_money == Amount(0.5, 0.25, 0.75)
    assert found.machine_money == Amount(6.0, 6.0, 6.0)
    assert found.money == Amount(6.5, 6.25, 6.75)
    assert found.missing == []
    assert found.inputs == {
        "grid": "400 g CO2e per kWh (given)", "PUE": "1.5", "electricity": "0.25 EUR per kWh",
        "machine": "3 EUR per hour",
    }  # fmt: skip


@given(
    parts=st.lists(
        st.tuples(st.floats(0, 1e4), st.floats(1e-3, 1e12), st.floats(0, 1), st.floats(1, 3)), min_size=1, max_size=5
    )
)
def test_what_is_added_before_or_after_conversion_is_the_same_and_intervals_hold_their_figure(parts):
    each = [cost(ALL, hours, joules, joules * low, joules * high) for hours, joules, low, high in parts]
    hours, joules, lows, highs = zip(*[(h, j, j * low, j * high) for h, j, low, high in parts], strict=True)
    whole = cost(ALL, sum(hours), sum(joules), sum(lows), sum(highs))
    for name in ("kwh", "co2e_kg", "money"):
        amounts = [getattr(one, name) for one in each]
        total = sum(amounts[1:], amounts[0])
        found = getattr(whole, name)
        assert (total.value, total.low, total.high) == pytest.approx((found.value, found.low, found.high))
        assert found.low <= found.value * (1 + 1e-12) and found.value <= found.high * (1 + 1e-12)


def test_a_figure_without_an_interval_has_none_after_conversion():
    found = cost(ALL, hours=1.0, joules=3.6e6)
    assert found.kwh == Amount(1.0)
    assert found.money == Amount(3.25, None, None)


def test_unknown_energy_leaves_hours_and_machine_money_and_no_total():
    found = cost(ALL, hours=2.0)
    assert (found.kwh, found.co2e_kg, found.energy_money, found.money) == (None, None, None, None)
    assert found.hours == 2.0 and found.machine_money == Amount(6.0, 6.0, 6.0)
    assert "energy not measured" in found.missing[0]


def test_machine_hours_alone_are_the_whole_money_where_electricity_has_no_price():
    found = cost(Rates(price_per_hour=3.0), hours=2.0)
    assert found.money == Amount(6.0, 6.0, 6.0) and found.energy_money is None
    assert cost(Rates(price_per_kwh=0.25), hours=2.0, joules=3.6e6).money == Amount(0.25)


def test_no_rates_say_what_they_would_make_known():
    found = cost(Rates(), hours=1.0, joules=3.6e6)
    assert found.kwh == Amount(1.0) and found.co2e_kg is None and found.money is None
    assert "--country" in found.missing[0] and "--price-per-kwh" in found.missing[1]


def test_nothing_given_is_not_a_price_of_zero():
    assert cost(Rates(grams_per_kwh=0, price_per_kwh=0), hours=1.0, joules=3.6e6).co2e_kg == Amount(0.0)
    assert cost(Rates(price_per_kwh=0), hours=1.0, joules=3.6e6).money == Amount(0.0)


def test_a_meter_s_usage_is_converted():
    usage = Usage(1800.0, 3000.0, 1, 1.8e6, "model", energy_kind="estimated", joules_low=9e5, joules_high=3.6e6)
    found = cost_of(ALL, usage)
    assert found.hours == 0.5 and found.kwh == Amount(0.5, 0.25, 1.0)


@pytest.mark.parametrize("name", ["DEU", "deu", "Germany", " germany "])
def test_a_country_by_code_or_name(name):
    assert grid(name).code == "DEU" and grid(name).grams_per_kwh == 380.95 and grid(name).year == 2023
    given = Rates(country=name).inputs()
    assert given["grid"].startswith("380.95 g CO2e per kWh (Germany 2023") and given["PUE"] == "1 (none given)"


@pytest.mark.parametrize(
    ("name", "near"),
    [("Gemany", "Germany (DEU)"), ("DE", "Germany (DEU)"), ("Frnce", "France (FRA)"), ("", "three-letter")],
)
def test_an_unknown_country_names_the_nearest(name, near):
    with pytest.raises(ConfigError, match="not in the table of 211 countries") as error:
        Rates(country=name)
    assert near in str(error.value) and "--grams-per-kwh" in str(error.value)


def test_the_table_is_dated_and_of_one_kind():
    from distilmt.bill.rates import _table

    table = _table()
    assert len({line.code for line in table}) == len({line.country for line in table}) == len(table) == 211
    assert all(len(line.code) == 3 and 0 < line.grams_per_kwh < 1500 and 2021 <= line.year <= 2023 for line in table)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"price_per_kwh": -0.1}, "--price-per-kwh must be a number of 0 or more, got -0.1"),
        ({"price_per_hour": math.inf}, "--price-per-hour must be"),
        ({"grams_per_kwh": math.nan}, "--grams-per-kwh must be"),
        ({"pue": 0.9}, "--pue must be a number of 1 or more"),
        ({"country": "DEU", "grams_per_kwh": 1.0}, "give one"),
    ],
)
def test_rates_that_cannot_be(rates, message):
    with pytest.raises(ConfigError, match=message):
        Rates(**rates)


def test_given_rates_take_the_place_of_recorded_ones():
    recorded = Rates(country="DEU", pue=1.5, price_per_kwh=0.3, currency="EUR")
    assert overlaid(recorded, Rates()) == recorded
    assert overlaid(recorded, Rates(grams_per_kwh=50)) == Rates(
        grams_per_kwh=50, pue=1.5, price_per_kwh=0.3, currency="EUR"
    )
    assert overlaid(recorded, Rates(pue=1.0, country="FRA")).inputs()["PUE"] == "1"
